"""Clients who go away between their request and its answer.

What they asked for is committed or it is not; when they ask again, under the same webhook-id, the answer is the one
that belongs to that, and the admin interface shows it whole or not at all.
"""

import base64
import collections
import hashlib
import json
import random
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import asking
import wire
from case import Wrong
from daemon import PATIENCE_SECONDS, Admin
from setting import PEERS, TOKEN

CLIENTS = 8
# Of each client.
EVENTS, INVOICES, DOCUMENTS, OPERATIONS = 60, 25, 25, 25
# How long after its last byte a client may still be there; an answer takes some thousandths of a second.
STAY_SECONDS = 0.006
# Closes with a reset.
RESET = struct.pack("ii", 1, 0)


class Account:
    """An account that rises by a version with each event."""

    name, kind, good = "events", asking.EVENT, ((200, "applied"), (200, "duplicate"))

    def __init__(self, senders, admin, name):
        self.senders, self.admin, self.id, self.version = senders, admin, name, 0

    def next(self):
        self.version += 1
        self.event, self.text = f"{self.id}_{self.version}", f"Firma {self.id} in version {self.version}"
        self.request = self.senders.event(self.id, self.version, self.event, self.text)
        return self.request

    def again(self):
        return self.senders.again("portal", self.request, self.event)

    def is_done(self):
        shown = self.admin.account(self.id)
        if (shown["version"] if shown else 0) == self.version - 1:
            return False
        address = f"v{self.version}@{self.id.lower()}.example"
        came = shown["version"], shown["name"], shown["main_contact"]["addresses"]
        if came != (self.version, self.text, [address]):
            raise Wrong(f"{self.id} should have version {self.version} whole, or not at all: {shown}")
        return True


class Invoice:
    """One invoice of an account after the other, each with its document inside."""

    name, kind, good = "invoices", asking.EVENT, ((200, "applied"), (200, "duplicate"))

    def __init__(self, senders, admin, account, chance):
        self.senders, self.admin, self.account, self.chance, self.count = senders, admin, account, chance, 0

    def next(self):
        self.count += 1
        self.event, self.number = f"{self.account}_invoice_{self.count}", f"RE/{self.count}"
        self.content = self.chance.randbytes(2_000)
        document = {"content_base64": base64.b64encode(self.content).decode()}
        self.request = self.senders.invoice(self.account, self.number, document, self.event)
        return self.request

    def again(self):
        return self.senders.again("billing", self.request, self.event)

    def is_done(self):
        shown = self.admin.invoice(self.account, self.number)
        if shown is None:
            return False
        digests = [document["sha256"] for document in shown["documents"]]
        came = shown["state"], shown["total"]["amount"], digests
        if came != ("waiting", "119.00", [hashlib.sha256(self.content).hexdigest()]):
            raise Wrong(f"{self.account} {self.number} should be there whole, or not at all: {shown}")
        return True


class Document:
    """One document after the other."""

    name, kind, good = "documents", asking.DOCUMENT, ((201, "stored"), (200, "duplicate"))

    def __init__(self, work, account, chance):
        self.work, self.senders, self.account, self.chance, self.count = work, work.senders, account, chance, 0

    def next(self):
        self.count += 1
        self.content, self.event = self.chance.randbytes(20_000), f"{self.account}_document_{self.count}"
        request = self.again()
        self.is_sure = False
        return request

    def again(self):
        self.is_sure = True
        return self.senders.document(self.content, self.event)

    def is_done(self):
        """Nobody can see it before an invoice names it, which comes when it is sure to be there."""
        if not self.is_sure:
            return None
        digest = hashlib.sha256(self.content).hexdigest()
        request = self.senders.invoice(self.account, f"DOC/{self.count}", {"sha256": digest})
        answer = ask(self.work.kinds[asking.EVENT], request)
        if answer.status == 200:
            return True
        if answer.code == "document_missing":
            return False
        raise Wrong(f"an invoice that names {digest}: {answer.status} {answer.body}")


