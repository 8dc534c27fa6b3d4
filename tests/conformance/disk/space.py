"""A file system of its own, and what happens as it fills up."""

import itertools
import random
import threading
import time

from house import MIB, House, must, must_be_clean, refusal, wait_for
from verdict import (
    ABORT_SECONDS, ABORTED, CHANGED, CODE, FAILED, MESSAGE, REFUSED, SYNC_FAILED, judge_files, judge_present,
    judge_refusals,
)

# What the configuration of the suites keeps back.
RESERVE_BYTES = 16 * MIB
# On a machine that is busy with something else it may take so many until the database meets the end of the disk.
ROUNDS_MOST = 12
NO_SPACE = "No space left on device"
# Longer than the daemon takes between two looks at the disk.
LOOK_SECONDS = 1.2


def reserve(directory, seed):
    """The disk fills up to the reserve, beyond half of it, and is made larger."""
    refusals = []
    with House(directory, seed, mebibytes=48) as house:
        hand, sink, disk, expect, state = house.hand, house.sink, house.disk, house.expect, house.state

        def wait_until_delivered(*numbers, account="K-1"):
            wait_for(f"{numbers} are delivered", lambda: all(state(one, account) == "delivered" for one in numbers))

        house.daemon.start()
        for account in ("K-1", "K-2", "K-3"):
            must(hand.account(account), 200)
        must(house.admin.ask("POST", "/v1/pause", {"account": "K-3", "reason": "to be sent later"}), 200)
        must(hand.invoice("K-3", "RE-later"), 200)
        # The connections to a relay are few until it has proved itself.
        first = [f"RE-before{count}" for count in range(8)]
        for number in first:
            must(hand.invoice("K-1", number), 200)
        wait_until_delivered(*first)
        gate = sink.close_gate("dot")
        flying = ["RE-flight1", "RE-flight2", "RE-flight3"]
        for number in flying:
            must(hand.invoice("K-1", number), 200)
        wait_for("the mails are in flight", lambda: gate.waiting == len(flying))

        # As fast as they are taken, since the daemon knows between two looks what it has written.
        uploads = 0
        while (answer := hand.document(hand.bytes(MIB)))[0] == 201 and disk.free_bytes() >= RESERVE_BYTES / 2:
            uploads += 1
        free_at_refusal = disk.free_bytes()
        refusals.append(refusal("the document that no longer fits", answer))
        # The database takes some by itself.
        expect(REFUSED, free_at_refusal > RESERVE_BYTES - 2 * MIB, f"refused only with {free_at_refusal} bytes free")
        # What is smaller would still be taken.
        disk.fill(leave_bytes=RESERVE_BYTES - MIB)
        time.sleep(LOOK_SECONDS)
        files = house.files()
        refusals += [refusal(*one) for one in {
            "a new account": hand.account("K-4"),
            "a change of an account": hand.account("K-2", 2),
            "a document": hand.document(hand.bytes()),
            "an invoice with its document": hand.invoice("K-2", "RE-refused"),
            "a withdrawal": hand.withdraw("K-3", "RE-later"),
        }.items()]
        expect(CHANGED, house.admin.account("K-4") is None, "the account was refused and is there")
        expect(CHANGED, house.admin.invoice("K-2", "RE-refused") is None, "the invoice was refused and is there")
        expect(CHANGED, house.admin.account("K-2")["version"] == 1, "the change was refused and was applied")
        expect(CHANGED, state("RE-later", "K-3") != "withdrawn", "the withdrawal was refused and was applied")
        expect(CHANGED, house.files() == files, "a refused document left a file")
        status, ready = house.admin.ask("GET", "/readyz")
        expect(MESSAGE, status == 503 and "disk" in str(ready), f"readyz says {status} {ready}")

        # Less than half of the reserve, and less than the unsettled mails would need as new invoices.
        disk.fill(leave_bytes=4 * MIB)
        time.sleep(LOOK_SECONDS)
        operated = (
            ("/v1/accounts/K-3/invoices/RE-later/hold", {"reason": "to try it"}),
            ("/v1/accounts/K-3/invoices/RE-later/release", {"now": True}),
            ("/v1/pause", {"reason": "to try it"}), ("/v1/resume", {}), ("/v1/resume", {"account": "K-3"}),
        )
        for path, body in operated:
            answer = house.admin.ask("POST", path, body)
            expect(REFUSED, answer[0] == 200, f"{path} on a full disk: {answer}")
        expect(CHANGED, all(state(number) == "sending" for number in flying), "mails in flight are not any more")
        sink.open_gate()
        wait_until_delivered(*flying)
        time.sleep(1)
        sent = [mail.number for mail in sink.mails]
        expect(REFUSED, "RE-later" not in sent, "with less than half of the reserve a mail was begun")
        expect(MESSAGE, NO_SPACE not in house.daemon.words(), f"the database met it: {house.daemon.last_words()}")

        disk.make_room()
        disk.remount("size=128m")
        # It goes on by itself, and what was refused is taken.
        wait_until_delivered("RE-later", account="K-3")
        must(hand.account("K-4"), 200)
        must(hand.account("K-2", 2), 200)
        must(hand.invoice("K-2", "RE-refused"), 200)
        wait_until_delivered("RE-refused", account="K-2")
        house.daemon.stop()
        house.judge_whole()
    return house.findings + judge_refusals(refusals), (
        f"{uploads} documents until the reserve of 16 MiB, refused at {free_at_refusal / MIB:.1f} MiB free; "
        f"{len(refusals)} pushes refused, {len(operated)} operator's actions done, {len(flying)} mails in flight "
        f"settled, {len(hand.promised)} things acknowledged and there"
    )


