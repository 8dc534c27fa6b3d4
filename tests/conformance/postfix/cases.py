"""What each case does, and what must be seen of it: at the daemon's admin interface, at the receiver, in
Postfix's log.

A case is a function of the `Work` that all share; it returns its figures in words. What is not as it must be
is noted, so that one difference does not hide the next.
"""

import dataclasses
import email
import email.policy
import random
import re
import time

from client import BOUNCES, FROM, REPLY_TO, Router

PASSWORD = "Geheim-üben 1"


class Wrong(Exception):
    """Something is not as it must be; each line of it says what."""


@dataclasses.dataclass
class Work:
    """What the cases share."""

    seed: int
    program: object
    directory: object
    postfix: object
    receiver: object
    authority: object
    # It stands before the queue of a service, and takes and refuses itself.
    filter: object
    # What Postfix does with recipients at RCPT, at DATA and after the final dot, and with senders.
    at_rcpt: object
    at_data: object
    at_end: object
    senders: object
    # Whom Postfix's own list of recipients has.
    listed: object
    # Whether there is time for more of what is random.
    long: bool

    def port(self, service):
        return self.postfix.ports[service]

    def router(self, name, service, **smtp):
        return Router(self, name, port=self.port(service), **smtp)


class Findings:
    """What was not as it must be."""

    def __init__(self):
        self.lines = []

    def equal(self, what, seen, wanted):
        if seen != wanted:
            self.lines.append(f"{what}: {seen!r}, and not {wanted!r}")

    def holds(self, what, does_hold, seen=""):
        if not does_hold:
            self.lines.append(f"not so: {what} {seen!r}")

    def close(self):
        if self.lines:
            raise Wrong("\n".join(self.lines))


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


def arrived_once(work, findings, shown):
    """Every address that is delivered got one copy: the bytes that the daemon has as evidence, under its
    Message-ID, in the message that Postfix's reply names. No other address got any."""
    number = shown["number"]
    delivered = {one["address"]: one for one in shown["addresses"] if one["state"] == "delivered"}
    until = time.monotonic() + 20
    while not all(work.receiver.copies_of(number, address) for address in delivered) and time.monotonic() < until:
        time.sleep(0.05)
    copies = work.receiver.of_number(number)
    findings.equal(f"{number} arrived at", sorted(copies), sorted(delivered))
    for address, one in delivered.items():
        got = copies.get(address, [])
        findings.equal(f"copies of {number} at {address}", len(got), 1)
        accepted = [attempt for attempt in one["attempts"] if attempt["outcome"] == "accepted"]
        findings.equal(f"accepted attempts at {address} of {number}", len(accepted), 1)
        for copy, attempt in zip(got, accepted):
            is_evidence(findings, copy, one["message_id"], attempt)


def is_evidence(findings, copy, message_id, attempt):
    about = f"{copy.number} at {copy.address}"
    findings.equal(f"Message-ID of {about}", copy.message_id, message_id)
    findings.equal(f"sender of {about}", copy.sender, BOUNCES)
    findings.equal(f"digest and size of {about}", (copy.digest, len(copy.raw)),
                   (attempt["message"]["sha256"], attempt["message"]["bytes"]))
    findings.holds(f"the reply for {about} names the queue id {copy.queue_id}",
                   copy.queue_id in attempt["reply"]["text"], attempt["reply"])


# --- 1 and 2: what a mail goes through -------------------------------------------------------------------

def ways(work):
    """Through plain, STARTTLS and implicit TLS, by name and by address; each document and header as composed."""
    findings, rng = Findings(), random.Random(f"{work.seed} ways")
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
            shown = router.shown_once("K", number)
        findings.equal(f"state by {name}", shown["state"], "delivered")
        arrived_once(work, findings, shown)
        for address, copies in work.receiver.of_number(number).items():
            for copy in copies:
                findings.equal(f"protocol by {name}", copy.protocol, protocol)
                as_composed(findings, f"{name}, {address}", copy, documents, shown)
                sizes.append(len(copy.raw))
    findings.close()
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


def passwords(work):
    """AUTH by PLAIN and by LOGIN over TLS; a wrong password, and none, get nothing through."""
    findings = Findings()
    own = {"security": "starttls", "ca_file": str(work.authority.certificate), "username": "router"}
    for service in ("auth-plain", "auth-login"):
        with work.router(service, service, **own, password=PASSWORD) as router:
            router.account("K", [f"a@{service}.example"])
            router.invoice("K", f"{service}/1")
            shown = router.shown_once("K", f"{service}/1")
            findings.equal(f"state by {service}", shown["state"], "delivered")
            arrived_once(work, findings, shown)
            copies = work.receiver.copies_of(f"{service}/1", f"a@{service}.example")
            findings.equal(f"protocol by {service}", [copy.protocol for copy in copies], ["ESMTPSA"])
    with work.router("auth-wrong", "auth-plain", **own, password="daneben") as router:
        router.account("K", ["a@auth-wrong.example"])
        router.invoice("K", "auth-wrong/1")
        cause = router.relay_is_down() or ""
        findings.holds("a wrong password is told", cause.startswith("auth: the relay answered 535 5.7.8"), cause)
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
    findings.close()
    return (
        "PLAIN and LOGIN let in; a wrong password is the relay's failure, none is refused "
        "(Postfix asks this suite for passwords, by Dovecot's protocol: no SASL package is needed)"
    )


