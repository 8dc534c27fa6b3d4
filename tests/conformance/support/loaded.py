"""A daemon under constant load, and what an observer sees once all has ended."""

import contextlib
import threading
import time

from daemon import CONNECTIONS, PATIENCE_SECONDS, Admin, Daemon, relay
from evidence import Evidence
from load import Billing, Portal, Stopped, World
from sink import Sink
from suite import Broken


class Loaded:
    def __init__(
        self, directory, seed, count_of_accounts, portal_pauses, billing_pauses, sink=None, daemon=None, clock=time.monotonic
    ):
        """One portal and one billing system for each pause, which it makes between two events on average."""
        self.directory = directory
        self.sink = sink or Sink(seed, directory / "mails")
        self.daemon = daemon or Daemon(directory, relay(self.sink.port))
        self.world = World(seed, self.daemon, count_of_accounts, clock)
        accounts = list(self.world.accounts.values())
        self.portals = [
            Portal(self.world, f"portal{number}", accounts[number::len(portal_pauses)], pause)
            for number, pause in enumerate(portal_pauses)
        ]
        billings = [Billing(self.world, f"billing{number}", pause) for number, pause in enumerate(billing_pauses)]
        self.threads = [
            threading.Thread(target=self.guarded, args=[one], daemon=True) for one in (*self.portals, *billings)
        ]
        self.released = 0

    def begin_load(self):
        for thread in self.threads:
            thread.start()

    def guarded(self, one):
        try:
            one.run()
        except Stopped:
            pass
        except BaseException as error:
            self.world.surprise(f"{one.thread} failed: {error!r}")
            self.world.broken.set()
            raise

    def end_load(self):
        """With the daemon running, which is stopped once all mails have gone out."""
        self.world.ending.set()
        for thread in self.threads:
            thread.join(PATIENCE_SECONDS)
            if thread.is_alive():
                raise Broken(f"requests are not answered: {self.daemon.last_words()}")
        if self.world.broken.is_set():
            raise Broken(f"the load was broken off: {self.world.surprises}")
        with contextlib.suppress(Stopped):
            for portal in self.portals:
                portal.finish()
        self.let_all_end()
        self.daemon.stop()

    def let_all_end(self):
        """Until nothing is to be sent any more, or there is no progress: what stays, the observer finds."""
        admin, progress, since = Admin(self.daemon), None, time.monotonic()
        while time.monotonic() - since < PATIENCE_SECONDS / 2:
            released = admin.release_unknown()
            self.released += released
            states = ("parked", "waiting", "due", "sending")
            left = {one["number"]: state for state in states for one in admin.all("/v1/invoices", state=state)}
            if not left and not released:
                return
            if left != progress:
                progress, since = left, time.monotonic()
            time.sleep(0.2)

    def observe(self, kills):
        """What is there after one more start; `kills` are the moments of its deaths."""
        self.daemon.start()
        admin, world = Admin(self.daemon), self.world
        evidence = Evidence(
            accounts=world.accounts, invoices=world.invoices, surprises=world.surprises, mails=self.sink.mails,
            accounts_seen={account: admin.account(account) for account in world.accounts},
            invoices_seen={number: admin.invoice(one.account, number) for number, one in world.invoices.items()},
            listed={item["number"]: item["state"] for item in admin.all("/v1/invoices")},
            kills=kills, connections=CONNECTIONS,
        )
        self.daemon.stop()
        return evidence

    def end(self):
        self.world.broken.set()
        self.daemon.end()
        self.sink.close()