def full(directory, seed, rounds):
    """Another process takes all of the disk between two looks of the daemon's, so that the database meets the end of
    it: so many rounds, and more until it does."""
    most = max(rounds, ROUNDS_MOST)
    numbers, codes, versions = random.Random(f"{seed} full"), {}, itertools.count(1)
    count = met = 0
    # Each round leaves something.
    with House(directory, seed, mebibytes=12 * most) as house:
        while count < (rounds if met else most):
            count += 1
            house.daemon.start()
            must(house.hand.account("K-1", next(versions)), 200)
            ending = threading.Event()
            pump = threading.Thread(target=push_on, args=[house, versions, count, ending])
            pump.start()
            time.sleep(numbers.uniform(0.2, 1.2))
            house.disk.fill(leave_bytes=numbers.choice((0, 4096, 40_000)))
            code = house.daemon.wait(6)
            met += code is not None
            expected = (FAILED, SYNC_FAILED, ABORTED)
            if code is None:
                # Its reserve may have saved it: then it is told to stop, and need not be able to.
                expected = (0, *expected)
                house.daemon.process.terminate()
                code = house.daemon.wait(ABORT_SECONDS)
            ending.set()
            pump.join()
            codes[code] = codes.get(code, 0) + 1
            house.expect(CODE, code in expected, f"a full disk: {code}, expected {expected}: {house.daemon.last_words()}")
            house.disk.make_room()
            must_be_clean(house.daemon)
            house.daemon.start()
            house.findings += judge_present(house.hand.promised, house.hand.seen())
            house.daemon.stop()
    house.expect(CODE, met, "the database never met the end of the disk: this proves nothing")
    return house.findings, (
        f"{met} of {count} times the database met the end of the disk, ended with {codes}; "
        f"{len(house.hand.promised)} things acknowledged and there"
    )


def push_on(house, versions, count, ending):
    number = itertools.count(1)
    while not ending.is_set() and house.daemon.address:
        house.hand.account("K-1", next(versions))
        house.hand.invoice("K-1", f"RE-{count}-{next(number)}", house.hand.bytes(500))


def document(directory, seed):
    """There is no room for a document's bytes."""
    refusals, left = [], 0
    with House(directory, seed, mebibytes=64) as house:
        hand, disk = house.hand, house.disk
        house.daemon.start()
        must(hand.document(hand.bytes()), 201)
        for room in (0, 8_192, 300_000, 900_000):
            content = hand.bytes(MIB)
            disk.fill(leave_bytes=room)
            refusals.append(refusal(f"a document of 1 MiB into {room} bytes", hand.document(content)))
            left += len(judge_files(house.files(), hand.documents(), is_after_start=False))
            disk.make_room()
            time.sleep(LOOK_SECONDS)
            must(hand.document(content), 201)
        house.daemon.stop()
        house.judge_whole()
    return house.findings + judge_refusals(refusals), (
        f"{len(refusals)} uploads refused and repeated with success, {left} files left by a refusal, none after a start"
    )
