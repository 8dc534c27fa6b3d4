"""Syncs and writes that fail under constant load, and while a store is being created.

The load, the relay and the observer outside are those of the suite that kills: what is not acknowledged is
pushed again, and at the end everything that was is compared with what exists.
"""

import collections
import itertools
import random
import signal as signals
import time

from daemon import Daemon, relay
from evidence import judge
from hand import Hand, House, must, must_be_clean
from inject import Injection
from loaded import Loaded
from sink import Sink
from verdict import ABORTED, CODE, FAILED, SYNC_FAILED, Life, judge_life, judge_present, patience_for

ACCOUNTS = 20
PORTAL_PAUSES, BILLING_PAUSES = [0.03] * 2, [0.03] * 3
# A fault that has not come after so long does not come: the daemon is stopped.
FAULT_SECONDS = 8
SYNCED = "fsync,fdatasync"
# Kinds of faults: the call, which ones of a thread's, the error, whether SIGTERM comes with it, what the end
# may be. The first five fsyncs of a thread are those of a start, the later ones are of documents.
KINDS = {
    "commit": ("fdatasync", (1, 60), "EIO", None, (SYNC_FAILED,)),
    "commit and SIGTERM": ("fdatasync", (1, 60), "EIO", "SIGTERM", (SYNC_FAILED,)),
    "start": ("fsync", (1, 5), "EIO", None, (SYNC_FAILED,)),
    "start and SIGTERM": ("fsync", (1, 5), "EIO", "SIGTERM", (SYNC_FAILED,)),
    "document": ("fsync", (6, 14), "EIO", None, (SYNC_FAILED,)),
    "document and SIGTERM": ("fsync", (6, 14), "EIO", "SIGTERM", (SYNC_FAILED,)),
    # The kernel tells the same to the sync that follows, strace does not.
    "sync_file_range": ("sync_file_range", (1, 60), "EIO", None, (FAILED, SYNC_FAILED, ABORTED)),
    "no space": ("pwrite64", (1, 120), "ENOSPC", None, (FAILED, SYNC_FAILED, ABORTED)),
    "read-only": ("pwrite64", (1, 120), "EROFS", None, (FAILED, SYNC_FAILED, ABORTED)),
    "failing write": ("pwrite64", (1, 120), "EIO", None, (FAILED, SYNC_FAILED, ABORTED)),
}


class Load(Loaded):
    """It lives through one fault after the other."""

    def __init__(self, program, directory, seed):
        directory.mkdir()
        super().__init__(program, directory, seed, ACCOUNTS, PORTAL_PAUSES, BILLING_PAUSES)
        self.random = random.Random(f"{seed} faults")
        self.world.may_fail = True
        self.world.attempts = []
        self.ends = []
        self.lives = []

    def whole(self, kinds):
        """One life after the other, then the evidence."""
        # Paths below it are known only once it is there.
        self.daemon.start()
        self.begin_load()
        time.sleep(0.5)
        self.daemon.stop()
        for kind in kinds:
            self.lives.append(self.live(kind))
            if self.world.broken.is_set():
                break
        self.daemon.start()
        time.sleep(0.5)
        self.end_load()
        must_be_clean(self.daemon)
        return self.observe(self.ends)

    def live(self, kind):
        call, counts, error, signal, expected = KINDS[kind]
        count = self.random.randint(*counts)
        # Whether it is only this call that fails: nothing may be tried again and believed then.
        when = f"{count}{self.random.choice(('', '+'))}"
        paths = (self.daemon.state / "sled-1" / "db",) if call == "pwrite64" else ()
        injection = Injection(
            self.directory / f"strace.{len(self.lives)}", f"{SYNCED},{call}" if call not in SYNCED else SYNCED, call,
            error, when, signal, paths,
        )
        self.daemon.through = injection.through()
        first = len(self.world.attempts)
        try:
            code = self.daemon.start_or_end()
        finally:
            self.daemon.through = []
        if code is None:
            process_id = self.daemon.process.pid
            code = self.daemon.wait(FAULT_SECONDS)
            if code is None and "(INJECTED)" not in injection.log.read_text(errors="replace"):
                self.daemon.process.terminate()
                code = self.daemon.wait()
            elif code is None:
                # Beyond that the judgement has no patience either.
                code = self.daemon.wait(patience_for(expected) - FAULT_SECONDS + 1)
            if code is None:
                self.daemon.kill()
                code = -signals.SIGKILL
        else:
            process_id = self.daemon.last_process_id
        ended_at = time.time()
        self.ends.append(time.monotonic())
        calls = injection.calls(process_id)
        injection.log.unlink()
        attempts = self.world.attempts[first:]
        return Life(f"{kind} {when}", code, expected, ended_at, self.daemon.words(), calls, attempts)


