"""Deferrals and rejections of Postfix's own making, each as the stage, the code and the enhanced code want
it; and what becomes of the invoice once the cause is gone."""

import time

from cases import address_of, attempt_count, attempts

ACCEPTED = ("final_dot", 250, "2.0.0", "accepted")
GONE = ("rcpt", 550, "5.1.1", "rejected")
# As a domain, since each case has addresses of its own.
DOMAIN = "refused.example"

# Where Postfix refuses, its words, and what is to be seen: the code and enhanced code that it makes of them, the
# outcome, the state of the invoice, which has one address and that the main contact's.
HELD, UNKNOWN, LATER = ("rejected", "held"), ("rejected", "withheld"), ("deferred", "due")
CAUSES = {
    "busy": ("rcpt", "450 4.2.0 mailbox busy", 450, "4.2.0", LATER),
    # Postfix puts a code of its own where a table gives none, and where it does not know the one given.
    "busy-bare": ("rcpt", "450 mailbox busy", 450, "4.7.1", LATER),
    "policy-later": ("rcpt", "451 4.7.1 greylisted", 451, "4.7.1", LATER),
    "storage": ("rcpt", "452 4.3.1 no room", 452, "4.3.1", LATER),
    "gone": ("rcpt", "550 5.1.1 no such user", 550, "5.1.1", UNKNOWN),
    "disabled": ("rcpt", "550 5.2.1 mailbox disabled", 550, "5.2.1", UNKNOWN),
    "moved": ("rcpt", "551 5.1.6 moved", 551, "5.1.6", UNKNOWN),
    "null-mx": ("rcpt", "556 5.1.10 takes no mail", 556, "5.1.0", HELD),
    "bare": ("rcpt", "550 no such user", 550, "5.7.1", HELD),
    "reject": ("rcpt", "REJECT", 554, "5.7.1", HELD),
    "policy": ("rcpt", "554 5.7.1 not for you", 554, "5.7.1", HELD),
    "full": ("rcpt", "552 5.2.2 mailbox full", 552, "5.2.2", HELD),
    "data-later": ("data", "451 4.3.0 try again", 451, "4.3.0", LATER),
    "data-never": ("data", "550 5.7.1 spam", 550, "5.7.1", HELD),
}
AFTER_THE_DOT = {
    "end-later": ("final_dot", "450 4.7.1 scanner busy", 450, "4.7.1", LATER),
    "end-never": ("final_dot", "554 5.7.1 spam", 554, "5.7.1", HELD),
    "end-gone": ("final_dot", "550 5.1.1 no such user", 550, "5.1.1", UNKNOWN),
}


def each_cause(work, findings):
    """One address for each cause; then the causes go."""
    with work.router("causes", "policy") as router:
        issue(work, router, CAUSES)
        router.account("grey", [f"grey@{DOMAIN}"])
        work.at_rcpt.actions[f"grey@{DOMAIN}"] = ["451 4.7.1 greylisted, come again"]
        router.invoice("grey", "cause/grey")
        are_refused(work, findings, router, CAUSES)
        findings.delivered(router, "grey", "cause/grey", [("rcpt", 451, "4.7.1", "deferred"), ACCEPTED])
        released = go_on(work, findings, router, CAUSES)
        not_down(findings, router)
    return (
        f"{len(CAUSES)} replies to RCPT and DATA, judged as wanted; once they are gone {released} released, "
        f"{len(CAUSES) - released} by themselves: all arrived; greylisting passed at the second try"
    )


