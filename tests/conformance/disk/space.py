"""A file system of its own, and what happens as it fills up."""

import contextlib
import itertools
import os
import random
import subprocess
import threading
import time

from daemon import PATIENCE_SECONDS, Broken
from hand import House, document_files, must, must_be_clean, refusal
from verdict import (
    ABORT_SECONDS, ABORTED, CHANGED, CODE, FAILED, MESSAGE, REFUSED, SYNC_FAILED, judge_files, judge_present, judge_refusals,
)

MIB = 1 << 20
# What the configuration of the suites keeps back.
RESERVE_BYTES = 16 * MIB
# On a machine that is busy with something else it may take so many until the database meets the end of the disk.
ROUNDS_MOST = 12
NO_SPACE = "No space left on device"


class SmallDisk:
    """A tmpfs over the state directory."""

    def __init__(self, mebibytes):
        self.mebibytes = mebibytes
        self.path = None

    def mount(self, path):
        self.remount = lambda *options: mount("-o", ",".join(("remount", *options)), str(path))
        mount("-t", "tmpfs", "-o", f"size={self.mebibytes}m,mode=700", "tmpfs", str(path))
        self.path = path

    def grow(self, mebibytes):
        self.remount(f"size={mebibytes}m")

    def free_bytes(self):
        about = os.statvfs(self.path)
        return about.f_bavail * about.f_frsize

    def fill(self, leave_bytes):
        """Somebody else takes what is left but for so many bytes."""
        filler = os.open(self.path / "filler", os.O_CREAT | os.O_WRONLY)
        try:
            while (more := self.free_bytes() - leave_bytes) > 0:
                # The daemon takes some of it meanwhile.
                with contextlib.suppress(OSError):
                    os.posix_fallocate(filler, os.fstat(filler).st_size, more)
        finally:
            os.close(filler)

    def make_room(self):
        (self.path / "filler").unlink(missing_ok=True)

    def unmount(self):
        if self.path:
            # Whatever still has a file in it must not keep it for ever.
            subprocess.run(["umount", "-l", str(self.path)], check=True)
            self.path = None


def mount(*words):
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise PermissionError(done.stderr.strip())


def can_mount(directory):
    trial, disk = directory / "trial", SmallDisk(1)
    trial.mkdir()
    try:
        disk.mount(trial)
        disk.unmount()
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def on(mebibytes, program, directory, seed):
    disk = SmallDisk(mebibytes)
    return disk, House(program, directory, seed, disk.mount)


def wait_for(what, is_so):
    since = time.monotonic()
    while not is_so():
        if time.monotonic() - since > PATIENCE_SECONDS:
            raise Broken(f"waited in vain until {what}")
        time.sleep(0.05)


