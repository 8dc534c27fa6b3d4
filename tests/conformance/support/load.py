"""Portal and billing system: constant load, and a record of everything that was promised to them.

A request that is not acknowledged is sent again under the same webhook-id until it is, across all deaths of
the daemon, as senders of Standard Webhooks do. Each account is changed by one thread only, so that the order
of its versions is known; its invoices come from other threads, so that they meet changes at every stage.
"""

import base64
import collections
import contextlib
import copy
import dataclasses
import http.client
import json
import math
import random
import threading
import time

import events
from daemon import Admin, Webhook

GROUPS = ("Rechnungen", "billing")
OTHER_GROUPS = ("Technik", "Support")
SUB_USERS = ("u-1", "u-2", "u-3", "u-4")


@dataclasses.dataclass
class Change:
    """One version of an account, and when it can have been applied: between the two times."""

    version: int
    # As the admin interface should show it.
    profile: dict | None
    closed: bool
    sent_at: float
    answered_at: float = math.inf
    tries: int = 0
    in_flight: tuple = ()

    @property
    def contact(self):
        """Whoever gets the invoices: name, company, language, addresses."""
        if not self.profile:
            return ()
        selected = self.profile["billing_contact"]
        contact = self.profile["sub_users"][selected]["contact"] if selected else self.profile["main_contact"]
        return contact["name"], contact["company"], contact["language"], tuple(contact["addresses"])

    @property
    def addresses(self):
        return self.contact[3] if self.contact else ()


@dataclasses.dataclass
class Account:
    id: str
    # As the admin interface should show it; nothing before it was created.
    profile: dict | None = None
    version: int = 0
    closed: bool = False
    # Every change in order. The first stands for the time before it was known.
    changes: list = dataclasses.field(default_factory=lambda: [Change(0, None, False, -math.inf, -math.inf)])
    # The highest version that an invoice waits for.
    wanted: int = 0
    addresses_made: int = 0


@dataclasses.dataclass
class Invoice:
    account: str
    number: str
    # As the admin interface should show it.
    shown: dict
    sent_at: float = math.inf
    answered_at: float = math.inf
    # What was asked and answered about taking it back: nothing, `before` it came, or status and state.
    withdrawal: str | tuple | None = None
    # When it was first asked to be so, and when it first was so.
    withdrawing_at: float = math.inf
    withdrawn_at: float = math.inf
    holding_at: float = math.inf
    held_at: float = math.inf

    @property
    def acknowledged(self):
        return self.answered_at < math.inf


@dataclasses.dataclass
class Answer:
    status: int
    body: dict
    tries: int
    sent_at: float
    answered_at: float


@dataclasses.dataclass
class Attempt:
    """One answer to one try of a request; the times are those of the wall clock."""

    sender: str
    name: str
    # Method, path, what is signed, body.
    request: tuple = dataclasses.field(repr=False)
    sent_at: float
    answered_at: float
    status: int
    result: str | None
    # Whether the request was never sent before.
    is_first: bool

    @property
    def is_acknowledged(self):
        return 200 <= self.status < 300

    @property
    def documents(self):
        """Those whose bytes it carried, by their digests."""
        method, path, _, body = self.request
        if method == "PUT":
            return {path.rpartition("/")[2]: body}
        documents = json.loads(body)["data"].get("documents", [])
        embedded = [base64.b64decode(one["content_base64"]) for one in documents if "content_base64" in one]
        return {events.digest(content): content for content in embedded}


class Stopped(Exception):
    """The run has ended or failed elsewhere: no request is answered any more."""


class World:
    """What all threads share: where the daemon is, when to stop, what was promised."""

    # Of which schedules the accounts are, how large the documents, how many invoices are held by an operator, and how
    # many are withdrawn before they come.
    schedules = ("default",)
    document_bytes = ((100, 6_000),)
    held, overtaken = 0, 0.02

    def __init__(self, seed, daemon, count_of_accounts, clock=time.monotonic):
        self.seed = seed
        self.daemon = daemon
        self.clock = clock
        self.accounts = {f"K-{number}": Account(f"K-{number}") for number in range(1, count_of_accounts + 1)}
        self.invoices = {}
        self.acknowledged = 0
        # Answers that no fault of ours or of the moment explains.
        self.surprises = []
        # Whether a 500 is none of them, and every attempt at a request, where a suite wants to know.
        self.may_fail = False
        self.attempts = None
        self.ending = threading.Event()
        self.broken = threading.Event()
        self.lock = threading.Lock()

    def surprise(self, words):
        with self.lock:
            self.surprises.append(words)


