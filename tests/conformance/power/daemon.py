"""The real program as a process, and what its senders and operators do to it over HTTP."""

import base64
import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

import signing

PATIENCE_SECONDS = 60
SENDERS = ("portal", "billing")
# Where no relay is.
CLOSED_PORT = 1

CONFIGURATION = """
[state]
directory = "{state}"
reserve_bytes = 16_777_216
[webhook]
listen = "127.0.0.1:0"
[webhook.senders.portal]
secrets_file = "{secrets}/portal"
may = ["accounts"]
[webhook.senders.billing]
secrets_file = "{secrets}/billing"
may = ["invoices"]
[admin]
socket = "{sockets}/admin.sock"
[schedules.default]
cron = "*/2 * * * * *"
time_zone = "UTC"
[schedules.yearly]
cron = "0 5 1 1 *"
time_zone = "UTC"
[mail]
from = "Muster Hosting <invoices@hosting.example>"
reply_to = "billing@hosting.example"
[mail.smtp]
host = "127.0.0.1"
port = {relay_port}
[retry]
first_delay_seconds = 1
max_delay_seconds = 2
"""


class StartFailed(Exception):
    """Or it did not run on, or not stop well."""


class Secrets:
    """One for each sender, in files that all daemons share."""

    def __init__(self, directory, random):
        self.directory = directory
        self.keys = {}
        directory.mkdir()
        for sender in SENDERS:
            self.keys[sender] = random.randbytes(32)
            (directory / sender).write_text("whsec_" + base64.b64encode(self.keys[sender]).decode() + "\n")

    def headers(self, sender, webhook_id, payload):
        return signing.headers(self.keys[sender], webhook_id, payload)


class Daemon:
    """One run of the program. `tracer` stands before its command line."""

    def __init__(self, program, directory, sockets, secrets, relay_port, tracer=(), options=()):
        self.directory, self.sockets, self.program = directory, sockets, program
        self.configuration = directory / "invoice-router.toml"
        self.configuration.write_text(
            CONFIGURATION.format(
                state=directory / "state", secrets=secrets.directory, sockets=sockets, relay_port=relay_port
            )
        )
        self.log = directory / "log"
        self.command = [*tracer, program, "--config", self.configuration, "serve", *options]
        self.is_traced = bool(tracer)

    def start(self):
        """Returns once it is ready."""
        notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = self.sockets / "notify.sock"
        path.unlink(missing_ok=True)
        notices.bind(str(path))
        notices.settimeout(0.02)
        with open(self.log, "ab") as log:
            before = log.tell()
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "NOTIFY_SOCKET": str(path)},
            )
        give_up = time.monotonic() + PATIENCE_SECONDS
        try:
            while True:
                try:
                    if b"READY=1" in notices.recv(4096):
                        break
                except TimeoutError:
                    pass
                if self.process.poll() is not None:
                    raise StartFailed(f"exit code {self.process.returncode}: {self.said()[-2000:]}")
                if time.monotonic() > give_up:
                    self.kill()
                    raise StartFailed(f"not ready after {PATIENCE_SECONDS} s: {self.said()[-2000:]}")
        finally:
            notices.close()
        self.address = re.search(r'"webhook.address":"([^"]+)"', self.said()[before:])[1]

    def said(self):
        return self.log.read_text(errors="replace")

    def errors(self):
        return [line for line in self.said().splitlines() if '"level":"ERROR"' in line or "panicked" in line]

    def check_running(self):
        if self.process.poll() is not None:
            raise StartFailed(f"it ended by itself with {self.process.returncode}: {self.said()[-2000:]}")

    def signal(self, number):
        """To the program itself, not to its tracer."""
        os.kill(child_of(self.process.pid) if self.is_traced else self.process.pid, number)

    def kill(self):
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.signal(signal.SIGKILL)
            self.process.wait(PATIENCE_SECONDS)

    def stop(self):
        self.signal(signal.SIGTERM)
        if self.process.wait(PATIENCE_SECONDS) != 0:
            raise StartFailed(f"it stopped with {self.process.returncode}: {self.said()[-2000:]}")


def child_of(parent):
    for process in pathlib.Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                if int((process / "stat").read_text().rsplit(")", 1)[1].split()[1]) == parent:
                    return int(process.name)
            except OSError:
                pass
    raise ProcessLookupError(parent)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=PATIENCE_SECONDS)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class Client:
    """A keep-alive connection to the webhook and one to the admin socket."""

    def __init__(self, secrets, sockets):
        self.secrets, self.sockets = secrets, sockets
        self.address = self.webhook = self.admin = None

    def connect(self, address):
        self.close()
        self.address = address
        self.webhook = http.client.HTTPConnection(address, timeout=PATIENCE_SECONDS)
        self.admin = UnixConnection(self.sockets / "admin.sock")

    def close(self):
        if self.address:
            self.webhook.close()
            self.admin.close()
            self.address = None

    def event(self, sender, webhook_id, body):
        headers = {"content-type": "application/json", **self.secrets.headers(sender, webhook_id, body)}
        return self.call(self.webhook, "POST", "/v1/events", body, headers)

    def document(self, webhook_id, digest, content):
        headers = self.secrets.headers("billing", webhook_id, digest.encode())
        return self.call(self.webhook, "PUT", f"/v1/documents/{digest}", content, headers)

    def get(self, path):
        status, answer = self.call(self.admin, "GET", path, None, {})
        if status != 200:
            raise http.client.HTTPException(f"GET {path}: {status} {answer}")
        return answer

    def items(self, path):
        cursor = ""
        while cursor is not None:
            page = self.get(f"{path}?limit=500" + (f"&cursor={cursor}" if cursor else ""))
            yield from page["items"]
            cursor = page["next_cursor"]

    def hold(self, account, number):
        path = f"/v1/accounts/{account}/invoices/{number}/hold"
        return self.call(self.admin, "POST", path, b'{"reason": "by the test"}', {"content-type": "application/json"})

    @classmethod
    def call(cls, connection, method, path, body, headers):
        """A connection that was left idle for too long may have been closed (RFC 9112, section 9.5): then it is asked
        again on a new one. Nothing that is asked here has an effect twice."""
        was_kept = connection.sock is not None
        try:
            return cls.ask(connection, method, path, body, headers)
        except ConnectionError:
            connection.close()
            if not was_kept:
                raise
        return cls.ask(connection, method, path, body, headers)

    @staticmethod
    def ask(connection, method, path, body, headers):
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
