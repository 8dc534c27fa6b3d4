"""Shows that the judgement catches faults: records of real runs are tampered with, one fault at a time, as a
daemon that acknowledges too early, loses, changes or conceals would have left them. Each must be found, as
what it is; and the records as they were must not look like that fault.
"""

import copy
import dataclasses
import shutil

import starts
import strace
import under_load
import verdict
from house import House, must
from load import Attempt
from verdict import CHANGED, CODE, LATE, LEFT, LOST, MESSAGE, PROMISE, REFUSED

LIVES = 8


class Proof:
    def __init__(self):
        self.count = 0
        self.failures = []

    def expect(self, what, kind, found, found_before):
        """That the findings are of this kind, and are more than there were without the fault."""
        self.count += 1
        more = sum(one == kind for one, _ in found) - sum(one == kind for one, _ in found_before)
        if more > 0:
            print(f"caught as {kind}: {what}", flush=True)
        else:
            self.failures.append(f"not caught as {kind}: {what}; found: {found[:3]}")


def prove(directory, seed):
    """What was not caught. That the observer of the load goes red is proved by the suite that kills."""
    proof = Proof()
    _, figures, lives = under_load.lives(directory / "load", seed, ("commit", "document"), LIVES)
    print(figures, flush=True)
    of_database(proof, next(life for life in lives if met(life, verdict.DATABASE) and promised_before(life)))
    of_documents(proof, lives)
    *_, refused = starts.mismatched(directory / "mismatch", seed)
    of_starts(proof, refused[0])
    of_refusals(proof)
    old_state(proof, directory / "old", seed)
    print(f"{proof.count - len(proof.failures)} of {proof.count} faults caught")
    return proof.failures


def met(life, pattern):
    return life.failures() and pattern.search(life.failures()[0].path)


def promised_before(life):
    return any(verdict.is_good_sync(call, verdict.DATABASE) for call in life.calls)


def of_database(proof, life):
    first = life.failures()[0]
    synced = max(call.begin for call in life.calls if call.begin < first.begin and not call.error)
    claims = {
        "an event was acknowledged that came after the sync had failed": (first.end + 0.001, LATE),
        "an event was acknowledged that no sync can have made durable": ((synced + first.begin) / 2, PROMISE),
    }
    for what, (sent_at, kind) in claims.items():
        doctored = copy.deepcopy(life)
        request = ("POST", "/v1/events", b"", b'{"data": {}}')
        doctored.attempts.append(
            Attempt("portal", "msg_claimed", request, sent_at, first.begin + 0.01, 200, "applied", True)
        )
        judged(proof, what, kind, doctored, life)
    for code in (0, verdict.FAILED, -9):
        judged(proof, f"it ends with {code} after a failed sync", CODE, dataclasses.replace(life, code=code), life)
    silent = dataclasses.replace(life, words=life.words.replace("failed a sync", "ended"))
    judged(proof, "it does not say that a sync failed", MESSAGE, silent, life)
    slow = dataclasses.replace(life, ended_at=life.ended_at + 60)
    judged(proof, "it takes a minute to end", CODE, slow, life)
    unharmed = dataclasses.replace(life, calls=[call._replace(error=None) for call in life.calls])
    judged(proof, "it ends with 74 though no sync failed", CODE, unharmed, life)


def of_documents(proof, lives):
    life = next(life for life in lives if life.failures())
    first = life.failures()[0]
    times = first.begin - 0.000001, first.begin + 0.01
    request = ("PUT", f"/v1/documents/{'d' * 64}", b"", b"")
    claimed = Attempt("billing", "msg_claimed", request, *times, 201, "stored", True)
    for what, path in (
        ("a document was acknowledged whose sync failed", f"/state/documents/.incoming/{'d' * 64}.3"),
        ("a document was acknowledged whose directory's sync failed", "/state/documents/2026-11-26"),
    ):
        failed = first._replace(arguments=f"3<{strace.hexed(path)}>")
        base = dataclasses.replace(life, calls=[failed if call == first else call for call in life.calls])
        judged(proof, what, PROMISE, dataclasses.replace(base, attempts=[*base.attempts, claimed]), base)


def judged(proof, what, kind, doctored, life):
    proof.expect(what, kind, verdict.judge_life(doctored)[0], verdict.judge_life(life)[0])


def of_starts(proof, start):
    def judged_start(what, kind, **changes):
        doctored = dataclasses.replace(start, **changes)
        proof.expect(what, kind, verdict.judge_start(doctored), verdict.judge_start(start))

    name, about = next(iter(start.after.items()))
    judged_start("it starts on a state directory that is another", CODE, code=None)
    judged_start("it ends with 1 where a person must help", CODE, code=verdict.FAILED)
    judged_start("the message does not name the directory", MESSAGE, words="the state directory is incomplete")
    judged_start("a file was created", CHANGED, after={**start.after, "sled-1/new": about})
    judged_start("a file was changed", CHANGED, after={**start.after, name: (about[0], "other")})
    judged_start("a file was removed", CHANGED, after={key: start.after[key] for key in start.after if key != name})


def of_refusals(proof):
    right = verdict.Refusal("a push", 503, "disk_full", "60")
    for what, changes in {
        "a push is accepted on a full disk": {"status": 200, "code": None, "retry_after": None},
        "a refusal does not say when to try again": {"retry_after": None},
        "a full disk counts as a fault of ours": {"status": 500, "code": "internal"},
        "a push on a full disk is not answered": {"status": 0, "code": None, "retry_after": None},
    }.items():
        doctored = dataclasses.replace(right, **changes)
        proof.expect(what, REFUSED, verdict.judge_refusals([doctored]), verdict.judge_refusals([right]))


def old_state(proof, directory, seed):
    """The real thing: the state from before an acknowledgement is put back, which is as if that had been given
    too early."""
    with House(directory, seed) as house:
        hand, state, old = house.hand, house.daemon.state, directory / "old"
        house.daemon.start()
        must(hand.account("K-1"), 200)
        house.daemon.stop()
        shutil.copytree(state, old)
        house.fill(version=2)
        must(hand.document(hand.bytes()), 201)
        right = verdict.judge_present(hand.promised, hand.seen())
        house.daemon.kill()
        shutil.rmtree(state)
        old.rename(state)
        house.daemon.start()
        lost = verdict.judge_present(hand.promised, hand.seen())
        house.daemon.stop()
    for what in ("account", "invoice", "document"):
        found = [one for one in lost if one[1].startswith(what)]
        proof.expect(f"the earlier state is put back: the {what}", LOST, found, right)
    files = [f"documents/2026-11-26/{digest}.sha256" for digest in hand.documents()]
    proof.expect("a refused document leaves a file", LEFT, verdict.judge_files(files, set(), True), [])
