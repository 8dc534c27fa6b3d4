"""What a process that died can leave in the state directory is in nobody's way."""

import collections
import itertools
import random
import shutil

from daemon import Daemon, relay
from hand import House, must, must_be_clean
from inject import Injection
from sink import Sink
from space import files_of
from verdict import CODE, LEFT, judge_files, judge_present

# Calls that a creation is made of.
CALLS = ("mkdir", "rename", "fdatasync", "fsync", "pwrite64", "openat")
# Of openat there are many before the state directory is looked at.
PLACES = (
    ".", "lock", "CURRENT", "CURRENT.new", "sled-1", "sled-1/db", "sled-1/conf", "sled-1/blobs", "documents",
    "documents/.incoming",
)


def killed_creations(program, directory, seed, is_long):
    """Dies at one call of a creation after the other; the next start begins anew."""
    directory.mkdir()
    numbers = random.Random(f"{seed} leftovers")
    findings, left = [], collections.Counter()
    sink = Sink(seed, directory / "mails")
    kills = 0
    for call in CALLS:
        step = 1 if is_long else {"openat": 4, "fsync": 3}.get(call, 1)
        for count in itertools.count(numbers.randint(1, step), step):
            house = directory / f"{call}.{count}"
            house.mkdir()
            daemon = Daemon(program, house, relay(sink.port))
            paths = [(daemon.state / place).resolve() for place in PLACES] if call == "openat" else []
            injection = Injection(house / "strace", call, call, None, str(count), "SIGKILL", paths)
            daemon.through = injection.through()
            try:
                code = daemon.start_or_end()
                daemon.through = []
                if code is None:
                    # Now all of it is done, and more.
                    daemon.kill()
                    break
                if code != -9:
                    findings.append((CODE, f"{call} {count}: {code} instead of being killed: {daemon.last_words()}"))
                kills += 1
                left[", ".join(sorted(path.name for path in daemon.state.iterdir()))] += 1
                code = daemon.start_or_end()
                if code is not None:
                    findings.append((CODE, f"killed at {call} {count}, the next start: {code}: {daemon.last_words()}"))
                    continue
                daemon.stop()
                must_be_clean(daemon)
            finally:
                daemon.end()
            shutil.rmtree(house)
    sink.close()
    what = "; ".join(f"{times} with {names or 'nothing'}" for names, times in sorted(left.items()))
    return findings, f"{kills} creations killed ({what}), {len(findings)} of the next starts failed", []


def half_made(program, directory, seed):
    """A creation that left anything at all beside CURRENT.new."""
    directory.mkdir()
    numbers = random.Random(f"{seed} half made")
    whole = House(program, directory / "whole", seed)
    whole.start()
    whole.daemon.stop()
    current = (whole.daemon.state / "CURRENT").read_bytes()
    findings, count = [], 0

    def database(state):
        shutil.copytree(whole.daemon.state / "sled-1", state / "sled-1")
        return state / "sled-1"

    def cut(state):
        path = database(state) / "db"
        content = path.read_bytes()
        path.write_bytes(content[:numbers.randrange(len(content))])

    def garbled(name):
        return lambda state: (database(state) / name).write_bytes(numbers.randbytes(5_000))

    def snapshot(state):
        (database(state) / "snap.0000000000000001.generating").write_bytes(b"half")

    ways = {
        "nothing else": lambda state: None, "an empty directory": lambda state: (state / "sled-1").mkdir(),
        "a database": database, "a database that is cut off": cut, "a garbled database": garbled("db"),
        "a garbled configuration": garbled("conf"), "an unfinished snapshot": snapshot,
    }
    for (what, way), named in itertools.product(ways.items(), (current, b"", numbers.randbytes(40))):
        count += 1
        house = House(program, directory / str(count), seed)
        try:
            (house.daemon.state / "CURRENT.new").write_bytes(named)
            way(house.daemon.state)
            house.start()
            must(house.hand.account("K-1"), 200)
            if "CURRENT.new" in {path.name for path in house.daemon.state.iterdir()}:
                findings.append((LEFT, f"CURRENT.new beside {what}"))
            house.daemon.stop()
            must_be_clean(house.daemon)
        finally:
            house.end()
        shutil.rmtree(house.directory)
    whole.end()
    return findings, f"{count} half-made stores, each begun anew, {len(findings)} findings", []


def beside_a_store(program, directory, seed):
    """What a kill leaves beside a store that is in use."""
    numbers = random.Random(f"{seed} beside")
    house = House(program, directory, seed)
    hand, findings, count = house.hand, [], 0
    try:
        house.start()
        must(hand.account("K-1"), 200)
        must(hand.invoice("K-1", "RE-1", contents=[hand.bytes()]), 200)
        document = next(iter(hand.documents()))
        house.daemon.stop()
        state = house.daemon.state
        snapshot = next((path for path in (state / "sled-1").glob("snap.*")), None)
        for content in (b"", b"half", snapshot.read_bytes() if snapshot else b"", numbers.randbytes(9_000)):
            leftovers = [
                state / "sled-1" / "snap.00000000000000FF.generating",
                state / "sled-1" / f"{snapshot.name if snapshot else 'snap.0000000000000001'}.generating",
                state / "documents" / ".incoming" / f"{document}.0",
                state / "documents" / ".incoming" / f"{'a' * 64}.12",
            ]
            for path in leftovers:
                path.write_bytes(content)
            # Nothing names it, and it was being made when the process died.
            (state / "documents" / "2020-01-01").mkdir()
            count += len(leftovers)
            house.start()
            findings += judge_present(hand.promised, hand.seen())
            findings += judge_files(files_of(house), hand.documents(), is_after_start=True)
            findings += [(LEFT, str(path)) for path in leftovers if path.exists()]
            must(hand.document(hand.bytes()), 201)
            house.daemon.kill()
            must_be_clean(house.daemon)
    finally:
        house.end()
    return findings, f"{count} leftovers beside a store removed, nothing lost, {len(findings)} findings", []