def after_the_dot(work, findings):
    """Refused after the final dot by smtpd_end_of_data_restrictions, others before and behind on the same
    connection: these are delivered at their first attempt.

    Postfix (3.7) leaves such a transaction open: to a MAIL without a RSET before it, it says 503, and at a DATA
    after a RCPT that it refused then, it crashes.
    """
    others = [f"other-{number}" for number in range(6)]
    with work.router("end", "end", connections=1) as router:
        router.switch("pause")
        for number, name in enumerate(AFTER_THE_DOT):
            issue(work, router, {name: AFTER_THE_DOT[name]})
            for other in others[2 * number:2 * number + 2]:
                router.account(other, [f"{other}@{DOMAIN}"])
                router.invoice(other, f"cause/{other}")
        router.switch("resume")
        for other in others:
            findings.delivered(router, other, f"cause/{other}", [ACCEPTED])
        are_refused(work, findings, router, AFTER_THE_DOT)
        go_on(work, findings, router, AFTER_THE_DOT)
        not_down(findings, router)
    findings.holds("no smtpd crashed", "killed by signal 11" not in work.postfix.log(), "signal 11")
    return (
        f"{len(AFTER_THE_DOT)} replies to the final dot, judged as wanted; {len(others)} others on that connection at "
        "their first attempt"
    )


def table_of(work, stage):
    return {"rcpt": work.at_rcpt, "data": work.at_data, "final_dot": work.at_end}[stage].actions


def issue(work, router, causes):
    for name, (stage, action, *_) in causes.items():
        table_of(work, stage)[f"{name}@{DOMAIN}"] = action
        router.account(name, [f"{name}@{DOMAIN}"])
        router.invoice(name, f"cause/{name}")


def are_refused(work, findings, router, causes):
    """Judged as wanted, and nothing has arrived."""
    for name, (stage, _, code, enhanced, (outcome, state)) in causes.items():
        enough = 2 if outcome == "deferred" else 1
        shown = router.shown_once(name, f"cause/{name}", lambda one: attempt_count(one) >= enough and one["state"] != "sending")
        seen = attempts(shown["addresses"][0])
        findings.equal(f"{name}: attempts", sorted(set(seen)), [(stage, code, enhanced, outcome)])
        findings.holds(f"{name}: repeated only where that can help", len(seen) == 1 or outcome == "deferred", seen)
        # What no address is left for is withheld by a commit of its own.
        shown = router.shown_once(name, f"cause/{name}", lambda shown: shown["state"] == state)
        findings.equal(f"{name}: state", shown["state"], state)
        address = {"due": "pending", "held": "pending", "withheld": "rejected"}[state]
        findings.equal(f"{name}: state of the address", shown["addresses"][0]["state"], address)
        if state == "held":
            why = shown["held_reason"]
            findings.holds(f"{name}: why it is held", f"{code} {enhanced}" in why, why)
        replies = [(one["event"].get("reply") or {}).get("code") for one in shown["story"]]
        findings.holds(f"{name}: the history tells the code", code in replies, replies)
    findings.equal("what arrived", [name for name in causes if work.receiver.of_number(f"cause/{name}")], [])


def go_on(work, findings, router, causes):
    """The causes go: what is to be tried again comes by itself, the others are released. Says how many."""
    released = 0
    for name, (stage, *_) in causes.items():
        del table_of(work, stage)[f"{name}@{DOMAIN}"]
    for name, (*_, (_, state)) in causes.items():
        if state != "due":
            findings.released(router, name, f"cause/{name}")
            released += 1
    for name in causes:
        shown = findings.delivered(router, name, f"cause/{name}")
        findings.equal(f"{name}: the last attempt", attempts(shown["addresses"][0])[-1:], [ACCEPTED])
    return released


def not_down(findings, router):
    downs = [line for line in router.words().splitlines() if "the relay is down" in line]
    findings.equal("how often the relay was taken for down", len(downs), 0)
    findings.lines.extend(downs)


def states(shown):
    return shown["state"], {one["address"]: one["state"] for one in shown["addresses"]}


def unlisted(work, findings):
    """Postfix's own list of recipients."""
    known, unknown = "known@listed.example", "unknown@listed.example"
    work.listed.actions[known] = "yes"
    with work.router("listed", "listed") as router:
        router.account("K", [known], [unknown])
        router.invoice("K", "listed/1")
        shown = findings.delivered(router, "K", "listed/1")
        findings.equal("not in relay_recipient_maps", attempts(address_of(shown, unknown)), [GONE])
        findings.equal("the listed main contact", states(shown)[1], {unknown: "rejected", known: "delivered"})
    return "550 5.1.1 of relay_recipient_maps: the address is to blame, and the main contact gets it"


