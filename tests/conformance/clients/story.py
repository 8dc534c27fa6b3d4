"""A client plays the numbered examples before a daemon of its own.

What became of it is asked by the command line and read from the mails, not from the client.
"""

import email
import email.policy
import json
from collections import Counter

import callers
import events
from callers import EXAMPLES, Caller, Outcome, doctored
from daemon import FILES, NEVER, Daemon
from suite import Wrong, expect, wait_until

ERIKA, CENTRAL = "erika@muster.example", "rechnungseingang@muster.example"
ACCOUNTING, REPLACEMENT = "buchhaltung@muster.example", "muster-gmbh@steuerberatung.example"
ENGLISH = "invoices@sample.example"
# The documents of each invoice, by the number of its event.
DOCUMENTS = {
    5: ["RE-2026-0042.pdf"], 6: ["RE-2026-0043.pdf", "RE-2026-0043.xml"], 9: ["RE-2026-0044.pdf"],
    11: ["RE-2026-0045.pdf"], 13: ["INV-2026-0007.pdf"],
}
# Whom each invoice of the story goes to.
MAILS = [
    (CENTRAL, "RE-2026/0042"), (ACCOUNTING, "RE-2026/0042"), (CENTRAL, "RE-2026/0043"), (ACCOUNTING, "RE-2026/0043"),
    (REPLACEMENT, "RE-2026/0044"), (ERIKA, "RE-2026/0045"), (ENGLISH, "INV-2026-0007"),
]
# An invoice of an account that comes after it.
PARKED = (ENGLISH, "INV-2026-0007")


class Portal:
    """A client before a daemon of its own, with the examples."""

    def __init__(self, house, language):
        self.house, self.name, self.directory = house, language, house.directory
        self.callers = {
            sender: Caller(language, house.url, house.secret_file(sender)) for sender in ("portal", "billing")
        }
        # What is missing comes in time, however busy the machine is.
        (self.directory / "patient").mkdir()
        self.patient = doctored(language, self.directory / "patient", "ATTEMPTS", 5, 9)
        self.runs = 0
        self.documents = {file.name: file for file in (EXAMPLES / "documents").iterdir()}
        self.events = sorted(EXAMPLES.glob("[0-9][0-9]-*.json"))

    def altered(self, number, name, /, **members):
        """An event with other members in `data`, or beside it the time-stamp."""
        event = json.loads(self.events[number - 1].read_text())
        event["timestamp"] = members.pop("timestamp", event["timestamp"])
        event["data"].update(members)
        path = self.directory / name
        path.write_text(json.dumps(event))
        return path

    def run(self, sender, *words) -> Outcome:
        self.runs += 1
        return self.callers[sender].run(*words)

    def begin(self, sender, *words):
        self.runs += 1
        caller = Caller(self.name, self.house.url, self.house.secret_file(sender), self.patient)
        return Waiting(caller, self.directory / f"said.{self.runs}", words)

    def push(self, *numbers):
        """Account events, each of which must be applied; the answer to the last."""
        for number in numbers:
            answer = self.run("portal", "event", self.events[number - 1]).expect(0, "applied")
        return answer

    def hand_over(self, number):
        """An invoice with its documents, which must be applied; the answer."""
        event = self.events[number - 1]
        documents = [self.documents[name] for name in DOCUMENTS[number]]
        return self.run("billing", "invoice", event, *documents).expect(0, *["stored"] * len(documents), "applied")


class Waiting:
    """A client that runs beside what follows, until it has what it waits for."""

    def __init__(self, caller, said, words):
        self.said = said
        self.process = caller.begin(said, *words)

    def says(self, *words):
        def is_said():
            return self.process.poll() is not None or all(word in self.said.read_text() for word in words)

        if not wait_until(is_said, callers.PATIENCE_SECONDS, 0.02) or self.process.poll() is not None:
            raise Wrong(f"does not say {words}:\n{self.said.read_text()}")

    def end(self):
        text, _ = self.process.communicate(timeout=callers.PATIENCE_SECONDS)
        return Outcome(self.process.returncode, callers.answers(text), self.said.read_text())


