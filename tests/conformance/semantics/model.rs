//! §2 to §6 of the contract once more, as plain functions over the list of what was accepted so far: nothing is
//! kept but that list, and what is in force is looked up in it each time.
//!
//! Nothing is sent in these sequences, so that addresses are never rejected and invoices end as parked, waiting,
//! due or withdrawn. Where the contract leaves something open the daemon's decision stands here, with a word about
//! it; wording is not compared at all, see [`crate::compare`].

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
    /// These bytes got a 2xx under this id.
    Remembered {
        sender: Sender,
        id: String,
        body: Vec<u8>,
    },
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
    /// If there are any, `errors` names one or more of these places and no other.
    pub(crate) broken: BTreeSet<String>,
    /// What it adds to the list.
    pub(crate) leaves: Vec<Arc<Effect>>,
}

/// The answer to a request after all that was accepted before it.
pub(crate) fn answer(history: &[Accepted], request: &Request) -> Answer {
    // §1: signed by a known sender, within 300 seconds.
    if request.sender == Sender::Stranger || request.seconds_off.abs() > 300 {
        return refused(401, "signature_invalid", "a signature that is not valid");
    }
    match &request.what {
        What::Event(body) => event(history, request, body),
        What::Document { digits, bytes } => document(history, request.sender, digits, bytes),
    }
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
        return at(
            &[""],
            refused(422, "digest_differs", "a document of another digest"),
        );
    }
    let known = is_stored(history, digits);
    let (status, result, because) = if known {
        (200, "duplicate", "a document that is there")
    } else {
        (201, "stored", "a document")
    };
    let mut answer = success(
        status,
        because,
        json!({"sha256": digits, "bytes": bytes.len(), "result": result}),
    );
    if !known {
        answer
            .leaves
            .push(Arc::new(Effect::Document(digits.to_owned())));
    }
    answer
}

fn is_stored(history: &[Accepted], digits: &str) -> bool {
    history
        .iter()
        .any(|accepted| matches!(&*accepted.what, Effect::Document(digest) if digest == digits))
}

// Events, in the order of judgement of §2.

fn event(history: &[Accepted], request: &Request, body: &[u8]) -> Answer {
    let Request {
        at: now,
        sender,
        id,
        ..
    } = request;
    let parsed = json::parse(body);
    let event_type = parsed
        .as_ref()
        .ok()
        .and_then(|event| event["type"].as_str());

    // The right to do it.
    let may = match event_type {
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
    let remembered = remembered(history, *sender, id, *now);
    if remembered.is_some_and(|known| known != body) {
        return refused(
            422,
            "webhook_id_reused",
            "other bytes under a remembered id",
        );
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
    let wrong = form::wrong_places(&event);
    if !wrong.is_empty() {
        let places: Vec<&str> = wrong.iter().map(String::as_str).collect();
        return at(&places, refused(422, "invalid", "fields that are wrong"));
    }

    // Version and rules.
    let mut answer = match event["type"].as_str() {
        Some("invoice.issued") => invoices::issued(history, *now, &event["data"], repeated),
        Some("invoice.withdrawn") => invoices::withdrawn(history, &event["data"], repeated),
        Some(_) | None => accounts::change(history, *now, &event, repeated),
    };
    if answer.status < 300 && !repeated {
        let remembered = Effect::Remembered {
            sender: *sender,
            id: id.clone(),
            body: body.to_vec(),
        };
        answer.leaves.push(Arc::new(remembered));
    }
    answer
}

/// The bytes that got a 2xx under the id. Open in the contract: days are whole ones, UTC, the one of the event and so
/// many after it.
fn remembered<'h>(
    history: &'h [Accepted],
    by: Sender,
    under: &str,
    now: DateTime<Utc>,
) -> Option<&'h [u8]> {
    history.iter().rev().find_map(|accepted| {
        let Effect::Remembered { sender, id, body } = &*accepted.what else {
            return None;
        };
        let days = (now.date_naive() - accepted.at.date_naive()).num_days();
        let is_it = *sender == by && id == under && days <= i64::from(WEBHOOK_ID_DAYS);
        is_it.then_some(body.as_slice())
    })
}

// Shapes of answers, §5.

fn success(status: u16, because: &'static str, body: Value) -> Answer {
    Answer {
        status,
        body,
        because,
        broken: BTreeSet::new(),
        leaves: Vec::new(),
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
    answer.body["errors"] = places
        .iter()
        .map(|place| json!({"pointer": place, "expected": SOME}))
        .collect();
    answer
}

pub(crate) fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
