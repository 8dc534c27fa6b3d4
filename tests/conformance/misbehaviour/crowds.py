"""Thousands of connections at once, from one peer or from many."""

import bisect
import collections
import contextlib
import errno
import math
import select
import socket
import threading
import time

import asking
import wire
from case import AT_ONCE, SLACK_SECONDS
from setting import CONNECTIONS_PER_PEER, FLOOD, HEADER_BYTES, HEADER_SECONDS, NEWCOMER, PEERS
from suite import Wrong

# So many are opened, then there is a pause: otherwise they would come faster than they are taken out of the backlog,
# and what finds no place in it comes again a second later.
OPENED, PAUSE_SECONDS = 32, 0.006
# Less is no wait: the permits were not used up, and nothing is proved.
LEAST_WAIT_SECONDS = 0.1
TRIES = 3
# So many of a flood must have got through the backlog.
LEAST_PART = 0.98
# How far apart those who were held at once may end.
APART_SECONDS = 1.0
# What found no room comes again after a second, three, seven; and then it has its time.
REST_SECONDS = 7 + HEADER_SECONDS


class Flood:
    """Opens them all, sends each its bytes, and watches until each has ended."""

    def __init__(self, address, peers, count):
        self.address = address
        self.poll = select.epoll()
        self.clients = {}
        self.began = time.monotonic()
        for index in range(count):
            self.open(peers[index % len(peers)])
            if index % OPENED == 0:
                pause_until = time.monotonic() + PAUSE_SECONDS
                while (left := pause_until - time.monotonic()) > 0:
                    self.watch(left)
        self.seconds = time.monotonic() - self.began

    def open(self, peer):
        connection = socket.socket()
        connection.setblocking(False)
        connection.bind((peer, 0))
        code = connection.connect_ex(self.address)
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, f"connection {len(self.clients) + 1} from {peer}")
        self.clients[connection.fileno()] = client = wire.Conversation(connection, [], self.began)
        client.ended = math.inf
        self.poll.register(connection, select.EPOLLIN)

    def watch(self, seconds):
        for number, events in self.poll.poll(seconds):
            client = self.clients[number]
            if events & select.EPOLLOUT:
                client.send()
                if not client.output:
                    self.poll.modify(client.connection, select.EPOLLIN)
            if events & ~select.EPOLLOUT:
                client.receive()
                if client.closed:
                    client.ended = time.monotonic()
                    self.poll.unregister(client.connection)

    def whole(self, octets, patience_seconds):
        """All of them, once they have ended or patience has its end."""
        clients = list(self.clients.values())
        for client in clients:
            if octets and not client.closed:
                client.output = memoryview(octets)
                self.poll.modify(client.connection, select.EPOLLIN | select.EPOLLOUT)
        until = time.monotonic() + patience_seconds
        while not all(client.closed for client in clients) and time.monotonic() < until:
            self.watch(0.05)
        return clients

    def close(self):
        self.poll.close()
        for client in self.clients.values():
            client.connection.close()


def flood(work, peers, octets=b"", least_wait_seconds=0):
    """All of them as they ended; the newcomer came once all were open.

    A connection for which there is no room in the backlog looks open from here, and the daemon hears of it seconds
    later or never. Where there were too many of them, as on a slow machine, or where not all places were taken when
    the newcomer came, it is done again.
    """
    for _ in range(TRIES):
        ended, newcomer, words = flood_once(work, peers, octets)
        if len(ended) >= FLOOD * LEAST_PART and newcomer.seconds >= least_wait_seconds:
            return ended, newcomer, words
    raise Wrong(f"{words}; the newcomer waited {newcomer.seconds:.2f} s: this proves nothing")


def flood_once(work, peers, octets):
    # Those who find no place at first get theirs once the first ones are through.
    patience = HEADER_SECONDS * math.ceil(FLOOD / work.house.connections) + SLACK_SECONDS
    crowd = Flood(work.house.address, peers, FLOOD)
    newcomer = Newcomer(work)
    try:
        newcomer.start()
        clients = crowd.whole(octets, patience)
    finally:
        newcomer.join()
        crowd.close()
    ended = [client for client in clients if client.closed]
    words = f"{len(ended)} of {len(clients)} opened in {crowd.seconds:.1f} s"
    if work.house.open_files_at_rest(REST_SECONDS) > work.house.rest_files:
        raise Wrong(f"{words}, and some are still open {patience + REST_SECONDS:.1f} s later")
    return ended, newcomer, words


class Newcomer(threading.Thread):
    """Comes when all others are there: how long it waits."""

    def __init__(self, work):
        super().__init__()
        self.work = work
        self.seconds = math.inf

    def run(self):
        began = time.monotonic()
        request = self.work.kinds[asking.EVENT].request()
        # Without an answer it has waited for ever.
        with contextlib.suppress(OSError):
            patience = 3 * HEADER_SECONDS + SLACK_SECONDS
            if wire.ask(self.work.house.address, request.whole(), patience, NEWCOMER) == [request.good]:
                self.seconds = time.monotonic() - began


def statuses(clients):
    """How many got which answer; each one or none."""
    for client in clients:
        if client.input or len(client.answers) > 1:
            raise Wrong(f"more than one answer: {client.answers} {client.input[:400]}")
    return collections.Counter(client.answers[0].status if client.answers else None for client in clients)


def one_peer(work):
    """So many as one peer may have are held until their time is over; the others are refused at once, in words."""
    clients, newcomer, words = flood(work, ["127.0.0.1"])
    counts = statuses(clients)
    if set(counts) - {None, 429}:
        raise Wrong(f"{words}; answers {dict(counts)}")
    held = most_at_once(client.ended for client in clients if not client.answers)
    if held != CONNECTIONS_PER_PEER:
        raise Wrong(f"{words}; {held} were held at once, expected {CONNECTIONS_PER_PEER}")
    for answer in (answer for client in clients for answer in client.answers):
        is_told_when = answer.fields.get("retry-after", "").isdigit()
        if answer.code != "too_many_connections" or not is_told_when or answer.fields.get("connection") != "close":
            raise Wrong(f"refused without the right words: {answer}")
    if newcomer.seconds > AT_ONCE:
        raise Wrong(f"another peer waited {newcomer.seconds:.2f} s")
    return f"{words}; held {held}, refused {counts[429]}; another peer waited {newcomer.seconds:.2f} s"


def most_at_once(ends):
    """Each was there for the whole of its time. Those who came late followed others whose time was over."""
    ends = sorted(ends)
    window = HEADER_SECONDS - APART_SECONDS
    return max((bisect.bisect_left(ends, end + window) - index for index, end in enumerate(ends)), default=0)


def many_peers(work):
    """All places are taken, with as much of a head as the daemon will keep. Whoever comes then waits until the time of
    the first ones is over, and no longer."""
    line = b"POST /v1/events HTTP/1.1\r\nhost: router.example\r\nx-note: "
    head = line + b"a" * (HEADER_BYTES - len(line) - 1)
    clients, newcomer, words = flood(work, PEERS, head, LEAST_WAIT_SECONDS)
    counts = statuses(clients)
    if set(counts) != {408}:
        raise Wrong(f"{words}; answers {dict(counts)}")
    if newcomer.seconds > HEADER_SECONDS + SLACK_SECONDS:
        raise Wrong(f"{words}; the newcomer waited {newcomer.seconds:.2f} s, {HEADER_SECONDS} s should do")
    return f"{words}; the newcomer waited {newcomer.seconds:.2f} s of {HEADER_SECONDS} s and {SLACK_SECONDS} s of slack"