def mails(house):
    """Whom each was delivered to, which invoice, the attachments by name."""
    for file in sorted((house.directory / "mail").glob("*.eml")):
        mail = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
        attachments = {part.get_filename(): part.get_content() for part in mail.iter_attachments()}
        yield mail["Delivered-To"], mail["X-Invoice-Number"], attachments


def named(house):
    return sorted((address, number) for address, number, _ in mails(house))


def play(directory, language):
    with Daemon(directory, FILES, NEVER) as house:
        portal = Portal(house, language)
        from_first_to_last(portal)
        known_or_outdated(portal)
        parked(portal)
        refused(portal)
        gaps(portal)
        usage(portal)
        expect("all mails", named(house), sorted([*MAILS, PARKED]))
    return Counter({"runs before the daemon": portal.runs, "mails as they should be": len(MAILS) + 1})


def from_first_to_last(portal):
    """The examples in their order, as far as that matters."""
    house, main, english = portal.house, "K-1001", "K-2001"
    portal.push(1, 2, 3)
    expect("no contact is selected", house.ask("explain", main)["recipient"]["kind"], "main_contact")
    recipient = portal.push(4)["recipient"]
    expect("the selected contact", recipient["addresses"], [CENTRAL, ACCOUNTING])
    expect("as the daemon sees it", house.ask("explain", main)["recipient"], recipient)
    portal.push(12)

    # One invoice of each account waits; the one that is immediate goes out alone.
    [document] = DOCUMENTS[5]
    portal.run("billing", "document", portal.documents[document]).expect(0, "stored")
    portal.run("billing", "document", portal.documents[document]).expect(0, "duplicate", said=["already"])
    for number in (5, 13):
        answer = portal.run("billing", "event", portal.events[number - 1]).expect(0, "applied")
        expect(f"state of event {number}", answer["state"], "waiting")
    portal.hand_over(6)
    house.settled(main, "RE-2026/0043")
    house.ask("dispatch", "--account", main)
    house.ask("dispatch", "--account", english)
    house.settled(main, "RE-2026/0042")
    house.settled(english, "INV-2026-0007")

    # Another contact takes its place, and is removed in turn.
    portal.push(7, 8)
    portal.hand_over(9)
    house.settled(main, "RE-2026/0044")
    removed = portal.run("portal", "event", portal.events[9])
    removed.expect(0, "applied", said=["billing_contact_removed"])
    portal.hand_over(11)
    house.ask("dispatch", "--account", main)
    invoice = house.settled(main, "RE-2026/0045")
    expect("why", invoice["recipient"]["reason"]["rule"], "billing_contact_removed")

    # No other address got anything, and the documents are those that were handed over, byte by byte.
    expect("mails", named(house), sorted(MAILS))
    for address, number, attachments in mails(house):
        event = next(event for event, names in DOCUMENTS.items() if number in portal.events[event - 1].read_text())
        expected = {name: portal.documents[name].read_bytes() for name in DOCUMENTS[event]}
        expect(f"attachments of {number} for {address}", attachments, expected)


def known_or_outdated(portal):
    portal.run("portal", "event", portal.events[0]).expect(0, "duplicate", said=["already"])
    portal.run("billing", "event", portal.events[5]).expect(0, "duplicate")
    outdated = portal.altered(3, "outdated.json", timestamp="2026-11-23T08:09:00Z")
    portal.run("portal", "event", outdated).expect(0, "stale", said=["newer version"])
    expect("version", portal.house.ask("account", "K-1001")["version"], 7)


def parked(portal):
    """An invoice that comes before its account."""
    account, number = "K-3001", "INV-2026-0007"
    invoice = portal.altered(13, "early-invoice.json", account=account, release="immediately")
    portal.run("billing", "event", invoice).expect(0, "parked", said=["no need to send it again"])
    expect("state", portal.house.ask("invoice", account, number)["state"], "parked")
    portal.run("portal", "event", portal.altered(12, "late-account.json", account=account)).expect(0, "applied")
    portal.house.settled(account, number)
    expect("mails", named(portal.house), sorted([*MAILS, PARKED]))


