//! §2 to §6 of the contract once more, as plain functions over the list of what was accepted so far: nothing is
//! kept but that list, and the current state is looked up in it each time. Of the contract that is
//!
//! - of §2 the order of judgement from the signature on, but for limits: who signed, within 300 seconds, the right to
//!   do it, the remembered id, JSON, version, rules. How a signature is written is left to other tests;
//! - §3 but for the limits of a batch, receiving profiles, and `import`. That documents are kept for 7 days if no
//!   invoice refers to them is left out: nothing is swept here, and those that are there stay;
//! - §4 but for its limits, and bytes that the disk has lost;
//! - of §5 the results and problems of all that, and who is the recipient for which reason, as far as no relay has
//!   rejected anything: `fallback_after_rejection` does not happen;
//! - of §6 `parked`, `waiting`, `due` and `withdrawn`, and what an event moves between them. Nothing is sent in these
//!   sequences and no operator does anything: hold, release, resend, `withheld`, all states from `sending` on, and
//!   `already_sent` are left out.
//!
//! Where the contract leaves something open the daemon's decision stands here, with a word about it; wording is not
//! compared, only that there is some, see [`crate::compare`].

pub(crate) mod accounts;
pub(crate) mod invoices;

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use crate::compare::SOME;
use crate::form;
use crate::json::{self, Unreadable};
use crate::request::{Request, What};
use crate::setting::{Sender, WEBHOOK_ID_DAYS};
use crate::words;

/// One entry of the list.
#[derive(Debug, Clone)]
pub(crate) struct Accepted {
    pub(crate) at: DateTime<Utc>,
    pub(crate) what: Arc<Effect>,
}

/// What an accepted request has left behind. An event leaves its memory, and what it has changed.
#[derive(Debug, Clone)]
pub(crate) enum Effect {
    /// These bytes got a 2xx under this id, those of a line of a batch under its number, too.
    Remembered { sender: Sender, id: String, line: Option<usize>, body: Vec<u8> },
    /// An account is another one now.
    Changed(Account),
    /// An invoice is there.
    Issued(Value),
    /// An invoice, which may not be there yet, is not to be sent.
    Withdrawn { account: String, number: String },
    /// A document is there, by its digest.
    Document(String),
}

/// An account as of one version.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) version: u64,
    /// The event's own.
    pub(crate) timestamp: DateTime<Utc>,
    pub(crate) closed: bool,
    /// Why the billing contact is who it is.
    pub(crate) rule: &'static str,
    /// See [`words::profile_of`].
    pub(crate) profile: Value,
}

/// What a request is answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
    /// Which rule of the contract says so, for the figures.
    pub(crate) because: &'static str,
    /// What else happened, for them.
    pub(crate) also: Vec<&'static str>,
    /// If there are any, `errors` names one or more of these places and no other.
    pub(crate) broken: BTreeSet<String>,
    /// What it adds to the list.
    pub(crate) leaves: Vec<Arc<Effect>>,
    /// The lines of a batch that are answered, by their numbers; these are its body.
    pub(crate) lines: Vec<(usize, Self)>,
}

impl Answer {
    /// One that leaves nothing behind.
    pub(crate) fn of(status: u16, body: Value) -> Self {
        success(status, "", body)
    }
}

/// The answer to a request after all that was accepted before it.
pub(crate) fn answer(history: &[Accepted], request: &Request) -> Answer {
    // §1: signed by a known sender, within 300 seconds.
    if request.sender == Sender::Stranger || request.seconds_off.abs() > 300 {
        return refused(401, "signature_invalid", "a signature that is not valid");
    }
    match &request.what {
        What::Event(body) => event(history, request, None, body),
        What::Batch(body) => batch(history, request, body),
        What::Document { digits, bytes } => document(history, request.sender, digits, bytes),
    }
}

/// The list with what an answer leaves.
pub(crate) fn grow(history: &mut Vec<Accepted>, at: DateTime<Utc>, answer: &Answer) {
    let leaves = answer.leaves.iter().cloned();
    history.extend(leaves.map(|what| Accepted { at, what }));
}

/// The list with one entry more.
fn with(history: &[Accepted], at: DateTime<Utc>, what: &Arc<Effect>) -> Vec<Accepted> {
    let what = Arc::clone(what);
    [history, &[Accepted { at, what }]].concat()
}