def reserve(program, directory, seed):
    """The disk fills up to the reserve, beyond half of it, and is made larger."""
    disk, house = on(48, program, directory, seed)
    hand, sink, findings, refusals = house.hand, house.sink, [], []

    def expect(kind, is_so, words):
        if not is_so:
            findings.append((kind, words))

    def state(number, account="K-1"):
        return house.admin.invoice(account, number)["state"]

    try:
        house.start()
        for account in ("K-1", "K-2", "K-3"):
            must(hand.account(account), 200)
        must(house.admin.ask("POST", "/v1/pause", {"account": "K-3", "reason": "to be sent later"}), 200)
        must(hand.invoice("K-3", "RE-later", contents=[hand.bytes()]), 200)
        # The connections to a relay are few until it has proved itself.
        for count in range(8):
            must(hand.invoice("K-1", f"RE-before{count}", contents=[hand.bytes()]), 200)
        wait_for("the first are settled", lambda: all(state(f"RE-before{count}") == "delivered" for count in range(8)))
        gate = sink.close_gate("dot")
        flying = ["RE-flight1", "RE-flight2", "RE-flight3"]
        for number in flying:
            must(hand.invoice("K-1", number, contents=[hand.bytes()]), 200)
        wait_for("the mails are in flight", lambda: gate.standing == len(flying))

        # As fast as they are taken, since the daemon knows between two looks what it has written.
        uploads = 0
        while (answer := hand.document(hand.bytes(MIB)))[0] == 201:
            uploads += 1
            if disk.free_bytes() < RESERVE_BYTES / 2:
                break
        free_at_refusal = disk.free_bytes()
        refusals.append(refusal("the document that no longer fits", answer))
        # The database takes some by itself.
        expect(REFUSED, free_at_refusal > RESERVE_BYTES - 2 * MIB, f"refused only with {free_at_refusal} bytes free")
        # What is smaller would still be taken.
        disk.fill(leave_bytes=RESERVE_BYTES - MIB)
        time.sleep(1.2)
        files = {str(path) for path in document_files(house.daemon)}
        for what, push in (
            ("a new account", lambda: hand.account("K-4")),
            ("a change of an account", lambda: hand.account("K-2", 2)),
            ("a document", lambda: hand.document(hand.bytes())),
            ("a document that is there", lambda: hand.document(known)),
            ("an invoice with its document", lambda: hand.invoice("K-2", "RE-refused", contents=[hand.bytes()])),
            ("a withdrawal", lambda: hand.withdraw("K-3", "RE-later")),
        ):
            known = hand.bytes()
            refusals.append(refusal(what, push()))
        for answer, what in (
            (house.admin.account("K-4"), "the account"), (house.admin.invoice("K-2", "RE-refused"), "the invoice"),
        ):
            expect(CHANGED, answer is None, f"{what} was refused and is there: {answer}")
        expect(CHANGED, house.admin.account("K-2")["version"] == 1, "the change was refused and is in force")
        expect(CHANGED, state("RE-later", "K-3") != "withdrawn", "the withdrawal was refused and is in force")
        expect(
            CHANGED, {str(path) for path in document_files(house.daemon)} == files,
            "a refused document left a file",
        )
        status, ready = house.admin.ask("GET", "/readyz")
        expect(MESSAGE, status == 503 and "disk" in str(ready), f"readyz says {status} {ready}")

        # Less than half of the reserve, and less than the unsettled mails would need as new invoices.
        disk.fill(leave_bytes=4 * MIB)
        time.sleep(1.2)
        operated = [
            ("hold", house.admin.ask("POST", "/v1/accounts/K-3/invoices/RE-later/hold", {"reason": "to try it"})),
            ("release", house.admin.ask("POST", "/v1/accounts/K-3/invoices/RE-later/release", {"now": True})),
            ("pause", house.admin.ask("POST", "/v1/pause", {"reason": "to try it"})),
            ("resume", house.admin.ask("POST", "/v1/resume", {})),
            ("resume of the account", house.admin.ask("POST", "/v1/resume", {"account": "K-3"})),
        ]
        for what, answer in operated:
            expect(REFUSED, answer[0] == 200, f"{what} on a full disk: {answer}")
        expect(CHANGED, all(state(number) == "sending" for number in flying), "mails in flight are not any more")
        sink.open_gate()
        wait_for("the mails in flight are settled", lambda: all(state(number) == "delivered" for number in flying))
        time.sleep(1)
        sent = [mail.number for mail in sink.mails]
        expect(REFUSED, "RE-later" not in sent, "with less than half of the reserve a mail was begun")
        expect(MESSAGE, NO_SPACE not in house.daemon.words(), f"the database met it: {house.daemon.last_words()}")

        disk.make_room()
        disk.grow(128)
        wait_for("it goes on by itself", lambda: state("RE-later", "K-3") == "delivered")
        must(hand.account("K-4"), 200)
        must(hand.account("K-2", 2), 200)
        must(hand.invoice("K-2", "RE-refused", contents=[hand.bytes()]), 200)
        wait_for("what was refused is sent", lambda: state("RE-refused", "K-2") == "delivered")
        house.daemon.stop()
        must_be_clean(house.daemon)
        house.start()
        findings += judge_refusals(refusals) + judge_present(hand.promised, hand.seen())
        findings += judge_files(files_of(house), hand.documents(), is_after_start=True)
        house.daemon.stop()
    finally:
        house.end()
        disk.unmount()
    return findings, (
        f"{uploads} documents until the reserve of 16 MiB, refused at {free_at_refusal / MIB:.1f} MiB free; "
        f"{len(refusals)} pushes refused, {len(operated)} operator's actions done, "
        f"{len(flying)} mails in flight settled, {len(hand.promised)} things acknowledged and there, "
        f"{len(findings)} findings"
    ), refusals


