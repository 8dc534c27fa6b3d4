"""One conversation over a socket: what is sent and when, and what comes back, until the end.

Nothing here knows how a client should behave; what comes back is read strictly all the same.
"""

import collections
import contextlib
import dataclasses
import json
import select
import socket
import time

# How often a question is asked again.
LOOK_SECONDS = 0.01

# What a client does is a list of steps: bytes are sent, a number is a pause in seconds, and a function of the
# conversation is called until it says yes.


def answered(count):
    """So many answers have come."""
    return lambda conversation: len(conversation.answers) >= count


def half_close(conversation):
    """Says that nothing more will be sent."""
    # Where the daemon was first, what it said can be read still.
    with contextlib.suppress(OSError):
        conversation.connection.shutdown(socket.SHUT_WR)
    return True


def slowly(octets, pause_seconds=1.0):
    """One byte after the other."""
    return [step for octet in octets for step in (bytes([octet]), pause_seconds)]


@dataclasses.dataclass
class Answer:
    status: int
    fields: dict
    body: bytes
    # Since the conversation began.
    seconds: float

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """That of a problem document."""
        is_problem = self.fields.get("content-type") == "application/problem+json"
        return self.json["code"] if is_problem else None


class Garbled(Exception):
    """What came is no HTTP."""


def connect(address, source=None, receive_bytes=None):
    """To a port, from an address of the loopback's, or to a path; with so little room for what comes."""
    is_path = isinstance(address, str)
    connection = socket.socket(socket.AF_UNIX if is_path else socket.AF_INET)
    if receive_bytes:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    if not is_path:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source:
            connection.bind((source, 0))
    connection.settimeout(10)
    connection.connect(address)
    return connection


def ask(address, octets, patience_seconds, source=None):
    """The statuses of the answers to an ordinary request."""
    with connect(address, source) as connection:
        return [answer.status for answer in converse(connection, [octets], 1, patience_seconds).answers]


def converse(connection, steps, enough, patience_seconds, began=None):
    """Goes through the steps and listens meanwhile: until the daemon ends the connection, or everything is sent and
    `enough` answers are there, or patience has its end. Seconds are counted since it began: where nothing may come too
    early, that is before the connection was made, and so before any clock of the daemon's was set."""
    return Conversation(connection, steps, began).hold(enough, patience_seconds)


class Conversation:
    def __repr__(self):
        return f"{self.answers}, then {bytes(self.input[:80])}, {'closed' if self.closed else 'open'}"

    def __init__(self, connection, steps, began):
        self.connection = connection
        self.connection.setblocking(False)
        self.steps = collections.deque(steps)
        self.output = memoryview(b"")
        self.resume_at = 0
        # What came after the last whole answer.
        self.input = bytearray()
        self.answers = []
        # Whether the daemon ended it, and until when it did or this side listened no more.
        self.closed, self.seconds = False, None
        self.began = time.monotonic() if began is None else began

    def hold(self, enough, patience_seconds):
        until = self.began + patience_seconds
        poll = select.poll()
        poll.register(self.connection, select.POLLIN)
        while not self.closed and (now := time.monotonic()) < until:
            self.advance(now)
            is_sent = not self.output and not self.steps
            if is_sent and enough is not None and len(self.answers) >= enough:
                break
            poll.modify(self.connection, select.POLLIN | (select.POLLOUT if self.output else 0))
            next_at = self.resume_at if self.steps and self.resume_at > now else until
            for _, events in poll.poll(1 + max(0, int((min(next_at, until) - now) * 1000))):
                if events & select.POLLOUT:
                    self.send()
                if events & ~select.POLLOUT:
                    self.receive()
        self.seconds = time.monotonic() - self.began
        return self

    def advance(self, now):
        """Begins what comes next, if it is its time."""
        while self.steps and not self.output and now >= self.resume_at:
            step = self.steps[0]
            if isinstance(step, bytes):
                self.output = memoryview(step)
            elif isinstance(step, float):
                self.resume_at = now + step
            elif not step(self):
                self.resume_at = now + LOOK_SECONDS
                return
            self.steps.popleft()

    def send(self):
        try:
            with contextlib.suppress(BlockingIOError):
                self.output = self.output[self.connection.send(self.output):]
        except OSError:
            # It is not taken any more; what was said before can be read still.
            self.output = memoryview(b"")
            self.steps.clear()

    def receive(self):
        try:
            octets = self.connection.recv(256 * 1024)
        except BlockingIOError:
            return
        except OSError:
            octets = b""
        self.closed = not octets
        self.input += octets
        while found := first_answer(self.input, time.monotonic() - self.began):
            answer, length = found
            del self.input[:length]
            self.answers.append(answer)


def first_answer(octets, seconds):
    """The first answer, if it is whole, and how long it is."""
    end = octets.find(b"\r\n\r\n")
    if end < 0:
        return None
    status_line, *lines = octets[:end].decode("latin-1").split("\r\n")
    protocol, _, status = status_line.partition(" ")
    if protocol not in ("HTTP/1.1", "HTTP/1.0") or not status[:3].isdigit():
        raise Garbled(status_line)
    fields = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or name.lower() in fields:
            raise Garbled(line)
        fields[name.lower()] = value.strip()
    status = int(status[:3])
    begin = end + len(b"\r\n\r\n")
    end = begin if status < 200 else begin + int(fields["content-length"])
    if len(octets) < end:
        return None
    return Answer(status, fields, bytes(octets[begin:end]), seconds), end


def all_answers(octets):
    """And what comes after the last whole one."""
    answers, begin = [], 0
    while found := first_answer(octets[begin:], 0):
        answers.append(found[0])
        begin += found[1]
    return answers, octets[begin:]
