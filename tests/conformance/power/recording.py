"""Runs the real daemon under strace while senders push and a relay takes mails, with stops in between.

What was promised is noted with the moment at which its receiver knew: events and documents by the answer, attempts
by the first byte of a message, outcomes by the relay's reply.
"""

import base64
import contextlib
import hashlib
import http.client
import json
import random
import shutil
import signal
import threading
import time

import calls
import images
from daemon import Admin, Daemon, Webhook, relay
from sink import Sink

# Some invoices wait until the end.
SCHEDULES = {
    "schedules.default": {"cron": "*/2 * * * * *"}, "schedules.yearly": {"cron": "0 5 1 1 *", "time_zone": "UTC"},
}
# Where no relay is.
NO_RELAY = relay(1)

# How each run of the daemon ends, and after how many seconds.
STOPS = ((2.5, signal.SIGKILL), (2.5, signal.SIGTERM), (1.5, signal.SIGKILL), (1.5, signal.SIGTERM))
# How long a start after a cut is recorded, from when it is ready.
RECOVERY_SECONDS = 0.3
PORTALS, BILLINGS = 2, 2
ACCOUNTS = 12


class Facts:
    """What is known outside of the daemon. Moments are in seconds of CLOCK_REALTIME; `None` is never."""

    def __init__(self):
        # Account to `{"version", "content", "sent", "acknowledged"}`, by version.
        self.accounts = {}
        # Digest to when its bytes were acknowledged first.
        self.documents = {}
        # Number to what was sent and what was answered.
        self.invoices = {}
        # `{"sender", "id", "body", "acknowledged"}` of each event that was accepted.
        self.events = []
        self.mails = []
        # Begin and readiness of each run.
        self.starts = []

    def acknowledgements(self):
        """Every moment at which somebody learnt something."""
        yield from (event["acknowledged"] for event in self.events)
        yield from (at for at in self.documents.values() if at)
        for mail in self.mails:
            yield from (mail[what] for what in ("first_byte", "answered") if mail[what])
        yield from (invoice["held"] for invoice in self.invoices.values() if invoice["held"])

    def save(self, path):
        path.write_text(json.dumps(vars(self)))

    @classmethod
    def load(cls, path):
        facts = cls()
        vars(facts).update(json.loads(path.read_text()))
        return facts


class Recording:
    """One recording in a directory of its own: `trace.N`, `after.N`, `documents/`, `facts.json`."""

    def __init__(self, directory):
        self.directory = directory
        self.state = directory / "state"
        self.documents = directory / "documents"

    def history(self):
        runs = range(len(STOPS))
        root = (self.directory / "root").read_text()
        return calls.read(
            [self.directory / f"trace.{run}" for run in runs], root, [self.directory / f"after.{run}" for run in runs]
        )

    def facts(self):
        return Facts.load(self.directory / "facts.json")

    def content(self, digest):
        return (self.documents / digest).read_bytes()

    def record(self, program, sockets, seed):
        self.documents.mkdir(parents=True)
        (self.directory / "root").write_text(str(self.state))
        facts = Facts()
        with contextlib.closing(Sink(seed)) as sink:
            daemon = Daemon(program, self.directory, SCHEDULES, relay(sink.port), sockets=sockets)
            stage = Stage(self, facts, daemon)
            clients = [Portal(stage, f"{seed} portal {n}", n) for n in range(PORTALS)]
            clients += [Billing(stage, f"{seed} billing {n}", n) for n in range(BILLINGS)]
            for client in clients:
                client.start()
            for run, (seconds, stop) in enumerate(STOPS):
                daemon.through = calls.strace(self.directory / f"trace.{run}")
                began = time.time()
                try:
                    daemon.start()
                    facts.starts.append([began, time.time()])
                    time.sleep(seconds)
                    daemon.check_running()
                    # Clients go on asking until they are answered, by the next run if need be.
                    if stop == signal.SIGTERM:
                        daemon.stop()
                finally:
                    daemon.end()
                shutil.copytree(self.state, self.directory / f"after.{run}")
            stage.ended.set()
            for client in clients:
                client.join()
                if client.failure:
                    raise client.failure
            facts.mails = list(sink.mails())
        facts.save(self.directory / "facts.json")


class Recovery:
    """A start after a cut, recorded: the power may fail again in it."""

    def __init__(self, directory):
        self.directory = directory

    def is_complete(self):
        return (self.directory / "after").exists()

    def record(self, program, sockets, image):
        shutil.rmtree(self.directory, ignore_errors=True)
        state = self.directory / "state"
        images.write(image, self.directory / "before")
        shutil.copytree(self.directory / "before", state)
        (self.directory / "root").write_text(str(state))
        daemon = Daemon(program, self.directory, SCHEDULES, NO_RELAY, options=["--paused"], sockets=sockets)
        daemon.through = calls.strace(self.directory / "trace")
        try:
            daemon.start()
            time.sleep(RECOVERY_SECONDS)
            daemon.check_running()
        finally:
            daemon.end()
        shutil.copytree(state, self.directory / "after")

    def history(self):
        root = (self.directory / "root").read_text()
        before = images.read(self.directory / "before")
        return calls.read([self.directory / "trace"], root, [self.directory / "after"], before)