def refused(portal):
    """What no repetition helps: one request each, and the problem is reported."""
    number = portal.altered(5, "number-as-number.json", number=42)
    answer = portal.run("billing", "event", number).expect(1, "invalid", said=["attempt 1", "/data/number", "string"])
    expect("retryable", answer["retryable"], False)
    other = portal.altered(11, "other-amount.json", total={"amount": "59.51", "currency": "EUR"})
    portal.run("billing", "event", other).expect(1, "invoice_conflict", said=["/data/total"])
    portal.run("portal", "event", portal.events[4]).expect(1, "forbidden")
    portal.run("portal", "document", portal.documents["RE-2026-0042.pdf"]).expect(1, "forbidden")
    wrong = portal.directory / "wrong-secret"
    wrong.write_text(f"whsec_{'A' * 43}=\n")
    for words in (["event", portal.events[0]], ["document", portal.documents["RE-2026-0042.pdf"]]):
        outcome = Caller(portal.name, portal.house.url, wrong).run(*words)
        outcome.expect(1, "signature_invalid", said=["attempt 1"])
        expect("attempts", outcome.said.count("attempt"), 1)
    # Both of a rotation, in whatever order.
    both = portal.directory / "both-secrets"
    right = portal.house.secret_file("portal").read_text()
    both.write_text(f"# The new one.\n{wrong.read_text()}\n{right}")
    Caller(portal.name, portal.house.url, both).run("event", portal.events[0]).expect(0, "duplicate")
    portal.runs += 3


def gaps(portal):
    """What is missing comes by another run, while this one tries again."""
    account = "K-4001"
    first, second, third = (portal.altered(number, f"gap-{number}.json", account=account) for number in (1, 2, 3))
    portal.run("portal", "event", first).expect(0, "applied")
    waiting = portal.begin("portal", "event", third)
    waiting.says("version_gap", "after version 1 first")
    portal.run("portal", "event", second).expect(0, "applied")
    waiting.end().expect(0, "applied")
    expect("version", portal.house.ask("account", account)["version"], 3)

    document = portal.directory / "late.pdf"
    document.write_bytes(b"%PDF-1.4 late " + portal.name.encode())
    digest = events.digest(document.read_bytes())
    documents = [events.document(digest, "late.pdf")]
    invoice = portal.altered(5, "late-document.json", account=account, number="RE-2026/0050", documents=documents)
    waiting = portal.begin("billing", "event", invoice)
    waiting.says("document_missing", digest)
    portal.run("billing", "document", document).expect(0, "stored")
    # The account's version is below the one that the invoice asks for.
    waiting.end().expect(0, "parked")
    expect("state", portal.house.ask("invoice", account, "RE-2026/0050")["state"], "parked")


def usage(portal):
    event, document = portal.events[4], portal.documents["RE-2026-0042.pdf"]
    missing = portal.directory / "none"
    for words in ([], ["event"], ["invoice"], ["delete", event], ["event", event, document], ["event", missing]):
        portal.run("billing", *words).expect(2)
    # Rendered again, it is another document than the event names.
    again = portal.directory / "again.pdf"
    again.write_bytes(document.read_bytes() + b"% rendered again\n")
    portal.run("billing", "invoice", event, again).expect(2, said=["rendered again"])
    empty = portal.directory / "no-secret"
    empty.write_text("# Only this.\n")
    torn = portal.directory / "torn-secret"
    torn.write_text(portal.house.secret_file("billing").read_text().replace("whsec_", ""))
    for url, secret_file in (
        ("ftp://127.0.0.1", portal.house.secret_file("billing")), (portal.house.url, empty), (portal.house.url, torn),
        (portal.house.url, missing),
    ):
        Caller(portal.name, url, secret_file).run("event", event).expect(2)
    portal.runs += 4
