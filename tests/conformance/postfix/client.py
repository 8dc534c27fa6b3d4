"""The real daemon before Postfix, and those who push to it.

How a daemon is started, ended and asked is in support.
"""

import itertools

import events
from daemon import Admin, Daemon, Webhook, relay
from suite import Broken, wait_until

FROM, REPLY_TO, BOUNCES = "invoices@hosting.example", "billing@hosting.example", "bounces@hosting.example"
# What nothing more comes of by itself.
AT_REST = ("delivered", "held", "withheld", "undeliverable", "withdrawn")


class Router(Daemon):
    """A daemon whose relay is one of Postfix's services; ended with its `with` block."""

    def __init__(self, work, name, port, **smtp):
        directory = work.directory / name
        directory.mkdir()
        self.versions = itertools.count(1)
        self.ids = itertools.count(1)
        # The password is read from a file.
        if password := smtp.pop("password", None):
            (directory / "password").write_text(password + "\n")
            smtp["password_file"] = "./password"
        super().__init__(
            directory, relay(port, **{"security": "none", "idle_seconds": 2, **smtp}),
            {"mail": {"from": f"Muster Hosting <{FROM}>", "reply_to": REPLY_TO, "envelope_from": BOUNCES}},
            {"retry": {"rejections_max": 100}},
        )
        self.admin, self.webhook = Admin(self), Webhook(self)

    def readiness(self):
        """It answers 503 while it cannot do its work, which a relay that is down is not."""
        status, answer = self.admin.ask("GET", "/readyz")
        if status != 200:
            raise Broken(f"/readyz: {status} {answer}")
        return answer

    def relay_is_down(self, seconds=20):
        """Waits until it says so, and why."""
        wait_until(lambda: self.readiness()["relay"]["state"] == "down", seconds)
        relay = self.readiness()["relay"]
        return relay.get("cause") if relay["state"] == "down" else None

    def account(self, account, main, billing=None):
        """With a billing contact, if there are addresses for one."""
        contact = {"name": "Buchhaltung", "addresses": billing}
        chosen = {} if billing is None else {
            "sub_users": [{"id": "u-7", "group": "Rechnungen", "contact": contact}], "billing_contact": "u-7",
        }
        profile = events.account(account, next(self.versions), main, **chosen)
        profile["main_contact"]["company"] = "Müller & Söhne"
        return self.push("portal", "account.updated", profile)

    def invoice(self, account, number, documents=None):
        """`documents` are file names, media types and bytes."""
        documents = documents or [("Rechnung.pdf", "application/pdf", b"%PDF-1.4 " + number.encode())]
        sent = [events.document(content, name, kind) for name, kind, content in documents]
        invoice = events.invoice(account, number, sent, due_on="2026-12-07", release="immediately")
        return self.push("billing", "invoice.issued", invoice)

    def push(self, sender, kind, data):
        """A signed event, which must be taken."""
        status, answer = self.webhook.event(sender, f"msg_{next(self.ids)}", events.event(kind, data))
        if status != 200:
            raise Broken(f"{kind}: {status} {answer}")
        return answer

    def shown(self, account, number):
        return self.admin.invoice(account, number)

    def shown_once(self, account, number, fits=lambda shown: shown["state"] in AT_REST, seconds=30):
        """Until the invoice fits, or the time is up; what is shown of it then."""
        wait_until(lambda: fits(self.shown(account, number)), seconds)
        return self.shown(account, number)

    def switch(self, action):
        """`pause` or `resume`: all sending."""
        status, answer = self.admin.ask("POST", f"/v1/{action}", {})
        if status != 200:
            raise Broken(f"{action}: {status} {answer}")
