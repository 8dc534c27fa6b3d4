//! What was answered, counted. Each line of the table must have happened.

use crate::model::Answer;
use crate::seeds::Figures;

/// Each kind of answer, by the rule that gives it.
pub(crate) const ANSWERS: &[&str] = &[
    "requests",
    "looks at the state that came of them",
    "a signature that is not valid",
    "a sender without the right to documents",
    "a path that is no digest",
    "an empty document",
    "a document of another digest",
    "a document",
    "a document that is there",
    "a sender without the right to this event",
    "other bytes under a remembered id",
    "not UTF-8",
    "not JSON",
    "a key twice",
    "fields that are wrong",
    "a repeated change",
    "an older version",
    "an older version with a newer time-stamp",
    "a change of an unknown account",
    "a delta with a gap",
    "the version in force",
    "other content of the version in force",
    "a change that breaks a rule",
    "an account created",
    "an account replaced",
    "an account reopened",
    "an account closed",
    "a sub-user saved",
    "a sub-user copied",
    "a sub-user removed",
    "a billing contact selected",
    "an invoice",
    "an invoice of an unknown account",
    "an invoice of an account that is too old",
    "a repeated invoice",
    "a repeated invoice that was withdrawn before",
    "a known number with the same content",
    "other content of a known number",
    "a missing document",
    "an invoice that was withdrawn before",
    "a withdrawal",
    "a withdrawal that overtook its invoice",
    "a withdrawal of what is withdrawn",
    "a repeated withdrawal",
    "a batch",
    "a batch without a line",
    "a sender without the right to batches",
    // What else there was about them.
    "a line that is applied after others",
    "a line that is applied after one that is refused",
    "a repeated line",
    "a line with other bytes under a remembered id",
    "an invoice in a batch",
    "a selection of somebody who is not there",
    "a selection of somebody outside the billing groups",
    "a member of a billing group without an address",
    "a saved member of a billing group without an address",
    "a copy of somebody who is not there",
    "one more sub-user than an account may have",
    "100 sub-users",
    "101 sub-users",
    "10 addresses",
    "11 addresses",
    "20 documents",
    "21 documents",
    "a credit note",
    "a corrected invoice",
    "a reminder",
    "an invoice of a closed account",
    "the same with other blanks at the end",
    "many invoices freed at once",
    "an invoice freed by account.updated",
    "an invoice freed by account.closed",
    "an invoice freed by sub_user.saved",
    "an invoice freed by sub_user.removed",
    "an invoice freed by billing_contact.selected",
    "a refused event that succeeds later",
    "an event after its gap was filled",
    "an invoice after its document was uploaded",
    "a forgotten id",
    "warning billing_contact_removed",
    "warning billing_contact_left_group",
    "warning sub_user_unknown",
    "warning language_without_template",
    "warning unknown_schedule",
];

/// What recipients and states there were, in answers.
pub(crate) const SHOWN: &[&str] = &[
    "rule billing_contact_selected",
    "rule no_billing_contact",
    "rule billing_contact_removed",
    "rule billing_contact_left_group",
    "rule no_deliverable_address",
    "state parked",
    "state waiting",
    "state due",
    "state withdrawn",
];

/// Counts an answer as it was expected and came.
pub(crate) fn answered(figures: &mut Figures, answer: &Answer) {
    figures.count("requests");
    one(figures, answer);
    for (_, line) in &answer.lines {
        one(figures, line);
    }
}

fn one(figures: &mut Figures, answer: &Answer) {
    figures.count(answer.because);
    for what in &answer.also {
        figures.count(what);
    }
    let body = &answer.body;
    let warnings = body["warnings"].as_array().into_iter().flatten();
    let warnings = warnings.map(|warning| ("warning", &warning["code"]));
    let shown = [("rule", &body["recipient"]["reason"]["rule"]), ("state", &body["state"])];
    for (kind, name) in warnings.chain(shown) {
        if let Some(name) = name.as_str() {
            figures.count(&format!("{kind} {name}"));
        }
    }
}
