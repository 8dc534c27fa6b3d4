"""What each case does, and what must be seen of it: at the daemon's admin interface, at the receiver, in
Postfix's log.

A case is a function of the `Work` that all share; it returns its figures in words. What is not as it must be
is noted, so that one difference does not hide the next.
"""

import dataclasses
import email
import email.policy
import random

from client import BOUNCES, FROM, REPLY_TO, Router
from suite import wait_until

PASSWORD = "Geheim-üben 1"


@dataclasses.dataclass
class Work:
    """What the cases share."""

    seed: int
    directory: object
    postfix: object
    receiver: object
    authority: object
    # What Postfix does with recipients at RCPT, at DATA and after the final dot.
    at_rcpt: object
    at_data: object
    at_end: object
    # Whom Postfix's own list of recipients has.
    listed: object
    # Whether there is time for more of what is random.
    long: bool

    def port(self, service):
        return self.postfix.ports[service]

    def router(self, name, service, **smtp):
        return Router(self, name, port=self.port(service), **smtp)


class Findings:
    """What was not as it must be, of one case."""

    def __init__(self, work):
        self.receiver, self.lines = work.receiver, []

    def equal(self, what, seen, wanted):
        if seen != wanted:
            self.lines.append(f"{what}: {seen!r}, and not {wanted!r}")

    def holds(self, what, does_hold, seen=""):
        if not does_hold:
            self.lines.append(f"not so: {what} {seen!r}")

    def delivered(self, router, account, number, attempts_at_each=None, seconds=30):
        """The invoice is delivered, and arrived once; by these attempts, where they are given. Returns it."""
        shown = router.shown_once(account, number, seconds=seconds)
        self.equal(f"state of {number}", shown["state"], "delivered")
        for one in shown["addresses"] if attempts_at_each else []:
            self.equal(f"attempts of {number} at {one['address']}", attempts(one), attempts_at_each)
        self.arrived_once(shown)
        return shown

    def released(self, router, account, number):
        status, answer = router.admin.release(account, number)
        self.equal(f"{number}: release", (status, answer.get("result")), (200, "applied"))

    def is_down(self, router, words, seconds=20):
        """The relay is taken for down, for a cause that begins so; returns the cause."""
        cause = router.relay_is_down(seconds) or ""
        self.holds(f"the relay is down because of {words}", cause.startswith(words), cause)
        return cause

    def arrived_once(self, shown):
        """Every address that is delivered got one copy: the bytes that the daemon has as evidence, under its
        Message-ID, in the message that Postfix's reply names. No other address got any."""
        number = shown["number"]
        delivered = {one["address"]: one for one in shown["addresses"] if one["state"] == "delivered"}
        wait_until(lambda: all(self.receiver.copies_of(number, one) for one in delivered), 20)
        copies = self.receiver.of_number(number)
        self.equal(f"{number} arrived at", sorted(copies), sorted(delivered))
        for address, one in delivered.items():
            got = copies.get(address, [])
            self.equal(f"copies of {number} at {address}", len(got), 1)
            accepted = [attempt for attempt in one["attempts"] if attempt["outcome"] == "accepted"]
            self.equal(f"accepted attempts at {address} of {number}", len(accepted), 1)
            for copy, attempt in zip(got, accepted):
                self.is_evidence(copy, one["message_id"], attempt)

    def is_evidence(self, copy, message_id, attempt):
        about = f"{copy.number} at {copy.address}"
        self.equal(f"Message-ID of {about}", copy.message_id, message_id)
        self.equal(f"sender of {about}", copy.sender, BOUNCES)
        message = attempt["message"]
        self.equal(f"digest and size of {about}", (copy.digest, len(copy.raw)), (message["sha256"], message["bytes"]))
        text = attempt["reply"]["text"]
        self.holds(f"the reply for {about} names the queue id {copy.queue_id}", copy.queue_id in text, text)


def attempts(address):
    """Stage, code, enhanced code and outcome of each attempt that is shown of an address."""
    seen = []
    for one in address["attempts"]:
        reply = one["reply"] or {"code": None, "enhanced": None}
        seen.append((one["stage"], reply["code"], reply["enhanced"], one["outcome"]))
    return seen


def address_of(shown, address):
    found = [one for one in shown["addresses"] if one["address"] == address]
    return found[0] if found else {"state": "not there", "attempts": [], "message_id": None}


