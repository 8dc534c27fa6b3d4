"""State directories that cannot be written."""

import os
import shutil
import subprocess

from hand import House, must, verify
from space import on
from verdict import CONFIGURATION, FAILED, Start, judge_present, judge_start, tree

NOBODY = 65_534


def remounted(program, directory, seed):
    """The file system became read-only while the daemon was down."""
    disk, house = on(64, program, directory, seed)
    try:
        return trial(
            # It may be mounted otherwise again, with nobody's help.
            house, "Read-only file system", FAILED, lambda: disk.remount("ro"), lambda: disk.remount("rw"),
        )
    finally:
        house.end()
        disk.unmount()


def forbidden(program, directory, seed):
    """The daemon's user may not write."""
    house = as_nobody(program, directory, seed)
    try:
        return trial(
            house, "Permission denied", CONFIGURATION, lambda: house.daemon.state.chmod(0o500),
            lambda: house.daemon.state.chmod(0o700), is_locked=False,
        )
    finally:
        house.end()


def as_nobody(program, directory, seed):
    """A house of somebody who is not root, where that is possible."""
    house = House(program, directory, seed)
    if os.geteuid() == 0 and can_be_somebody_else(directory):
        # It may lie where nobody else looks.
        house.daemon.program = house.directory / "invoice-router"
        shutil.copy(program, house.daemon.program)
        house.daemon.user = NOBODY
        for path in (house.directory, *house.directory.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
    return house


def trial(house, cause, serve_code, forbid, allow, is_locked=True):
    hand, findings = house.hand, []
    house.start()
    must(hand.account("K-1"), 200)
    must(hand.invoice("K-1", "RE-1", contents=[hand.bytes()]), 200)
    house.daemon.stop()
    if not is_locked:
        # A directory that forbids new files still lets the old ones be written: the lock is made anew.
        (house.daemon.state / "lock").unlink()
    forbid()
    starts = 0
    for what in ("serve", "verify"):
        before = tree(house.daemon.state)
        if what == "serve":
            code = house.daemon.start_or_end()
            words = house.daemon.words()
            if code is None:
                house.daemon.stop()
        else:
            verified = verify(house.daemon)
            code, words = verified.code, verified.words
        starts += 1
        expected = serve_code if what == "serve" else FAILED
        findings += judge_start(Start(
            f"{what} on what cannot be written", code, expected, words, (str(house.daemon.state), cause), before,
            tree(house.daemon.state),
        ))
    allow()
    house.start()
    must(hand.account("K-1", 2), 200)
    findings += judge_present(hand.promised, hand.seen())
    house.daemon.stop()
    return findings, f"{starts} commands refused because of: {cause}, then all was there, {len(findings)} findings", []


def can_be_somebody_else(directory):
    """Whether there is somebody here who may not do everything."""
    if os.geteuid() != 0:
        return True
    try:
        trial = ["test", "-x", str(directory)]
        return subprocess.run(trial, user=NOBODY, group=NOBODY, extra_groups=[], check=False).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False