class Stage:
    """What all clients share."""

    def __init__(self, recording, facts, daemon):
        self.recording, self.facts, self.daemon = recording, facts, daemon
        self.ended = threading.Event()
        self.lock = threading.Lock()


class Ended(Exception):
    pass


class Pusher(threading.Thread):
    """A client that repeats each request until it is answered."""

    # Between two requests.
    PAUSE_SECONDS = 0.0

    def __init__(self, stage, seed, number):
        super().__init__(daemon=True)
        self.stage, self.facts, self.random, self.number = stage, stage.facts, random.Random(seed), number
        self.webhook, self.admin = Webhook(stage.daemon), Admin(stage.daemon)
        self.requests = 0
        self.failure = None

    def run(self):
        try:
            while True:
                self.act()
                if self.stage.ended.wait(self.random.random() * 2 * self.PAUSE_SECONDS):
                    return
        except Ended:
            pass
        except Exception as failure:
            self.failure = failure

    def ask(self, request, *words):
        """Status, answer and the moment at which it was here."""
        while True:
            if self.stage.ended.is_set():
                raise Ended
            try:
                status, answer = request(*words)
                at = time.time()
            except (OSError, http.client.HTTPException):
                time.sleep(0.01)
                continue
            if status != 503:
                return status, answer, at
            time.sleep(0.02)

    def next_id(self):
        self.requests += 1
        return f"{self.name_of()}-{self.requests}"

    def name_of(self):
        return f"{type(self).__name__.lower()}-{self.number}"

    def push(self, sender, kind, data, may_be_refused=False):
        timestamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        body = json.dumps({"type": kind, "timestamp": timestamp, "data": data}).encode()
        webhook_id = self.next_id()
        status, answer, at = self.ask(self.webhook.event, sender, webhook_id, body)
        if status < 300:
            event = {"sender": sender, "id": webhook_id, "body": body.decode(), "acknowledged": at}
            with self.stage.lock:
                self.facts.events.append(event)
        elif not may_be_refused:
            raise RuntimeError(f"{kind} was refused: {status} {answer}")
        return status, answer, at


