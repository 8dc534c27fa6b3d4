"""Where Postfix brings the mails: an SMTP server that accepts everything and forgets nothing.

Postfix puts one `Received` before a message and changes nothing else; what stands behind it is what the
daemon handed over, and Postfix's queue id in it tells a second copy of the daemon's from one that Postfix
itself brought twice.
"""

import collections
import contextlib
import dataclasses
import hashlib
import re
import socket
import threading

from head import head


@dataclasses.dataclass(frozen=True)
class Copy:
    """One message that was brought for one address."""

    address: str
    sender: str
    # Postfix's, and its protocol: ESMTP, ESMTPS under TLS, ESMTPSA with AUTH.
    queue_id: str
    protocol: str
    message_id: str
    number: str
    # The message as the daemon handed it over, and its digest.
    raw: bytes = dataclasses.field(repr=False)
    digest: str


class Receiver:
    def __init__(self):
        self.changed = threading.Condition()
        # By invoice number and address, each queue id once.
        self.copies = collections.defaultdict(dict)
        self.count = 0
        # What is said to a recipient instead; as a filter before Postfix's queue it says so to the daemon.
        self.refusals = {}
        # What Postfix brought although it had been accepted: it was stopped before it heard so.
        self.repeated_by_postfix = 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.listening = threading.Thread(target=self.listen, daemon=True)
        self.listening.start()

    def listen(self):
        # Shutting the listener down is what ends this.
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=Session(self, connection).run, daemon=True).start()

    def close(self):
        # Only closed, its number would go to the next listener, and the thread take that one's connections.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listening.join()
        self.listener.close()

    def accept(self, copy):
        with self.changed:
            known = self.copies[copy.number, copy.address]
            self.repeated_by_postfix += copy.queue_id in known
            self.count += copy.queue_id not in known
            known[copy.queue_id] = copy
            self.changed.notify_all()

    def copies_of(self, number, address):
        with self.changed:
            return list(self.copies.get((number, address), {}).values())

    def of_number(self, number):
        """The copies of an invoice, by address."""
        with self.changed:
            return {address: list(copies.values()) for (of, address), copies in self.copies.items() if of == number}

    def wait_for(self, count, seconds):
        """Until there are so many copies; says whether there are."""
        with self.changed:
            return self.changed.wait_for(lambda: self.count >= count, seconds)


class Session:
    """One connection of Postfix's smtp client."""

    def __init__(self, receiver, connection):
        self.receiver = receiver
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection = connection
        self.stream = connection.makefile("rb")

    def run(self):
        # Postfix is killed now and then.
        with self.connection, contextlib.suppress(OSError):
            self.say("220 mailbox.example ESMTP")
            self.converse()

    def say(self, line):
        self.connection.sendall(line.encode() + b"\r\n")

    def converse(self):
        sender, recipients = "", []
        while line := self.stream.readline(4096):
            command = line.decode("ascii", "replace").strip()
            verb = command.split(" ", 1)[0].upper()
            if verb == "EHLO":
                self.say("250-mailbox.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 104857600")
            elif verb == "MAIL":
                sender, recipients = re.search(r"<([^>]*)>", command)[1], []
                self.say("250 2.1.0 ok")
            elif verb == "RCPT":
                address = re.search(r"<([^>]*)>", command)[1]
                refusal = self.receiver.refusals.get(address)
                if refusal is None:
                    recipients.append(address)
                self.say(refusal or "250 2.1.5 ok")
            elif verb == "DATA" and not recipients:
                self.say("554 5.5.1 no valid recipients")
            elif verb == "DATA":
                self.say("354 go ahead")
                raw = self.message()
                for address in recipients:
                    self.receiver.accept(read(raw, address, sender))
                self.say("250 2.0.0 in the mailbox")
            elif verb == "QUIT":
                self.say("221 2.0.0 bye")
                return
            elif verb in ("NOOP", "RSET"):
                self.say("250 2.0.0 ok")
            else:
                self.say("502 5.5.1 what?")

    def message(self):
        lines = []
        while (line := self.stream.readline()) != b".\r\n":
            if not line.endswith(b"\n"):
                raise ConnectionError("the message breaks off")
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines)


def read(raw, address, sender):
    received = re.match(rb"Received: .*\r\n(?:[ \t].*\r\n)*", raw)
    by = re.search(rb"\bwith (\S+) id (\S+?)\s", received[0]) if received else None
    handed_over = raw[received.end():] if received else raw
    fields = head(handed_over)
    return Copy(
        address=address, sender=sender, queue_id=by[2].decode() if by else "none",
        protocol=by[1].decode() if by else "none",
        message_id=fields["Message-ID"].strip("<>"), number=fields["X-Invoice-Number"], raw=handed_over,
        digest=hashlib.sha256(handed_over).hexdigest(),
    )
