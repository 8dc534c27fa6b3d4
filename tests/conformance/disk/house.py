"""A daemon on a disk that may be small, with a relay and one hand that pushes step by step and remembers what was
acknowledged to it."""

import contextlib
import dataclasses
import hashlib
import json
import os
import random
import shutil
import subprocess
import time

import events
import suite
from daemon import PATIENCE_SECONDS, Admin, Daemon, relay
from load import Sender, World
from sink import Sink
from suite import Broken, wait_until
from verdict import Life, Refusal, judge_files, judge_present, patience_for

MIB = 1 << 20
NOBODY = 65_534


class Hand:
    def __init__(self, daemon, seed):
        self.world = World(seed, daemon, 0)
        self.senders = {name: Sender(self.world, name, name) for name in ("portal", "billing")}
        self.random = random.Random(f"{seed} hand")
        self.daemon = daemon
        self.count = 0
        # What was acknowledged: what it is, and its content.
        self.promised = {}

    def push(self, sender, request):
        """Status, body and Retry-After of one try; a status of 0 is no answer."""
        self.count += 1
        sender = self.senders[sender]
        status, body = sender.attempt(f"msg_hand_{self.count}", request) or (0, {})
        return status, body, sender.webhook.connection.retry_after

    def event(self, sender, kind, data):
        body = events.event(kind, data)
        return self.push(sender, ("POST", "/v1/events", body, body))

    def account(self, account, version=1):
        data = events.account(account, version, [f"v{version}@{account.lower()}.example"])
        return self.noted(self.event("portal", "account.updated", data), ("account", account), version)

    def document(self, content):
        digest = events.digest(content)
        answer = self.push("billing", ("PUT", f"/v1/documents/{digest}", digest.encode(), content))
        return self.noted(answer, ("document", digest), digest)

    def invoice(self, account, number, *contents):
        """Of documents, by their digests or with their bytes."""
        contents = contents or (self.bytes(),)
        documents = [events.document(content, f"{number}-{count}.pdf") for count, content in enumerate(contents)]
        data = events.invoice(account, number, documents, release="immediately")
        answer = self.event("billing", "invoice.issued", data)
        digests = [one if isinstance(one, str) else events.digest(one) for one in contents]
        for digest in digests:
            self.noted(answer, ("document", digest), digest)
        return self.noted(answer, ("invoice", account, number), digests)

    def withdraw(self, account, number):
        return self.event("billing", "invoice.withdrawn", {"account": account, "number": number})

    def noted(self, answer, what, content):
        if 200 <= answer[0] < 300:
            self.promised[what] = content
        return answer

    def bytes(self, count=2_000):
        return self.random.randbytes(count)

    def documents(self):
        return {what[1] for what in self.promised if what[0] == "document"}

    def seen(self):
        """What is there of all that was acknowledged; the daemon runs."""
        admin, seen = Admin(self.daemon), {}
        files = document_files(self.daemon)
        for what in self.promised:
            if what[0] == "account":
                found = admin.account(what[1])
                seen[what] = found and found["version"]
            elif what[0] == "invoice":
                found = admin.invoice(*what[1:])
                seen[what] = found and [one["sha256"] for one in found["documents"]]
            else:
                found = [path for path in files if path.name == f"{what[1]}.sha256"]
                digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in found}
                seen[what] = digests.pop() if len(digests) == 1 else None
        return seen


def document_files(daemon):
    return [path for path in (daemon.state / "documents").rglob("*") if path.is_file()]


def refusal(what, answer):
    status, body, retry_after = answer
    return Refusal(what, status, body.get("code"), retry_after)


def must(answer, *statuses):
    """What is no part of the trial has to go well."""
    if answer[0] not in statuses:
        raise Broken(f"expected {statuses}, answered was {answer}")
    return answer


def wait_for(what, is_so):
    if not wait_until(is_so, PATIENCE_SECONDS):
        raise Broken(f"waited in vain until {what}")


@dataclasses.dataclass
class Verified:
    code: int
    words: str
    findings: list


def verify(daemon):
    """The command, on the state directory of a daemon that is stopped."""
    done = daemon.run("--json", "verify")
    with contextlib.suppress(ValueError):
        return Verified(done.returncode, done.stdout + done.stderr, json.loads(done.stdout)["findings"])
    return Verified(done.returncode, done.stdout + done.stderr, [])


def must_be_clean(daemon):
    verified = verify(daemon)
    if verified.code != 0:
        raise Broken(f"verify: {verified.code}: {verified.words}")


