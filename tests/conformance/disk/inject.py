"""Faults of the disk by strace, which answers system calls in the kernel's place, and what it saw of them.

strace traces as a grandchild (`-D`), so that the daemon stays the process that is started, stopped and
waited for. It counts calls by thread.
"""

import dataclasses
import pathlib
import re
import subprocess
import time

# How long strace may take to write its last line. Of a process that was killed it may never do so.
LAST_LINE_SECONDS = 5

BEGUN = re.compile(r"(\d+) +(\d+\.\d+) (\w+)\((.*)")
RESUMED = re.compile(r"(\d+) +(\d+\.\d+) <\.\.\. (\w+) resumed>(.*)")
RESULT = re.compile(r"= (-?\d+)(?: (E\w+) \(.*?\))?(?: \(INJECTED\))?(?: \(DELAYED\))?$")
OPEN_FILE = re.compile(r"\d+<([^>]*)>")


@dataclasses.dataclass
class Call:
    """One system call. The times are those of the wall clock; `begun` lies after whatever the thread did
    before, and before the kernel sees the call."""

    name: str
    path: str
    begun: float
    ended: float | None = None
    error: str | None = None


class Injection:
    """Which calls are traced, and which of them fail; `paths` leaves all others alone."""

    def __init__(self, log, traced, failing=None, error="EIO", when="1", signal=None, paths=()):
        self.log = pathlib.Path(log)
        self.traced = traced
        self.failing = failing
        how = f":error={error}" if error else ""
        how += f":signal={signal}" if signal else ""
        how += f":when={when}" if when else ""
        self.inject = ["-e", f"inject={failing}{how}"] if failing else []
        # The quick way to trace stops where a signal cannot be sent.
        self.quick = [] if signal else ["--seccomp-bpf"]
        self.paths = [word for path in paths for word in ("-P", str(path))]

    def words(self):
        return [
            "-f", "-q", "-ttt", "-y", "-o", str(self.log), "-e", "signal=none", "-e", f"trace={self.traced}",
            *self.inject, *self.paths,
        ]

    def through(self):
        """The words to put before the command."""
        return ["strace", "-D", *self.quick, *self.words(), "--"]

    def attach(self, process_id):
        """From now on; returns what is to be waited for once the process has ended."""
        strace = subprocess.Popen(["strace", *self.words(), "-p", str(process_id)], stderr=subprocess.DEVNULL)
        tasks = pathlib.Path(f"/proc/{process_id}/task")
        since = time.monotonic()
        while any("TracerPid:\t0" in (task / "status").read_text() for task in tasks.iterdir()):
            if strace.poll() is not None or time.monotonic() - since > LAST_LINE_SECONDS:
                strace.kill()
                raise PermissionError("a process that runs cannot be traced")
            time.sleep(0.01)
        return strace

    def calls(self, process_id):
        """All that were traced, in order, once the process has ended."""
        ending = re.compile(rf"^{process_id} .*\+\+\+ (exited|killed)", re.M)
        since = time.monotonic()
        while not ending.search(text := self.log.read_text(errors="replace") if self.log.exists() else ""):
            if time.monotonic() - since > LAST_LINE_SECONDS:
                break
            time.sleep(0.02)
        return read(text)


def read(text):
    calls, unfinished = [], {}
    for line in text.splitlines():
        if begun := BEGUN.fullmatch(line):
            thread, at, name, rest = begun.groups()
            opened = OPEN_FILE.search(rest)
            call = Call(name, opened[1] if opened else "", float(at))
            calls.append(call)
            if rest.endswith("<unfinished ...>"):
                unfinished[thread, name] = call
            else:
                finish(call, float(at), rest)
        elif resumed := RESUMED.fullmatch(line):
            thread, at, name, rest = resumed.groups()
            if call := unfinished.pop((thread, name), None):
                finish(call, float(at), rest)
    return calls


def finish(call, at, rest):
    if result := RESULT.search(rest):
        call.ended = at
        call.error = result[2]
