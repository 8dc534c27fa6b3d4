"""The real daemon in a directory of its own: started, killed, stopped, asked at its admin socket."""

import base64
import contextlib
import http.client
import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import time
import urllib.parse

CONNECTIONS = 4
# How long anything may take, on a machine that is busy with something else. Nothing waits so long unless
# it is broken.
PATIENCE_SECONDS = 120

# All but the mail.
HOUSE = """
[state]
directory = "state"
reserve_bytes = 16_777_216
[webhook]
listen = "127.0.0.1:0"
[webhook.senders.portal]
secrets_file = "./portal-secrets"
may = ["accounts"]
[webhook.senders.billing]
secrets_file = "./billing-secrets"
may = ["invoices"]
[admin]
socket = "admin.sock"
[schedules.default]
cron = "* * * * * *"
time_zone = "UTC"
"""
CONFIGURATION = HOUSE + """
[mail]
from = "Muster Hosting <invoices@hosting.example>"
reply_to = "billing@hosting.example"
[mail.smtp]
host = "127.0.0.1"
port = {port}
connections = {connections}
[retry]
first_delay_seconds = 1
max_delay_seconds = 2
"""


class Broken(Exception):
    """The daemon did what no fault excuses: it did not start, did not end, or ended by itself."""


class Daemon:
    def __init__(self, program, directory, relay_port):
        self.program = program
        self.directory = pathlib.Path(directory)
        self.process = None
        # Of the one before, once it has ended.
        self.last_process_id = None
        self.notices = None
        self.address = None
        self.starts = 0
        # From exec to READY, the last time.
        self.start_seconds = 0.05
        self.log = self.directory / "log"
        self.log_begins = 0
        self.keys = {}
        # What starts the program in its place, and as whom.
        self.through = []
        self.user = None
        self.state = self.directory / "state"
        self.state.mkdir()
        for sender in ("portal", "billing"):
            # What they are does not matter, so they need not come from the system.
            self.keys[sender] = random.Random(sender).randbytes(32)
            secret = "whsec_" + base64.b64encode(self.keys[sender]).decode()
            (self.directory / f"{sender}-secrets").write_text(secret + "\n")
        self.configuration = self.directory / "invoice-router.toml"
        self.configuration.write_text(CONFIGURATION.format(port=relay_port, connections=CONNECTIONS))

    def spawn(self):
        """Starts it; it opens its store now, and is not ready yet."""
        assert self.process is None
        self.starts += 1
        # Each start has a socket of its own: a notice of the one before must not pass for one of this.
        path = self.directory / f"notify.{self.starts}"
        self.notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notices.bind(str(path))
        if self.user:
            os.chown(path, self.user, self.user)
        environment = {**os.environ, "NOTIFY_SOCKET": str(path), "RUST_BACKTRACE": "0"}
        for name in ("WATCHDOG_USEC", "WATCHDOG_PID", "CREDENTIALS_DIRECTORY"):
            environment.pop(name, None)
        with open(self.log, "ab") as log:
            self.log_begins = log.tell()
            self.process = subprocess.Popen(
                [*self.through, *self.command("serve")], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=environment, **self.identity(),
            )

    def command(self, *words):
        return [self.program, "--config", self.configuration, *words]

    def identity(self):
        return {"user": self.user, "group": self.user, "extra_groups": []} if self.user else {}

    def is_ready(self, wait_seconds):
        """Whether it says so within this time."""
        self.notices.settimeout(wait_seconds)
        # With a time-out of 0 the error is that it would block.
        with contextlib.suppress(TimeoutError, BlockingIOError):
            while b"READY=1" not in self.notices.recv(4096):
                pass
            return True
        return False

    def start(self):
        code = self.start_or_end()
        if code is not None:
            self.ended_by_itself(f"with {code} before it was ready")

    def start_or_end(self):
        """Until it is ready; if it ends instead, with what."""
        begun = time.monotonic()
        self.spawn()
        while not self.is_ready(0.1):
            if self.process.poll() is not None:
                return self.wait()
            if time.monotonic() - begun > PATIENCE_SECONDS:
                raise Broken(f"start {self.starts} is not ready after {PATIENCE_SECONDS} s: {self.last_words()}")
        self.start_seconds = time.monotonic() - begun
        said = re.search(r'"webhook.address":"127.0.0.1:(\d+)"', self.words())
        if not said:
            raise Broken(f"start {self.starts} is ready without a word of its address: {self.last_words()}")
        self.address = ("127.0.0.1", int(said[1]))
        return None

    def wait(self, seconds=PATIENCE_SECONDS):
        """Until it ends by itself: with what. Nothing if it does not."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        self.gone()
        return code

    def kill(self):
        """Pulls the plug. Says whether it was still opening its store."""
        self.process.kill()
        code = self.process.wait()
        if code != -signal.SIGKILL:
            self.ended_by_itself(f"with {code}")
        was_opening = self.address is None and not self.is_ready(0)
        self.gone()
        return was_opening

    def stop(self):
        """Stops it as a service manager does."""
        self.process.terminate()
        code = self.wait()
        if code is None:
            raise Broken(f"SIGTERM does not stop it: {self.last_words()}")
        if code != 0:
            self.ended_by_itself(f"with {code} on SIGTERM")

    def end(self):
        """Leaves nothing behind, whatever happened."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.gone()

    def gone(self):
        self.last_process_id = self.process.pid
        self.process = None
        self.address = None
        self.notices.close()
        (self.directory / f"notify.{self.starts}").unlink()

    def admin_port(self):
        """Where it listens apart from the webhook: it took a free port, and does not log which."""
        ports = self.listening_ports() - {self.address[1]}
        if len(ports) != 1:
            raise Broken(f"beside the webhook it listens at {sorted(ports)}")
        return ports.pop()

    def listening_ports(self):
        inodes, ports = set(), set()
        for link in pathlib.Path(f"/proc/{self.process.pid}/fd").iterdir():
            # What it has open for a moment may be gone again.
            with contextlib.suppress(FileNotFoundError):
                inodes.update(re.findall(r"socket:\[(\d+)\]", str(link.readlink())))
        for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            address, state, inode = fields[1], fields[3], fields[9]
            if state == "0A" and inode in inodes:
                ports.add(int(address.split(":")[1], 16))
        return ports

    def errors(self):
        """What it logged as faults of its own since it was started."""
        return [line for line in self.words().splitlines() if '"level":"ERROR"' in line or "panicked" in line]

    def ended_by_itself(self, how):
        raise Broken(f"start {self.starts} ended {how}: {self.last_words()}")

    def words(self):
        with open(self.log, "rb") as log:
            log.seek(self.log_begins)
            return log.read().decode(errors="replace")

    def last_words(self):
        return self.words()[-3000:]


