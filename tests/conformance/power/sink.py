"""A relay that notes when the first byte of each message came and when it answered the last."""

import time

import smtp
from head import head


class Sink(smtp.Server):
    # As the trace has it.
    clock = staticmethod(time.time)

    def __init__(self, seed):
        self.transactions = []
        super().__init__(seed)

    def at(self, stage, transaction):
        if stage == "body":
            with self.changed:
                self.transactions.append(transaction)
        elif stage == "dot":
            time.sleep(transaction.random.random() * 0.03)
            fate = transaction.random.random()
            if fate < 0.02:
                raise ConnectionError("cut")
            return "451 4.3.0 later" if fate < 0.06 else None

    def mails(self):
        """Of each message that came so far that it has its number."""
        for one in self.transactions:
            fields = head(one.raw)
            if fields.has("X-Invoice-Number"):
                yield {
                    "address": one.recipients[-1], "connection": one.connection, "number": fields["X-Invoice-Number"],
                    "code": one.code, "first_byte": one.begun_at, "answering": one.answering_at,
                    "answered": one.answered_at,
                }
