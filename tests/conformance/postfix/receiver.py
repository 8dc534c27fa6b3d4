"""Where Postfix brings the mails: an SMTP server that accepts everything and forgets nothing.

Postfix puts one `Received` before a message and changes nothing else; what follows it is what the
daemon handed over, and Postfix's queue id in it tells a second copy of the daemon's from one that Postfix
itself brought twice.
"""

import collections
import dataclasses
import re

import smtp


@dataclasses.dataclass
class Copy(smtp.Message):
    """One message that was brought for one address, as the daemon handed it over. The queue id is Postfix's."""

    sender: str = ""
    # Postfix's: ESMTP, ESMTPS under TLS, ESMTPSA with AUTH.
    protocol: str = ""


class Receiver(smtp.Server):
    def __init__(self):
        # By invoice number and address, each queue id once.
        self.copies = collections.defaultdict(dict)
        self.count = 0
        # What Postfix brought although it had been accepted: it was stopped before it heard so.
        self.repeated_by_postfix = 0
        super().__init__()

    def accept(self, transaction):
        received = re.match(rb"Received: .*\r\n(?:[ \t].*\r\n)*", transaction.raw)
        by = re.search(rb"\bwith (\S+) id (\S+?)\s", received[0]) if received else None
        protocol, queue_id = (by[1].decode(), by[2].decode()) if by else ("none", "none")
        raw = transaction.raw[received.end():] if received else transaction.raw
        for address in transaction.recipients:
            copy = Copy(address, raw, transaction, queue_id, transaction.sender, protocol)
            with self.changed:
                known = self.copies[copy.number, address]
                self.repeated_by_postfix += queue_id in known
                self.count += queue_id not in known
                known[queue_id] = copy
                self.changed.notify_all()
        return "250 2.0.0 in the mailbox"

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
