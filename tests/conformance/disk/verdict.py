"""The judgement: what a fault of the disk may lead to, and what not. Everything here works on what was
recorded, so that it can be shown to go red on records that were tampered with.
"""

import dataclasses
import hashlib
import pathlib
import re
import stat

# The kinds of findings.
PROMISE, LATE, CODE, MESSAGE, LOST, CHANGED, REFUSED, LEFT = (
    "acknowledged without being durable", "acknowledged after the failure", "exit code", "message", "lost", "changed",
    "not refused as it should", "left behind",
)
# What an exit code is for.
FAILED, SYNC_FAILED, CONFIGURATION = 1, 74, 78
# After a commit's sync failed nothing is acknowledged; of a document's failure one thread has to tell the
# others, on a machine that may be busy.
TELL_SECONDS = 0.5
# From the failure to the end of the process; requests and mails under way have 30 s to end.
STOP_SECONDS = 35
# A write, or what sled calls after it, that fails can leave sled waiting for itself for ever; the daemon's own
# watch aborts it after 60 s.
ABORTED, ABORT_SECONDS = -6, 95
DATABASE = re.compile(r"/sled-\d+/db$")
DAY = re.compile(r"/documents/\d{4}-\d\d-\d\d$")
INCOMING = re.compile(r"/documents/\.incoming/([0-9a-f]{64})\.\d+$")


@dataclasses.dataclass
class Life:
    """One start of the daemon with a fault, to its end."""

    what: str
    code: int | None
    expected: tuple
    ended_at: float
    words: str
    # Every traced call and every answer to a request, with its times.
    calls: list
    attempts: list
    # Whether it had said so before its end.
    was_ready: bool = True

    def failures(self):
        return [call for call in self.calls if call.error]


def patience_for(expected):
    return ABORT_SECONDS if ABORTED in expected else STOP_SECONDS


def judge_life(life):
    """Findings, and how many requests were acknowledged after the failure."""
    failures = life.failures()
    if not failures:
        words = f"{life.what}: {life.code} without a fault: {end_of(life)}"
        return [] if life.code == 0 else [(CODE, words)], 0
    first = failures[0]
    findings = []

    def find(kind, words):
        findings.append((kind, f"{life.what}, {first.name} of {first.path} failed at {first.begin:.6f}: {words}"))

    if life.code not in life.expected:
        find(CODE, f"ended with {life.code}, expected {life.expected}: {end_of(life)}")
    if life.code == SYNC_FAILED and "the disk failed a sync" not in life.words:
        find(MESSAGE, f"it does not say that a sync failed: {end_of(life)}")
    if life.ended_at - first.begin > patience_for(life.expected):
        find(CODE, f"it took {life.ended_at - first.begin:.0f} s to end")
    acknowledged = [one for one in life.attempts if one.is_acknowledged]
    # No client may trust this state any more, whatever the sync was of.
    told_at = first.end + (0 if DATABASE.search(first.path) else TELL_SECONDS)
    late = [one for one in acknowledged if one.sent_at > told_at]
    if late:
        find(LATE, f"{len(late)} were sent after it, the last one {late[-1].sent_at - first.begin:.3f} s: {late[-1]}")
    if DATABASE.search(first.path):
        # What came after the last sync that succeeded had begun cannot be in it; what is repeated can.
        synced = [call.begin for call in life.calls if is_good_sync(call, DATABASE) and call.begin < first.begin]
        for one in acknowledged:
            is_new = one.result not in ("duplicate", "stale")
            if is_new and one.sent_at > max(synced, default=0) and one not in late:
                find(PROMISE, f"{one}, after the last sync before at {max(synced, default=0):.6f}")
    elif incoming := INCOMING.search(first.path):
        # Written anew and synced, it is another file.
        synced = [call for call in life.calls if is_good_sync(call, INCOMING) and incoming[1] in call.path]
        for one in acknowledged:
            if incoming[1] in one.documents and one.answered_at > first.begin and not synced:
                find(PROMISE, f"{one} is the document")
    elif DAY.search(first.path):
        synced = [call.begin for call in life.calls if is_good_sync(call, DAY) and call.begin < first.begin]
        for one in acknowledged:
            # What was sent before may have been kept then, and only refused for something else.
            is_new = one.documents and one.is_first and one.result not in ("duplicate", "stale")
            if is_new and one.sent_at > max(synced, default=0):
                find(PROMISE, f"{one}, after the last sync of the directory at {max(synced, default=0):.6f}")
    return findings, len(late)


def end_of(life):
    return life.words[-600:]


def is_good_sync(call, pattern):
    is_sync = call.name in ("fsync", "fdatasync")
    return is_sync and call.result == 0 and pattern.search(call.path)


@dataclasses.dataclass
class Start:
    """A start, or a command, on a state directory that is not as it should be."""

    what: str
    code: int
    expected: int
    words: str
    # What the message must name.
    named: tuple
    # The directory before and after.
    before: dict
    after: dict


def judge_start(start):
    findings = []
    if start.code != start.expected:
        findings.append((CODE, f"{start.what}: {start.code}, expected {start.expected}: {start.words[-800:]}"))
    for name in start.named:
        if name not in start.words:
            findings.append((MESSAGE, f"{start.what}: it does not name {name}: {start.words[-800:]}"))
    if changed := differences(start.before, start.after):
        findings.append((CHANGED, f"{start.what}: {', '.join(changed)}"))
    return findings


def tree(directory):
    """Everything below a directory: what it is, its permissions and its content."""
    seen = {}
    for path in sorted(pathlib.Path(directory).rglob("*")):
        about = path.lstat()
        content = ""
        if stat.S_ISREG(about.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        seen[str(path.relative_to(directory))] = (oct(about.st_mode), content)
    return seen


def differences(before, after):
    return [
        f"{name} {'is new' if name not in before else 'is gone' if name not in after else 'is another'}"
        for name in sorted({*before, *after}) if before.get(name) != after.get(name)
    ]


@dataclasses.dataclass
class Refusal:
    """An answer that must have been a refusal for want of space."""

    what: str
    status: int
    code: str
    retry_after: str | None


def judge_refusals(refusals):
    return [
        (REFUSED, str(one)) for one in refusals
        if (one.status, one.code) != (503, "disk_full") or not (one.retry_after or "").isdigit()
    ]


def judge_present(promised, seen):
    """Everything that was acknowledged is there: by what it is, its content."""
    return [
        (LOST, f"{' '.join(what)}: acknowledged was {content}, there is {seen.get(what)}")
        for what, content in promised.items() if seen.get(what) != content
    ]


def judge_files(files, promised, is_after_start):
    """No file of a document lies there that was not acknowledged."""
    return [
        (LEFT, f"{name}{' after a start' if is_after_start else ''}") for name in sorted(files)
        if name.rpartition("/")[2].partition(".")[0] not in promised
    ]
