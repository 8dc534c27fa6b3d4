"""Clients who go away between their request and its answer.

What they asked for is committed or it is not; when they ask again, under the same webhook-id, the answer is the one
that belongs to that, and the admin interface shows it whole or not at all.
"""

import collections
import random
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import asking
import events
import wire
from daemon import PATIENCE_SECONDS, Admin
from setting import PEERS
from suite import Wrong, expect

CLIENTS = 8
# How long after its last byte a client may still be there; an answer takes some thousandths of a second.
STAY_SECONDS = 0.006
# Closes with a reset.
RESET = struct.pack("ii", 1, 0)


class Change:
    """One after the other of something; each is asked for, and then again under the same webhook-id."""

    # Of each client.
    times = 60

    def __init__(self, work, account, chance):
        self.work, self.senders, self.account, self.chance = work, work.senders, account, chance
        self.admin, self.count = Admin(work.house), 0

    def next(self):
        self.count += 1
        self.event = f"{self.account}_{self.name}_{self.count}"
        self.request = self.make()
        return self.request


class Account(Change):
    """An account that rises by a version with each event."""

    name, kind, first = "events", asking.EVENT, (200, "applied")

    def make(self):
        return self.senders.event(self.account, self.count, self.event, self.event)

    def again(self):
        return self.senders.again("portal", self.request, self.event)

    def is_done(self):
        shown = self.admin.account(self.account)
        if (shown["version"] if shown else 0) == self.count - 1:
            return False
        came = shown["version"], shown["name"], shown["main_contact"]["addresses"]
        expect(f"the whole of {shown}", came, (self.count, self.event, [f"v{self.count}@{self.account.lower()}.example"]))
        return True


class Document(Change):
    """One document after the other. It cannot be seen before an invoice names it, which comes when it is sure to be
    there."""

    name, kind, first = "documents", asking.DOCUMENT, (201, "stored")

    def make(self):
        self.is_sure, self.content = False, self.chance.randbytes(20_000)
        return self.senders.document(self.content, self.event)

    def again(self):
        self.is_sure = True
        return self.senders.document(self.content, self.event)

    def is_done(self):
        if not self.is_sure:
            return None
        request = self.senders.invoice(self.account, f"DOC/{self.count}", events.digest(self.content))
        answer = ask(self.work.kinds[asking.EVENT], request)
        if answer.status != 200 and answer.code != "document_missing":
            raise Wrong(f"an invoice that names an uploaded document: {answer.status} {answer.body}")
        return answer.status == 200


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
    counts = collections.Counter()
    for made in (Account, Document):
        change = made(work, f"GONE-{number}", chance)
        kind = work.kinds[change.kind]
        for _ in range(change.times):
            is_whole = leave(kind, change.next(), chance, PEERS[number])
            if is_whole and chance.random() < 0.5:
                wait_until_done(change)
            was_done = change.is_done()
            answer = ask(kind, change.again())
            said = answer.status, answer.json.get("result")
            if said not in (change.first, (200, "duplicate")):
                raise Wrong(f"asked again: {answer.status} {answer.body} ({change.name})")
            is_first = said == change.first
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
    for change in (Account, Document):
        undone, done = counts[change.name, True], counts[change.name, False]
        words.append(f"{change.name}: {done} were committed, {undone} were not")
        if not (undone and done):
            raise Wrong(f"{words[-1]}: this proves nothing")
    return "; ".join(words)
