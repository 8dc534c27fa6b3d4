"""The relay of the suites that kill the daemon: it takes its time now and then, so that kills find mails at every
stage."""

import base64
import dataclasses
import hashlib
import re
import threading
import time

import smtp

# Where a mail can be when the daemon is killed.
STAGES = ("rcpt", "data", "body", "dot", "answered")
# How long a mail that is waited for stays where it is.
LINGER_SECONDS = 0.03


class Mail(smtp.Message):
    def __post_init__(self):
        super().__post_init__()
        # Digest of each attached document, in order.
        self.documents = tuple(hashlib.sha256(content).hexdigest() for content in documents(self.raw))
        # Moments of its transaction. The daemon's final check of the account lies between the first two.
        self.asked_for_at, self.begun_at = self.transaction.asked_for_at, self.transaction.begun_at
        self.accepted_at = self.transaction.answering_at


def documents(raw):
    for part in re.split(rb"\r\n--[^\r\n]*\r\n", raw.partition(b"\r\n\r\n")[2]):
        about, _, content = part.partition(b"\r\n\r\n")
        if re.search(rb"(?i)^content-disposition:\s*attachment", about, re.M):
            yield base64.b64decode(content)


@dataclasses.dataclass
class Gate:
    """Mails that come to this stage set off the event, or wait for it."""

    stage: str
    event: threading.Event = dataclasses.field(default_factory=threading.Event)
    # How many wait.
    waiting: int = 0


class Sink(smtp.Server):
    def __init__(self, seed, spool):
        self.spool = open(spool, "wb")
        self.mails = []
        self.trap = None
        self.gate = None
        super().__init__(seed)

    def at(self, stage, transaction):
        trap, gate = self.trap, self.gate
        if gate and gate.stage == stage:
            with self.changed:
                gate.waiting += 1
            gate.event.wait()
        elif trap and trap.stage == stage:
            trap.event.set()
            time.sleep(LINGER_SECONDS)
        elif transaction.random.random() < 0.2:
            time.sleep(transaction.random.uniform(0, 0.02))

    def accept(self, transaction):
        for address in transaction.recipients:
            mail = Mail(address, transaction.raw, transaction)
            with self.changed:
                mail.queue_id = f"q{len(self.mails) + 1}"
                self.mails.append(mail)
                # A session may outlive the run that it belongs to.
                if not self.spool.closed:
                    self.spool.write(f"=== {mail.queue_id} to {mail.address}\r\n".encode() + mail.raw)
        return f"250 2.0.0 queued as {mail.queue_id}"

    def close(self):
        super().close()
        self.spool.close()

    def wait_for_a_mail_at(self, stage, seconds):
        """Until a mail is at this stage, where it stays for a moment."""
        self.trap = trap = Gate(stage)
        caught = trap.event.wait(seconds)
        self.trap = None
        return caught

    def close_gate(self, stage):
        """From now on no mail gets further than this stage."""
        self.gate = Gate(stage)
        return self.gate

    def open_gate(self):
        self.gate.event.set()
        self.gate = None
