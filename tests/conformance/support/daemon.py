"""The real daemon in a directory of its own: started, killed, stopped, asked at its interfaces."""

import base64
import contextlib
import hashlib
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

import events
from suite import Broken, program, wait_until

CONNECTIONS = 4
# How long anything may take, on a machine that is busy with something else. Nothing waits so long unless
# it is broken.
PATIENCE_SECONDS = 120
# What they are does not matter, so they need not come from the system.
KEYS = {sender: random.Random(sender).randbytes(32) for sender in ("portal", "billing")}

# The configuration, by table. A suite changes of it what it needs.
TABLES = {
    "state": {"directory": "state", "reserve_bytes": 16_777_216},
    "webhook": {"listen": "127.0.0.1:0"},
    "webhook.senders.portal": {"secrets_file": "./portal-secrets", "may": ["accounts"]},
    "webhook.senders.billing": {"secrets_file": "./billing-secrets", "may": ["invoices"]},
    "admin": {},
    "schedules.default": {"cron": "* * * * * *", "time_zone": "UTC"},
    "mail": {"from": "Muster Hosting <invoices@hosting.example>", "reply_to": "billing@hosting.example"},
}
FILES = {"mail": {"transport": "file"}, "mail.file": {"directory": "mail"}}
# Why such an invoice is held.
UNKNOWN = "the outcome of three attempts is unknown"
# The schedule does not fire for years.
NEVER = {"schedules.default": {"cron": "0 0 29 2 *"}}


def relay(port, **settings):
    return {
        "mail.smtp": {"host": "127.0.0.1", "port": port, "connections": CONNECTIONS, **settings},
        "retry": {"first_delay_seconds": 1, "max_delay_seconds": 2},
    }


def token(directory, token):
    """The admin interface at an address as well, for whoever has this token."""
    digest = hashlib.sha256(token.encode()).hexdigest()
    (directory / "tokens").write_text(f"suite operate {digest}\n")
    return {"admin": {"listen": "127.0.0.1:0", "tokens_file": str(directory / "tokens")}}


def toml(*changes):
    tables = {}
    for change in changes:
        for name, settings in change.items():
            tables[name] = {**tables.get(name, {}), **settings}
    return "".join(
        f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
        for name, settings in tables.items()
    )


class Daemon:
    """Stopped with its `with` block, if there is one. `changes` are those of the configuration,
    `options` those of `serve`, `sockets` another directory for sockets, whose paths have at most 107 bytes, and
    `executable` another program than that of the proofs."""

    def __init__(self, directory, *changes, options=(), sockets=None, executable=None):
        self.program = executable or program()
        self.directory = pathlib.Path(directory)
        self.sockets = sockets or self.directory
        self.admin_socket = self.sockets / "admin.sock"
        self.options = options
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
        # What starts the program in its place, and as whom.
        self.through = []
        self.user = None
        self.state = self.directory / "state"
        self.state.mkdir(parents=True, exist_ok=True)
        for sender, key in KEYS.items():
            self.secret_file(sender).write_text("whsec_" + base64.b64encode(key).decode() + "\n")
        self.configuration = self.directory / "invoice-router.toml"
        self.configuration.write_text(toml(TABLES, {"admin": {"socket": str(self.admin_socket)}}, *changes))

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, kind, *_):
        try:
            # Stopping it well is one more thing to be seen, unless something failed before.
            if kind is None and self.process:
                self.stop()
        finally:
            self.end()

    @property
    def url(self):
        return "http://%s:%d" % self.address

    def secret_file(self, sender):
        return self.directory / f"{sender}-secrets"

    def spawn(self):
        """Starts it; it opens its store now, and is not ready yet."""
        assert self.process is None
        self.starts += 1
        # Each start has a socket of its own: a notice of the one before must not pass for one of this.
        path = self.sockets / f"notify.{self.starts}"
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
                [*self.through, *self.command("serve", *self.options)], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, env=environment, **self.identity(),
            )

    def command(self, *words):
        return [self.program, "--config", self.configuration, *words]

    def run(self, *words):
        """One of the commands, as an operator gives it."""
        return subprocess.run(
            self.command(*words), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_SECONDS,
            check=False, **self.identity(),
        )

    def ask(self, *words):
        """What a command says, as JSON."""
        ran = self.run("--json", *words)
        if ran.returncode:
            raise Broken(f"{words}: {ran.returncode} {ran.stderr}")
        return json.loads(ran.stdout)

    def settled(self, account, number, state="delivered"):
        """The invoice, once it is so."""
        def invoice():
            return self.ask("invoice", account, number)

        if not wait_until(lambda: invoice()["state"] == state, PATIENCE_SECONDS, 0.1):
            raise Broken(f"{account} {number} is {invoice()['state']} and not {state}")
        return invoice()

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
        self.signal(signal.SIGKILL)
        code = self.process.wait()
        if code != -signal.SIGKILL:
            self.ended_by_itself(f"with {code}")
        was_opening = self.address is None and not self.is_ready(0)
        self.gone()
        return was_opening

    def stop(self):
        """Stops it as a service manager does."""
        self.signal(signal.SIGTERM)
        code = self.wait()
        if code is None:
            raise Broken(f"SIGTERM does not stop it: {self.last_words()}")
        if code != 0:
            self.ended_by_itself(f"with {code} on SIGTERM")

    def end(self):
        """Leaves nothing behind, whatever happened."""
        if self.process is not None:
            self.signal(signal.SIGKILL)
            self.process.wait()
            self.gone()

    def signal(self, number):
        """To the program itself: what starts it may stay its parent."""
        if self.process.poll() is None:
            parent = self.process.pid
            children = pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
            os.kill(int(children[0]) if children else parent, number)

    def check_running(self):
        if self.process.poll() is not None:
            self.ended_by_itself(f"with {self.process.returncode}")

    def gone(self):
        self.last_process_id = self.process.pid
        self.process = None
        self.address = None
        self.notices.close()
        (self.sockets / f"notify.{self.starts}").unlink()

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