def run(program, directory, seed, kinds, count):
    """So many lives with faults of these kinds in turn; the findings and the figures."""
    load = Load(program, directory, seed)
    try:
        evidence = load.whole(list(itertools.islice(itertools.cycle(kinds), count)))
    finally:
        load.end()
    findings, late = [], 0
    for life in load.lives:
        found, sent_after = judge_life(life)
        findings += found
        late += sent_after
    judgement = judge(evidence)
    findings += judgement.findings
    failed = [life for life in load.lives if life.failures()]
    codes = collections.Counter(life.code for life in failed)
    slowest = max((life.ended_at - life.failures()[0].begun for life in failed), default=0)
    acknowledged = sum(200 <= one.status < 300 for one in load.world.attempts)
    if not failed:
        findings.append((CODE, "no fault came: this proves nothing"))
    figures = (
        f"{len(failed)} of {count} lives met their fault, ended with "
        f"{', '.join(f'{code} {times} times' for code, times in sorted(codes.items()))}, "
        f"at most {slowest:.1f} s after it; {acknowledged} requests acknowledged, "
        f"{late} of them sent after the fault; {len(evidence.invoices)} invoices, {len(evidence.mails)} mails, {judgement.second_copies} second copies of "
        f"{judgement.uncertain} uncertain attempts, {len(findings)} findings"
    )
    return findings, figures, load.lives, evidence


# What fails from one moment on, of which files, and whether something is pushed before SIGTERM comes.
CLOSINGS = {
    "the database as it is closed": ("fsync", ("sled-1/db",), None),
    "a document, and the database as it is closed": ("fsync", (), Hand.document),
    "a commit, and the database as it is closed": (SYNCED, ("sled-1/db",), Hand.document),
}


def closing(program, directory, seed):
    """The disk fails shortly before SIGTERM, and as the store is closed."""
    findings, codes, count = [], collections.Counter(), 0
    house = House(program, directory, seed)
    try:
        for what, (failing, paths, push) in CLOSINGS.items():
            count += 1
            house.start()
            must(house.hand.account("K-1", count), 200)
            must(house.hand.invoice("K-1", f"RE-{count}", contents=[house.hand.bytes()]), 200)
            world = house.hand.senders["billing"].world
            world.attempts = []
            paths = [house.daemon.state / path for path in paths]
            injection = Injection(directory / f"strace.{count}", SYNCED, failing, "EIO", None, None, paths)
            strace = injection.attach(house.daemon.process.pid)
            if push:
                push(house.hand, house.hand.bytes())
            house.daemon.process.terminate()
            code = house.daemon.wait()
            codes[code] += 1
            ended_at = time.time()
            strace.wait()
            calls = injection.calls(house.daemon.last_process_id)
            words = house.daemon.words()
            findings += judge_life(Life(what, code, (SYNC_FAILED,), ended_at, words, calls, world.attempts))[0]
            must_be_clean(house.daemon)
            house.start()
            findings += judge_present(house.hand.promised, house.hand.seen())
            house.daemon.stop()
    except PermissionError as refused:
        return findings, f"{count - 1} tried, {refused}", []
    finally:
        house.end()
    return findings, f"{count} times, ended with {dict(codes)}, all was there, {len(findings)} findings", []


def creation(program, directory, seed):
    """Each sync fails while a store is created, one after the other; then nothing is in the way of another
    start."""
    directory.mkdir()
    numbers = random.Random(f"{seed} creation")
    findings, codes, starts = [], collections.Counter(), 0
    for call in ("fsync", "fdatasync"):
        for count in itertools.count(1):
            house = directory / f"{call}.{count}"
            house.mkdir()
            signal = numbers.choice((None, "SIGTERM"))
            sink = Sink(seed, house / "mails")
            daemon = Daemon(program, house, relay(sink.port))
            injection = Injection(house / "strace", SYNCED, call, "EIO", str(count), signal)
            try:
                daemon.through = injection.through()
                code = daemon.start_or_end()
                daemon.through = []
                if code is None:
                    process_id = daemon.process.pid
                    # One that fails after it is ready is of the other kind.
                    code = daemon.wait(1.5 if signal else 0.5)
                    if code is None:
                        daemon.process.terminate()
                        code = daemon.wait()
                    is_over = True
                else:
                    process_id, is_over = daemon.last_process_id, False
                    starts += 1
                life = Life(
                    f"{call} {count} at the creation", code, (SYNC_FAILED,), time.time(), daemon.words(),
                    injection.calls(process_id), [],
                )
                if not is_over:
                    codes[code] += 1
                    findings += judge_life(life)[0]
                daemon.start()
                daemon.stop()
                must_be_clean(daemon)
            finally:
                daemon.end()
                sink.close()
            if is_over:
                break
    return findings, f"{starts} starts failed with {dict(codes)}, and each next one went well", []
