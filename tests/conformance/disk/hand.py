"""One hand that pushes, step by step, and remembers what was acknowledged to it."""

import base64
import dataclasses
import hashlib
import json
import random

from daemon import Admin, Broken, Daemon, relay
from load import Sender, World, now
from sink import Sink
from verdict import Refusal


class Hand:
    def __init__(self, daemon, seed):
        world = World(seed, daemon, 0)
        self.senders = {name: Sender(world, name, name) for name in ("portal", "billing")}
        self.random = random.Random(f"{seed} hand")
        self.daemon = daemon
        self.count = 0
        # What was acknowledged: what it is, and its content.
        self.promised = {}

    def push(self, sender, request):
        """Status, body and Retry-After of one try."""
        self.count += 1
        sender = self.senders[sender]
        for _ in range(2):
            # A connection may have been closed since.
            if answered := sender.attempt(f"msg_hand_{self.count}", request):
                return *answered, sender.retry_after
        return 0, {}, None

    def event(self, sender, kind, data):
        body = json.dumps({"type": kind, "timestamp": now(), "data": data}).encode()
        return self.push(sender, ("POST", "/v1/events", body, body))

    def account(self, account, version=1):
        contact = {"name": f"Kontakt {version}", "addresses": [f"v{version}@{account.lower()}.example"]}
        answer = self.event("portal", "account.updated", {
            "account": account, "version": version, "main_contact": contact, "sub_users": [], "billing_contact": None,
        })
        return self.noted(answer, ("account", account), version)

    def document(self, content):
        digest = hashlib.sha256(content).hexdigest()
        answer = self.push("billing", ("PUT", f"/v1/documents/{digest}", digest.encode(), content))
        return self.noted(answer, ("document", digest), digest)

    def invoice(self, account, number, digests=(), contents=(), release="immediately"):
        sources = [{"sha256": digest} for digest in digests]
        sources += [{"content_base64": base64.b64encode(content).decode()} for content in contents]
        documents = [
            {**source, "file_name": f"{number}-{count}.pdf", "media_type": "application/pdf"}
            for count, source in enumerate(sources)
        ]
        answer = self.event("billing", "invoice.issued", {
            "account": account, "number": number, "kind": "invoice", "issued_on": "2026-11-23",
            "total": {"amount": "119.00", "currency": "EUR"}, "release": release, "documents": documents,
        })
        embedded = [hashlib.sha256(content).hexdigest() for content in contents]
        if 200 <= answer[0] < 300:
            for digest in embedded:
                self.promised["document", digest] = digest
        return self.noted(answer, ("invoice", account, number), [*digests, *embedded])

    def withdraw(self, account, number):
        return self.event("billing", "invoice.withdrawn", {"account": account, "number": number})

    def noted(self, answer, what, content):
        if 200 <= answer[0] < 300:
            self.promised[what] = content
        return answer

    def bytes(self, count=2_000):
        return self.random.randbytes(count)

    def documents(self):
        return {what[1] for what in self.promised if what[0] == "document"}

    def seen(self):
        """What is there of all that was acknowledged; the daemon runs."""
        admin, seen = Admin(self.daemon), {}
        files = document_files(self.daemon)
        for what in self.promised:
            if what[0] == "account":
                found = admin.account(what[1])
                seen[what] = found and found["version"]
            elif what[0] == "invoice":
                found = admin.invoice(*what[1:])
                seen[what] = found and [one["sha256"] for one in found["documents"]]
            else:
                found = [path for path in files if path.name == f"{what[1]}.sha256"]
                digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in found}
                seen[what] = digests.pop() if len(digests) == 1 else None
        return seen


def document_files(daemon):
    return [path for path in (daemon.state / "documents").rglob("*") if path.is_file()]


def refusal(what, answer):
    status, body, retry_after = answer
    return Refusal(what, status, body.get("code"), retry_after)


def must(answer, *statuses):
    """What is no part of the trial has to go well."""
    if answer[0] not in statuses:
        raise Broken(f"expected {statuses}, answered was {answer}")
    return answer


@dataclasses.dataclass
class Verified:
    code: int
    words: str
    findings: list
    left_over: int


def verify(daemon):
    """The command, on the state directory of a daemon that is stopped."""
    done = daemon.run("--json", "verify")
    try:
        said = json.loads(done.stdout)
    except ValueError:
        said = {}
    return Verified(done.returncode, done.stdout + done.stderr, said.get("findings", []), said.get("left_over", 0))


def must_be_clean(daemon):
    verified = verify(daemon)
    if verified.code != 0:
        raise Broken(f"verify: {verified.code}: {verified.words}")
    return verified


class House:
    """A daemon with a relay and a hand, in a directory of its own."""

    def __init__(self, program, directory, seed, mount=None):
        directory.mkdir()
        self.directory = directory
        self.sink = Sink(seed, directory / "mails")
        self.daemon = Daemon(program, directory, relay(self.sink.port))
        if mount:
            mount(self.daemon.state)
        self.hand = Hand(self.daemon, seed)
        self.admin = Admin(self.daemon)

    def start(self):
        self.daemon.start()
        self.admin = Admin(self.daemon)

    def end(self):
        self.daemon.end()
        self.sink.close()
