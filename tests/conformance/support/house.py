"""The real daemon with its mails in files, none of which goes out by itself, and its command line."""

import json
import subprocess
import time

from callers import PATIENCE_SECONDS, Wrong
from daemon import HOUSE, Daemon

# The schedule does not fire for years.
CONFIGURATION = HOUSE.replace('cron = "* * * * * *"', 'cron = "0 0 29 2 *"') + """
[mail]
from = "Muster Hosting <invoices@hosting.example>"
reply_to = "billing@hosting.example"
transport = "file"
[mail.file]
directory = "mail"
"""


class House:
    """A running daemon; stopped with the block that it stands over."""

    def __init__(self, program, directory, secrets=()):
        """`secrets` are further ones of its senders, each with the sender's name before it."""
        directory.mkdir()
        self.directory = directory
        self.daemon = Daemon(program, directory, 0)
        self.daemon.configuration.write_text(CONFIGURATION)
        for sender, secret in secrets:
            with open(self.secret_file(sender), "a") as file:
                file.write(secret + "\n")
        self.url = None

    def __enter__(self):
        try:
            self.daemon.start()
        except BaseException:
            self.daemon.end()
            raise
        self.url = "http://%s:%d" % self.daemon.address
        return self

    def __exit__(self, kind, *_):
        try:
            # Stopping it well is one more thing to be seen, unless something failed before.
            if kind is None:
                self.daemon.stop()
        finally:
            self.daemon.end()

    def secret_file(self, sender):
        return self.directory / f"{sender}-secrets"

    def ask(self, *words):
        """What a command of the program says, as JSON."""
        command = self.daemon.command("--json", *words)
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise Wrong(f"{words}: {ran.returncode} {ran.stderr}")
        return json.loads(ran.stdout)

    def settled(self, account, number, state="delivered"):
        """The invoice, once it is so."""
        until = time.monotonic() + PATIENCE_SECONDS
        while (invoice := self.ask("invoice", account, number))["state"] != state:
            if time.monotonic() > until:
                raise Wrong(f"{account} {number} is {invoice['state']} and not {state}")
            time.sleep(0.1)
        return invoice
