"""The SMTP server of the suites: it takes every message, and keeps each before it says 250, so that whatever its client
may take for accepted is there. What a suite wants otherwise it does in `at` and `accept`."""

import contextlib
import dataclasses
import hashlib
import random
import re
import socket
import threading
import time

from head import head

EXTENSIONS = "250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE 104857600"


@dataclasses.dataclass
class Transaction:
    """From MAIL to the reply after the final dot."""

    connection: int
    sender: str
    # The choices of the server that concern it.
    random: random.Random
    recipients: list = dataclasses.field(default_factory=list)
    lines: list = dataclasses.field(default_factory=list)
    # Directly before the 354 is sent, when the first byte of the message is there, directly before the last reply is
    # sent, and after it: whether it was read is not known here.
    asked_for_at: float | None = None
    begun_at: float | None = None
    answering_at: float | None = None
    answered_at: float | None = None
    # Of the last reply.
    code: int | None = None

    @property
    def raw(self):
        """What there is of the message."""
        return b"".join(self.lines)


@dataclasses.dataclass
class Message:
    """One that was accepted for one address."""

    address: str
    raw: bytes = dataclasses.field(repr=False)
    transaction: Transaction = dataclasses.field(repr=False)
    queue_id: str = ""

    def __post_init__(self):
        fields = head(self.raw)
        self.message_id, self.number = fields["Message-ID"].strip("<>"), fields["X-Invoice-Number"]
        # The addresses that its header names.
        self.to = fields.addresses("To")
        self.digest = hashlib.sha256(self.raw).hexdigest()


class Server:
    # That of the moments.
    clock = staticmethod(time.monotonic)

    def __init__(self, seed=0):
        self.seed = seed
        self.changed = threading.Condition()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.listening = threading.Thread(target=self.listen, daemon=True)
        self.listening.start()

    def at(self, stage, transaction):
        """A transaction has come so far: `rcpt`, `data`, `body` with its first byte, `dot`, `answered`. Returns a reply
        in the place of the server's, if any; a ConnectionError cuts the connection."""

    def accept(self, transaction):
        """Keeps the message; returns the reply."""
        return "250 2.0.0 taken"

    def listen(self):
        connections = 0
        # Shutting the listener down is what ends this.
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                connections += 1
                threading.Thread(target=Session(self, connection, connections).run, daemon=True).start()

    def close(self):
        # Only closed, its number would go to the next listener, and the thread take that one's connections.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listening.join()
        self.listener.close()


class Session:
    """One connection."""

    def __init__(self, server, connection, number):
        self.server, self.connection, self.number = server, connection, number
        self.random = random.Random(f"{server.seed} sink {number}")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = connection.makefile("rb")

    def run(self):
        # A client that is killed breaks off.
        with self.connection, contextlib.suppress(OSError):
            self.say("220 sink.example ESMTP")
            self.converse()

    def say(self, line):
        self.connection.sendall(line.encode() + b"\r\n")

    def converse(self):
        transaction = Transaction(self.number, "", self.random)
        while line := self.stream.readline(4096):
            command = line.decode("ascii", "replace").strip()
            verb = command.split(" ", 1)[0].upper()
            if verb == "EHLO":
                self.say(EXTENSIONS)
            elif verb == "MAIL":
                transaction = Transaction(self.number, path_of(command), self.random)
                self.say("250 2.1.0 ok")
            elif verb == "RCPT":
                transaction.recipients.append(path_of(command))
                refusal = self.server.at("rcpt", transaction)
                if refusal:
                    transaction.recipients.pop()
                self.say(refusal or "250 2.1.5 ok")
            elif verb == "DATA" and not transaction.recipients:
                self.say("554 5.5.1 no valid recipients")
            elif verb == "DATA":
                self.data(transaction)
            elif verb == "QUIT":
                self.say("221 2.0.0 bye")
                return
            elif verb in ("NOOP", "RSET"):
                self.say("250 2.0.0 ok")
            else:
                self.say("502 5.5.1 what?")

    def data(self, transaction):
        server = self.server
        server.at("data", transaction)
        transaction.asked_for_at = server.clock()
        self.say("354 go ahead")
        first = self.stream.peek(1)
        transaction.begun_at = server.clock()
        if first:
            server.at("body", transaction)
        while (line := self.stream.readline()) != b".\r\n":
            if not line.endswith(b"\n"):
                raise ConnectionError("the message breaks off")
            transaction.lines.append(line[1:] if line.startswith(b".") else line)
        reply = server.at("dot", transaction)
        transaction.answering_at = server.clock()
        reply = reply or server.accept(transaction)
        transaction.code = int(reply[:3])
        self.say(reply)
        transaction.answered_at = server.clock()
        server.at("answered", transaction)


def path_of(command):
    return re.search(r"<([^>]*)>", command)[1]
