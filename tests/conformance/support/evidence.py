"""The judgement of an observer outside: what was promised, what the relay has, what the daemon says.

Times are those of one clock in one process, each taken so that doubt speaks for the daemon: what was sent
may have been applied at once, and what was answered was applied before.
"""

import collections
import dataclasses

# The kinds of findings.
LOST, WRONG, COPY, STUCK, DOCUMENT, RECORD = "lost", "wrong recipient", "second copy", "stuck", "document", "record"


@dataclasses.dataclass
class Evidence:
    """All there is to judge from."""

    accounts: dict
    invoices: dict
    surprises: list
    mails: list
    # Of the last start: each account and invoice, and the state of each invoice in the list of all.
    accounts_seen: dict
    invoices_seen: dict
    listed: dict
    # When the daemon was killed.
    kills: list
    connections: int


@dataclasses.dataclass
class Judgement:
    findings: list = dataclasses.field(default_factory=list)
    uncertain: int = 0
    second_copies: int = 0
    delivered: int = 0
    named_in_flight: int = 0

    def find(self, kind, words):
        self.findings.append((kind, words))

    def count(self, *kinds):
        return sum(kind in kinds for kind, _ in self.findings)


def judge(evidence):
    judgement = Judgement()
    for words in evidence.surprises:
        judgement.find(RECORD, f"an answer that nothing explains: {words}")
    for account in evidence.accounts.values():
        judge_account(judgement, account, evidence.accounts_seen.get(account.id))
    mails = collections.defaultdict(list)
    for mail in evidence.mails:
        mails[mail.number].append(mail)
    for number in sorted({*mails, *evidence.listed} - {*evidence.invoices}):
        judgement.find(RECORD, f"{number} was never issued")
    for invoice in evidence.invoices.values():
        Case(judgement, evidence, invoice, mails[invoice.number]).judge()
    # A kill leaves one on each connection at most.
    explained = len(evidence.kills) * evidence.connections
    if judgement.uncertain > explained:
        judgement.find(RECORD, f"{judgement.uncertain} attempts are uncertain, of which the kills explain {explained}")
    return judgement


def judge_account(judgement, account, seen):
    if account.profile is None:
        return
    if seen is None:
        judgement.find(LOST, f"account {account.id} was acknowledged and is not there")
        return
    shown = shown_of(seen)
    promised = {**account.profile, "version": account.version, "closed": account.closed}
    if shown != promised:
        judgement.find(LOST, f"account {account.id}: {differences(shown, promised)}")


def shown_of(seen):
    """Of an account as the admin interface shows it, what was promised."""
    shown = {key: seen[key] for key in ("version", "closed", "name", "language", "schedule", "billing_contact")}
    shown["main_contact"] = {key: value for key, value in seen["main_contact"].items() if key != "active"}
    shown["sub_users"] = {
        sub["id"]: {key: sub[key] for key in ("group", "contact", "login")} for sub in seen["sub_users"]
    }
    return shown


def differences(shown, promised):
    found = [f"{key} is {shown[key]}, acknowledged was {promised[key]}" for key in shown if shown[key] != promised[key]]
    return "; ".join(found)


