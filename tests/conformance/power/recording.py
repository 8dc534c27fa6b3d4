"""Runs the real daemon under strace while senders push and a relay takes mails, with stops in between.

What was promised is noted with the moment at which its receiver knew: events and documents by the answer, attempts
by the first byte of a message, outcomes by the relay's reply.
"""

import collections
import dataclasses
import functools
import math
import pickle
import shutil
import signal
import time

import calls
import images
import smtp
from daemon import Daemon, relay
from head import head
from loaded import Loaded
from suite import Broken

# Some invoices wait until the end.
SCHEDULES = {
    "schedules.default": {"cron": "*/2 * * * * *"}, "schedules.yearly": {"cron": "0 5 1 1 *", "time_zone": "UTC"},
}
# Where no relay is.
NO_RELAY = relay(1)

# How each run of the daemon ends, and after how many seconds.
STOPS = ((2.5, signal.SIGKILL), (2.5, signal.SIGTERM), (1.5, signal.SIGKILL), (1.5, signal.SIGTERM))
# How long a start after a cut is recorded, from when it is ready.
RECOVERY_SECONDS = 0.3
ACCOUNTS = 24
# So many changes that the database writes anew where it has written before; so few invoices that the check of an image
# stays short.
PORTAL_PAUSES, BILLING_PAUSES = [0.005] * 2, [0.06] * 2


@dataclasses.dataclass
class Facts:
    """What is known outside of the daemon. Moments are in seconds of CLOCK_REALTIME."""

    accounts: dict
    invoices: dict
    # Every attempt that was acknowledged.
    pushed: list
    mails: list
    # Begin and readiness of each run.
    starts: list

    @functools.cached_property
    def documents(self):
        """Each document whose bytes were handed over, by its digest: they, and when they were first acknowledged."""
        found = collections.defaultdict(lambda: (None, math.inf))
        for one in self.pushed:
            for digest, content in one.documents.items():
                found[digest] = content, min(one.answered_at, found[digest][1])
        return found

    def acknowledgements(self):
        """Every moment at which a client or the relay learnt something."""
        found = [one.answered_at for one in self.pushed]
        found += [mail[what] for mail in self.mails for what in ("first_byte", "answered") if mail[what]]
        return found + [invoice.held_at for invoice in self.invoices.values() if invoice.held_at < math.inf]


class Recording:
    """One recording in a directory of its own: `trace.N`, `after.N`, `facts`."""

    def __init__(self, directory):
        self.directory = directory
        self.state = directory / "state"

    def history(self):
        runs = range(len(STOPS))
        root = (self.directory / "root").read_text()
        return calls.read(
            [self.directory / f"trace.{run}" for run in runs], root, [self.directory / f"after.{run}" for run in runs]
        )

    def facts(self):
        return pickle.loads((self.directory / "facts").read_bytes())

    def record(self, sockets, seed):
        self.directory.mkdir()
        (self.directory / "root").write_text(str(self.state))
        load = Load(self.directory, seed, sockets)
        try:
            facts = load.whole()
        finally:
            load.end()
        (self.directory / "facts").write_bytes(pickle.dumps(facts))


class Sink(smtp.Server):
    """A relay that notes when the first byte of each message came and when it answered the last."""

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


class Load(Loaded):
    """Senders go on asking until they are answered, by the next run of the daemon if need be."""

    def __init__(self, directory, seed, sockets):
        sink = Sink(seed)
        daemon = Daemon(directory, SCHEDULES, relay(sink.port), sockets=sockets)
        super().__init__(directory, seed, ACCOUNTS, PORTAL_PAUSES, BILLING_PAUSES, sink, daemon, time.time)
        self.world.schedules = ("default",) * 4 + ("yearly",)
        # Of one page, of some, and of many.
        self.world.document_bytes = ((700, 12_000),) * 20 + ((30_000, 30_000),) * 8 + ((250_000, 250_000),)
        self.world.held, self.world.overtaken = 0.06, 0
        self.world.attempts = []

    def whole(self):
        starts = []
        self.begin_load()
        for run, (seconds, stop) in enumerate(STOPS):
            self.daemon.through = calls.recorded(self.directory / f"trace.{run}")
            began = time.time()
            self.daemon.start()
            starts.append([began, time.time()])
            time.sleep(seconds)
            self.daemon.check_running()
            if stop == signal.SIGTERM:
                self.daemon.stop()
            self.daemon.end()
            shutil.copytree(self.daemon.state, self.directory / f"after.{run}")
        self.world.broken.set()
        for thread in self.threads:
            thread.join()
        if self.world.surprises:
            raise Broken("\n".join(self.world.surprises))
        pushed = [one for one in self.world.attempts if one.is_acknowledged]
        return Facts(self.world.accounts, self.world.invoices, pushed, list(self.sink.mails()), starts)


class Recovery:
    """A start after a cut, recorded: the power may fail again in it."""

    def __init__(self, directory):
        self.directory = directory

    def is_complete(self):
        return (self.directory / "after").exists()

    def record(self, sockets, image):
        shutil.rmtree(self.directory, ignore_errors=True)
        state = self.directory / "state"
        images.write(image, self.directory / "before")
        shutil.copytree(self.directory / "before", state)
        (self.directory / "root").write_text(str(state))
        daemon = Daemon(self.directory, SCHEDULES, NO_RELAY, options=["--paused"], sockets=sockets)
        daemon.through = calls.recorded(self.directory / "trace")
        try:
            daemon.start()
            time.sleep(RECOVERY_SECONDS)
            daemon.check_running()
        finally:
            daemon.end()
        shutil.copytree(state, self.directory / "after")

    def history(self):
        root = (self.directory / "root").read_text()
        before = images.read(self.directory / "before")
        return calls.read([self.directory / "trace"], root, [self.directory / "after"], before)
