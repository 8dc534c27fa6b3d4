"""Shows that the judgement catches faults: evidence of a run that was right is tampered with, one fault at a
time, as a daemon that loses, doubles or misdirects would have left it. Each must be found, as what it is.
"""

import copy
import dataclasses

from evidence import COPY, DOCUMENT, LOST, RECORD, STUCK, WRONG, judge
from load import Invoice


class NotThere(Exception):
    """The run brought nothing that could be tampered with in this way."""


def prove(evidence):
    """What was not caught."""
    failures = []
    for words, (kind, tamper) in FAULTS.items():
        doctored = copy.deepcopy(evidence)
        try:
            tamper(Tampering(doctored))
        except NotThere:
            failures.append(f"not to be tried on this run: {words}")
            continue
        found = judge(doctored).findings
        if any(one == kind for one, _ in found):
            print(f"caught as {kind}: {words}")
        else:
            failures.append(f"not caught as {kind}: {words}; found: {found[:3]}")
    print(f"{len(FAULTS) - len(failures)} of {len(FAULTS)} faults caught")
    return failures


class Tampering:
    """Finds in the evidence what a fault can be made of."""

    def __init__(self, evidence):
        self.evidence = evidence

    def delivered(self, count=1, fits=lambda case: True):
        """A delivered invoice that was not withdrawn, and all that belongs to it."""
        for number, seen in self.evidence.invoices_seen.items():
            case = Case(self.evidence, number, seen)
            if seen and seen["state"] == "delivered" and case.invoice.withdrawal is None and fits(case):
                count -= 1
                if count == 0:
                    return case
        raise NotThere

    def withdrawn(self, is_before):
        for number, invoice in self.evidence.invoices.items():
            is_asked = invoice.withdrawal == "before" if is_before else invoice.withdrawal == (200, "withdrawn")
            if is_asked:
                return Case(self.evidence, number, self.evidence.invoices_seen[number])
        raise NotThere

    def changed(self, fits):
        """Mails after whose version the contact changed so that their address was none any more."""
        for mail in self.evidence.mails:
            account = self.evidence.accounts[self.evidence.invoices[mail.number].account]
            for at, change in enumerate(account.changes[:-1]):
                after = account.changes[at + 1]
                if mail.address in change.addresses and mail.address not in after.addresses and fits(mail, after):
                    return mail, account.changes, at
        raise NotThere


class Case:
    def __init__(self, evidence, number, seen):
        self.number, self.seen = number, seen
        self.invoice = evidence.invoices[number]
        self.account = evidence.accounts[self.invoice.account]
        self.mails = [mail for mail in evidence.mails if mail.number == number]

    def attempts(self, outcome=None):
        of_all = [attempt for one in self.seen["addresses"] for attempt in one["attempts"]]
        return [attempt for attempt in of_all if outcome in (None, attempt["outcome"])]


def never_there(tampering):
    invoice = Invoice("K-1", "RE-lost", {}, answered_at=0.0)
    tampering.evidence.invoices[invoice.number] = invoice
    tampering.evidence.invoices_seen[invoice.number] = None


def one_address_left_out(tampering):
    case = tampering.delivered(fits=lambda case: len(case.seen["addresses"]) == len(case.mails) == 2)
    gone = case.seen["addresses"].pop()["address"]
    for mail in case.mails:
        if mail.address == gone:
            tampering.evidence.mails.remove(mail)


def superseded_without_cause(tampering):
    def fits(case):
        count_of_versions = len(case.account.changes)
        is_lasting = case.mails[0].asked_for_at > case.account.changes[-1].answered_at
        return count_of_versions > 1 and is_lasting and len(case.seen["addresses"]) == len(case.mails) > 1
    case = tampering.delivered(fits=fits)
    one = case.seen["addresses"][-1]
    one["state"], one["attempts"] = "superseded", []
    for mail in case.mails:
        if mail.address == one["address"]:
            tampering.evidence.mails.remove(mail)


def to_the_contact_before(tampering):
    mail, changes, at = tampering.changed(lambda mail, after: mail.accepted_at < after.sent_at)
    mail.asked_for_at = changes[at + 1].answered_at + 0.001
    mail.begun_at = mail.accepted_at = mail.asked_for_at


def too_early(tampering):
    def fits(mail, _):
        return True
    mail, changes, at = tampering.changed(fits)
    first = min(at for at, change in enumerate(changes) if mail.address in change.addresses)
    mail.begun_at = changes[first].sent_at - 0.001
    mail.asked_for_at = mail.begun_at - 0.001


def shown_to_others(tampering):
    mail, changes, at = tampering.changed(lambda mail, after: after.addresses)
    mail.to = (*mail.to, *changes[at + 1].addresses)


def not_named(tampering):
    def fits(mail, after):
        return after.tries == 1 and mail.number not in after.in_flight and mail.begun_at < after.sent_at
    mail, changes, at = tampering.changed(fits)
    tampering.evidence.kills.clear()
    mail.asked_for_at = mail.begun_at = changes[at].answered_at + 0.000001
    mail.accepted_at = changes[at + 1].answered_at + 0.000001


def after_its_withdrawal(tampering):
    case = tampering.withdrawn(is_before=False)
    mail = copy.copy(tampering.evidence.mails[0])
    mail.number = case.number
    tampering.evidence.mails.append(mail)


