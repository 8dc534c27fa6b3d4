"""What a suite needs of Debian's packages: installed where it is missing, if that is possible without a question."""

import os
import shutil
import subprocess
import sys

# The exit code of a suite that was.
SKIPPED = 77


def has(command, *packages, works=None):
    """Whether the command is there and works, after the packages were installed if it did not."""
    def is_there():
        return bool(shutil.which(command)) and (works is None or works())

    if not is_there() and shutil.which("apt-get"):
        apt = [] if os.geteuid() == 0 else ["sudo", "-n"]
        apt += ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"]
        for words in (["update"], ["install", "--no-install-recommends", *packages]):
            try:
                ran = subprocess.run([*apt, *words], stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
            except OSError:
                # There is no sudo.
                break
            if ran.returncode:
                break
    return is_there()


def needs(command, *packages, works=None):
    """Without it the suite is skipped."""
    if not has(command, *packages, works=works):
        print(f"{command} is needed, Debian: {' '.join(packages)}")
        sys.exit(SKIPPED)
