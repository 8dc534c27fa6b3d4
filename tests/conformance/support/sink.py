"""The relay: an SMTP server that accepts everything and forgets nothing.

It writes down each message before it says 250, so that whatever the daemon may take for accepted stands
here, and with it what the daemon cannot know of since it was killed before the answer came. It takes its
time now and then, so that kills find mails at every stage.
"""

import base64
import contextlib
import dataclasses
import hashlib
import random
import re
import socket
import threading
import time

from head import head

# Where a mail can be when the daemon is killed; see `Trap`.
STAGES = ("rcpt", "data", "body", "dot", "answered")
# How long a mail that is waited for stays where it is.
LINGER_SECONDS = 0.03


@dataclasses.dataclass
class Mail:
    """One message that the relay accepted for one address."""

    queue_id: str
    address: str
    # The addresses that its header names.
    to: tuple
    message_id: str
    number: str
    digest: str
    # Digest of each attached document, in order.
    documents: tuple
    # Directly before the 354 was sent, when the first byte of the message was there, and directly before
    # the 250 was sent. The daemon's last look at the account lies between the first two.
    asked_for_at: float
    begun_at: float
    accepted_at: float
    # Whether the 250 could be sent; whether it was read nobody knows here.
    answered: bool = False


class Sink:
    def __init__(self, seed, spool):
        self.seed = seed
        self.spool = open(spool, "wb")
        self.lock = threading.Lock()
        self.mails = []
        self.begun = 0
        self.trap = None
        self.gate = None
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.listening = threading.Thread(target=self.listen, daemon=True)
        self.listening.start()

    def listen(self):
        connections = 0
        # Shutting the listener down is what ends this.
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                connections += 1
                session = Session(self, connection, random.Random(f"{self.seed} sink {connections}"))
                threading.Thread(target=session.run, daemon=True).start()

    def close(self):
        # Only closed, its number would go to the next listener, and the thread take that one's connections.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listening.join()
        self.listener.close()
        self.spool.close()

    def wait_for_a_mail_at(self, stage, seconds):
        """Until a mail is at this stage, where it stays for a moment."""
        trap = Trap(stage, threading.Event())
        self.trap = trap
        caught = trap.event.wait(seconds)
        self.trap = None
        return caught

    def close_gate(self, stage):
        """From now on no mail gets further than this stage."""
        self.gate = Gate(stage, threading.Event())
        return self.gate

    def open_gate(self):
        self.gate.opened.set()
        self.gate = None

    def accept(self, mail, raw):
        with self.lock:
            mail.queue_id = f"q{len(self.mails) + 1}"
            self.mails.append(mail)
            # A session may outlive the run that it belongs to.
            if not self.spool.closed:
                self.spool.write(f"=== {mail.queue_id} to {mail.address}\r\n".encode() + raw)


@dataclasses.dataclass
class Trap:
    stage: str
    event: threading.Event


@dataclasses.dataclass
class Gate:
    stage: str
    opened: threading.Event
    # How many mails stand before it.
    standing: int = 0


class Session:
    """One connection of the daemon's."""

    def __init__(self, sink, connection, random_numbers):
        self.sink = sink
        self.random = random_numbers
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection = connection
        self.stream = connection.makefile("rb")

    def run(self):
        # A connection that breaks off is what all this is about.
        with self.connection, contextlib.suppress(OSError):
            self.say("220 sink.example ESMTP")
            self.converse()

    def say(self, line):
        self.connection.sendall(line.encode() + b"\r\n")

    def at(self, stage):
        """A mail has come so far."""
        trap, gate = self.sink.trap, self.sink.gate
        if gate and gate.stage == stage:
            with self.sink.lock:
                gate.standing += 1
            gate.opened.wait()
            return
        if trap and trap.stage == stage:
            trap.event.set()
            time.sleep(LINGER_SECONDS)
        elif self.random.random() < 0.2:
            time.sleep(self.random.uniform(0, 0.02))

    def converse(self):
        recipients = []
        while line := self.stream.readline(4096):
            command = line.decode("ascii", "replace").strip()
            verb = command.split(" ", 1)[0].upper()
            if verb == "EHLO":
                self.say("250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 52428800")
            elif verb == "MAIL":
                recipients = []
                self.say("250 2.1.0 ok")
            elif verb == "RCPT":
                self.at("rcpt")
                recipients.append(re.search(r"<([^>]*)>", command)[1])
                self.say("250 2.1.5 ok")
            elif verb == "DATA":
                self.data(recipients)
            elif verb == "QUIT":
                self.say("221 2.0.0 bye")
                return
            elif verb in ("NOOP", "RSET"):
                recipients = []
                self.say("250 2.0.0 ok")
            else:
                self.say("502 5.5.1 what?")

    def data(self, recipients):
        self.at("data")
        asked_for_at = time.monotonic()
        self.say("354 go ahead")
        lines = []
        first = self.stream.peek(1)
        begun_at = time.monotonic()
        if first:
            self.at("body")
        while (line := self.stream.readline()) != b".\r\n":
            if not line.endswith(b"\n"):
                raise ConnectionError("the message breaks off")
            lines.append(line[1:] if line.startswith(b".") else line)
        raw = b"".join(lines)
        self.at("dot")
        mails = []
        for address in recipients:
            mail = read(raw, address, asked_for_at, begun_at)
            self.sink.accept(mail, raw)
            mails.append(mail)
        self.say(f"250 2.0.0 queued as {mails[-1].queue_id}")
        for mail in mails:
            mail.answered = True
        self.at("answered")


def read(raw, address, asked_for_at, begun_at):
    body = raw.partition(b"\r\n\r\n")[2]
    documents = []
    for part in re.split(rb"\r\n--[^\r\n]*\r\n", body):
        about, _, content = part.partition(b"\r\n\r\n")
        if re.search(rb"(?i)^content-disposition:\s*attachment", about, re.M):
            documents.append(hashlib.sha256(base64.b64decode(content)).hexdigest())
    fields = head(raw)
    return Mail(
        queue_id="", address=address, to=fields.addresses("To"), message_id=fields["Message-ID"].strip("<>"),
        number=fields["X-Invoice-Number"], digest=hashlib.sha256(raw).hexdigest(),
        documents=tuple(documents), asked_for_at=asked_for_at, begun_at=begun_at, accepted_at=time.monotonic(),
    )
