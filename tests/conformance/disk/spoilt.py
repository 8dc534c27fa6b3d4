"""One of many documents is missing or spoilt: its invoices wait for an operator, all others are sent, and
whoever still has the bytes puts it right.
"""

import os
import shutil

from hand import document_files, must, must_be_clean, verify
from readonly import as_nobody, can_be_somebody_else
from space import wait_for
from verdict import HELD, Spoilt, judge_present, judge_spoilt

OTHERS = 6


def missing(path):
    path.unlink()


def empty(path):
    path.write_bytes(b"")


def other_bytes(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-1])


def too_long(path):
    path.write_bytes(path.read_bytes() + b"\n")


def a_directory(path):
    path.unlink()
    path.mkdir()


def unreadable(path):
    path.chmod(0)


def a_dangling_link(path):
    path.unlink()
    path.symlink_to(path.parent / "nowhere")


WAYS = (missing, empty, other_bytes, cut_off, too_long, unreadable, a_dangling_link, a_directory)


def run(program, directory, seed):
    # Root may read everything.
    house = as_nobody(program, directory, seed)
    hand, findings, records = house.hand, [], []
    try:
        house.start()
        must(hand.account("K-1"), 200)
        for way in WAYS:
            if way is unreadable and not can_be_somebody_else(directory):
                continue
            try:
                record, found = one(house, way)
            finally:
                if house.daemon.process is None:
                    house.start()
            records.append(record)
            findings += found
        findings += judge_present(hand.promised, hand.seen())
        house.daemon.stop()
    finally:
        house.end()
    return findings, (
        f"{len(records)} ways to spoil a document, {sum(map(len, (one.states for one in records)))} invoices, "
        f"{len(findings)} findings"
    ), records


def one(house, way):
    hand, what, findings = house.hand, way.__name__.replace("_", " "), []
    must(house.admin.ask("POST", "/v1/pause", {"reason": "so that it can be spoilt"}), 200)
    contents = [hand.bytes() for _ in range(OTHERS)]
    digests = [must(hand.document(content), 201)[1]["sha256"] for content in contents]
    victim = digests[0]
    invoices = {f"RE-{what.replace(' ', '-')}-{count}": [digest] for count, digest in enumerate(digests)}
    invoices[f"RE-{what.replace(' ', '-')}-with-others"] = digests[1:3] + [victim]
    for number, named in invoices.items():
        must(hand.invoice("K-1", number, named), 200)
    path = next(path for path in document_files(house.daemon) if path.name.startswith(victim))
    way(path)
    if house.daemon.user and path.exists() and not path.is_symlink():
        os.chown(path, house.daemon.user, house.daemon.user)
    must(house.admin.ask("POST", "/v1/resume", {}), 200)

    def states():
        seen = {number: house.admin.invoice("K-1", number) for number in invoices}
        return {number: (one["state"], one["held_reason"]) for number, one in seen.items()}

    def are_settled():
        return all(state in ("held", "delivered") for state, _ in states().values())

    wait_for("all are held or delivered", are_settled)
    seen = states()
    house.daemon.stop()
    verified = verify(house.daemon)
    record = Spoilt(
        what, victim, {number: victim in named for number, named in invoices.items()}, seen, verified.code,
        verified.findings,
    )
    findings += judge_spoilt(record)

    house.start()
    answer = hand.document(contents[0])
    if answer[0] != 200:
        findings.append((HELD, f"{what}: the document is handed over again, answered is {answer}"))
        house.daemon.stop()
        # So that the next way is tried on a store that is whole.
        if path.is_dir():
            shutil.rmtree(path)
        house.start()
        must(hand.document(contents[0]), 200)
    for number, named in invoices.items():
        if victim in named:
            must(house.admin.release("K-1", number), 200)
    wait_for("all are delivered", lambda: all(state == "delivered" for state, _ in states().values()))
    house.daemon.stop()
    must_be_clean(house.daemon)
    return record, findings
