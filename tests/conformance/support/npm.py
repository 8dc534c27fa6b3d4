"""Packages of npm that a suite needs: installed below target/, as its lock file says."""

import shutil
import subprocess
import sys


def installed(wanted, directory):
    """What package.json and its lock in `wanted` name, in `directory`, unless these very ones are there."""
    lock = wanted / "package-lock.json"
    if "resolved" in lock.read_text():
        sys.exit(f"{lock} names a registry: npm install --omit-lockfile-registry-resolved=true")
    there = directory / lock.name
    if there.is_file() and there.read_bytes() == lock.read_bytes() and (directory / "installed").exists():
        return
    directory.mkdir(exist_ok=True)
    (directory / "installed").unlink(missing_ok=True)
    for file in ("package.json", lock.name):
        shutil.copy(wanted / file, directory / file)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit-lockfile-registry-resolved=true"]
    subprocess.run(command, cwd=directory, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=True)
    (directory / "installed").touch()