// Documents, §4.

fn document(history: &[Accepted], sender: Sender, digits: &str, bytes: &[u8]) -> Answer {
    if !sender.may_hand_over_invoices() {
        return refused(403, "forbidden", "a sender without the right to documents");
    }
    if !form::is_digest(digits) {
        let mut answer = refused(422, "invalid", "a path that is no digest");
        answer.body["errors"] = json!([{"parameter": "sha256", "expected": SOME}]);
        return answer;
    }
    if bytes.is_empty() {
        return at(&[""], refused(422, "empty_document", "an empty document"));
    }
    if words::digest(bytes) != digits {
        return at(&[""], refused(422, "digest_differs", "a document of another digest"));
    }
    let known = is_stored(history, digits);
    let (status, result, because) = if known {
        (200, "duplicate", "a document that is there")
    } else {
        (201, "stored", "a document")
    };
    let mut answer =
        success(status, because, json!({"sha256": digits, "bytes": bytes.len(), "result": result}));
    if !known {
        answer.leaves.push(Arc::new(Effect::Document(digits.to_owned())));
    }
    answer
}

fn is_stored(history: &[Accepted], digits: &str) -> bool {
    history
        .iter()
        .any(|accepted| matches!(&*accepted.what, Effect::Document(digest) if digest == digits))
}

// Events, in the order of judgement of §2.

/// An event by itself, or that of a line of a batch.
fn event(history: &[Accepted], request: &Request, line: Option<usize>, body: &[u8]) -> Answer {
    let Request { at: now, sender, id, .. } = request;
    let parsed = json::parse(body);
    let event_type = parsed.as_ref().ok().and_then(|event| event["type"].as_str());

    // The right to do it. Of a batch it was asked before.
    let may = match event_type.filter(|_| line.is_none()) {
        Some("invoice.issued" | "invoice.withdrawn") => sender.may_hand_over_invoices(),
        Some(
            "account.updated"
            | "account.closed"
            | "sub_user.saved"
            | "sub_user.removed"
            | "billing_contact.selected",
        ) => sender.may_push_accounts(),
        // Nobody needs a right to be told that there is no such event.
        Some(_) | None => true,
    };
    if !may {
        return refused(403, "forbidden", "a sender without the right to this event");
    }

    // The remembered id.
    let remembered = remembered(history, (*sender, id, line), *now);
    if let Some(known) = remembered
        && known != body
    {
        let because = "other bytes under a remembered id";
        let mut answer = refused(422, "webhook_id_reused", because);
        if known.trim_ascii() == body.trim_ascii() {
            answer.also.push("the same with other blanks at the end");
        }
        return answer;
    }
    let repeated = remembered.is_some();

    // Strict typed JSON.
    let event = match parsed {
        Ok(event) => event,
        Err(Unreadable::NotUtf8) => return refused(400, "not_utf8", "not UTF-8"),
        Err(Unreadable::NotJson) => return refused(400, "not_json", "not JSON"),
        Err(Unreadable::KeyTwice(place)) => {
            return at(&[&place], refused(400, "duplicate_key", "a key twice"));
        }
    };
    let wrong = form::wrong_places(&event, line.is_some());
    if !wrong.is_empty() {
        let places: Vec<&str> = wrong.iter().map(String::as_str).collect();
        let mut answer = at(&places, refused(422, "invalid", "fields that are wrong"));
        answer.also = lists_of(&event["data"], Length::OneOver);
        return answer;
    }

    // Version and rules.
    let mut answer = match event["type"].as_str() {
        Some("invoice.issued") => invoices::issued(history, *now, &event["data"], repeated),
        Some("invoice.withdrawn") => invoices::withdrawn(history, &event["data"], repeated),
        Some(_) | None => accounts::change(history, *now, &event, repeated),
    };
    if answer.status < 300 {
        let full = lists_of(&event["data"], Length::Full);
        answer.also.extend(full);
    }
    if answer.status < 300 && !repeated {
        let remembered =
            Effect::Remembered { sender: *sender, id: id.clone(), line, body: body.to_vec() };
        answer.leaves.push(Arc::new(remembered));
    }
    answer
}

