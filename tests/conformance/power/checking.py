"""Starts the real daemon on an image and compares it with what was promised before the cut."""

import hashlib
import http.client
import shutil

import images
from daemon import Admin, Daemon, Webhook
from evidence import differences, shown_of
from recording import NO_RELAY, SCHEDULES
from suite import Broken, wait_until

# Events acknowledged last before the cut, which a repetition must find remembered.
REPEATED = 8
SETTLING_SECONDS = 10


class Checker:
    """Checks images one at a time, in a directory of its own."""

    def __init__(self, directory, sockets):
        self.directory, self.sockets = directory, sockets
        sockets.mkdir()

    def check(self, facts, image, cut, again):
        """Whether it started, and what is missing or wrong. `again` starts it a second time, after a kill."""
        if self.directory.exists():
            shutil.rmtree(self.directory)
        images.write(image, self.directory / "state")
        daemon = Daemon(self.directory, SCHEDULES, NO_RELAY, options=["--paused"], sockets=self.sockets)
        wrong = []
        for _ in range(1 + again):
            if "CURRENT" in image:
                done = daemon.run("verify")
                if done.returncode != 0:
                    wrong.append(f"verify: exit code {done.returncode}: {(done.stdout + done.stderr)[-1000:]}")
            try:
                daemon.start()
            except Broken as broken:
                daemon.end()
                return False, [*wrong, f"the daemon does not start: {broken}"]
            try:
                wrong += Promise(facts, cut, daemon).broken()
            except (OSError, http.client.HTTPException, Broken) as failure:
                wrong.append(f"the daemon does not answer: {failure!r}")
            finally:
                daemon.end()
            wrong += [f"the daemon complains: {line}" for line in daemon.errors()]
            if wrong:
                break
        return True, wrong