def files_of(house):
    return [str(path.relative_to(house.daemon.state)) for path in document_files(house.daemon)]


def full(program, directory, seed, rounds):
    """Somebody takes all of the disk between two looks of the daemon's, so that the database meets the end of
    it: so many rounds, and more until it does."""
    most = max(rounds, ROUNDS_MOST)
    # Each round leaves something.
    disk, house = on(12 * most, program, directory, seed)
    numbers = random.Random(f"{seed} full")
    hand, findings, codes = house.hand, [], {}
    versions = itertools.count(1)
    count = met = 0
    try:
        house.start()
        house.daemon.stop()
        while count < (rounds if met else most):
            count += 1
            house.start()
            must(hand.account("K-1", next(versions)), 200)
            ending = threading.Event()
            pump = threading.Thread(target=push_on, args=[house, versions, count, ending])
            pump.start()
            time.sleep(numbers.uniform(0.2, 1.2))
            disk.fill(leave_bytes=numbers.choice((0, 4096, 40_000)))
            filled_at = time.monotonic()
            code = house.daemon.wait(6)
            met += code is not None
            # Its reserve may have saved it: then it is told to stop, and need not be able to.
            expected = (FAILED, SYNC_FAILED, ABORTED)
            if code is None:
                expected = (0, FAILED, SYNC_FAILED, ABORTED)
                house.daemon.process.terminate()
                code = house.daemon.wait(ABORT_SECONDS)
            elif time.monotonic() - filled_at > ABORT_SECONDS:
                findings.append((CODE, "it took too long to end"))
            ending.set()
            pump.join()
            codes[code] = codes.get(code, 0) + 1
            if code not in expected:
                findings.append((CODE, f"a full disk: {code}, expected {expected}: {house.daemon.last_words()}"))
            disk.make_room()
            must_be_clean(house.daemon)
            house.start()
            findings += judge_present(hand.promised, hand.seen())
            house.daemon.stop()
    finally:
        house.end()
        disk.unmount()
    if not met:
        findings.append((CODE, "the database never met the end of the disk: this proves nothing"))
    return findings, (
        f"{met} of {count} times the database met the end of the disk, ended with {codes}; "
        f"{len(hand.promised)} things acknowledged and there, {len(findings)} findings"
    ), []


def push_on(house, versions, count, ending):
    hand, number = house.hand, itertools.count(1)
    while not ending.is_set():
        version = next(versions)
        hand.account("K-1", version)
        hand.invoice("K-1", f"RE-{count}-{next(number)}", contents=[hand.bytes(500)])
        if house.daemon.address is None:
            return


def document(program, directory, seed):
    """There is no room for a document's bytes."""
    disk, house = on(64, program, directory, seed)
    hand, findings, refusals = house.hand, [], []
    left = 0
    try:
        house.start()
        must(hand.document(hand.bytes()), 201)
        for room in (0, 8_192, 300_000, 900_000):
            content = hand.bytes(MIB)
            disk.fill(leave_bytes=room)
            refusals.append(refusal(f"a document of 1 MiB into {room} bytes", hand.document(content)))
            left += len(judge_files(files_of(house), hand.documents(), is_after_start=False))
            disk.make_room()
            time.sleep(1.2)
            must(hand.document(content), 201)
        # As a process that dies leaves it, and as one that could not even remove it.
        leftover = house.daemon.state / "documents" / ".incoming" / f"{'0' * 64}.7"
        house.daemon.stop()
        leftover.write_bytes(b"half of it")
        must_be_clean(house.daemon)
        house.start()
        findings += judge_refusals(refusals) + judge_present(hand.promised, hand.seen())
        findings += judge_files(files_of(house), hand.documents(), is_after_start=True)
        house.daemon.stop()
    finally:
        house.end()
        disk.unmount()
    return findings, (
        f"{len(refusals)} uploads refused and {len(refusals)} repeated with success, {left} files left by a refusal, "
        f"none after a start, {len(findings)} findings"
    ), refusals