/// How long a list is, beside what it may be.
#[derive(Clone, Copy)]
enum Length {
    Full,
    OneOver,
}

/// For the figures: the lists of an event that are so long.
fn lists_of(data: &Value, length: Length) -> Vec<&'static str> {
    let lists = [
        (&data["sub_users"], 100, ["100 sub-users", "101 sub-users"]),
        (&data["main_contact"]["addresses"], 10, ["10 addresses", "11 addresses"]),
        (&data["documents"], 20, ["20 documents", "21 documents"]),
    ];
    let told = lists.into_iter().filter_map(|(list, most, [full, over])| {
        let (wanted, name) = match length {
            Length::Full => (most, full),
            Length::OneOver => (most + 1, over),
        };
        (words::list(list).len() == wanted).then_some(name)
    });
    told.collect()
}

/// Account events, one a line, each judged after those before it. Open in the contract: that blanks at the ends of a
/// line count for nothing, and that a line is remembered under its number.
fn batch(history: &[Accepted], request: &Request, body: &[u8]) -> Answer {
    if !request.sender.may_push_accounts() {
        return refused(403, "forbidden", "a sender without the right to batches");
    }
    let mut history = history.to_vec();
    let mut whole = success(200, "a batch", Value::Null);
    for (line, number) in body.split(|byte| *byte == b'\n').zip(1..) {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let answer = event(&history, request, Some(number), line);
        grow(&mut history, request.at, &answer);
        whole.leaves.extend(answer.leaves.iter().cloned());
        whole.also.extend(told_of_line(&whole, &answer, line));
        whole.lines.push((number, answer));
    }
    if whole.lines.is_empty() {
        return at(&[""], refused(422, "invalid", "a batch without a line"));
    }
    whole
}

/// What the figures are told of a line beside what they are told of any event.
fn told_of_line(before: &Answer, answer: &Answer, line: &[u8]) -> Option<&'static str> {
    let is_refused = |(_, answer): &(usize, Answer)| answer.status >= 300;
    if answer.because == "other bytes under a remembered id" {
        Some("a line with other bytes under a remembered id")
    } else if answer.because == "a repeated change" {
        Some("a repeated line")
    } else if answer.body["result"] == "applied" && before.lines.iter().any(is_refused) {
        Some("a line that is applied after one that is refused")
    } else if answer.body["result"] == "applied" && !before.lines.is_empty() {
        Some("a line that is applied after others")
    } else if answer.status == 422 && line.windows(9).any(|part| part == b"\"invoice.") {
        Some("an invoice in a batch")
    } else {
        None
    }
}

/// The bytes that got a 2xx under the id. Open in the contract: days are whole ones, UTC, the one of the event and so
/// many after it.
fn remembered<'h>(
    history: &'h [Accepted],
    under: (Sender, &str, Option<usize>),
    now: DateTime<Utc>,
) -> Option<&'h [u8]> {
    history.iter().rev().find_map(|accepted| {
        let Effect::Remembered { sender, id, line, body } = &*accepted.what else {
            return None;
        };
        let days = (now.date_naive() - accepted.at.date_naive()).num_days();
        let is_it = (*sender, id.as_str(), *line) == under && days <= i64::from(WEBHOOK_ID_DAYS);
        is_it.then_some(body.as_slice())
    })
}

// Shapes of answers, §5.

fn success(status: u16, because: &'static str, body: Value) -> Answer {
    Answer {
        status,
        body,
        because,
        also: Vec::new(),
        broken: BTreeSet::new(),
        leaves: Vec::new(),
        lines: Vec::new(),
    }
}

/// A problem. A gap can be filled and a document uploaded, so that the same event may succeed later.
pub(crate) fn refused(status: u16, code: &str, because: &'static str) -> Answer {
    let retryable = matches!(code, "version_gap" | "document_missing");
    let body = json!({
        "type": SOME,
        "title": SOME,
        "status": status,
        "detail": SOME,
        "code": code,
        "retryable": retryable,
        "request_id": SOME,
    });
    success(status, because, body)
}

/// With the places that are wrong.
fn at(places: &[&str], mut answer: Answer) -> Answer {
    answer.body["errors"] =
        places.iter().map(|place| json!({"pointer": place, "expected": SOME})).collect();
    answer
}

pub(crate) fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