# --- What Postfix limits by client ---------------------------------------------------------------------

def limits(work, findings):
    """Errors and recipients a session: what is good arrives, what is bad is known for its own reply."""
    at, gone = "limits.example", "550 5.1.1 no such user"
    work.at_rcpt.actions |= {f"gone{number}@{at}": gone for number in range(4)}
    names = ("errors-1", "errors-2", "recipients-1")
    for name in names:
        with work.router(name, name) as router:
            good = [f"{number}.{name}@{at}" for number in range(3)]
            bad = [f"gone{number}@{at}" for number in range(4)]
            router.account("K", good, None)
            router.account("M", [bad[0], good[0], bad[1], bad[2], good[1], bad[3], good[2]])
            for account in "KM":
                router.invoice(account, f"{name}/{account}")
            for account in "KM":
                shown = findings.delivered(router, account, f"{name}/{account}")
                for address in good:
                    findings.equal(f"{name}: attempts at {address}", attempts(address_of(shown, address)), [ACCEPTED])
            for address in bad:
                findings.equal(f"{name}: attempts at {address}", attempts(address_of(shown, address)), [GONE])
            not_down(findings, router)
    return "smtpd_hard_error_limit 1 and 2, smtpd_recipient_limit 1; 4 bad of 7 addresses: no good one fails or waits"


def by_rate(work, findings):
    """Connections at once, and messages in a time: nothing counts as an attempt. Only the latter is the relay's failure:
    while others are served, a connection too many is none."""
    figures = []
    for service, down, mails in (("connections-2", None, 16), ("messages-4", "mail: the relay answered 450 4.7.", 8)):
        with work.router(service, service, connections=4) as router:
            router.switch("pause")
            for number in range(mails):
                router.account(f"K{number}", [f"a{number}@{service}.example"])
                router.invoice(f"K{number}", f"{service}/{number}", [("a.pdf", "application/pdf", bytes(100_000))])
            began = time.monotonic()
            router.switch("resume")
            if down:
                findings.is_down(router, down, seconds=30)
            for number in range(mails):
                findings.delivered(router, f"K{number}", f"{service}/{number}", [ACCEPTED], seconds=90)
            words = router.words()
            downs = words.count("the relay is down")
            if not down:
                findings.equal(f"{service}: how often the relay was taken for down", downs, 0)
                findings.holds(f"{service}: it is noticed", "the relay takes no more connections" in words, words)
            took = time.monotonic() - began
            figures.append(f"{service}: {mails} mails in {took:.0f} s, the relay taken for down {downs} times")
    return "; ".join(figures)


def services(work):
    """The options of the services above."""
    policy = f"check_recipient_access {work.at_rcpt.name}, permit_mynetworks, reject"
    return {
        "policy": {
            "smtpd_recipient_restrictions": policy,
            "smtpd_data_restrictions": f"check_recipient_access {work.at_data.name}",
        },
        "end": {"smtpd_end_of_data_restrictions": f"check_recipient_access {work.at_end.name}"},
        "listed": {"relay_recipient_maps": work.listed.name},
        "errors-1": {"smtpd_recipient_restrictions": policy, "smtpd_hard_error_limit": "1"},
        "errors-2": {"smtpd_recipient_restrictions": policy, "smtpd_hard_error_limit": "2"},
        "recipients-1": {
            "smtpd_recipient_restrictions": policy, "smtpd_recipient_limit": "1",
            "smtpd_recipient_overshoot_limit": "1",
        },
        "connections-2": {"smtpd_client_connection_count_limit": "2", "smtpd_client_event_limit_exceptions": ""},
        "messages-4": {"smtpd_client_message_rate_limit": "4", "smtpd_client_event_limit_exceptions": ""},
    }