def live(daemon, what, injection, expected, fault_seconds, world=None):
    """One start with a fault, to its end. A fault that has not come after so long does not come: it is stopped."""
    attempts = [] if world is None else world.attempts
    first = len(attempts)
    daemon.through = injection.through()
    try:
        code = daemon.start_or_end()
    finally:
        daemon.through = []
    was_ready = code is None
    if was_ready:
        code = daemon.wait(fault_seconds)
        if code is None and "(INJECTED)" not in injection.log.read_text(errors="replace"):
            daemon.process.terminate()
            code = daemon.wait()
        elif code is None:
            # Beyond that the judgement has no patience either.
            code = daemon.wait(patience_for(expected) - fault_seconds + 1)
        if code is None:
            daemon.kill()
            code = -9
    ended_at = time.time()
    # Of one that was killed strace may never see the end.
    calls = injection.calls(daemon.last_process_id) if code != -9 else []
    injection.log.unlink()
    return Life(what, code, expected, ended_at, daemon.words(), calls, attempts[first:], was_ready)


class House:
    """Ended with its `with` block. Its findings are collected here."""

    def __init__(self, directory, seed, mebibytes=None, is_nobody=False):
        directory.mkdir()
        self.directory, self.findings = directory, []
        self.sink = Sink(seed, directory / "mails")
        self.daemon = Daemon(directory, relay(self.sink.port))
        self.disk = SmallDisk(mebibytes, self.daemon.state) if mebibytes else None
        self.hand, self.admin = Hand(self.daemon, seed), Admin(self.daemon)
        if is_nobody and os.geteuid() == 0 and can_be_nobody(directory):
            # It may lie where no other user can look.
            self.daemon.program = shutil.copy(suite.PROGRAM, directory / "invoice-router")
            self.daemon.user = NOBODY
            for path in (directory, *directory.rglob("*")):
                os.chown(path, NOBODY, NOBODY)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.daemon.end()
        self.sink.close()
        if self.disk:
            self.disk.unmount()

    def fill(self, number="RE-1", version=1):
        """Starts it, and has something acknowledged."""
        self.daemon.start()
        must(self.hand.account("K-1", version), 200)
        must(self.hand.invoice("K-1", number), 200)

    def expect(self, kind, is_so, words):
        if not is_so:
            self.findings.append((kind, words))

    def state(self, number, account="K-1"):
        return self.admin.invoice(account, number)["state"]

    def files(self):
        return [str(path.relative_to(self.daemon.state)) for path in document_files(self.daemon)]

    def judge_whole(self, may_have_more=False):
        """Once it is stopped: the store is whole, and after a start all is there that was acknowledged, and no more."""
        must_be_clean(self.daemon)
        self.daemon.start()
        self.findings += judge_present(self.hand.promised, self.hand.seen())
        if not may_have_more:
            self.findings += judge_files(self.files(), self.hand.documents(), is_after_start=True)
        self.daemon.stop()


class SmallDisk:
    """A tmpfs over a directory."""

    def __init__(self, mebibytes, path):
        self.path = path
        mount("-t", "tmpfs", "-o", f"size={mebibytes}m,mode=700", "tmpfs", str(path))

    def remount(self, option):
        mount("-o", f"remount,{option}", str(self.path))

    def free_bytes(self):
        about = os.statvfs(self.path)
        return about.f_bavail * about.f_frsize

    def fill(self, leave_bytes):
        """Another process takes what is left but for so many bytes."""
        filler = os.open(self.path / "filler", os.O_CREAT | os.O_WRONLY)
        try:
            while (more := self.free_bytes() - leave_bytes) > 0:
                # The daemon takes some of it meanwhile.
                with contextlib.suppress(OSError):
                    os.posix_fallocate(filler, os.fstat(filler).st_size, more)
        finally:
            os.close(filler)

    def make_room(self):
        (self.path / "filler").unlink(missing_ok=True)

    def unmount(self):
        # Whatever still has a file in it must not keep it for ever.
        subprocess.run(["umount", "-l", str(self.path)], check=True)


def mount(*words):
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise PermissionError(done.stderr.strip())


def can_mount(directory):
    trial = directory / "trial"
    trial.mkdir()
    try:
        SmallDisk(1, trial).unmount()
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def can_be_nobody(directory):
    """Whether there is a user here who may not do everything."""
    if os.geteuid() != 0:
        return True
    try:
        trial = ["test", "-x", str(directory)]
        return subprocess.run(trial, user=NOBODY, group=NOBODY, extra_groups=[], check=False).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False