def accepted_twice(tampering):
    case = tampering.delivered()
    one = next(one for one in case.seen["addresses"] if one["state"] == "delivered")
    again = copy.deepcopy(one["attempts"][-1])
    again["reply"]["text"] = "queued as q0"
    one["attempts"].append(again)
    mail = next(mail for mail in case.mails if mail.address == one["address"])
    tampering.evidence.mails.append(dataclasses.replace(mail, queue_id="q0"))


def repeated(tampering):
    """An invoice with a second copy, made good for tampering with that copy."""
    case = tampering.delivered()
    one = next(one for one in case.seen["addresses"] if one["state"] == "delivered")
    one["attempts"].insert(0, {"number": 0, "outcome": "uncertain", "reply": None})
    mail = next(mail for mail in case.mails if mail.address == one["address"])
    again = dataclasses.replace(mail, queue_id="q0")
    tampering.evidence.mails.append(again)
    assert not judge(tampering.evidence).findings, "an explained second copy is no fault"
    return again


def as_state(tampering, state, count=1):
    case = tampering.delivered(count)
    case.seen["state"] = tampering.evidence.listed[case.number] = state


def set_of_mail(tampering, name, value):
    setattr(tampering.delivered().mails[0], name, value)


def without_attempts(tampering):
    mail = tampering.delivered().mails[0]
    for one in tampering.evidence.invoices_seen[mail.number]["addresses"]:
        if one["address"] == mail.address:
            one["attempts"] = []


def to_a_stranger(tampering):
    case = tampering.delivered()
    case.mails[0].address = case.seen["addresses"][0]["address"] = "stranger@other.example"


def second_copy(tampering):
    case = tampering.delivered(fits=lambda case: not case.attempts("uncertain"))
    tampering.evidence.mails.append(dataclasses.replace(case.mails[0], queue_id="q0"))


# What a daemon did, as what it must be caught, and how it is made.
FAULTS = {
    "the relay never had a mail that the daemon calls accepted": (
        LOST, lambda it: it.evidence.mails.remove(it.delivered().mails[0])
    ),
    "an acknowledged invoice is not there": (LOST, never_there),
    "an invoice has another total than the one that was acknowledged": (
        LOST, lambda it: it.delivered().seen.update(total={"amount": "0.01", "currency": "EUR"})
    ),
    "one of a contact's addresses was never tried": (LOST, one_address_left_out),
    "an address counts as given up though it always was the contact's": (LOST, superseded_without_cause),
    "an acknowledged account is not there": (LOST, lambda it: it.evidence.accounts_seen.update({"K-1": None})),
    "an acknowledged change of an account is gone": (
        LOST, lambda it: it.evidence.accounts_seen["K-1"].update(version=it.evidence.accounts["K-1"].version - 1)
    ),
    "the main contact has another address than the one that was acknowledged": (
        LOST, lambda it: it.evidence.accounts_seen["K-1"]["main_contact"].update(addresses=["other@k-1.example"])
    ),
    "an attempt is taken for accepted by the answer to another mail": (
        LOST, lambda it: it.delivered().attempts("accepted")[0]["reply"].update(text="queued as q0")
    ),
    "an acknowledged invoice waits for ever": (STUCK, lambda it: as_state(it, "waiting")),
    "an invoice stays in sending": (STUCK, lambda it: as_state(it, "sending", 2)),
    "a mail went to an address that was never the account's": (WRONG, to_a_stranger),
    "a mail went to the previous contact, after the change was acknowledged": (WRONG, to_the_contact_before),
    "a mail went to a contact who was selected only afterwards": (WRONG, too_early),
    "a mail shows the new contact an address of the previous one": (WRONG, shown_to_others),
    "a change does not name a mail that the relay had in hand, to the previous contact": (WRONG, not_named),
    "a mail of an invoice whose withdrawal was acknowledged": (WRONG, after_its_withdrawal),
    "an invoice was sent that was withdrawn before it came": (
        WRONG, lambda it: it.withdrawn(is_before=True).seen.update(state="delivered")
    ),
    "a second copy that no uncertain attempt explains": (COPY, second_copy),
    "the daemon sent again what it knew to be accepted": (COPY, accepted_twice),
    "a second copy has another Message-ID": (
        COPY, lambda it: setattr(repeated(it), "message_id", "other@hosting.example")
    ),
    "a second copy has other bytes": (COPY, lambda it: setattr(repeated(it), "digest", "0" * 64)),
    "a mail carries other bytes than those that were handed over": (
        DOCUMENT, lambda it: set_of_mail(it, "documents", ("0" * 64,))
    ),
    "a mail lacks a document": (DOCUMENT, lambda it: set_of_mail(it, "documents", ())),
    "the relay has a mail of which the daemon knows no attempt": (RECORD, without_attempts),
    "there are more uncertain attempts than the kills can have caused": (RECORD, lambda it: it.evidence.kills.clear()),
    "the daemon lists an invoice that was never issued": (
        RECORD, lambda it: it.evidence.listed.update({"RE-none": "delivered"})
    ),
    "what was acknowledged and is repeated counts as new": (
        RECORD, lambda it: it.evidence.surprises.append("msg_1 was acknowledged, and repeated it gets 409")
    ),
}
