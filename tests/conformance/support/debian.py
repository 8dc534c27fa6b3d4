"""What a suite needs of Debian's packages: installed where it is missing, if that is possible without a question."""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile

# The exit code of a suite that was.
SKIPPED = 77


def install(*packages, out=None):
    """Whether it went well. Suites run side by side, and apt does not wait for another one."""
    if not shutil.which("apt-get"):
        return False
    apt = [] if os.geteuid() == 0 else ["sudo", "-n"]
    apt += ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"]
    with open(f"{tempfile.gettempdir()}/invoice-router-tests.{os.geteuid()}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for words in (["update"], ["install", "--no-install-recommends", *packages]):
            try:
                subprocess.run([*apt, *words], stdin=subprocess.DEVNULL, stdout=out or sys.stderr, check=True)
            except (OSError, subprocess.CalledProcessError):
                # There is no sudo, no network or no such package.
                return False
    return True


def has(command, *packages, works=None):
    """Whether the command is there and works, after the packages were installed if it did not."""
    def is_there():
        return bool(shutil.which(command)) and (works is None or works())

    return is_there() or install(*packages) and is_there()


def needs(command, *packages, works=None):
    """Without it the suite is skipped."""
    if not has(command, *packages, works=works):
        skip(f"{command} is needed, Debian: {' '.join(packages)}")


def skip(words):
    print(words)
    sys.exit(SKIPPED)
