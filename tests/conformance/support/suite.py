"""What the suites have in common: where things are, the program, how a suite is run, how it says what is wrong."""

import argparse
import os
import pathlib
import random
import shutil
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
TOOLS = pathlib.Path(os.environ.get("TOOLS", TARGET / "tools"))
PROGRAM = TARGET / "proof" / "invoice-router"
PROFILE = ["--locked", "--profile", "proof"]
# The program and the proofs that are written in Rust. Naming examples, of which there are none, has cargo take the
# features that the tests need: so the dependencies are the same, and built once.
PROGRAMS = ["--workspace", "--bins", "--examples"]
SEED = 1
# Of what failed.
SHOWN = 40


class Broken(Exception):
    """The daemon did what no fault excuses: it did not start, did not end, or ended by itself."""


class Wrong(Exception):
    """Something is not as it should be."""


def expect(what, found, expected):
    if found != expected:
        raise Wrong(f"{what}: {found!r} in place of {expected!r}")


def wait_until(question, seconds, pause_seconds=0.05):
    """Asks until it says yes or the time is up; what it said last."""
    until = time.monotonic() + seconds
    while not (said := question()) and time.monotonic() < until:
        time.sleep(pause_seconds)
    return said


def program():
    if not PROGRAM.is_file():
        raise Broken(f"{PROGRAM} is not there: cargo build {' '.join(PROFILE + PROGRAMS)}")
    return PROGRAM


def python():
    """Python as it finds the tools of tests/run: a virtual environment or, where there is none, a plain directory."""
    interpreter = TOOLS / "bin" / "python"
    return interpreter if interpreter.exists() else sys.executable


def options(documentation, long="the same", has_seed=True, **more):
    """What is given to a suite. Without `--seed` the short form, which is part of every run, draws the same each time:
    it is to fail for what was changed and not for what was drawn. The long one looks further each time."""
    parser = argparse.ArgumentParser(description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help=long)
    if has_seed:
        parser.add_argument("--seed", type=int, help=f"the random choices; {SEED} unless --long, then others each time")
    for name, settings in more.items():
        parser.add_argument("--" + name.replace("_", "-"), **settings)
    found = parser.parse_args()
    if has_seed and found.seed is None:
        found.seed = random.SystemRandom().randrange(10**9) if found.long else SEED
    return found


def run(name, chosen, work, parent=TARGET, mode=0o700):
    """Has the work done in a directory of its own, which is kept if anything failed; it returns what did, in words."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix=f"invoice-router-{name}.", dir=parent))
    directory.chmod(mode)
    seed = f", seed {chosen.seed}" if "seed" in chosen else ""
    if seed:
        print(seed.removeprefix(", "), flush=True)
    began, failures = time.monotonic(), None
    try:
        failures = work(directory)
    except (Broken, Wrong) as wrong:
        failures = [str(wrong)]
    finally:
        print(f"{time.monotonic() - began:.0f} s{seed}", flush=True)
        if failures != []:
            print(f"logs and state are in {directory}", flush=True)
    if failures:
        print(*failures[:SHOWN], sep="\n", flush=True)
        sys.exit(f"{len(failures)} failures{seed}")
    shutil.rmtree(directory)
