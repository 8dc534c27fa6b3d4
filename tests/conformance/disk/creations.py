"""A store whose creation fails, or whose process dies, at one call after the other; the next start begins anew."""

import collections
import itertools
import random
import shutil

from house import House, live, must_be_clean
from strace import Injection
from under_load import SYNCED
from verdict import CODE, SYNC_FAILED, judge_life

# Calls that a creation is made of, and how many of them the short form goes on by.
CALLS = {"mkdir": 1, "rename": 1, "fdatasync": 1, "fsync": 3, "pwrite64": 1, "openat": 4}
# Of openat there are many before the state directory is looked at.
PLACES = (
    ".", "lock", "CURRENT", "CURRENT.new", "sled-1", "sled-1/db", "sled-1/conf", "sled-1/blobs", "documents",
    "documents/.incoming",
)
KILLED = -9
# Whoever is ready and lives for so long has met no fault.
LIVES_SECONDS = 1


def each(directory, seed, calls, fault, expected, judge):
    """Findings, and how the creations ended; `fault` gives the injection for a call."""
    directory.mkdir()
    numbers = random.Random(f"{seed} creations")
    findings, ends = [], collections.Counter()
    for call, step in calls.items():
        for count in itertools.count(numbers.randint(1, step), step):
            with House(directory / f"{call}.{count}", seed) as house:
                what = f"{call} {count} at the creation"
                life = live(house.daemon, what, fault(house, call, count, numbers), (expected,), LIVES_SECONDS)
                # One that fails after it is ready is of the other kind.
                if life.was_ready:
                    break
                findings += judge(life)
                left = ", ".join(sorted(path.name for path in house.daemon.state.iterdir()))
                ends[f"{life.code} with {left or 'nothing'}"] += 1
                if (code := house.daemon.start_or_end()) is None:
                    house.daemon.stop()
                    must_be_clean(house.daemon)
                else:
                    findings.append((CODE, f"after {what}: {code}: {house.daemon.last_words()}"))
            shutil.rmtree(house.directory)
    ended = "; ".join(f"{times} ended with {end}" for end, times in sorted(ends.items()))
    return findings, f"{ends.total()} creations, and each next start went well: {ended}"


def failing(directory, seed):
    def fault(house, call, count, numbers):
        signal = numbers.choice((None, "SIGTERM"))
        return Injection(house.directory / "strace", SYNCED, call, "EIO", str(count), signal)

    return each(directory, seed, {"fsync": 1, "fdatasync": 1}, fault, SYNC_FAILED, lambda life: judge_life(life)[0])


def killed(directory, seed, is_long):
    def fault(house, call, count, _):
        paths = [(house.daemon.state / place).resolve() for place in PLACES] if call == "openat" else []
        return Injection(house.directory / "strace", call, call, None, str(count), "SIGKILL", paths)

    def judge(life):
        is_killed = life.code == KILLED
        return [] if is_killed else [(CODE, f"{life.what}: {life.code} instead of being killed: {life.words[-3000:]}")]

    return each(directory, seed, dict.fromkeys(CALLS, 1) if is_long else CALLS, fault, KILLED, judge)