class Promise:
    """What holds at a cut, and whether the daemon keeps it. What never was has a moment after every cut."""

    def __init__(self, facts, cut, daemon):
        self.facts, self.cut, self.state = facts, cut, daemon.state
        self.admin, self.webhook = Admin(daemon), Webhook(daemon)
        self.mails = {}
        for mail in facts.mails:
            if mail["first_byte"] <= cut:
                self.mails.setdefault(mail["number"], []).append(mail)

    def broken(self):
        return [*self.accounts(), *self.invoices(), *self.documents(), *self.repeated()]

    def accounts(self):
        found = {item["account"]: item for item in self.admin.all("/v1/accounts")}
        for account in self.facts.accounts.values():
            sent = {change.version: change for change in account.changes if change.sent_at <= self.cut}
            least = max(version for version, change in sent.items() if change.answered_at <= self.cut)
            item = found.pop(account.id, {"version": 0})
            version = item["version"]
            if version < least:
                yield f"account {account.id}: version {version}, yet {least} was acknowledged"
            elif version not in sent:
                yield f"account {account.id}: version {version} was not sent yet"
            elif version:
                promised = {**sent[version].profile, "version": version, "closed": sent[version].closed}
                if (shown := shown_of(item)) != promised:
                    yield f"account {account.id}: {differences(shown, promised)}"
        for account in found:
            yield f"account {account}: no sender has sent it"

    def invoices(self):
        found = {item["number"]: item for item in self.admin.all("/v1/invoices")}
        for number, invoice in self.facts.invoices.items():
            item = found.pop(number, None)
            if item is None:
                if invoice.answered_at <= self.cut:
                    yield f"invoice {number}: lost"
                elif number in self.mails:
                    yield f"invoice {number}: lost, yet its mail went out"
                continue
            if invoice.sent_at > self.cut:
                yield f"invoice {number}: it was not sent yet"
            shown = {name: item[name] for name in ("account", "total", "documents")}
            if any(shown[name] != invoice.shown[name] for name in shown):
                yield f"invoice {number}: {differences(shown, invoice.shown)}"
            yield from self.history(number, invoice, item["state"])
        for number in found:
            yield f"invoice {number}: no sender has sent it"

    def history(self, number, invoice, state):
        mails = self.mails.get(number, [])
        details = None
        # An attempt of unknown outcome may have come to nothing that the relay saw.
        if state in ("sending", "held") or (mails and (state != "delivered" or len(mails) > 1)):
            details = self.settled(invoice.account, number)
            state = details["state"]
        allowed = self.allowed(invoice, mails, details)
        if state not in allowed:
            yield f"invoice {number}: {state}, which can only be {' or '.join(sorted(allowed))}"
        if details:
            yield from self.attempts(number, details, mails)

    def settled(self, account, number):
        """Nothing stays in `sending`."""
        def is_settled():
            details = self.admin.invoice(account, number)
            return details["state"] != "sending" and not any(one["under_way_since"] for one in details["addresses"])

        wait_until(is_settled, SETTLING_SECONDS, 0.01)
        return self.admin.invoice(account, number)

    def allowed(self, invoice, mails, details):
        cut = self.cut
        if invoice.withdrawn_at <= cut:
            return {"withdrawn"}
        allowed = {"held"}
        if invoice.held_at > cut:
            allowed = {"waiting", "due"}
            changes = self.facts.accounts[invoice.account].changes
            acknowledged = max(change.version for change in changes if change.answered_at <= cut)
            if acknowledged < (invoice.shown["min_account_version"] or 1):
                allowed.add("parked")
            if any(mail["code"] == 250 and mail["answering"] <= cut for mail in mails):
                allowed.add("delivered")
            # By an operator; or by the daemon after three uncertain attempts, or after one if it was withdrawn.
            enough = 1 if invoice.withdrawing_at <= cut else 3
            if invoice.holding_at <= cut or details and max(uncertain(details), default=0) >= enough:
                allowed.add("held")
        if invoice.withdrawing_at <= cut:
            allowed.add("withdrawn")
        return allowed

    def attempts(self, number, details, mails):
        """Each first byte proves an intent, and each next message of a connection the outcome of the one before."""
        known = [one for address in details["addresses"] for one in outcomes(address)]
        for address in {mail["address"] for mail in mails}:
            mine = [mail for mail in mails if mail["address"] == address]
            there = [outcome for to, outcome in known if to == address]
            if len(there) < len(mine):
                yield f"invoice {number}: {len(mine)} messages to {address} had begun, of attempts it has {there}"
            for outcome, code in (("accepted", 250), ("deferred", 451)):
                settled = sum(1 for mail in mine if mail["code"] == code and self.is_settled(mail))
                possible = sum(1 for mail in mine if mail["code"] == code and mail["answering"] <= self.cut)
                if not settled <= there.count(outcome) <= possible:
                    yield (
                        f"invoice {number}: {there.count(outcome)} attempts at {address} {outcome}, "
                        f"of which there must be {settled} to {possible}"
                    )

    def is_settled(self, mail):
        return any(
            other["connection"] == mail["connection"]
            and other["first_byte"] > mail["first_byte"]
            and other["first_byte"] <= self.cut
            for other in self.facts.mails
        )

    def documents(self):
        for number, (digest, (content, at)) in enumerate(self.facts.documents.items()):
            if at > self.cut:
                continue
            files = list((self.state / "documents").glob(f"*/{digest}.sha256"))
            if not any(hashlib.sha256(file.read_bytes()).hexdigest() == digest for file in files):
                yield f"document {digest}: its file is {'damaged' if files else 'missing'}"
            status, answer = self.webhook.document(f"again-{number}", content)
            if (status, answer.get("result")) != (200, "duplicate"):
                yield f"document {digest}: {status} {answer} to its repetition"

    def repeated(self):
        known = [one for one in self.facts.pushed if one.answered_at <= self.cut]
        for one in sorted(known, key=lambda one: one.answered_at)[-REPEATED:]:
            status, answer = self.webhook.push(one.sender, one.name, *one.request)
            if status not in (200, 202) or answer.get("result") != "duplicate":
                yield f"{one.name}: {status} {answer} to its repetition"


def outcomes(address):
    return [(address["address"], attempt["outcome"]) for attempt in address["attempts"]]


def uncertain(details):
    for address in details["addresses"]:
        yield sum(1 for attempt in address["attempts"] if attempt["outcome"] == "uncertain")