class Sender:
    """One of the two who push, with its secret and one connection."""

    def __init__(self, world, name, thread):
        self.world = world
        self.sender = name
        self.thread = thread
        self.random = random.Random(f"{world.seed} {thread}")
        self.count = 0
        self.webhook = Webhook(world.daemon)
        # Names of all requests that were sent.
        self.sent = set()
        # Some that were acknowledged lately, to be repeated.
        self.acknowledged = collections.deque(maxlen=20)

    def event(self, kind, data):
        body = events.event(kind, data)
        return self.deliver(("POST", "/v1/events", body, body))

    def document(self, content):
        digest = events.digest(content)
        return self.deliver(("PUT", f"/v1/documents/{digest}", digest.encode(), content))

    def deliver(self, request):
        self.count += 1
        name = f"msg_{self.thread}_{self.count}"
        answer = self.until_answered(name, request)
        if 200 <= answer.status < 300:
            self.acknowledged.append((name, request))
        if self.random.random() < 0.05 and self.acknowledged:
            self.repeat(*self.random.choice(self.acknowledged))
        return answer

    def repeat(self, name, request):
        """What was acknowledged is known for as long as a sender may repeat it."""
        answer = self.until_answered(name, request)
        if answer.status not in (200, 202) or answer.body["result"] != "duplicate":
            self.world.surprise(f"{name} was acknowledged, and repeated it gets {answer.status} {answer.body}")

    def until_answered(self, name, request):
        sent_at = self.world.clock()
        tries = 0
        while True:
            tries += 1
            answered = self.attempt(name, request)
            if answered and not must_be_repeated(answered[0]):
                return Answer(*answered, tries, sent_at, self.world.clock())
            if answered and answered[0] == 500 and not self.world.may_fail:
                self.world.surprise(f"{name}: {answered}")
            if self.world.broken.is_set():
                raise Stopped
            time.sleep(self.random.uniform(0.005, 0.05))

    def attempt(self, name, request):
        """Status and body, or nothing if there was no whole answer."""
        if self.world.daemon.address is None:
            return None
        sent_at, is_first = time.time(), name not in self.sent
        self.sent.add(name)
        try:
            status, said = self.webhook.push(self.sender, name, *request)
        except (OSError, http.client.HTTPException, ValueError):
            return None
        if self.world.attempts is not None:
            what = self.sender, name, request, sent_at, time.time()
            self.world.attempts.append(Attempt(*what, status, said.get("result"), is_first))
        return status, said


def must_be_repeated(status):
    return status in (408, 429) or status >= 500