class Portal(Pusher):
    """Owns accounts and changes them one version at a time."""

    # So many changes that the database writes anew where it has written before.
    PAUSE_SECONDS = 0.005

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.known = {}

    def act(self):
        ids = [f"K-{self.number}-{index}" for index in range(ACCOUNTS)]
        unknown = [account for account in ids if account not in self.known]
        # Some come late, so that their invoices are parked.
        if unknown and (len(unknown) > ACCOUNTS // 2 or self.random.random() < 0.02):
            self.update(unknown[0])
            return
        account = self.random.choice(list(self.known))
        now = self.known[account]
        action = self.random.random()
        if now["closed"] or action < 0.4:
            self.update(account)
        elif action < 0.43:
            self.change(account, "account.closed", {}, {"closed": True})
        elif action < 0.7:
            sub_user = f"u-{self.random.randint(1, 6)}"
            data = {"sub_user": self.sub_user(sub_user, account)}
            sub_users = sorted({*now["sub_users"], sub_user})
            self.change(account, "sub_user.saved", data, {"sub_users": sub_users})
        elif action < 0.76 and now["sub_users"]:
            gone = self.random.choice(now["sub_users"])
            left = [one for one in now["sub_users"] if one != gone]
            selected = None if now["billing_contact"] == gone else now["billing_contact"]
            effect = {"sub_users": left, "billing_contact": selected}
            self.change(account, "sub_user.removed", {"sub_user": gone}, effect)
        else:
            selected = self.random.choice([None, *now["sub_users"]])
            self.change(account, "billing_contact.selected", {"sub_user": selected}, {"billing_contact": selected})

    def sub_user(self, sub_user, account):
        addresses = [f"{sub_user}@{account.lower()}.example"]
        if self.random.random() < 0.2:
            addresses.append(f"archive@{account.lower()}.example")
        return {"id": sub_user, "group": "Rechnungen",
                "contact": {"name": f"Buchhaltung {self.random.randint(1, 99)}", "addresses": addresses}}

    def update(self, account):
        version = self.known.get(account, {}).get("version", 0) + 1
        sub_users = sorted(self.random.sample([f"u-{number}" for number in range(1, 7)], self.random.randint(0, 4)))
        selected = self.random.choice([None, *sub_users])
        # Some invoices wait until the end.
        schedule = "yearly" if account.endswith(("3", "7")) else None
        name = f"Kunde {account}, {version}"
        contact = {"name": "Erika Muster", "addresses": [f"main@{account.lower()}.example"]}
        data = {"name": name, "language": self.random.choice(["de", "en"]), "schedule": schedule,
                "main_contact": contact, "billing_contact": selected,
                "sub_users": [self.sub_user(one, account) for one in sub_users]}
        effect = {"name": name, "sub_users": sub_users, "billing_contact": selected, "closed": False}
        self.change(account, "account.updated", data, effect)

    def change(self, account, kind, data, effect):
        content = {**self.known.get(account, {"version": 0}), **effect}
        content["version"] += 1
        noted = {"version": content["version"], "content": content, "sent": time.time(), "acknowledged": None}
        with self.stage.lock:
            self.facts.accounts.setdefault(account, []).append(noted)
        data = {"account": account, "version": content["version"], **data}
        _, _, noted["acknowledged"] = self.push("portal", kind, data)
        self.known[account] = content


class Billing(Pusher):
    """Hands over documents and invoices, and takes a few back."""

    # So few that the check of an image stays short.
    PAUSE_SECONDS = 0.04

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.invoices = []
        self.uploaded = []

    def act(self):
        action = self.random.random()
        if action < 0.1 and self.invoices:
            self.withdraw(self.random.choice(self.invoices[-10:]))
        elif action < 0.16 and self.invoices:
            self.hold(self.random.choice(self.invoices[-10:]))
        else:
            self.issue()

    def new_document(self):
        # Of one page, of some, and of many.
        size = self.random.choice([700, 700, 5_000, 5_000, 5_000, 12_000, 12_000, 30_000, 30_000] * 4 + [250_000])
        content = b"%PDF-1.4\n" + self.random.randbytes(size)
        digest = hashlib.sha256(content).hexdigest()
        (self.stage.recording.documents / digest).write_bytes(content)
        with self.stage.lock:
            self.facts.documents[digest] = None
        return digest, content

    def acknowledged(self, digest, at):
        with self.stage.lock:
            self.facts.documents[digest] = min(at, self.facts.documents[digest] or at)

    def document(self, index):
        """As the event names it."""
        named = {"file_name": f"rechnung-{index}.pdf", "media_type": "application/pdf"}
        action = self.random.random()
        if action < 0.25 and self.uploaded:
            return {"sha256": self.random.choice(self.uploaded), **named}
        digest, content = self.new_document()
        if action < 0.5 and len(content) < 50_000:
            return {"content_base64": base64.b64encode(content).decode(), **named}
        status, answer, at = self.ask(self.webhook.document, self.next_id(), content)
        if status not in (200, 201):
            raise RuntimeError(f"a document was refused: {status} {answer}")
        self.acknowledged(digest, at)
        self.uploaded.append(digest)
        return {"sha256": digest, **named}

    def issue(self):
        account = f"K-{self.random.randrange(PORTALS)}-{self.random.randrange(ACCOUNTS)}"
        number = f"RE-{self.number}-{len(self.invoices)}"
        with self.stage.lock:
            versions = self.facts.accounts.get(account, [])
            current = versions[-1]["version"] if versions else 0
        least = current + self.random.randint(0, 2) if self.random.random() < 0.2 else 0
        documents = [self.document(index) for index in range(self.random.choice([1, 1, 1, 2]))]
        digests = [
            document.get("sha256") or hashlib.sha256(base64.b64decode(document["content_base64"])).hexdigest()
            for document in documents
        ]
        total = f"{self.random.randint(1, 999)}.{self.random.randint(0, 99):02}"
        data = {"account": account, "number": number, "kind": "invoice", "issued_on": "2026-11-23",
                "total": {"amount": total, "currency": "EUR"}, "min_account_version": least or None,
                "release": self.random.choice(["immediately", "immediately", "scheduled"]), "documents": documents}
        invoice = {"account": account, "total": total, "documents": digests, "least_version": max(least, 1),
                   "sent": time.time(), "acknowledged": None,
                   "withdrawing": None, "withdrawn": None, "holding": None, "held": None}
        with self.stage.lock:
            self.facts.invoices[number] = invoice
        _, _, at = self.push("billing", "invoice.issued", data)
        invoice["acknowledged"] = at
        for digest in digests:
            self.acknowledged(digest, at)
        self.invoices.append(number)

    def withdraw(self, number):
        invoice = self.facts.invoices[number]
        invoice["withdrawing"] = invoice["withdrawing"] or time.time()
        data = {"account": invoice["account"], "number": number}
        status, answer, at = self.push("billing", "invoice.withdrawn", data, may_be_refused=True)
        if status == 200 and answer["state"] == "withdrawn":
            invoice["withdrawn"] = invoice["withdrawn"] or at

    def hold(self, number):
        invoice = self.facts.invoices[number]
        invoice["holding"] = invoice["holding"] or time.time()
        status, answer, at = self.ask(self.admin.hold, invoice["account"], number)
        if status == 200 and answer["state"] == "held":
            invoice["held"] = invoice["held"] or at