def ways(work, findings):
    """Through plain, STARTTLS and implicit TLS, by name and by address; each document and header as composed."""
    rng = random.Random(f"{work.seed} ways")
    own = {"ca_file": str(work.authority.certificate)}
    sizes = []
    for name, service, protocol, smtp in (
        ("plain", "plain", "ESMTP", {}),
        ("starttls", "starttls", "ESMTPS", {"security": "starttls", "host": "localhost", **own}),
        ("tls", "tls", "ESMTPS", {"security": "tls", **own}),
    ):
        documents = [
            ("RE-1.pdf", "application/pdf", rng.randbytes(rng.randint(200_000, 400_000))),
            ("Anhang.txt", "text/plain", b".\r\n..\r\n.\n\n\r.x\0\r\nFrom me\r\n" + bytes(range(256)) + b"\r\n.\r\n"),
            ("e.xml", "text/xml", "<?xml version='1.0'?>\n<a>ä</a>\n.\n".encode()),
        ]
        number = f"weg/{name}"
        with work.router(f"way-{name}", service, **smtp) as router:
            router.account("K", [f"erika@{name}.example", f"max@{name}.example"])
            router.invoice("K", number, documents)
            shown = findings.delivered(router, "K", number)
        for address, copies in work.receiver.of_number(number).items():
            for copy in copies:
                findings.equal(f"protocol by {name}", copy.protocol, protocol)
                as_composed(findings, f"{name}, {address}", copy, documents, shown)
                sizes.append(len(copy.raw))
    return f"{len(sizes)} mails of {min(sizes):,} to {max(sizes):,} bytes: each once, byte for byte as composed"


def as_composed(findings, about, copy, documents, shown):
    policy = email.policy.default.clone(raise_on_defect=True)
    mail = email.message_from_bytes(copy.raw, policy=policy)
    got = [
        (part.get_filename(), part.get_content_type(), part.get_payload(decode=True)) for part in mail.iter_attachments()
    ]
    findings.equal(f"documents by {about}", got, documents)
    addresses = sorted(one["address"] for one in shown["addresses"])
    findings.equal(f"To by {about}", sorted(one.addr_spec for one in mail["To"].addresses), addresses)
    findings.equal(f"From by {about}", mail["From"].addresses[0].addr_spec, FROM)
    findings.equal(f"Reply-To by {about}", mail["Reply-To"].addresses[0].addr_spec, REPLY_TO)
    findings.equal(f"X-Invoice-Number by {about}", mail["X-Invoice-Number"], shown["number"])
    findings.equal(f"Auto-Submitted by {about}", mail["Auto-Submitted"], "auto-generated")
    findings.holds(f"a Date by {about}", mail["Date"].datetime)


def passwords(work, findings):
    """AUTH by PLAIN and by LOGIN over TLS; a wrong password, and none, get nothing through."""
    own = {"security": "starttls", "ca_file": str(work.authority.certificate), "username": "router"}
    for service in ("auth-plain", "auth-login"):
        with work.router(service, service, **own, password=PASSWORD) as router:
            router.account("K", [f"a@{service}.example"])
            router.invoice("K", f"{service}/1")
            findings.delivered(router, "K", f"{service}/1")
            copies = work.receiver.copies_of(f"{service}/1", f"a@{service}.example")
            findings.equal(f"protocol by {service}", [copy.protocol for copy in copies], ["ESMTPSA"])
    with work.router("auth-wrong", "auth-plain", **own, password="daneben") as router:
        router.account("K", ["a@auth-wrong.example"])
        router.invoice("K", "auth-wrong/1")
        findings.is_down(router, "auth: the relay answered 535 5.7.8")
        shown = router.shown("K", "auth-wrong/1")
        findings.equal("after a wrong password", (shown["state"], attempt_count(shown)), ("due", 0))
        findings.holds("no password in the log", "daneben" not in router.words())
    del own["username"]
    with work.router("auth-none", "auth-plain", **own) as router:
        router.account("K", ["a@auth-none.example"])
        router.invoice("K", "auth-none/1")
        shown = router.shown_once("K", "auth-none/1")
        findings.equal("without AUTH", (shown["state"], attempts(shown["addresses"][0])),
                       ("held", [("rcpt", 554, "5.7.1", "rejected")]))
    for number in ("auth-wrong/1", "auth-none/1"):
        findings.equal(f"mails of {number}", work.receiver.of_number(number), {})
    return (
        "PLAIN and LOGIN let in; a wrong password is the relay's failure, none is refused "
        "(Postfix asks this suite for passwords, by Dovecot's protocol: no SASL package is needed)"
    )


def attempt_count(shown):
    return sum(len(one["attempts"]) for one in shown["addresses"])


def services(passwords):
    """The options of the services above."""
    auth = {
        "smtpd_tls_security_level": "may", "smtpd_tls_auth_only": "yes", "smtpd_sasl_auth_enable": "yes",
        "smtpd_sasl_type": "dovecot", "smtpd_sasl_path": passwords.name,
        "smtpd_recipient_restrictions": "permit_sasl_authenticated, reject",
        "smtpd_relay_restrictions": "permit_sasl_authenticated, reject",
    }
    return {
        "plain": {}, "starttls": {"smtpd_tls_security_level": "encrypt"}, "tls": {"smtpd_tls_wrappermode": "yes"},
        "auth-plain": auth, "auth-login": {**auth, "smtpd_sasl_mechanism_filter": "login"},
    }