class Case:
    """One invoice."""

    def __init__(self, judgement, evidence, invoice, mails):
        self.judgement = judgement
        self.evidence = evidence
        self.invoice = invoice
        self.mails = mails
        self.changes = evidence.accounts[invoice.account].changes
        self.seen = evidence.invoices_seen.get(invoice.number)
        self.listed = evidence.listed.get(invoice.number)

    def find(self, kind, words):
        story = self.seen and {key: self.seen[key] for key in ("state", "held_reason", "addresses", "story")}
        mails = [(mail.queue_id, mail.address, mail.message_id) for mail in self.mails]
        self.judgement.find(kind, f"{self.invoice.number} of {self.invoice.account}: {words}\n    {mails}\n    {story}")

    def judge(self):
        if self.seen is None:
            if self.invoice.acknowledged or self.mails:
                self.find(LOST, "it was acknowledged and is not there")
            return
        if self.invoice.withdrawal == "before":
            if self.seen["state"] != "withdrawn" or self.mails:
                self.find(WRONG, "it was withdrawn before it came")
            return
        self.judge_record()
        self.judge_state()
        for address in sorted({*self.attempts(), *(mail.address for mail in self.mails)}):
            self.judge_copies(address)
        for mail in self.mails:
            self.judge_recipient(mail)
            promised = tuple(document["sha256"] for document in self.invoice.shown["documents"])
            if mail.documents != promised:
                self.find(DOCUMENT, f"{mail.queue_id} has the documents {mail.documents}, handed over were {promised}")
        if self.seen["state"] == "delivered" and self.invoice.withdrawal is None:
            self.judge_whole()

    def attempts(self):
        """The attempts at each address that the daemon tells of."""
        return {one["address"]: one["attempts"] for one in self.seen["addresses"]}

    def judge_record(self):
        shown = {key: self.seen[key] for key in self.invoice.shown}
        if shown != self.invoice.shown:
            self.find(LOST, differences(shown, self.invoice.shown))
        if self.listed != self.seen["state"]:
            self.find(RECORD, f"it is listed as {self.listed}")

    def judge_state(self):
        state, outcomes = self.seen["state"], self.outcomes()
        self.judgement.uncertain += outcomes["uncertain"]
        self.judgement.delivered += state == "delivered"
        unexplained = {*outcomes} - {"accepted", "uncertain"}
        if unexplained:
            self.find(RECORD, f"the relay never gave cause for {unexplained}")
        if self.invoice.withdrawal is None:
            if state != "delivered":
                self.find(STUCK if self.invoice.acknowledged else RECORD, "it is not delivered")
            return
        _, answered = self.invoice.withdrawal
        is_stopped = state == "withdrawn" or state == "held" and outcomes["uncertain"]
        if answered == "withdrawn" and (state != "withdrawn" or self.mails):
            self.find(WRONG, "its withdrawal was acknowledged")
        elif state == "withdrawn" and self.mails:
            self.find(RECORD, "it is withdrawn, and was sent")
        elif state != "delivered" and not is_stopped:
            self.find(STUCK, f"it is {state} after a withdrawal answered with {self.invoice.withdrawal}")

    def outcomes(self):
        return collections.Counter(one["outcome"] for attempts in self.attempts().values() for one in attempts)

    def judge_copies(self, address):
        """What the daemon says of an address, against what the relay has for it."""
        copies = [mail for mail in self.mails if mail.address == address]
        attempts = self.attempts().get(address, [])
        by_outcome = collections.defaultdict(list)
        for attempt in attempts:
            by_outcome[attempt["outcome"]].append(attempt)
        accepted, uncertain = by_outcome["accepted"], len(by_outcome["uncertain"])
        queued = {f"queued as {mail.queue_id}" for mail in copies}
        for attempt in accepted:
            if attempt["reply"]["text"] not in queued:
                self.find(LOST, f"attempt {attempt['number']} at {address} is accepted, and the relay has no such mail")
        if len(accepted) > 1:
            self.find(COPY, f"{len(accepted)} attempts at {address} were accepted")
        if len(copies) > len(accepted) + uncertain:
            kind = COPY if attempts else RECORD
            self.find(kind, f"{len(copies)} copies for {address} from {len(attempts)} attempts")
        for one in self.seen["addresses"]:
            if one["address"] != address:
                continue
            if (one["state"] == "delivered") != bool(accepted) or one["state"] == "rejected":
                self.find(RECORD, f"{address} is {one['state']} after {len(accepted)} accepted attempts")
            if any(f"<{mail.message_id}>" not in (one["message_id"], f"<{one['message_id']}>") for mail in copies):
                self.find(COPY, f"the Message-ID differs from {one['message_id']}")
        self.judgement.second_copies += max(0, len(copies) - 1)
        if len({mail.message_id for mail in self.mails}) > 1:
            self.find(COPY, "its mails have several Message-IDs")
        for one, other in zip(copies, copies[1:]):
            # Made for the same contact, it must be the same mail.
            contacts = self.contacts(one)
            if len(contacts) == 1 and contacts == self.contacts(other) and one.digest != other.digest:
                self.find(COPY, f"{one.queue_id} and {other.queue_id} for {address} differ")

    def possible(self, mail):
        """The versions that may have been current at the final check before this mail: the last one that was
        acknowledged before the 354, and all that were on their way before the first byte came."""
        certain = max(at for at, change in enumerate(self.changes) if change.answered_at < mail.asked_for_at)
        return [change for change in self.changes[certain:] if change.sent_at < mail.begun_at]

    def contacts(self, mail):
        return {change.contact for change in self.possible(mail) if mail.address in change.addresses}

    def judge_recipient(self, mail):
        possible = self.possible(mail)
        at_best = [change.version for change in possible if mail.address in change.addresses]
        if not at_best:
            now = [(change.version, change.addresses) for change in possible]
            self.find(WRONG, f"{mail.queue_id} went to {mail.address}, the contact was {now}")
            return
        theirs = [change.addresses for change in possible if mail.address in change.addresses]
        if mail.address not in mail.to or not any(set(mail.to) <= set(addresses) for addresses in theirs):
            self.find(WRONG, f"{mail.queue_id} to {mail.address} names {mail.to}, the contact was {theirs}")
        # A change answered while the relay had the mail in hand, and all that time from one process, must have
        # named it. Of a request that was repeated, the first answer may have done so.
        if any(mail.asked_for_at < kill < mail.accepted_at for kill in self.evidence.kills):
            return
        for change in self.changes:
            meanwhile = mail.asked_for_at < change.answered_at < mail.accepted_at and change.tries == 1
            if meanwhile and change.version > max(at_best) and mail.address not in change.addresses:
                if mail.number in change.in_flight:
                    self.judgement.named_in_flight += 1
                else:
                    self.find(WRONG, f"version {change.version} does not name {mail.queue_id} as in flight")

    def judge_whole(self):
        """Every address of the contact got it, but for those that ceased to be the contact's."""
        listed = {one["address"]: one["state"] for one in self.seen["addresses"]}
        replies = {
            one["reply"]["text"] for attempts in self.attempts().values() for one in attempts if one["reply"]
        }
        accepted = [mail for mail in self.mails if f"queued as {mail.queue_id}" in replies]
        if not accepted:
            self.find(LOST, "it is delivered to no address")
            return
        first = min(accepted, key=lambda mail: mail.accepted_at)
        possible = self.possible(first)
        wanted = [change.addresses for change in possible if first.address in change.addresses]
        if not any(set(addresses) <= set(listed) for addresses in wanted):
            self.find(LOST, f"of {wanted} only {sorted(listed)} were tried")
        later = self.changes[self.changes.index(possible[0]):] if possible else []
        for address, state in listed.items():
            left = any(address not in change.addresses for change in later)
            if state != "delivered" and not (state == "superseded" and left):
                self.find(LOST, f"{address} is {state} and did not cease to be the contact's")
