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
    for tamper, kind in FAULTS.items():
        doctored = copy.deepcopy(evidence)
        words = tamper.__doc__.rstrip(".")
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
        """A delivered invoice that nobody took back, and all that belongs to it."""
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


def forgotten(tampering):
    """The relay never had a mail that the daemon calls accepted."""
    tampering.evidence.mails.remove(tampering.delivered().mails[0])


def never_there(tampering):
    """An acknowledged invoice is not there."""
    invoice = Invoice("K-1", "RE-lost", {}, acknowledged=True)
    tampering.evidence.invoices[invoice.number] = invoice
    tampering.evidence.invoices_seen[invoice.number] = None


def never_sent(tampering):
    """An acknowledged invoice waits for ever."""
    case = tampering.delivered()
    case.seen["state"] = tampering.evidence.listed[case.number] = "waiting"


def left_sending(tampering):
    """An invoice stays in sending."""
    case = tampering.delivered(2)
    case.seen["state"] = tampering.evidence.listed[case.number] = "sending"


def changed_invoice(tampering):
    """An invoice has another total than the one that was acknowledged."""
    tampering.delivered().seen["total"] = {"amount": "0.01", "currency": "EUR"}


def one_address_left_out(tampering):
    """One of a contact's addresses was never tried."""
    case = tampering.delivered(fits=lambda case: len(case.seen["addresses"]) == len(case.mails) == 2)
    gone = case.seen["addresses"].pop()["address"]
    for mail in case.mails:
        if mail.address == gone:
            tampering.evidence.mails.remove(mail)


def superseded_without_cause(tampering):
    """An address counts as given up though it always was the contact's."""
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


def lost_account(tampering):
    """An acknowledged account is not there."""
    tampering.evidence.accounts_seen["K-1"] = None


def old_account(tampering):
    """An acknowledged change of an account is gone."""
    tampering.evidence.accounts_seen["K-1"]["version"] -= 1


def another_contact(tampering):
    """The main contact has another address than the one that was acknowledged."""
    tampering.evidence.accounts_seen["K-1"]["main_contact"]["addresses"] = ["other@k-1.example"]


def to_a_stranger(tampering):
    """A mail went to an address that was never the account's."""
    case = tampering.delivered()
    case.mails[0].address = case.seen["addresses"][0]["address"] = "stranger@other.example"


def to_the_contact_before(tampering):
    """A mail went to the contact of before, after the change was acknowledged."""
    mail, changes, at = tampering.changed(lambda mail, after: mail.accepted_at < after.sent_at)
    mail.asked_for_at = changes[at + 1].answered_at + 0.001
    mail.begun_at = mail.accepted_at = mail.asked_for_at


def too_early(tampering):
    """A mail went to a contact who was selected only afterwards."""
    def fits(mail, _):
        return True
    mail, changes, at = tampering.changed(fits)
    first = min(at for at, change in enumerate(changes) if mail.address in change.addresses)
    mail.begun_at = changes[first].sent_at - 0.001
    mail.asked_for_at = mail.begun_at - 0.001


def shown_to_others(tampering):
    """A mail shows the new contact an address of the one before."""
    mail, changes, at = tampering.changed(lambda mail, after: after.addresses)
    mail.to = (*mail.to, *changes[at + 1].addresses)


def not_named(tampering):
    """A change does not name a mail that the relay had in hand, to the contact of before."""
    def fits(mail, after):
        return after.tries == 1 and mail.number not in after.in_flight and mail.begun_at < after.sent_at
    mail, changes, at = tampering.changed(fits)
    tampering.evidence.kills.clear()
    mail.asked_for_at = mail.begun_at = changes[at].answered_at + 0.000001
    mail.accepted_at = changes[at + 1].answered_at + 0.000001


def after_its_withdrawal(tampering):
    """A mail of an invoice whose withdrawal was acknowledged."""
    case = tampering.withdrawn(is_before=False)
    mail = copy.copy(tampering.evidence.mails[0])
    mail.number = case.number
    tampering.evidence.mails.append(mail)


def in_spite_of_a_withdrawal(tampering):
    """An invoice was sent that was withdrawn before it came."""
    case = tampering.withdrawn(is_before=True)
    case.seen["state"] = "delivered"


def second_copy(tampering):
    """A second copy that no uncertain attempt explains."""
    case = tampering.delivered(fits=lambda case: not case.attempts("uncertain"))
    tampering.evidence.mails.append(dataclasses.replace(case.mails[0], queue_id="q0"))


def accepted_twice(tampering):
    """The daemon sent again what it knew to be accepted."""
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


def another_message_id(tampering):
    """A second copy has another Message-ID."""
    repeated(tampering).message_id = "other@hosting.example"


def other_bytes(tampering):
    """A second copy has other bytes."""
    repeated(tampering).digest = "0" * 64


def unknown_to_the_daemon(tampering):
    """The relay has a mail of which the daemon knows no attempt."""
    case = tampering.delivered()
    mail = case.mails[0]
    for one in case.seen["addresses"]:
        if one["address"] == mail.address:
            one["attempts"] = []


def out_of_step(tampering):
    """An attempt is taken for accepted by the answer to another mail."""
    case = tampering.delivered()
    case.attempts("accepted")[0]["reply"]["text"] = "queued as q0"


def too_many_uncertain(tampering):
    """There are more uncertain attempts than the kills can have caused."""
    del tampering.evidence.kills[0:]


def another_document(tampering):
    """A mail carries other bytes than those that were handed over."""
    mail = tampering.delivered().mails[0]
    mail.documents = ("0" * 64, *mail.documents[1:])


def document_left_out(tampering):
    """A mail lacks a document."""
    mail = tampering.delivered().mails[0]
    mail.documents = mail.documents[1:]


def nobodys(tampering):
    """The daemon lists an invoice that nobody issued."""
    tampering.evidence.listed["RE-nobody"] = "delivered"


def forgot_what_it_acknowledged(tampering):
    """What was acknowledged and is repeated counts as new."""
    tampering.evidence.surprises.append("msg_1 was acknowledged, and repeated it gets 409")


FAULTS = {
    forgotten: LOST, never_there: LOST, changed_invoice: LOST, one_address_left_out: LOST,
    superseded_without_cause: LOST, lost_account: LOST, old_account: LOST, another_contact: LOST, out_of_step: LOST,
    never_sent: STUCK, left_sending: STUCK,
    to_a_stranger: WRONG, to_the_contact_before: WRONG, too_early: WRONG, shown_to_others: WRONG, not_named: WRONG,
    after_its_withdrawal: WRONG, in_spite_of_a_withdrawal: WRONG,
    second_copy: COPY, accepted_twice: COPY, another_message_id: COPY, other_bytes: COPY,
    another_document: DOCUMENT, document_left_out: DOCUMENT,
    unknown_to_the_daemon: RECORD, too_many_uncertain: RECORD, nobodys: RECORD, forgot_what_it_acknowledged: RECORD,
}