class Switch:
    """Sending for one account, stopped and let go on by turns."""

    name, kind, good = "operations", asking.OPERATION, ((200, "applied"), (200, "duplicate"))

    def __init__(self, senders, admin, account):
        self.senders, self.admin, self.account, self.paused = senders, admin, account, False

    def next(self):
        self.paused = not self.paused
        return self.again()

    def again(self):
        body = json.dumps({"account": self.account, "reason": "for a moment"}).encode()
        path = "/v1/pause" if self.paused else "/v1/resume"
        return self.senders.post(path, body, 200, (), asking.bearer(TOKEN))

    def is_done(self):
        return (self.admin.account(self.account)["paused"] is not None) == self.paused


def leave(kind, request, chance, peer):
    """In the middle of it, or a moment after its end; in peace or not. Whether all of it was sent."""
    octets = request.whole()
    is_whole = chance.random() < 0.5
    if not is_whole:
        octets = octets[:chance.randrange(1, len(octets))]
    with wire.connect(kind.address, peer) as connection:
        connection.sendall(octets)
        time.sleep(chance.choice((0, chance.uniform(0, STAY_SECONDS))))
        if chance.random() < 0.5:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    return is_whole


def ask(kind, request):
    """In the ordinary way."""
    with wire.connect(kind.address) as connection:
        heard = wire.converse(connection, [request.whole()], 1, PATIENCE_SECONDS)
    if not heard.answers:
        raise Wrong(f"no answer to an ordinary request ({kind.name})")
    return heard.answers[0]


def wait_until_done(change):
    """Whoever hangs up once all is sent does not cancel anything by it."""
    until = time.monotonic() + PATIENCE_SECONDS
    while change.is_done() is False:
        if time.monotonic() > until:
            raise Wrong(f"the whole of it was sent, and nothing was done in {PATIENCE_SECONDS} s ({change.name})")
        time.sleep(0.002)


def one_client(work, number):
    """How often which answer came when it asked again."""
    chance = random.Random(f"{work.seed} leaving {number}")
    admin = Admin(work.house)
    account = Account(work.senders, admin, f"GONE-{number}")
    switch = Switch(work.senders, admin, account.id)
    invoice, document = Invoice(work.senders, admin, account.id, chance), Document(work, account.id, chance)
    changes = [(account, EVENTS), (invoice, INVOICES), (document, DOCUMENTS), (switch, OPERATIONS)]
    counts = collections.Counter()
    for change, times in changes:
        kind = work.kinds[change.kind]
        for _ in range(times):
            is_whole = leave(kind, change.next(), chance, PEERS[number])
            if is_whole and chance.random() < 0.5:
                wait_until_done(change)
            was_done = change.is_done()
            answer = ask(kind, change.again())
            said = answer.status, answer.json.get("result")
            if said not in change.good:
                raise Wrong(f"asked again: {answer.status} {answer.body} ({change.name})")
            is_first = said == change.good[0]
            if was_done and is_first:
                raise Wrong(f"asked again: {said}, and it was done before ({change.name})")
            if not is_whole and (was_done or not is_first):
                raise Wrong(f"asked again: {said}, and only a part had been sent ({change.name})")
            if change.is_done() is False:
                raise Wrong(f"asked again: {said}, and nothing was done ({change.name})")
            counts[change.name, is_first] += 1
    return counts


def go_away(work):
    with ThreadPoolExecutor(CLIENTS) as pool:
        counts = sum(pool.map(lambda number: one_client(work, number), range(CLIENTS)), collections.Counter())
    words = []
    for change in (Account, Invoice, Document, Switch):
        undone, done = counts[change.name, True], counts[change.name, False]
        words.append(f"{change.name}: {done} were committed, {undone} were not")
        if not (undone and done):
            raise Wrong(f"{words[-1]}: this proves nothing")
    return "; ".join(words)
