"""strace: which system calls it traces, which of them it answers in the kernel's place, and what it saw of them.

It traces as a grandchild (`-D`), so that the daemon stays the process that is started, stopped and waited for. It
counts calls by thread. The times are those of the wall clock: it notes the begin before the kernel goes on, and the
end before the daemon does.
"""

import collections
import pathlib
import re
import subprocess
import time

from debian import needs, skip
from suite import wait_until

# How long strace may take to write its last line. Of a process that was killed it may never do so.
LAST_LINE_SECONDS = 5
WRITES = ["-f", "-q", "-y", "-xx", "-ttt", "-T", "-e", "signal=none"]

LINE = re.compile(r"(\d+) +(\d+\.\d+) (.*)\n?")
CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+|\?)(.*?)(?: <(\d+\.\d+)>)?$", re.S)
RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)$", re.S)
HEX = r"([\\x0-9a-f]*)"
DESCRIPTOR = re.compile(rf"(AT_FDCWD|\d+)<{HEX}>(\(deleted\))?")
UNFINISHED = " <unfinished ...>"


class Call(collections.namedtuple("Call", "begin end name arguments result error")):
    """One whose end was not seen has neither result nor error, and ends with its process."""

    @property
    def path(self):
        """That of the descriptor that it names first."""
        named = DESCRIPTOR.search(self.arguments)
        return text_of(named[2]) if named else ""


def text_of(digits):
    return bytes_of(digits).decode()


def bytes_of(digits):
    return bytes.fromhex(digits.replace("\\x", ""))


def hexed(path):
    return "".join(f"\\x{byte:02x}" for byte in str(path).encode())


def calls(lines, wanted=("",)):
    """The calls whose line has some of what is wanted, in the order of their ends."""
    pending, last = {}, 0.0
    for line in lines:
        thread, at, rest = LINE.fullmatch(line).groups()
        last = float(at)
        if rest.startswith(("+++", "---")):
            if rest.startswith("+++") and thread in pending:
                yield unseen(*pending.pop(thread), last)
            continue
        if rest.startswith("<... "):
            if thread not in pending:
                continue
            begin, text = pending.pop(thread)
            rest = text + RESUMED.match(rest)[2]
        elif not any(words in rest for words in wanted):
            continue
        elif rest.endswith(UNFINISHED):
            pending[thread] = last, rest.removesuffix(UNFINISHED)
            continue
        else:
            begin = last
        matched = CALL.match(rest)
        if not matched:
            raise ValueError(f"cannot read {rest[:200]}")
        name, arguments, result, more, duration = matched.groups()
        error = re.match(r" (E\w+)", more)
        # Of a call in whose midst the process was killed it may say -1, and no error.
        if result == "?" or result == "-1" and not error:
            yield Call(begin, max(begin, last), name, arguments, None, None)
        else:
            yield Call(begin, begin + float(duration), name, arguments, int(result), error and error[1])
    for begin, text in pending.values():
        yield unseen(begin, text, last)


def unseen(begin, text, end):
    name, arguments = text.split("(", 1)
    return Call(begin, max(begin, end), name, arguments, None, None)


def needs_strace():
    """Without one that may trace here the suite is skipped."""
    needs("strace", "strace")
    trial = ["strace", "-D", "-f", "--seccomp-bpf", "-q", "-o", "/dev/null", "-e", "trace=fsync", "--", "true"]
    if subprocess.run(trial, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode != 0:
        skip("strace may not trace here")


class Injection:
    """Which calls are traced, and which of them fail; `paths` leaves all others alone."""

    def __init__(self, log, traced, failing=None, error="EIO", when="1", signal=None, paths=()):
        self.log = pathlib.Path(log)
        how = f":error={error}" if error else ""
        how += f":signal={signal}" if signal else ""
        how += f":when={when}" if when else ""
        # The quick way to trace stops where a signal cannot be sent.
        self.quick = [] if signal else ["--seccomp-bpf"]
        self.words = [*WRITES, "-o", str(self.log), "-e", f"trace={traced}", "-e", f"inject={failing}{how}"]
        self.words += [word for path in paths for word in ("-P", str(path))]

    def through(self):
        """The words to put before the command."""
        return ["strace", "-D", *self.quick, *self.words, "--"]

    def attach(self, process_id):
        """From now on; returns what is to be waited for once the process has ended."""
        strace = subprocess.Popen(["strace", *self.words, "-p", str(process_id)], stderr=subprocess.DEVNULL)
        tasks = pathlib.Path(f"/proc/{process_id}/task")
        since = time.monotonic()
        while any("TracerPid:\t0" in (task / "status").read_text() for task in tasks.iterdir()):
            if strace.poll() is not None or time.monotonic() - since > LAST_LINE_SECONDS:
                strace.kill()
                raise PermissionError("a process that runs cannot be traced")
            time.sleep(0.01)
        return strace

    def calls(self, process_id):
        """All that were traced, in order of their begin, once the process has ended."""
        ending = re.compile(rf"^{process_id} .*\+\+\+ (exited|killed)", re.M)
        wait_until(lambda: ending.search(self.log.read_text(errors="replace")), LAST_LINE_SECONDS)
        # A last line may be cut off.
        text = self.log.read_text(errors="replace")
        whole = text[:text.rfind("\n") + 1]
        return sorted(calls(whole.splitlines(keepends=True)), key=lambda call: call.begin)