class Portal(Sender):
    """Changes some of the accounts."""

    def __init__(self, world, thread, accounts, pause_seconds):
        super().__init__(world, "portal", thread)
        self.accounts = accounts
        self.pause_seconds = pause_seconds

    def run(self):
        while not self.world.ending.is_set():
            self.change(hot(self.random, self.accounts))
            time.sleep(self.random.expovariate(1 / self.pause_seconds))

    def finish(self):
        """Brings every account to where no invoice waits for it."""
        for account in self.accounts:
            if account.profile is None or account.version < account.wanted:
                self.change(account, at_last=True)

    def change(self, account, at_last=False):
        # A copy, since what others read is what was promised so far.
        profile = copy.deepcopy(account.profile)
        version = account.version + 1
        closed = account.closed
        if at_last or profile is None or self.random.random() < 0.3:
            # A whole account may jump ahead.
            version = max(version + self.random.choice((0, 0, 0, 5)), account.wanted)
            kind, data, profile, closed = self.whole(account)
        elif self.random.random() < 0.05:
            kind, data, closed = "account.closed", {}, True
        else:
            kind, data = self.delta(account, profile)
        change = Change(version, profile, closed, self.world.clock())
        account.changes.append(change)
        answer = self.event(kind, {"account": account.id, "version": version, **data})
        change.sent_at, change.answered_at, change.tries = answer.sent_at, answer.answered_at, answer.tries
        if answer.status != 200:
            self.world.surprise(f"{kind} {account.id} version {version}: {answer.status} {answer.body}")
            self.world.broken.set()
            raise Stopped
        change.in_flight = tuple(answer.body["in_flight"])
        account.profile, account.version, account.closed = profile, version, closed
        said = answer.body["version"], tuple(answer.body["recipient"]["addresses"])
        if said != (version, change.addresses):
            self.world.surprise(f"{kind} {account.id} version {version} to {change.addresses}, answered: {answer.body}")

    def whole(self, account):
        subs = {name: self.sub_user(account, name) for name in SUB_USERS if self.random.random() < 0.6}
        selectable = [name for name in subs if subs[name]["group"] in GROUPS]
        profile = {
            "name": f"Firma {account.id} {self.random.randrange(1000)}", "language": None,
            "schedule": self.world.schedules[int(account.id[2:]) % len(self.world.schedules)],
            "main_contact": self.contact(account, "main"), "sub_users": subs,
            "billing_contact": self.random.choice([*selectable, None]),
        }
        data = {**profile, "sub_users": [{"id": name, **sub} for name, sub in subs.items()]}
        return "account.updated", data, profile, False

    def delta(self, account, profile):
        subs = profile["sub_users"]
        selectable = [name for name in subs if subs[name]["group"] in GROUPS]
        kind = self.random.choice(("select", "select", "save", "save", "copy", "narrow", "leave", "remove"))
        if kind == "select" or not subs:
            profile["billing_contact"] = self.random.choice([*selectable, None])
            return "billing_contact.selected", {"sub_user": profile["billing_contact"]}
        # Who is saved may be new.
        name = self.random.choice(SUB_USERS if kind == "save" else list(subs))
        is_selected = profile["billing_contact"] == name
        if kind == "remove":
            del subs[name]
            if is_selected:
                profile["billing_contact"] = None
            return "sub_user.removed", {"sub_user": name}
        saved = {"id": name}
        if kind == "leave":
            subs[name] = {**subs[name], "group": self.random.choice(OTHER_GROUPS)}
            saved["contact"] = subs[name]["contact"]
        elif kind == "copy":
            source = self.random.choice(["main", *(other for other in subs if other != name)])
            origin = profile["main_contact"] if source == "main" else subs[source]["contact"]
            saved["copy_from"] = {"main_contact": True} if source == "main" else {"sub_user": source}
            contact = dict(origin)
            if self.random.random() < 0.7:
                contact["addresses"] = self.addresses(account, name)
                saved["contact"] = {"addresses": contact["addresses"]}
            subs[name] = {**subs[name], "group": self.random.choice(GROUPS), "contact": contact}
        elif kind == "narrow":
            # One address stays, another comes beside it.
            contact = dict(subs[name]["contact"])
            contact["addresses"] = contact["addresses"][:1] + self.addresses(account, name)[:1]
            subs[name] = {**subs[name], "contact": contact}
            saved["contact"] = contact
        else:
            subs[name] = self.sub_user(account, name)
            saved["contact"] = subs[name]["contact"]
        saved |= {"group": subs[name]["group"], "login": subs[name]["login"]}
        if is_selected and saved["group"] not in GROUPS:
            profile["billing_contact"] = None
        return "sub_user.saved", {"sub_user": saved}

    def sub_user(self, account, name):
        login = {"enabled": True, "user_name": f"{account.id}.{name}", "permissions": ["servers"]}
        return {
            "group": self.random.choice((*GROUPS, *GROUPS, *OTHER_GROUPS)), "contact": self.contact(account, name),
            "login": self.random.choice((login, None)),
        }

    def contact(self, account, name):
        addresses = self.addresses(account, name)
        return {
            "name": f"Kontakt {account.addresses_made}", "company": self.random.choice((None, f"{account.id} GmbH")),
            "language": self.random.choice((None, "de", "en")), "addresses": addresses,
        }

    def addresses(self, account, name):
        """Addresses that no contact had before, so that a mail tells for whom it was made; three fill more than a line of
        its head."""
        made = []
        for _ in range(self.random.choice((1, 1, 2, 3))):
            account.addresses_made += 1
            made.append(f"{name}.{account.addresses_made}@rechnungen.{account.id.lower()}.example")
        return made


def hot(random_numbers, accounts):
    """One of the accounts; a few are chosen much more often than the others."""
    return random_numbers.choice(accounts[:3] if random_numbers.random() < 0.3 else accounts)


