"""Syncs and writes that fail under constant load, as a store is created, and as the daemon is stopped.

The load, the relay and the observer outside are those of the suite that kills: what is not acknowledged is
pushed again, and at the end everything that was is compared with what exists.
"""

import collections
import itertools
import random
import time

from evidence import judge
from house import Hand, House, live, must_be_clean
from loaded import Loaded
from strace import Injection
from verdict import ABORTED, CODE, FAILED, SYNC_FAILED, Life, judge_life

ACCOUNTS = 20
PORTAL_PAUSES, BILLING_PAUSES = [0.03] * 2, [0.03] * 3
# Whoever is ready and lives for so long has met no fault.
FAULT_SECONDS, LIVES_SECONDS = 8, 1
SYNCED = "fsync,fdatasync"
# What the end may be where sled meets the fault by itself.
MET = (FAILED, SYNC_FAILED, ABORTED)
# Kinds of faults: the call, which ones of a thread's, the error, what the end may be. The first five fsyncs of a
# thread are those of a start, the later ones are of documents.
KINDS = {
    "commit": ("fdatasync", (1, 60), "EIO", (SYNC_FAILED,)),
    "start": ("fsync", (1, 5), "EIO", (SYNC_FAILED,)),
    "document": ("fsync", (6, 14), "EIO", (SYNC_FAILED,)),
    # The kernel tells the same to the sync that follows, strace does not.
    "sync_file_range": ("sync_file_range", (1, 60), "EIO", MET),
    "no space": ("pwrite64", (1, 120), "ENOSPC", MET),
    "read-only": ("pwrite64", (1, 120), "EROFS", MET),
    "failing write": ("pwrite64", (1, 120), "EIO", MET),
}
AND_SIGTERM = " and SIGTERM"


class Load(Loaded):
    """It lives through one fault after the other."""

    def __init__(self, directory, seed):
        directory.mkdir()
        super().__init__(directory, seed, ACCOUNTS, PORTAL_PAUSES, BILLING_PAUSES)
        self.random = random.Random(f"{seed} faults")
        self.world.may_fail = True
        self.world.attempts = []
        self.ends = []
        self.lives = []

    def whole(self, kinds):
        """One life after the other, then the evidence."""
        # Paths below it are known only once it is there.
        self.daemon.start()
        self.begin_load()
        time.sleep(0.5)
        self.daemon.stop()
        for kind in kinds:
            self.lives.append(self.live(kind))
            self.ends.append(time.monotonic())
            if self.world.broken.is_set():
                break
        self.daemon.start()
        time.sleep(0.5)
        self.end_load()
        must_be_clean(self.daemon)
        return self.observe(self.ends)

    def live(self, kind):
        call, counts, error, expected = KINDS[kind.removesuffix(AND_SIGTERM)]
        # Whether it is only this call that fails: nothing may be tried again and believed then.
        when = f"{self.random.randint(*counts)}{self.random.choice(('', '+'))}"
        paths = (self.daemon.state / "sled-1" / "db",) if call == "pwrite64" else ()
        traced = SYNCED if call in SYNCED else f"{SYNCED},{call}"
        signal = "SIGTERM" if kind.endswith(AND_SIGTERM) else None
        injection = Injection(self.directory / "strace", traced, call, error, when, signal, paths)
        return live(self.daemon, f"{kind} {when}", injection, expected, FAULT_SECONDS, self.world)


def lives(directory, seed, kinds, count):
    """So many lives with faults of these kinds in turn: findings, figures, and what there is to judge from."""
    load = Load(directory, seed)
    try:
        evidence = load.whole(list(itertools.islice(itertools.cycle(kinds), count)))
    finally:
        load.end()
    judged = [judge_life(life) for life in load.lives]
    judgement = judge(evidence)
    findings = sum((found for found, _ in judged), judgement.findings)
    failed = [life for life in load.lives if life.failures()]
    codes = collections.Counter(life.code for life in failed)
    slowest = max((life.ended_at - life.failures()[0].begin for life in failed), default=0)
    acknowledged = sum(one.is_acknowledged for one in load.world.attempts)
    if not failed:
        findings.append((CODE, "no fault came: this proves nothing"))
    figures = (
        f"{len(failed)} of {count} lives met their fault, ended with {dict(codes)}, at most {slowest:.1f} s after it; "
        f"{acknowledged} requests acknowledged, {sum(late for _, late in judged)} of them sent after the fault; "
        f"{len(evidence.invoices)} invoices, {len(evidence.mails)} mails, {judgement.second_copies} second copies of "
        f"{judgement.uncertain} uncertain attempts"
    )
    return findings, figures, load.lives


# What fails from one moment on, of which files, and whether something is pushed before SIGTERM comes.
CLOSINGS = {
    "the database as it is closed": ("fsync", ("sled-1/db",), None),
    "a document, and the database as it is closed": ("fsync", (), Hand.document),
    "a commit, and the database as it is closed": (SYNCED, ("sled-1/db",), Hand.document),
}


def closing(directory, seed):
    """The disk fails shortly before SIGTERM, and as the store is closed."""
    codes = collections.Counter()
    with House(directory, seed) as house:
        for count, (what, (failing, paths, push)) in enumerate(CLOSINGS.items(), 1):
            house.fill(f"RE-{count}", count)
            house.hand.world.attempts = []
            paths = [house.daemon.state / path for path in paths]
            injection = Injection(directory / f"strace.{count}", SYNCED, failing, "EIO", None, None, paths)
            try:
                strace = injection.attach(house.daemon.process.pid)
            except PermissionError as refused:
                return house.findings, f"{count - 1} tried, {refused}"
            if push:
                push(house.hand, house.hand.bytes())
            house.daemon.process.terminate()
            code = house.daemon.wait()
            codes[code] += 1
            ended_at = time.time()
            strace.wait()
            calls = injection.calls(house.daemon.last_process_id)
            words, attempts = house.daemon.words(), house.hand.world.attempts
            house.findings += judge_life(Life(what, code, (SYNC_FAILED,), ended_at, words, calls, attempts))[0]
            house.judge_whole(may_have_more=True)
    return house.findings, f"{len(CLOSINGS)} times, ended with {dict(codes)}, all was there"


def creating(directory, seed):
    """Each sync of a creation fails, one after the other; the next start begins anew. What a process that is killed
    leaves of a creation is among what the suite that cuts the power starts from."""
    directory.mkdir()
    numbers = random.Random(f"{seed} creations")
    findings, codes = [], collections.Counter()
    for call in SYNCED.split(","):
        for count in itertools.count(1):
            with House(directory / f"{call}.{count}", seed) as house:
                what, signal = f"{call} {count} at the creation", numbers.choice((None, "SIGTERM"))
                injection = Injection(house.directory / "strace", SYNCED, call, "EIO", str(count), signal)
                life = live(house.daemon, what, injection, (SYNC_FAILED,), LIVES_SECONDS)
                # One that fails after it is ready is of the other kind.
                if life.was_ready:
                    break
                findings += judge_life(life)[0]
                codes[life.code] += 1
                house.daemon.start()
                house.daemon.stop()
                must_be_clean(house.daemon)
    return findings, f"{codes.total()} starts failed with {dict(codes)}, and each next one went well"