def attempt_count(shown):
    return sum(len(one["attempts"]) for one in shown["addresses"])


# --- 5: links that are not what they should be ------------------------------------------------------------

def links(work):
    """Certificates of another authority and for another name, STARTTLS switched off: nothing is said in
    clear, and the relay is shown as down. Once the link is as it should be, the mail goes out by itself."""
    findings = Findings()
    own = {"ca_file": str(work.authority.certificate)}
    cases = {
        "other-ca": ({"security": "starttls", **own}, "tls: ", "certificate"),
        "other-ca-tls": ({"security": "tls", **own}, "tls: ", "certificate"),
        "other-name": ({"security": "starttls", "host": "localhost", **own}, "tls: ", "certificate"),
        "no-starttls": ({"security": "starttls", **own}, "tls: ", "does not offer STARTTLS"),
        "plain-as-tls": ({"security": "tls", "tls_seconds": 2, **own}, "tls: ", ""),
        "tls-as-plain": ({"security": "none", "greeting_seconds": 2}, "greeting: ", ""),
        "encrypt": ({"security": "none"}, "mail: the relay answered 530 5.7.0", "STARTTLS"),
    }
    routers = {}
    try:
        for service, (smtp, *_) in cases.items():
            routers[service] = router = work.router(f"link-{service}", service, **smtp).__enter__()
            router.account("K", [f"a@{service}.example"])
            router.invoice("K", f"{service}/1")
        for service, (_, stage, words) in cases.items():
            cause = routers[service].relay_is_down() or ""
            findings.holds(f"{service}: the relay is down for that", cause.startswith(stage) and words in cause, cause)
            shown = routers[service].shown("K", f"{service}/1")
            findings.equal(f"{service}: state and attempts", (shown["state"], attempt_count(shown)), ("due", 0))
            _, said = routers[service].said("explain", "K", f"{service}/1")
            findings.holds(f"{service}: explain tells it", cause in said, said)
            code, said = routers[service].said("test-mail", f"test@{service}.example")
            findings.equal(f"{service}: exit code of test-mail, which said {said}", code, 1)
            heard = work.postfix.log(service)
            findings.holds(f"{service}: Postfix saw the connection", "connect from" in heard, heard)
            # Postfix sums up the commands of a connection at its end.
            sent = re.findall(r"\b(?:mail|rcpt|data|auth)=(?!0/)\S+", heard)
            findings.equal(f"{service}: commands that Postfix took", sent, [])
        right = {"smtpd_tls_chain_files": f"{work.directory}/good.pem"}
        mended = {"other-ca": right, "other-name": right, "no-starttls": {"smtpd_tls_security_level": "may"}}
        work.postfix.reload(**mended)
        for service in mended:
            shown = routers[service].shown_once("K", f"{service}/1", seconds=60)
            findings.equal(f"{service}, mended", (shown["state"], attempt_count(shown)), ("delivered", 1))
            arrived_once(work, findings, shown)
            findings.equal(f"{service}, mended: the relay", routers[service].readiness()["relay"]["state"], "up")
        for service in cases.keys() - mended.keys():
            findings.equal(f"{service}: mails", work.receiver.of_number(f"{service}/1"), {})
    finally:
        for router in routers.values():
            router.end()
    findings.close()
    return f"{len(cases)} kinds, no MAIL taken, each told with its cause; {len(mended)} mended, delivered by themselves"


SERVICES = {
    "plain": {},
    "starttls": {"smtpd_tls_security_level": "encrypt"},
    "tls": {"smtpd_tls_wrappermode": "yes"},
    "other-ca": {"smtpd_tls_security_level": "may", "smtpd_tls_chain_files": "{directory}/foreign.pem"},
    "other-ca-tls": {"smtpd_tls_wrappermode": "yes", "smtpd_tls_chain_files": "{directory}/foreign.pem"},
    "other-name": {"smtpd_tls_security_level": "may", "smtpd_tls_chain_files": "{directory}/elsewhere.pem"},
    "no-starttls": {"smtpd_tls_security_level": "none"},
    "plain-as-tls": {},
    "tls-as-plain": {"smtpd_tls_wrappermode": "yes"},
    "encrypt": {"smtpd_tls_security_level": "encrypt"},
    "auth-plain": {
        "smtpd_tls_security_level": "may", "smtpd_tls_auth_only": "yes", "smtpd_sasl_auth_enable": "yes",
        "smtpd_sasl_type": "dovecot", "smtpd_sasl_path": "{passwords}",
        "smtpd_recipient_restrictions": "permit_sasl_authenticated, reject",
        "smtpd_relay_restrictions": "permit_sasl_authenticated, reject",
    },
}
SERVICES["auth-login"] = {**SERVICES["auth-plain"], "smtpd_sasl_mechanism_filter": "login"}
