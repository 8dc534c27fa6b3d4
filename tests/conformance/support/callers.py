"""The example clients of config/examples/clients, each in its language, and what becomes of a run of them."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass

from debian import has
from suite import ROOT, Wrong, expect

EXAMPLES = ROOT / "config" / "examples"
CLIENTS = EXAMPLES / "clients"
# What runs each, and a line that prints the client's own signature of the arguments SECRET ID TIMESTAMP PAYLOAD.
LANGUAGES = {
    "php": (
        ["php"],
        ["-r", 'require "client.php"; [, $s, $i, $t, $p] = $argv; echo signature($s, $i, (int) $t, $p);', "--"],
    ),
    "py": (
        [sys.executable],
        ["-c", "import client, sys; s, i, t, p = sys.argv[1:]; print(client.signature(s, i, int(t), p.encode()))"],
    ),
    "mjs": (
        ["node"],
        [
            "--input-type=module", "-e",
            'import { signature } from "./client.mjs";'
            "const [s, i, t, p] = process.argv.slice(1); console.log(signature(s, i, Number(t), p));",
            "--",
        ],
    ),
    "sh": (
        ["bash"],
        ["-c", 'source ./client.sh && printf %s "$4" | signature "$1" "$2" "$3"', "client.sh"],
    ),
}
# A client waits 16 s at most by itself; on a machine that is busy with something else it may take longer.
PATIENCE_SECONDS = 120


@dataclass
class Outcome:
    code: int
    # Each line of standard output, as JSON where it is that.
    answers: list
    said: str

    def expect(self, code, *results, said=()):
        """That exit code, a last answer to each request with these results or problems, and these words."""
        found = [answer.get("result", answer.get("code")) if isinstance(answer, dict) else answer
                 for answer in self.answers]
        if self.code != code or found != list(results):
            raise Wrong(f"exit code {self.code} and {found} in place of {code} and {list(results)}:\n{self.said}")
        for words in said:
            if words not in self.said:
                raise Wrong(f"does not say {words!r}:\n{self.said}")
        return self.answers[-1] if self.answers else None


def environment(**more):
    """As it is, but for proxies, which none of this is for, and the bytecode that Python leaves behind."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", **more}


class Caller:
    """One of the clients, as a portal runs it against an address with a secret."""

    def __init__(self, language, url, secret_file, directory=CLIENTS, path=None):
        self.command = [*LANGUAGES[language][0], directory / f"client.{language}", url, secret_file]
        self.environment = environment(**({"PATH": path} if path else {}))

    def begin(self, said, *words):
        """Runs it beside what follows; what it says goes into that file."""
        with open(said, "w") as out:
            return subprocess.Popen(
                [*self.command, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=out, text=True,
                env=self.environment,
            )

    def run(self, *words):
        ran = subprocess.run(
            [*self.command, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            env=self.environment, timeout=PATIENCE_SECONDS, check=False,
        )
        return Outcome(ran.returncode, answers(ran.stdout), ran.stderr)


def answers(text):
    return [as_json(line) for line in text.splitlines()]


def as_json(line):
    try:
        return json.loads(line)
    except ValueError:
        return line


def doctored(language, directory, constant, old, new):
    """A copy of the client in this directory, which is the client but for the value of one constant."""
    name = f"client.{language}"
    text, count = re.subn(rf"\b({constant} *= *){old}\b", rf"\g<1>{new}", (CLIENTS / name).read_text())
    expect(f"how often {name} has {constant} = {old}", count, 1)
    (directory / name).write_text(text)
    return directory


def signature(language, *words):
    """What the client of this language signs: secret, id, time-stamp, payload."""
    program, line = LANGUAGES[language]
    command = [*program, *line, *words]
    return subprocess.check_output(command, cwd=CLIENTS, env=environment(), text=True).strip()


def languages_here():
    """Those that can be run here. Where all of them are expected, one that is missing is a failure."""
    def has_curl():
        return "curl" in subprocess.check_output(["php", "-m"], text=True).split()

    there = {
        "php": has("php", "php-cli", "php-curl", works=has_curl),
        "py": True,
        "mjs": has("node", "nodejs"),
        "sh": all([has("curl", "curl"), has("openssl", "openssl")]),
    }
    missing = [language for language, is_there in there.items() if not is_there]
    if missing and os.environ.get("CI"):
        sys.exit(f"with CI set every client is run, and these cannot be: {', '.join(missing)}")
    if missing:
        print(f"not run here: the clients in {', '.join(missing)}", flush=True)
    return [language for language in LANGUAGES if there[language]]
