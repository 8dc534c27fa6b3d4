"""The good client beside all others: signed account events and looks at the account, over kept connections, one
after the other, and how long each took.

It is a process of its own, so that what the suite does to be a nuisance does not slow down the clock as well. It is
told of each phase by a line with its name and answers with the same line once its connections are new; at the end of
its input it prints what it measured.
"""

import base64
import collections
import json
import pathlib
import subprocess
import sys
import threading
import time

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import asking
import wire
from setting import GOOD_PEER, TOKEN

CONNECTIONS = 2
PAUSE_SECONDS = 0.004
# What does not come by then does not come.
PATIENCE_SECONDS = 30
ACCOUNT, UNDISTURBED = "GOOD", "undisturbed"


class Client:
    def __init__(self, keys, webhook, admin):
        self.senders = asking.Senders(keys, "good")
        self.addresses = {"event": webhook, "look": admin}
        self.connections = {}
        for what in self.addresses:
            self.connect(what)
        self.version = 0
        # By phase and by what was asked: seconds, in order.
        self.taken = collections.defaultdict(lambda: {"event": [], "look": []})
        # By phase: seconds of it.
        self.lasted = collections.Counter()
        self.failures = []

    def run(self, phases):
        phase, began = UNDISTURBED, time.monotonic()
        while phase is not None:
            self.version += 1
            event = self.senders.event(ACCOUNT, self.version)
            look = asking.get(f"/v1/accounts/{ACCOUNT}", TOKEN)
            for what, request in (("event", event.whole()), ("look", look)):
                answer, seconds = self.ask(what, request)
                self.taken[phase][what].append(seconds)
                if answer.status != 200 or answer.json["version"] != self.version:
                    self.failures.append(f"{phase}: {what}: {answer.status} {answer.body[:300]}")
                time.sleep(PAUSE_SECONDS)
            if phases:
                now = time.monotonic()
                self.lasted[phase] += now - began
                phase, began = phases.popleft(), now
                self.renew()
                if phase is not None:
                    print(phase, flush=True)

    def ask(self, what, request):
        """The answer, and after how many seconds. A kept connection may have been closed meanwhile (RFC 9112, section
        9.5); then it is asked once more, on a new one."""
        began = time.monotonic()
        was_kept = what in self.connections
        if not was_kept:
            self.connect(what)
        heard = wire.converse(self.connections[what], [request], 1, PATIENCE_SECONDS)
        seconds = time.monotonic() - began
        answer = heard.answers[0] if heard.answers else None
        if answer is None or answer.fields.get("connection") == "close":
            self.connections.pop(what).close()
        if answer is None and heard.closed and was_kept:
            answer, more_seconds = self.ask(what, request)
            seconds += more_seconds
        if answer is None:
            raise ConnectionError(f"{what}: no answer after {seconds:.1f} s")
        return answer, seconds

    def connect(self, what):
        self.connections[what] = wire.connect(self.addresses[what], GOOD_PEER)

    def renew(self):
        """A connection may ask a limited number of times; the end of that must not fall into a phase."""
        for what in self.addresses:
            if what in self.connections:
                self.connections.pop(what).close()
            self.connect(what)


def main():
    setting = json.loads(sys.argv[1])
    keys = {name: base64.b64decode(key) for name, key in setting["keys"].items()}
    client = Client(keys, tuple(setting["webhook"]), tuple(setting["admin"]))
    phases = collections.deque()

    def listen():
        for line in sys.stdin:
            phases.append(line.rstrip("\n"))
        phases.append(None)

    threading.Thread(target=listen, daemon=True).start()
    try:
        client.run(phases)
    except (OSError, ValueError, KeyError, wire.Garbled) as error:
        client.failures.append(repr(error))
    print(json.dumps({"taken": client.taken, "lasted": client.lasted, "failures": client.failures}))


class GoodClient:
    """The handle of the process."""

    def __init__(self, house):
        keys = {name: base64.b64encode(key).decode() for name, key in house.keys.items()}
        setting = json.dumps({"keys": keys, "webhook": house.address, "admin": house.admin})
        self.process = subprocess.Popen(
            [sys.executable, "-B", __file__, setting], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        self.said = ""

    def phase(self, name):
        """What it measures from now on belongs to this."""
        # Once it has given up, it says so instead, and nothing more.
        if not self.said:
            self.process.stdin.write(name + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
            self.said = line if line != name + "\n" else ""

    def results(self):
        """Ends it."""
        self.process.stdin.close()
        return json.loads(self.said or self.process.stdout.readline())

    def end(self):
        self.process.kill()
        self.process.wait()


if __name__ == "__main__":
    main()
