"""State directories that are not the one they were: nothing is started, created or changed."""

import shutil

from daemon import Daemon, relay
from hand import House, must, must_be_clean, verify
from sink import Sink
from verdict import CONFIGURATION, FAILED, Start, judge_present, judge_start, tree


def cases(own, other, older):
    """What is wrong, and how it is made; `own` and `other` are two stores, `older` is a database that `own` had."""
    format_line, _, id_line = (own / "CURRENT").read_text().splitlines()
    other_current = (other / "CURRENT").read_bytes()

    def current(content):
        return lambda state: (state / "CURRENT").write_bytes(content)

    def copied(name):
        def copy(state):
            shutil.rmtree(state / name)
            shutil.copytree(other / name, state / name)
        return copy

    def remove(*names):
        def take_away(state):
            for name in names:
                path = state / name
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        return take_away

    return {
        "CURRENT is missing": remove("CURRENT"),
        "CURRENT has its name of before": lambda state: (state / "CURRENT").rename(state / "CURRENT.new"),
        "CURRENT is empty": current(b""),
        "CURRENT is cut off": current((own / "CURRENT").read_bytes()[:-5]),
        "CURRENT has zeros only": current(bytes(len((own / "CURRENT").read_bytes()))),
        "CURRENT is no text": current(b"\xff\xfe\x00database"),
        "CURRENT leads elsewhere": current(f"{format_line}\ndatabase ../sled-1\n{id_line}\n".encode()),
        "CURRENT has a line too many": current((own / "CURRENT").read_bytes() + b"more\n"),
        "CURRENT names another database": current(f"{format_line}\ndatabase sled-2\n{id_line}\n".encode()),
        "CURRENT has no format": current(f"database sled-1\n{id_line}\n".encode()),
        "CURRENT has the format of a newer program": current(f"format 99\ndatabase sled-1\n{id_line}\n".encode()),
        "CURRENT is that of another store": current(other_current),
        "the database is that of another store": copied("sled-1"),
        "the database's directory is missing": remove("sled-1"),
        "the database's directory is empty": lambda state: (remove("sled-1")(state), (state / "sled-1").mkdir()),
        "the database's file is missing": remove("sled-1/db"),
        "the database is an older copy": lambda state: shutil.copyfile(older, state / "sled-1" / "db"),
        "only the documents are there": remove("CURRENT", "REACHED", "sled-1", "lock"),
        "something else is there": lambda state: (
            remove("CURRENT", "REACHED", "sled-1", "lock", "documents")(state), (state / "holiday.jpg").write_bytes(b"sea")
        ),
    }


def run(program, directory, seed):
    directory.mkdir()
    own, other = (filled(program, directory / name, f"{seed} {name}") for name in ("own", "other"))
    older = shutil.copyfile(own.daemon.state / "sled-1" / "db", directory / "older")
    fill(own, "RE-2")
    findings, starts = [], []
    sink = Sink(seed, directory / "mails")
    for count, (what, spoil) in enumerate(cases(own.daemon.state, other.daemon.state, older).items()):
        house = directory / str(count)
        house.mkdir()
        daemon = Daemon(program, house, relay(sink.port))
        shutil.copytree(own.daemon.state, daemon.state, dirs_exist_ok=True)
        spoil(daemon.state)
        for command, expected in (("serve", CONFIGURATION), ("verify", FAILED)):
            before = tree(daemon.state)
            if command == "serve":
                code = daemon.start_or_end()
                words = daemon.words()
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
            starts.append(Start(f"{command}: {what}", code, expected, words, (str(daemon.state),), before, after))
    for start in starts:
        findings += judge_start(start)
    # The store itself was never to blame.
    own.start()
    findings += judge_present(own.hand.promised, own.hand.seen())
    own.daemon.stop()
    must_be_clean(own.daemon)
    for house in (own, other):
        house.end()
    sink.close()
    return findings, f"{len(starts)} commands on {len(starts) // 2} directories, {len(findings)} findings", starts


def filled(program, directory, seed):
    """A store with something in it, closed."""
    house = House(program, directory, seed)
    fill(house, "RE-1")
    return house


def fill(house, number):
    house.start()
    must(house.hand.account("K-1"), 200)
    must(house.hand.invoice("K-1", number, contents=[house.hand.bytes()]), 200)
    house.daemon.stop()
