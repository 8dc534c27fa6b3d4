"""The real daemon before Postfix, and those who push to it.

How a daemon is started, ended and asked stands beside the suites, in support.
"""

import base64
import http.client
import itertools
import json
import subprocess
import threading
import time
from datetime import UTC, datetime

import signing
from daemon import HOUSE, PATIENCE_SECONDS, Admin, Broken, Daemon, quoted

FROM, REPLY_TO, BOUNCES = "invoices@hosting.example", "billing@hosting.example", "bounces@hosting.example"
# What nothing more comes of by itself.
AT_REST = ("delivered", "held", "withheld", "undeliverable", "withdrawn")

CONFIGURATION = HOUSE + """
[mail]
from = "Muster Hosting <{sender}>"
reply_to = "{reply_to}"
envelope_from = "{bounces}"
[mail.smtp]
{smtp}
[retry]
first_delay_seconds = 1
max_delay_seconds = 2
rejections_max = 100
"""


class Router:
    """A daemon whose relay is one of Postfix's services; ended with the block that it stands over."""

    def __init__(self, work, name, **smtp):
        self.directory = work.directory / name
        self.directory.mkdir()
        self.daemon = Daemon(work.program, self.directory, 0)
        self.versions = itertools.count(1)
        self.ids = itertools.count(1)
        self.local = threading.local()
        settings = {"host": "127.0.0.1", "security": "none", "idle_seconds": 2, **smtp}
        # The password stands in a file.
        if password := settings.pop("password", None):
            (self.directory / "password").write_text(password + "\n")
            settings["password_file"] = "./password"
        self.daemon.configuration.write_text(CONFIGURATION.format(
            sender=FROM, reply_to=REPLY_TO, bounces=BOUNCES,
            smtp="\n".join(f"{key} = {json.dumps(value)}" for key, value in settings.items()),
        ))

    def __enter__(self):
        try:
            self.daemon.start()
        except Broken:
            self.daemon.end()
            raise
        return self

    def __exit__(self, kind, *_):
        # Stopping it well is one more thing to be seen, unless something failed before.
        if kind is None:
            try:
                self.daemon.stop()
            except Broken:
                self.daemon.end()
                raise
        self.daemon.end()

    @property
    def admin(self):
        """A connection for each thread."""
        if not hasattr(self.local, "admin"):
            self.local.admin = Admin(self.daemon)
        return self.local.admin

    def readiness(self):
        """It answers 503 while it cannot do its work, which a relay that is down is not."""
        status, answer = self.admin.ask("GET", "/readyz")
        if status != 200:
            raise Broken(f"/readyz: {status} {answer}")
        return answer

    def relay_is_down(self, seconds=20):
        """Waits until it says so, and why."""
        until = time.monotonic() + seconds
        while (relay := self.readiness()["relay"])["state"] != "down" and time.monotonic() < until:
            time.sleep(0.05)
        return relay.get("cause") if relay["state"] == "down" else None

    def account(self, account, main, billing=None):
        profile = {
            "account": account, "version": next(self.versions), "name": f"Firma {account}", "language": "de",
            "main_contact": {"name": "Erika Muster", "company": "Müller & Söhne", "addresses": main},
            "sub_users": [], "billing_contact": None,
        }
        if billing is not None:
            contact = {"name": "Buchhaltung", "addresses": billing}
            profile["sub_users"] = [{"id": "u-7", "group": "Rechnungen", "contact": contact}]
            profile["billing_contact"] = "u-7"
        return self.push("portal", "account.updated", profile)

    def invoice(self, account, number, documents=None):
        """`documents` are file names, media types and bytes."""
        documents = documents or [("Rechnung.pdf", "application/pdf", b"%PDF-1.4 " + number.encode())]
        sent = []
        for name, kind, content in documents:
            source = {"content_base64": base64.b64encode(content).decode()}
            sent.append({"file_name": name, "media_type": kind, **source})
        return self.push("billing", "invoice.issued", {
            "account": account, "number": number, "kind": "invoice", "issued_on": "2026-11-23",
            "due_on": "2026-12-07", "total": {"amount": "119.00", "currency": "EUR"}, "release": "immediately",
            "documents": sent,
        })

    def push(self, sender, kind, data):
        """A signed event, which must be taken."""
        moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        body = json.dumps({"type": kind, "timestamp": moment, "data": data}).encode()
        headers = signing.headers(self.daemon.keys[sender], f"msg_{next(self.ids)}_{threading.get_ident()}", body)
        answer, text = self.post(body, {"content-type": "application/json", **headers})
        if answer.status != 200:
            raise Broken(f"{kind}: {answer.status} {text}")
        return json.loads(text)

    def post(self, body, headers):
        """The connection is made anew if the daemon closed it, which it does with one that is idle for a while."""
        for last in (False, True):
            if not hasattr(self.local, "webhook"):
                self.local.webhook = http.client.HTTPConnection(*self.daemon.address, timeout=PATIENCE_SECONDS)
            try:
                self.local.webhook.request("POST", "/v1/events", body, headers)
                answer = self.local.webhook.getresponse()
                return answer, answer.read()
            except ConnectionError:
                self.local.webhook.close()
                del self.local.webhook
                if last:
                    raise

    def shown(self, account, number):
        return self.admin.invoice(account, number)

    def wait(self, account, number, fits=lambda shown: shown["state"] in AT_REST, seconds=30):
        """Until the invoice fits, or the time is up; what is shown of it then."""
        until = time.monotonic() + seconds
        while not fits(shown := self.shown(account, number)) and time.monotonic() < until:
            time.sleep(0.05)
        return shown

    def operate(self, account, number, action, **body):
        path = f"/v1/accounts/{quoted(account)}/invoices/{quoted(number)}/{action}"
        return self.admin.ask("POST", path, body)

    def switch(self, action):
        """`pause` or `resume`: all sending."""
        status, answer = self.admin.ask("POST", f"/v1/{action}", {})
        if status != 200:
            raise Broken(f"{action}: {status} {answer}")

    def command(self, *arguments):
        """One of the commands, as an operator gives it."""
        done = subprocess.run(
            [self.daemon.program, "--config", self.daemon.configuration, *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
        )
        return done.returncode, done.stdout + done.stderr