class Admin:
    """The admin interface, over its Unix socket."""

    def __init__(self, daemon):
        self.path = str(daemon.directory / "admin.sock")
        self.connection = None

    def ask(self, method, path, body=None):
        """Status and answer; the connection is made anew if the daemon closed it."""
        for last in (False, True):
            if self.connection is None:
                self.connection = http.client.HTTPConnection("localhost")
                self.connection.sock = socket.socket(socket.AF_UNIX)
                self.connection.sock.settimeout(PATIENCE_SECONDS)
                self.connection.sock.connect(self.path)
            try:
                body_bytes = None if body is None else json.dumps(body)
                self.connection.request(method, path, body_bytes, {"content-type": "application/json"})
                answer = self.connection.getresponse()
                return answer.status, json.loads(answer.read())
            except (http.client.HTTPException, ConnectionError):
                self.connection.close()
                self.connection = None
                if last:
                    raise

    def known(self, path):
        """What is there, or nothing."""
        status, answer = self.ask("GET", path)
        if status not in (200, 404):
            raise Broken(f"GET {path}: {status} {answer}")
        return answer if status == 200 else None

    def account(self, account):
        return self.known(f"/v1/accounts/{quoted(account)}")

    def invoice(self, account, number):
        return self.known(f"/v1/accounts/{quoted(account)}/invoices/{quoted(number)}")

    def all(self, path, **filters):
        """Every item of a list, page by page."""
        cursor = None
        while True:
            more = {"limit": 500, **filters, **({"cursor": cursor} if cursor else {})}
            page = self.known(f"{path}?{urllib.parse.urlencode(more)}")
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def release(self, account, number):
        return self.ask("POST", f"/v1/accounts/{quoted(account)}/invoices/{quoted(number)}/release", {"now": True})


def quoted(part):
    return urllib.parse.quote(part, safe="")
