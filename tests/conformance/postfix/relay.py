"""A real Postfix as an instance of its own, and what it asks while it takes a mail.

Each case has smtpd services of its own, which differ in options and share queue, delivery and log. What
decides about addresses and senders, and the passwords, are looked up in this process, so that a cause can
come, wait and go without a restart of Postfix.
"""

import base64
import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import socketserver
import stat
import subprocess
import threading
import urllib.parse

from suite import Broken

# Debian's place for Postfix's own programs.
DAEMONS = pathlib.Path("/usr/lib/postfix/sbin")
START_TRIES = 3

MAIN = """
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
command_directory = /usr/sbin
daemon_directory = {daemons}
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = relay.example
mydestination =
relay_domains = static:all
relay_recipient_maps =
local_recipient_maps =
local_transport = error:no address is local
alias_maps =
alias_database =
relayhost = [127.0.0.1]:{receiver}
default_transport = smtp
relay_transport = smtp
smtp_tls_security_level = none
smtp_dns_support_level = disabled
disable_dns_lookups = yes
smtpd_peername_lookup = no
mynetworks = 127.0.0.0/8
maillog_file = {directory}/maillog
maillog_file_prefixes = {directory}
smtpd_tls_chain_files = {directory}/good.pem
smtpd_tls_received_header = no
smtpd_tls_loglevel = 1
smtpd_recipient_restrictions = permit_mynetworks, reject
message_size_limit = 52428800
# Nothing is to be slowed down, and what counts by time counts by short times.
in_flow_delay = 0
anvil_rate_time_unit = 5s
service_throttle_time = 1s
minimal_backoff_time = 1s
maximal_backoff_time = 2s
queue_run_delay = 1s
"""

SERVICES = """
postlog unix-dgram n - n - 1 postlogd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
pickup unix n - n 60 1 pickup
"""