class Billing(Sender):
    """Issues invoices to all accounts, those that are not there yet included."""

    def __init__(self, world, thread, pause_seconds):
        super().__init__(world, "billing", thread)
        self.accounts = list(world.accounts.values())
        self.pause_seconds = pause_seconds
        self.issued = 0
        self.uploaded = []
        self.admin = Admin(world.daemon)
        # What is to be taken back, and when.
        self.second_thoughts = collections.deque()

    def run(self):
        while not self.world.ending.is_set():
            invoice = self.invoice(hot(self.random, self.accounts))
            if invoice and self.random.random() < self.world.held:
                self.hold(invoice)
            while self.second_thoughts and self.second_thoughts[0][0] <= time.monotonic():
                self.withdraw(self.second_thoughts.popleft()[1])
            time.sleep(self.random.expovariate(1 / self.pause_seconds))
        for _, invoice in self.second_thoughts:
            self.withdraw(invoice)

    def invoice(self, account):
        self.issued += 1
        number = f"RE-{self.thread}/{self.issued}"
        kind = self.random.choice(("invoice", "invoice", "credit_note", "reminder"))
        least = None
        if self.random.random() < 0.1:
            least = account.version + self.random.randint(1, 3)
            with self.world.lock:
                account.wanted = max(account.wanted, least)
        documents, sent = self.documents(number)
        shown = {
            "account": account.id, "number": number, "kind": kind, "issued_on": "2026-11-23",
            "due_on": self.random.choice((None, "2026-12-07")),
            "total": {"amount": f"{self.random.randrange(100000)}.{self.random.randrange(10, 100)}", "currency": "EUR"},
            "release": self.random.choice(("immediately", "scheduled")), "min_account_version": least,
            "refers_to": "RE-0" if kind == "reminder" else None, "portal_url": None, "documents": documents,
        }
        invoice = Invoice(account.id, number, shown)
        self.world.invoices[number] = invoice
        if self.random.random() < self.world.overtaken:
            # The withdrawal overtakes the invoice.
            self.withdraw(invoice)
        invoice.sent_at = self.world.clock()
        answer = self.event("invoice.issued", {**shown, "documents": sent})
        if answer.status not in (200, 202):
            self.world.surprise(f"invoice {number}: {answer.status} {answer.body}")
            return None
        invoice.answered_at = answer.answered_at
        with self.world.lock:
            self.world.acknowledged += 1
        if invoice.withdrawal is None and self.random.random() < 0.08:
            self.second_thoughts.append((time.monotonic() + self.random.uniform(0, 1), invoice))
        return invoice

    def documents(self, number):
        """What the invoice is to show of its documents, and what is sent of them."""
        shown, sent = [], []
        for count in range(self.random.choice((1, 1, 2, 3))):
            content = self.random.randbytes(self.random.randint(*self.random.choice(self.world.document_bytes)))
            named, digest = content, events.digest(content)
            if self.random.random() < 0.5:
                if self.random.random() < 0.2 and self.uploaded:
                    # General terms, say, which belong to many.
                    digest = self.random.choice(self.uploaded[-20:])
                else:
                    answer = self.document(content)
                    if answer.status not in (200, 201):
                        self.world.surprise(f"document {digest}: {answer.status} {answer.body}")
                    self.uploaded.append(digest)
                named = digest
            sent.append(events.document(named, f"{number.replace('/', '-')}-{count}.pdf"))
            shown.append(events.document(digest, sent[-1]["file_name"]))
        return shown, sent

    def withdraw(self, invoice):
        is_known = invoice.acknowledged
        invoice.withdrawing_at = self.world.clock()
        answer = self.event("invoice.withdrawn", {"account": invoice.account, "number": invoice.number})
        state = answer.body.get("state")
        invoice.withdrawal = (answer.status, state) if is_known else "before"
        if answer.status == 200 and state == "withdrawn":
            invoice.withdrawn_at = answer.answered_at
        is_expected = answer.status in (200, 202) or is_known and answer.body.get("code") == "already_sent"
        if not is_expected:
            self.world.surprise(f"withdrawal of {invoice.number}: {answer.status} {answer.body}")

    def hold(self, invoice):
        """Asks an operator for it, whose request may come to nothing."""
        invoice.holding_at = self.world.clock()
        with contextlib.suppress(OSError, http.client.HTTPException):
            status, answer = self.admin.hold(invoice.account, invoice.number)
            if status == 200 and answer["state"] == "held":
                invoice.held_at = self.world.clock()
