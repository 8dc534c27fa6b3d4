"""Postfix killed and stopped under a run of invoices."""

import random
import signal
import time

from cases import attempts
from suite import wait_until

INVOICES, ROUNDS = 200, 6
# The long form has so many times more.
LONG = 5


def broken_off(work, findings):
    """A run of invoices; smtpd killed again and again, Postfix stopped and started in their midst."""
    rng = random.Random(f"{work.seed} broken off")
    factor = LONG if work.long else 1
    rounds = ROUNDS * factor
    invoices = {f"broken/{number}": f"K{number % 40}" for number in range(INVOICES * factor)}
    with work.router("broken", "plain", connections=4) as router:
        router.switch("pause")
        for number in range(40):
            router.account(f"K{number}", [f"{name}.{number}@broken.example" for name in "ab"[:1 + number % 2]])
        for number, account in invoices.items():
            content = rng.randbytes(rng.randint(1_000, 60_000))
            router.invoice(account, number, [("a.pdf", "application/pdf", content)])
        addresses = sum(1 + int(account[1:]) % 2 for account in invoices.values())
        before = work.receiver.count
        router.switch("resume")
        killed = 0
        for step in range(rounds):
            # Spread over the run, whatever its speed.
            work.receiver.wait_for(before + (step + 1) * addresses // (rounds + 3), 15)
            time.sleep(rng.uniform(0, 0.05))
            if step == rounds // 2:
                work.postfix.stop()
                wait_until(lambda: (router.relay_is_down() or "").startswith("connect: "), 15)
                findings.equal("why the relay is down", router.relay_is_down(), "connect: connection refused")
                work.postfix.start()
            elif step % 2:
                killed += work.postfix.kill("smtpd")
            else:
                killed += cut_after_the_dot(work)
        released = let_all_end(router)
        counts = judge(work, findings, router, invoices)
    findings.holds("some outcome was uncertain", counts["uncertain"], counts)
    return (
        f"{len(invoices)} invoices in {addresses} mails, {killed} smtpd killed, Postfix stopped once: lost 0, second "
        f"copies {counts['second']} of {counts['uncertain']} uncertain attempts (same Message-ID, same bytes), "
        f"deferred {counts['deferred']}, released {released}, repeated by Postfix itself {counts['by_postfix']}"
    )


def cut_after_the_dot(work):
    """Kills smtpd while cleanup has the message and the daemon no answer: with cleanup stopped, smtpd waits for
    it after the final dot; going on, cleanup finds the message whole and puts it into the queue."""
    work.postfix.signal("cleanup", signal.SIGSTOP)
    try:
        time.sleep(0.25)
        return work.postfix.kill("smtpd")
    finally:
        work.postfix.signal("cleanup", signal.SIGCONT)


def let_all_end(router):
    """Until every invoice is delivered."""
    released = 0

    def is_over():
        nonlocal released
        released += router.admin.release_unknown()
        return all(one["state"] == "delivered" for one in router.admin.all("/v1/invoices"))

    wait_until(is_over, 90, 0.2)
    return released


def judge(work, findings, router, invoices):
    wait_until(lambda: not work.postfix.queued(), 30)
    findings.equal("messages left in Postfix's queue", work.postfix.queued(), 0)
    counts = {"uncertain": 0, "second": 0, "deferred": 0, "by_postfix": work.receiver.repeated_by_postfix}
    for number, account in invoices.items():
        shown = router.shown(account, number)
        findings.equal(f"state of {number}", shown["state"], "delivered")
        copies = work.receiver.of_number(number)
        findings.equal(f"{number} arrived at", sorted(copies), sorted(one["address"] for one in shown["addresses"]))
        for one in shown["addresses"]:
            about, got = f"{number} at {one['address']}", copies.get(one["address"], [])
            outcomes = [outcome for *_, outcome in attempts(one)]
            findings.equal(f"accepted attempts for {about}", outcomes.count("accepted"), 1)
            findings.equal(f"outcomes for {about}", set(outcomes) - {"accepted", "deferred", "uncertain"}, set())
            uncertain = outcomes.count("uncertain")
            findings.holds(f"{about}: at least one copy, at most one more for each uncertain attempt",
                           1 <= len(got) <= 1 + uncertain, (len(got), attempts(one)))
            variants = {(copy.message_id, copy.digest) for copy in got}
            findings.equal(f"Message-IDs and digests of {about}", len(variants), 1)
            accepted = [attempt for attempt in one["attempts"] if attempt["outcome"] == "accepted"]
            for attempt in accepted:
                named = [copy for copy in got if copy.queue_id in attempt["reply"]["text"]]
                findings.equal(f"copies of {about} that the accepted attempt names", len(named), 1)
                for copy in named:
                    findings.is_evidence(copy, one["message_id"], attempt)
            counts["uncertain"] += uncertain
            counts["deferred"] += outcomes.count("deferred")
            counts["second"] += len(got) - 1
    return counts