class Postfix:
    def __init__(self, directory, receiver_port, services):
        """`services` are the options of each smtpd service, by name."""
        self.directory = pathlib.Path(directory)
        self.configuration = self.directory / "etc"
        self.log_file = self.directory / "maillog"
        self.services = {name: dict(options) for name, options in services.items()}
        self.ports = {}
        self.receiver_port = receiver_port
        for part in ("etc", "queue", "data"):
            (self.directory / part).mkdir()
        shutil.chown(self.directory / "data", "postfix")
        # A stop amid a mail leaves a file in the queue, and what tidies that up says so as this user.
        self.log_file.touch()
        shutil.chown(self.log_file, "postfix")

    def start(self):
        for last in range(START_TRIES):
            # Another process may take a port before Postfix does.
            if not self.ports or last:
                self.ports = dict(zip(self.services, free_ports(len(self.services))))
            self.write()
            done = self.command("start")
            if done.returncode == 0:
                return
        raise Broken(f"Postfix does not start: {done.stdout}{self.log()[-2000:]}")

    def stop(self):
        self.command("stop")

    def end(self):
        """Leaves no process behind."""
        master = self.master()
        if master is None:
            return
        processes = [*self.children(master), master]
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.stop()
        for pid in processes:
            # A number may have gone to another process by now.
            with contextlib.suppress(OSError):
                if pathlib.Path(f"/proc/{pid}/exe").readlink().parent == DAEMONS:
                    os.kill(pid, signal.SIGKILL)

    def command(self, what):
        return subprocess.run(
            ["postfix", "-c", self.configuration, what], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=60, check=False,
        )

    def write(self):
        (self.configuration / "main.cf").write_text(MAIN.format(
            directory=self.directory, receiver=self.receiver_port, daemons=DAEMONS,
        ))
        lines = [SERVICES]
        for name, options in self.services.items():
            lines.append(f"127.0.0.1:{self.ports[name]} inet n - n - - smtpd")
            lines.append(f"  -o syslog_name=postfix/{name}")
            for option, value in options.items():
                lines.append(f"  -o {{ {option} = {value} }}")
        (self.configuration / "master.cf").write_text("\n".join(lines) + "\n")

    def log(self):
        return self.log_file.read_text(errors="replace")

    def master(self):
        """The process that is started last, if it still runs."""
        with contextlib.suppress(OSError, ValueError):
            pid = int((self.directory / "queue" / "pid" / "master.pid").read_text())
            if program(pid) == "master":
                return pid
        return None

    def children(self, master=None, name=None):
        """The processes of this instance, of one program."""
        master = master or self.master()
        found = []
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == master and name in (None, program(int(entry.name))):
                    found.append(int(entry.name))
        return found

    def kill(self, name):
        """`kill -9` of all processes of this program; says how many there were."""
        return self.signal(name, signal.SIGKILL)

    def signal(self, name, number):
        count = 0
        for pid in self.children(name=name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
                count += 1
        return count

    def queued(self):
        """How many messages it still has. What is not whole, as a stop in its midst leaves it, it keeps from running."""
        queues = ("incoming", "active", "deferred", "maildrop", "hold")
        files = [path for queue in queues for path in (self.directory / "queue" / queue).rglob("*") if path.is_file()]
        return sum(bool(path.stat().st_mode & stat.S_IXUSR) for path in files)


def program(pid):
    return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class Authority:
    """A certificate authority of one's own, and what it issued for a server with these names."""

    def __init__(self, directory, *names):
        self.certificate, chain = directory / "authority.pem", directory / "good.pem"
        key, own_key, leaf = directory / "key", directory / "authority.key", directory / "leaf"
        new_key = ("-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", 30)
        openssl("req", *new_key, "-keyout", own_key, "-out", self.certificate, "-subj", "/CN=authority",
                "-addext", "basicConstraints=critical,CA:TRUE")
        kinds = ",".join(("IP:" if re.fullmatch(r"[\d.]+", name) else "DNS:") + name for name in names)
        openssl("req", *new_key, "-keyout", key, "-out", leaf, "-subj", f"/CN={names[0]}", "-CA", self.certificate,
                "-CAkey", own_key, "-addext", "basicConstraints=critical,CA:FALSE",
                "-addext", "extendedKeyUsage=serverAuth", "-addext", f"subjectAltName={kinds}")
        chain.write_text(key.read_text() + leaf.read_text() + self.certificate.read_text())


def openssl(*arguments):
    done = subprocess.run(
        ["openssl", *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )
    if done.returncode != 0:
        raise Broken(f"openssl {arguments[0]}: {done.stderr}")


class Server(socketserver.ThreadingTCPServer):
    """Talks on loopback, line by line, with each who connects."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        class Handler(socketserver.StreamRequestHandler):
            def handle(handler):
                def say(line):
                    handler.wfile.write(line.encode() + b"\n")

                # Whoever asked may be killed before the answer, or in the midst of asking.
                with contextlib.suppress(OSError, StopIteration):
                    self.talk((line.decode().rstrip("\r\n") for line in handler.rfile), say)

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def name(self):
        return f"{self.kind}:127.0.0.1:{self.server_address[1]}"

    def end(self):
        self.shutdown()
        self.server_close()


class Table(Server):
    """A map of Postfix's type `tcp` (tcp_table(5)): what it does with an address. A list is used up one by one,
    then the address is like any other."""

    kind = "tcp"

    def __init__(self):
        self.actions = {}
        self.lock = threading.Lock()
        super().__init__()

    def talk(self, lines, say):
        for line in lines:
            key = urllib.parse.unquote(line.removeprefix("get ")).lower()
            with self.lock:
                action = self.actions.get(key)
                if isinstance(action, list):
                    action = action.pop(0) if action else None
            say("500 none" if action is None else f"200 {urllib.parse.quote(action)}")


class Passwords(Server):
    """What Postfix asks of Dovecot about passwords (Dovecot's authentication protocol 1.1)."""

    kind = "inet"

    def __init__(self, users):
        self.users = users
        super().__init__()

    def talk(self, lines, say):
        def asked(number, what):
            say(f"CONT\t{number}\t{base64.b64encode(what).decode()}")
            return base64.b64decode(next(lines).split("\t")[2]).decode()

        say("VERSION\t1\t1\nCUID\t1\nCOOKIE\t0123456789abcdef0123456789abcdef")
        say("MECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nDONE")
        for line in lines:
            verb, *words = line.split("\t")
            if verb != "AUTH":
                continue
            number, mechanism = words[:2]
            if mechanism == "PLAIN":
                response = next(word[5:] for word in words if word.startswith("resp="))
                _, user, password = base64.b64decode(response).decode().split("\0")
            else:
                user, password = asked(number, b"Username:"), asked(number, b"Password:")
            say(f"{'OK' if self.users.get(user) == password else 'FAIL'}\t{number}\tuser={user}")
