"""State directories that are not the one they were, or that cannot be written: nothing is started, created or
changed, and the message names the directory. Which ones are not taken for whole, unit tests of the store show."""

import shutil

from house import House, must, verify
from verdict import CONFIGURATION, FAILED, Start, judge_present, judge_start, tree


def spoilers(own, other, older):
    """What is wrong, and how it is made; `own` and `other` are two stores, `older` is a database that `own` had."""
    def remove(state, *names):
        for name in names:
            path = state / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def something_else(state):
        remove(state, "CURRENT", "REACHED", "sled-1", "lock", "documents")
        (state / "holiday.jpg").write_bytes(b"sea")

    return {
        "CURRENT is missing": lambda state: remove(state, "CURRENT"),
        "CURRENT is cut off": lambda state: (state / "CURRENT").write_bytes((own / "CURRENT").read_bytes()[:-5]),
        "CURRENT is that of another store": lambda state: shutil.copy(other / "CURRENT", state),
        "the database is that of another store": lambda state: (
            remove(state, "sled-1"), shutil.copytree(other / "sled-1", state / "sled-1")
        ),
        "the database's directory is missing": lambda state: remove(state, "sled-1"),
        "the database is an older copy": lambda state: shutil.copyfile(older, state / "sled-1" / "db"),
        "only the documents are there": lambda state: remove(state, "CURRENT", "REACHED", "sled-1", "lock"),
        "something else is there": something_else,
    }


def mismatched(directory, seed):
    directory.mkdir()
    starts = []
    with House(directory / "own", seed) as own, House(directory / "other", f"{seed} other") as other:
        for house in (own, other):
            house.fill()
            house.daemon.stop()
        older = shutil.copyfile(own.daemon.state / "sled-1" / "db", directory / "older")
        own.fill("RE-2", 2)
        own.daemon.stop()
        spoilt = spoilers(own.daemon.state, other.daemon.state, older)
        for count, (what, spoil) in enumerate(spoilt.items()):
            with House(directory / str(count), seed) as house:
                shutil.copytree(own.daemon.state, house.daemon.state, dirs_exist_ok=True)
                spoil(house.daemon.state)
                starts += refused(house.daemon, what, CONFIGURATION)
        own.findings += [found for start in starts for found in judge_start(start)]
        # The store itself was never to blame.
        own.judge_whole()
    return own.findings, f"{len(starts)} commands on {len(starts) // 2} directories", starts


def refused(daemon, what, serve_code, *named):
    """Serve and verify, which must do nothing."""
    for command, expected in (("serve", serve_code), ("verify", FAILED)):
        before = tree(daemon.state)
        if command == "serve":
            code, words = daemon.start_or_end(), daemon.words()
            if code is None:
                daemon.stop()
        else:
            verified = verify(daemon)
            code, words = verified.code, verified.words
        after = tree(daemon.state)
        # The lock comes before all else. A database has to be opened to tell whose it is, and sled writes its
        # snapshot anew then.
        before.setdefault("lock", after.get("lock"))
        before, after = ({name: seen[name] for name in seen if "/snap." not in name} for seen in (before, after))
        yield Start(f"{command}: {what}", code, expected, words, (str(daemon.state), *named), before, after)


def remounted(directory, seed):
    """The file system became read-only while the daemon was down. It may be mounted otherwise again without help."""
    with House(directory, seed, mebibytes=64) as house:
        disk = house.disk
        return unwritable(house, "Read-only file system", FAILED, lambda: disk.remount("ro"), lambda: disk.remount("rw"))


def forbidden(directory, seed):
    """The daemon's user may not write."""
    def forbid():
        # A directory that forbids new files still lets the old ones be written: the lock is made anew.
        (house.daemon.state / "lock").unlink()
        house.daemon.state.chmod(0o500)

    with House(directory, seed, is_nobody=True) as house:
        return unwritable(house, "Permission denied", CONFIGURATION, forbid, lambda: house.daemon.state.chmod(0o700))


def unwritable(house, cause, serve_code, forbid, allow):
    house.fill()
    house.daemon.stop()
    forbid()
    starts = list(refused(house.daemon, "what cannot be written", serve_code, cause))
    house.findings += [found for start in starts for found in judge_start(start)]
    allow()
    house.daemon.start()
    must(house.hand.account("K-1", 2), 200)
    house.findings += judge_present(house.hand.promised, house.hand.seen())
    house.daemon.stop()
    return house.findings, f"{len(starts)} commands refused because of: {cause}, then all was there"
