"""The good client beside all others: signed account events and looks at the account, over kept connections, one
after the other, and how long each took.

It is a process of its own, so that what the suite does to be a nuisance does not slow down the clock as well. It is
told the name of each phase and answers once its connections are new; after the last one it tells what it measured.
"""

import collections
import http.client
import multiprocessing
import time
import types

import events
from daemon import Connection, Webhook
from setting import GOOD_PEER, TOKEN

CONNECTIONS = 2
PAUSE_SECONDS = 0.004
ACCOUNT, UNDISTURBED = "GOOD", "undisturbed"


class GoodClient:
    """The handle of the process."""

    def __init__(self, house):
        self.pipe, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("fork").Process(target=run, args=[theirs, house.address, house.admin])
        self.process.start()

    def phase(self, name):
        """What it measures from now on belongs to this."""
        self.pipe.send(name)
        self.pipe.recv()

    def results(self):
        """Ends it."""
        self.pipe.send(None)
        return self.pipe.recv()

    def end(self):
        self.process.kill()
        self.process.join()


def run(pipe, webhook_address, admin_address):
    # By phase: seconds by what was asked, in order; seconds of it; what is wrong.
    taken, lasted, failures = {}, collections.Counter(), []
    try:
        measure(pipe, webhook_address, admin_address, taken, lasted, failures)
    except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
        failures.append(repr(error))
        while (phase := pipe.recv()) is not None:
            pipe.send(phase)
    pipe.send((taken, lasted, failures))


def measure(pipe, webhook_address, admin_address, taken, lasted, failures):
    webhook, look = Webhook(types.SimpleNamespace(address=webhook_address)), Connection(GOOD_PEER)
    webhook.connection = Connection(GOOD_PEER)
    version, phase, began = 0, UNDISTURBED, time.monotonic()

    def push():
        event = events.event("account.updated", events.account(ACCOUNT, version, [f"v{version}@good.example"]))
        return webhook.event("portal", f"good_{version}", event)

    def see():
        return look.ask(admin_address, "GET", f"/v1/accounts/{ACCOUNT}", headers={"authorization": f"Bearer {TOKEN}"})

    while phase is not None:
        version += 1
        for what, ask in (("event", push), ("look", see)):
            asked = time.monotonic()
            status, answer = ask()
            taken.setdefault(phase, {"event": [], "look": []})[what].append(time.monotonic() - asked)
            if (status, answer.get("version")) != (200, version):
                failures.append(f"{phase}: {what}: {status} {answer}")
            time.sleep(PAUSE_SECONDS)
        if pipe.poll():
            now = time.monotonic()
            lasted[phase] += now - began
            phase, began = pipe.recv(), now
            # A connection may ask a limited number of times; the end of that must not fall into a phase.
            webhook.connection.close()
            look.close()
            if phase is not None:
                pipe.send(phase)
