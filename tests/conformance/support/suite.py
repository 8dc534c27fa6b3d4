"""What the suites have in common: where things are, the program, the seed."""

import os
import pathlib
import random
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
TOOLS = pathlib.Path(os.environ.get("TOOLS", TARGET / "tools"))
PROGRAM = TARGET / "proof" / "invoice-router"
PROFILE = ["--locked", "--profile", "proof"]
# The program and the proofs that are written in Rust. Naming examples, of which there are none, has cargo take the
# features that the tests need: so the dependencies are the same, and built once.
PROGRAMS = ["--workspace", "--bins", "--examples"]
SEED = 1


def program():
    if not PROGRAM.is_file():
        sys.exit(f"{PROGRAM} is not there: cargo build {' '.join(PROFILE + PROGRAMS)}")
    return PROGRAM


def seed(options):
    """What `--seed` says. The short form is part of every run, which is to fail for what was changed and not for
    what was drawn; the long one looks further each time."""
    if options.seed is not None:
        return options.seed
    return random.SystemRandom().randrange(10**9) if options.long else SEED