class Connection:
    """Kept from one request to the next, and made anew if the daemon closed it meanwhile (RFC 9112, section 9.5):
    nothing that the suites ask has an effect twice."""

    def __init__(self, source=None):
        # From which address of the loopback it comes.
        self.source = source
        self.place = self.http = None
        # What the last answer said of it.
        self.retry_after = None

    def ask(self, place, method, path, body=None, headers=None):
        """Status and answer of that address or socket."""
        if place is None:
            raise ConnectionRefusedError("the daemon does not run")
        if place != self.place:
            self.close()
            self.place, self.http = place, Http(place, self.source)
        was_kept = self.http.sock is not None
        try:
            self.http.request(method, path, body, headers or {})
            answer = self.http.getresponse()
            self.retry_after = answer.getheader("retry-after")
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException) as error:
            self.http.close()
            if not was_kept or isinstance(error, TimeoutError):
                raise
        return self.ask(place, method, path, body, headers)

    def close(self):
        if self.http:
            self.http.close()
        self.place = self.http = None


class Http(http.client.HTTPConnection):
    """To an address or a Unix socket."""

    def __init__(self, place, source):
        self.place = place
        address = place if isinstance(place, tuple) else ("localhost",)
        super().__init__(*address, timeout=PATIENCE_SECONDS, source_address=source and (source, 0))

    def connect(self):
        if isinstance(self.place, tuple):
            super().connect()
        else:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(self.timeout)
            self.sock.connect(str(self.place))


class Webhook:
    """One who pushes to it."""

    def __init__(self, daemon):
        self.daemon, self.connection = daemon, Connection()

    def event(self, sender, name, body):
        """Status and answer; `name` is the webhook-id."""
        return self.push(sender, name, "POST", "/v1/events", body, body)

    def document(self, name, content):
        digest = events.digest(content)
        return self.push("billing", name, "PUT", f"/v1/documents/{digest}", digest.encode(), content)

    def push(self, sender, name, method, path, signed, body):
        headers = {"content-type": "application/json" if method == "POST" else "application/octet-stream"}
        headers |= events.signed(KEYS[sender], name, signed)
        return self.connection.ask(self.daemon.address, method, path, body, headers)


class Admin:
    """The admin interface, over its Unix socket."""

    def __init__(self, daemon):
        self.place, self.connection = daemon.admin_socket, Connection()

    def ask(self, method, path, body=None):
        """Status and answer."""
        body_bytes = None if body is None else json.dumps(body)
        return self.connection.ask(self.place, method, path, body_bytes, {"content-type": "application/json"})

    def known(self, path):
        """What is there, or nothing."""
        return self.get(path, 404)

    def get(self, path, missing=None):
        status, answer = self.ask("GET", path)
        if status not in (200, missing):
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
            page = self.get(f"{path}?{urllib.parse.urlencode(more)}")
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def operate(self, account, number, action, **body):
        return self.ask("POST", f"/v1/accounts/{quoted(account)}/invoices/{quoted(number)}/{action}", body)

    def release(self, account, number):
        return self.operate(account, number, "release", now=True)

    def release_unknown(self):
        """An invoice with three attempts of unknown outcome is held: the operator lets it go on. Says how many."""
        held = [one for one in self.all("/v1/invoices", state="held") if one["held_reason"] == UNKNOWN]
        return sum(self.release(one["account"], one["number"])[0] == 200 for one in held)

    def hold(self, account, number):
        return self.operate(account, number, "hold", reason="by the suite")


def quoted(part):
    return urllib.parse.quote(part, safe="")
