"""Starts the real daemon on an image and compares it with what was promised before the cut."""

import hashlib
import http.client
import shutil
import time

import images
from daemon import Admin, Broken, Daemon, Webhook
from recording import NO_RELAY, SCHEDULES

# Events acknowledged last before the cut, which a repetition must find remembered.
REPEATED = 8
SETTLING_SECONDS = 10


class Checker:
    """Checks images one at a time, in a directory of its own."""

    def __init__(self, program, directory, sockets):
        self.program, self.directory, self.sockets = program, directory, sockets
        sockets.mkdir()

    def check(self, recording, facts, image, cut, again):
        """Whether it started, and what is missing or wrong. `again` starts it a second time, after a kill."""
        if self.directory.exists():
            shutil.rmtree(self.directory)
        images.write(image, self.directory / "state")
        daemon = Daemon(
            self.program, self.directory, SCHEDULES, NO_RELAY, options=["--paused"], sockets=self.sockets,
        )
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
                wrong += Promise(recording, facts, cut, daemon).broken()
            except (OSError, http.client.HTTPException, Broken) as failure:
                wrong.append(f"the daemon does not answer: {failure!r}")
            finally:
                daemon.end()
            wrong += [f"the daemon complains: {line}" for line in daemon.errors()]
            if wrong:
                break
        return True, wrong


def by(moment, cut):
    return moment is not None and moment <= cut


class Promise:
    """What holds at a cut, and whether the daemon keeps it."""

    def __init__(self, recording, facts, cut, daemon):
        self.recording, self.facts, self.cut, self.state = recording, facts, cut, daemon.state
        self.admin, self.webhook = Admin(daemon), Webhook(daemon)
        self.mails = {}
        for mail in facts.mails:
            if by(mail["first_byte"], cut):
                self.mails.setdefault(mail["number"], []).append(mail)

    def broken(self):
        return [*self.accounts(), *self.invoices(), *self.documents(), *self.repeated()]

    def accounts(self):
        found = {item["account"]: item for item in self.admin.all("/v1/accounts")}
        for account, versions in self.facts.accounts.items():
            least = max((one["version"] for one in versions if by(one["acknowledged"], self.cut)), default=0)
            contents = {one["version"]: one["content"] for one in versions if by(one["sent"], self.cut)}
            item = found.pop(account, {"version": 0})
            version = item["version"]
            if version < least:
                yield f"account {account}: version {version}, yet {least} was acknowledged"
            elif version and version not in contents:
                yield f"account {account}: version {version} was not sent yet"
            elif version:
                is_there = {
                    "name": item["name"], "closed": item["closed"], "billing_contact": item["billing_contact"],
                    "sub_users": sorted(one["id"] for one in item["sub_users"]), "version": version,
                }
                if is_there != contents[version]:
                    yield f"account {account}: {is_there} in place of {contents[version]}"
        for account in found:
            yield f"account {account}: nobody sent it"

    def invoices(self):
        found = {item["number"]: item for item in self.admin.all("/v1/invoices")}
        for number, invoice in self.facts.invoices.items():
            item = found.pop(number, None)
            if item is None:
                if by(invoice["acknowledged"], self.cut):
                    yield f"invoice {number}: lost"
                elif number in self.mails:
                    yield f"invoice {number}: lost, yet its mail went out"
                continue
            if not by(invoice["sent"], self.cut):
                yield f"invoice {number}: it was not sent yet"
            content = (item["account"], item["total"]["amount"], [one["sha256"] for one in item["documents"]])
            if content != (invoice["account"], invoice["total"], invoice["documents"]):
                yield f"invoice {number}: other content: {content}"
            yield from self.story(number, invoice, item["state"])
        for number in found:
            yield f"invoice {number}: nobody sent it"

    def story(self, number, invoice, state):
        mails = self.mails.get(number, [])
        details = None
        # An attempt of unknown outcome may have come to nothing that the relay saw.
        if state in ("sending", "held") or (mails and (state != "delivered" or len(mails) > 1)):
            details = self.settled(invoice["account"], number)
            state = details["state"]
        allowed = self.allowed(invoice, mails, details)
        if state not in allowed:
            yield f"invoice {number}: {state}, which can only be {' or '.join(sorted(allowed))}"
        if details:
            yield from self.attempts(number, details, mails)

    def settled(self, account, number):
        """Nothing stays in `sending`."""
        give_up = time.monotonic() + SETTLING_SECONDS
        while True:
            details = self.admin.get(f"/v1/accounts/{account}/invoices/{number}")
            is_under_way = details["state"] == "sending" or any(one["under_way_since"] for one in details["addresses"])
            if not is_under_way or time.monotonic() > give_up:
                return details
            time.sleep(0.01)

    def allowed(self, invoice, mails, details):
        cut = self.cut
        if by(invoice["withdrawn"], cut):
            return {"withdrawn"}
        allowed = {"held"}
        if not by(invoice["held"], cut):
            allowed = {"waiting", "due"}
            versions = self.facts.accounts.get(invoice["account"], [])
            acknowledged = max((one["version"] for one in versions if by(one["acknowledged"], cut)), default=0)
            if acknowledged < invoice["least_version"]:
                allowed.add("parked")
            if any(mail["code"] == 250 and by(mail["answering"], cut) for mail in mails):
                allowed.add("delivered")
            # By an operator; or by the daemon after three uncertain attempts, or after one if it was withdrawn.
            enough = 1 if by(invoice["withdrawing"], cut) else 3
            if by(invoice["holding"], cut) or details and max(uncertain(details), default=0) >= enough:
                allowed.add("held")
        if by(invoice["withdrawing"], cut):
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
                possible = sum(1 for mail in mine if mail["code"] == code and by(mail["answering"], self.cut))
                if not settled <= there.count(outcome) <= possible:
                    yield (
                        f"invoice {number}: {there.count(outcome)} attempts at {address} {outcome}, "
                        f"of which there must be {settled} to {possible}"
                    )

    def is_settled(self, mail):
        return any(
            other["connection"] == mail["connection"]
            and other["first_byte"] > mail["first_byte"]
            and by(other["first_byte"], self.cut)
            for other in self.facts.mails
        )

    def documents(self):
        for number, (digest, at) in enumerate(self.facts.documents.items()):
            if not by(at, self.cut):
                continue
            files = list((self.state / "documents").glob(f"*/{digest}.sha256"))
            if not any(hashlib.sha256(file.read_bytes()).hexdigest() == digest for file in files):
                yield f"document {digest}: its file is {'damaged' if files else 'missing'}"
            status, answer = self.webhook.document(f"again-{number}", self.recording.content(digest))
            if (status, answer.get("result")) != (200, "duplicate"):
                yield f"document {digest}: {status} {answer} to its repetition"

    def repeated(self):
        known = [event for event in self.facts.events if by(event["acknowledged"], self.cut)]
        for event in sorted(known, key=lambda event: event["acknowledged"])[-REPEATED:]:
            status, answer = self.webhook.event(event["sender"], event["id"], event["body"].encode())
            if (status, answer.get("result")) != (200, "duplicate"):
                yield f"event {event['id']}: {status} {answer} to its repetition"


def outcomes(address):
    return [(address["address"], attempt["outcome"]) for attempt in address["attempts"]]


def uncertain(details):
    for address in details["addresses"]:
        yield sum(1 for attempt in address["attempts"] if attempt["outcome"] == "uncertain")
