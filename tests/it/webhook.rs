//! The webhook as senders meet it: real HTTP, answers and what is stored afterwards.

// Tells clippy that helpers belong to tests as well.
#![cfg(test)]

use std::slice;
use std::sync::Arc;
use std::time::Duration;

use invoice_router::config::Limits;
use invoice_router::domain::id::AccountId;
use invoice_router::http::client::{Method, Target};
use invoice_router::store::{Store, StoreError};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::description::Interface;
use crate::dispatch::failing_store::{FailingStore, UseCase};
use crate::interface::{
    Answer, BILLING, Interfaces, PATIENCE, PDF, PORTAL, STRANGER, account, ask, delta, digest,
    invoice, limits, morning, read_answer, with,
};
use crate::logged::Lines;

mod at_once;
pub(crate) mod attempts;
mod batches;
mod connections;
mod documents;
mod limits;
mod withdrawals;

/// Long enough for whatever is under way on this machine, if nothing hinders it.
const SOON: Duration = Duration::from_millis(50);

/// The connection is closed, and nothing more came over it.
async fn assert_nothing_more(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let closed = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    // What was not read may make it a reset.
    drop(closed.expect("the connection is not closed"));
    assert_eq!(rest, b"");
}

/// Says this over a connection of its own; the head of the answer, in lower case, and its body.
async fn asked(interfaces: &Interfaces, whole: impl AsRef<[u8]>) -> (String, Value) {
    let mut stream = interfaces.connect().await;
    stream.write_all(whole.as_ref()).await.unwrap();
    read_answer(&mut stream).await
}

/// An event, whole or as much as there is of it, under a signature of these bytes.
fn signed(interfaces: &Interfaces, key: &str, body: &str) -> String {
    let head = interfaces.event_head(key, body.as_bytes(), body.len());
    format!("{head}{body}")
}

/// The same in one chunk.
fn chunked(interfaces: &Interfaces, coding: &str, body: &str) -> String {
    let length = format!("content-length: {}\r\n", body.len());
    let head = interfaces.event_head(PORTAL, body.as_bytes(), body.len()).replace(&length, coding);
    format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
}

/// Whoever waits with a body is told to send it.
async fn assert_asked_for(stream: &mut TcpStream) {
    const ASKED: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut asked = vec![0; ASKED.len()];
    timeout(PATIENCE, stream.read_exact(&mut asked))
        .await
        .expect("the body is not asked for")
        .unwrap();
    assert_eq!(asked, ASKED, "{}", String::from_utf8_lossy(&asked));
}

fn version(interfaces: &Interfaces) -> u64 {
    let id = AccountId::parse("K-1001").unwrap();
    let view = interfaces.store.account(&id).unwrap();
    view.map_or(0, |view| view.account.version().get())
}

fn assert_refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{answer:?}");
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    let id = answer.body["request_id"].as_str().unwrap();
    assert_eq!(answer.headers["x-request-id"], id);
}

#[tokio::test]
async fn an_account_is_stored_and_its_recipient_answered() {
    let interfaces = Interfaces::start().await;
    let answer = interfaces.portal(&account(4)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(
        answer.body,
        json!({
            "result": "applied", "account": "K-1001", "version": 4, "warnings": [], "in_flight": [],
            "recipient": {"kind": "sub_user", "sub_user": "u-7", "name": "Buchhaltung", "company": null,
                "addresses": ["rechnung@muster.example"],
                "reason": {"rule": "billing_contact_selected", "account_version": 4, "since": "2026-11-23T08:00:00Z"}}})
    );
    assert_eq!(version(&interfaces), 4);
}

#[tokio::test]
async fn all_changes_of_a_sub_user_take_effect() {
    let interfaces = Interfaces::start().await;
    interfaces.portal(&account(1)).await;
    let copied = json!({"sub_user": {"id": "u-9", "group": "Rechnungen", "copy_from": {"main_contact": true},
        "contact": {"addresses": ["zentral@muster.example", "zweite@muster.example"]}}});
    let answer = interfaces.portal(&delta("sub_user.saved", 2, copied)).await;
    assert_eq!(answer.body["result"], "applied", "{answer:?}");
    let selected = delta("billing_contact.selected", 3, json!({"sub_user": "u-9"}));
    let recipient = &interfaces.portal(&selected).await.body["recipient"];
    assert_eq!(recipient["company"], "Muster GmbH");
    assert_eq!(recipient["addresses"], json!(["zentral@muster.example", "zweite@muster.example"]));
    let removed = delta("sub_user.removed", 4, json!({"sub_user": "u-9"}));
    let answer = interfaces.portal(&removed).await;
    assert_eq!(answer.body["recipient"]["kind"], "main_contact");
    assert_eq!(answer.body["recipient"]["reason"]["rule"], "billing_contact_removed");
    assert_eq!(answer.body["warnings"][0]["code"], "billing_contact_removed");
    let answer = interfaces.portal(&delta("account.closed", 5, json!({}))).await;
    assert_eq!(answer.body["result"], "applied");
}

#[tokio::test]
async fn versions_decide_what_becomes_of_a_change() {
    let interfaces = Interfaces::start().await;
    let gap = interfaces.portal(&delta("account.closed", 1, json!({}))).await;
    assert_refused(&gap, 409, "version_gap");
    assert_eq!(gap.body["current_version"], 0);
    assert_eq!(gap.body["retryable"], true);

    assert_eq!(interfaces.portal(&account(5)).await.body["result"], "applied");
    assert_eq!(interfaces.portal(&account(5)).await.body["result"], "duplicate");
    let stale = interfaces.portal(&account(4)).await;
    assert_eq!((&stale.body["result"], &stale.body["version"]), (&json!("stale"), &json!(5)));

    let mut other = account(5);
    other["data"]["name"] = json!("Other GmbH");
    assert_refused(&interfaces.portal(&other).await, 409, "version_conflict");
    let mut regressed = account(3);
    regressed["timestamp"] = json!("2027-01-01T00:00:00Z");
    assert_refused(&interfaces.portal(&regressed).await, 409, "version_regressed");
    let skipped = delta("sub_user.removed", 7, json!({"sub_user": "u-8"}));
    let answer = interfaces.portal(&skipped).await;
    assert_refused(&answer, 409, "version_gap");
    assert_eq!(answer.body["current_version"], 5);
    assert_eq!(version(&interfaces), 5);
}

#[tokio::test]
async fn an_id_is_answered_once_and_then_with_the_state_of_now() {
    let interfaces = Interfaces::start().await;
    let body = account(1).to_string();
    let first = interfaces.post(PORTAL, "evt_a", body.as_bytes()).await;
    assert_eq!(first.body["result"], "applied");
    interfaces.portal(&account(2)).await;
    let again = interfaces.post(PORTAL, "evt_a", body.as_bytes()).await;
    assert_eq!(again.status, 200);
    assert_eq!(again.body["version"], 2, "the state of now");
    assert_eq!(again.body["result"], "duplicate");

    let other = interfaces.post(PORTAL, "evt_a", b"not even json").await;
    assert_refused(&other, 422, "webhook_id_reused");
    let same_id_of_another = invoice("RE-1").to_string();
    let judged = interfaces.post(BILLING, "evt_a", same_id_of_another.as_bytes()).await;
    assert_refused(&judged, 409, "document_missing");
}

#[tokio::test]
async fn a_refused_event_can_succeed_once_the_gap_is_filled() {
    let interfaces = Interfaces::start().await;
    interfaces.portal(&account(1)).await;
    let third = delta("billing_contact.selected", 3, json!({"sub_user": null})).to_string();
    let refused = interfaces.post(PORTAL, "evt_3", third.as_bytes()).await;
    assert_refused(&refused, 409, "version_gap");
    let second = delta("sub_user.removed", 2, json!({"sub_user": "u-8"}));
    assert_eq!(interfaces.portal(&second).await.status, 200);
    let retried = interfaces.post(PORTAL, "evt_3", third.as_bytes()).await;
    assert_eq!(retried.body["result"], "applied");
}

#[tokio::test]
async fn every_rule_names_its_place_and_changes_nothing() {
    let interfaces = Interfaces::start().await;
    for (place, value) in [
        ("/data/billing_contact", json!("u-8")),
        ("/data/billing_contact", json!("u-of-another")),
        ("/data/sub_users/0/contact/addresses", json!([])),
        ("/data/sub_users/0/login/password", json!("x")),
        ("/type", json!("account.exploded")),
    ] {
        let answer = interfaces.portal(&with(account(1), place, value)).await;
        assert_refused(&answer, 422, "invalid");
        assert_eq!(answer.pointers(), [place]);
        assert_ne!(answer.body["errors"][0]["expected"], "");
    }
    assert!(interfaces.is_untouched());

    interfaces.portal(&account(1)).await;
    let unknown_source =
        json!({"sub_user": {"id": "u-9", "group": "x", "copy_from": {"sub_user": "u-0"}}});
    for (place, body) in [
        ("/data/sub_user/copy_from/sub_user", delta("sub_user.saved", 2, unknown_source)),
        ("/data/sub_user", delta("billing_contact.selected", 2, json!({"sub_user": "u-8"}))),
    ] {
        let answer = interfaces.portal(&body).await;
        assert_refused(&answer, 422, "invalid");
        assert_eq!(answer.pointers(), [place]);
    }
    assert_eq!(version(&interfaces), 1);
}

#[tokio::test]
async fn settings_without_effect_are_warned_of() {
    let interfaces = Interfaces::start().await;
    let mut body = account(1);
    body["data"]["language"] = json!("fr-CH");
    body["data"]["schedule"] = json!("weekly");
    body["data"]["sub_users"][1]["contact"]["language"] = json!("it");
    let answer = interfaces.portal(&body).await;
    let warnings: Vec<(&str, &str)> = answer.body["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|warning| {
            let text = |name: &str| warning[name].as_str().unwrap();
            (text("code"), text("field"))
        })
        .collect();
    assert_eq!(
        warnings,
        [
            ("language_without_template", "/data/language"),
            ("language_without_template", "/data/sub_users/1/contact/language"),
            ("unknown_schedule", "/data/schedule"),
        ]
    );
}

#[tokio::test]
async fn a_body_that_is_not_strict_json_is_refused() {
    let interfaces = Interfaces::start().await;
    for (body, code) in [
        (&b"{"[..], "not_json"),
        (b"", "not_json"),
        (b"{\"type\": \"account.closed\", \"type\": \"account.closed\"}", "duplicate_key"),
        (b"{\"type\": \"\xFF\"}", "not_utf8"),
    ] {
        let id = interfaces.new_id();
        let answer = interfaces.post(PORTAL, &id, body).await;
        assert_refused(&answer, 400, code);
    }
    for body in ["null", "[]", "\"x\"", "{}"] {
        let id = interfaces.new_id();
        let answer = interfaces.post(PORTAL, &id, body.as_bytes()).await;
        assert_refused(&answer, 422, "invalid");
        if body != "{}" {
            assert_eq!(answer.body["detail"], "the body: expected an object");
            assert_eq!(answer.pointers(), [""]);
        }
    }
}

#[tokio::test]
async fn whatever_is_wrong_about_a_signature_the_answer_is_the_same() {
    let interfaces = Interfaces::start().await;
    let body = account(1).to_string();
    let stranger = interfaces.post(STRANGER, "evt_s", body.as_bytes()).await;
    let id = interfaces.new_id();
    interfaces.clock.set(morning() - chrono::TimeDelta::seconds(301));
    let signature = interfaces.signature(PORTAL, &id, body.as_bytes());
    interfaces.clock.set(morning());
    let mut requests = vec![signature.to_vec()];
    for doubled_or_missing in 0..3 {
        let mut twice = interfaces.signature(PORTAL, &id, body.as_bytes()).to_vec();
        twice.push(twice[doubled_or_missing].clone());
        requests.push(twice);
        let mut missing = interfaces.signature(PORTAL, &id, body.as_bytes()).to_vec();
        missing.remove(doubled_or_missing);
        requests.push(missing);
    }
    let mut many = interfaces.signature(PORTAL, &id, body.as_bytes()).to_vec();
    many[2].1 = format!("{} {}", many[2].1, ["v1,x"; 8].join(" "));
    requests.push(many);
    let bland = |answer: &Answer| {
        let mut body = answer.body.clone();
        body["request_id"] = Value::Null;
        body
    };
    for headers in requests {
        let mut all = vec![("content-type", "application/json")];
        all.extend(headers.iter().map(|(name, value)| (*name, value.as_str())));
        let target = Target::Tcp(interfaces.webhook);
        let answer = ask(
            Interface::Webhook,
            &target,
            Method::POST,
            "/v1/events",
            &all,
            body.clone().into_bytes(),
        )
        .await;
        assert_refused(&answer, 401, "signature_invalid");
        assert_eq!(answer.headers["www-authenticate"], "Standard-Webhooks");
        assert_eq!(bland(&answer), bland(&stranger));
    }
    assert!(interfaces.is_untouched());
}

#[tokio::test]
async fn a_sender_does_what_it_may_and_nothing_else() {
    let interfaces = Interfaces::start().await;
    let answer = interfaces.billing(&account(1)).await;
    assert_refused(&answer, 403, "forbidden");
    let answer = interfaces.portal(&invoice("RE-1")).await;
    assert_refused(&answer, 403, "forbidden");
    // The right is judged before the rest of the event is.
    let broken = json!({"type": "account.updated", "data": 7});
    assert_refused(&interfaces.billing(&broken).await, 403, "forbidden");
    let digits = digest(PDF).to_string();
    let answer = interfaces.put(PORTAL, &digits, PDF).await;
    assert_refused(&answer, 403, "forbidden");
    assert!(interfaces.is_untouched());
}

#[tokio::test]
async fn an_invoice_waits_for_its_schedule_or_is_due_at_once() {
    let interfaces = Interfaces::start().await;
    interfaces.portal(&account(1)).await;
    interfaces.put_pdf().await;
    let answer = interfaces.billing(&invoice("RE-2026/0042")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body["state"], "waiting");
    assert_eq!(answer.body["release_at"], "2026-11-23T09:00:00Z");
    assert_eq!(answer.body["recipient"]["sub_user"], "u-7");
    let mut at_once = invoice("RE-2026/0043");
    at_once["data"]["release"] = json!("immediately");
    let answer = interfaces.billing(&at_once).await;
    assert_eq!(answer.body["state"], "due");
}

#[tokio::test]
async fn an_invoice_is_parked_until_its_account_is_known() {
    let interfaces = Interfaces::start().await;
    interfaces.put_pdf().await;
    let answer = interfaces.billing(&invoice("RE-1")).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.body["result"], "parked");
    assert_eq!(answer.body["recipient"], Value::Null);
    interfaces.portal(&account(1)).await;
    let again = interfaces.billing(&invoice("RE-1")).await;
    assert_eq!(again.body["result"], "duplicate");
    assert_eq!(again.body["state"], "waiting");
}

#[tokio::test]
async fn a_known_number_with_other_content_is_a_conflict_that_says_what_differs() {
    let interfaces = Interfaces::start().await;
    interfaces.portal(&account(1)).await;
    interfaces.put_pdf().await;
    interfaces.billing(&invoice("RE-1")).await;
    let mut other = invoice("RE-1");
    other["data"]["total"]["amount"] = json!("118.00");
    let answer = interfaces.billing(&other).await;
    assert_refused(&answer, 409, "invoice_conflict");
    assert_eq!(answer.body["state"], "waiting");
    assert_eq!(answer.body["differs"], json!(["total"]));
}

#[tokio::test]
async fn a_path_a_method_or_a_format_that_is_not_there_is_told() {
    let interfaces = Interfaces::start().await;
    let target = Target::Tcp(interfaces.webhook);
    let ask = async |method, path, headers: &[(&str, &str)]| {
        let webhook = Interface::Webhook;
        ask(webhook, &target, method, path, headers, b"{}".to_vec()).await
    };
    let answer = ask(Method::POST, "/v1/nothing", &[]).await;
    assert_refused(&answer, 404, "not_found");
    let answer = ask(Method::PUT, "/v1/events", &[]).await;
    assert_refused(&answer, 405, "method_not_allowed");
    assert_eq!(answer.headers["allow"], "POST");
    for content_type in ["text/plain", "application/ndjson"] {
        let headers = [("content-type", content_type)];
        let answer = ask(Method::POST, "/v1/events", &headers).await;
        assert_refused(&answer, 415, "unsupported_media_type");
    }
    let packed = [("content-type", "application/json"), ("content-encoding", "gzip")];
    let answer = ask(Method::POST, "/v1/events", &packed).await;
    assert_refused(&answer, 415, "unsupported_media_type");
}

#[tokio::test]
async fn dispatch_is_nudged_once_something_may_be_due() {
    let interfaces = Interfaces::start().await;
    let woken = async || {
        let woken = timeout(PATIENCE, interfaces.wake_up.notified()).await;
        woken.expect("dispatch is not woken");
    };
    interfaces.portal(&account(1)).await;
    woken().await;
    interfaces.put_pdf().await;
    interfaces.billing(&invoice("RE-1")).await;
    woken().await;
}

/// What this thread logs from now on. The runtime of a test has one thread, so all of the interfaces log here.
fn collected() -> (Lines, tracing::subscriber::DefaultGuard) {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(lines.clone()).finish();
    (lines, tracing::subscriber::set_default(subscriber))
}

#[tokio::test]
async fn a_request_leaves_one_line_in_the_log_without_an_address() {
    let (lines, _guard) = collected();
    let interfaces = Interfaces::start().await;
    let mut wrong = account(1);
    wrong["data"]["main_contact"]["addresses"] = json!(["erika@muster"]);
    interfaces.portal(&wrong).await;
    interfaces.portal(&account(1)).await;
    let stranger = interfaces.post(STRANGER, "evt_s", b"{}").await;
    // A portal may take an address for its account's id, and an operator may mistype a path.
    let mut by_address = account(1);
    by_address["data"]["account"] = json!("erika@muster.example");
    interfaces.portal(&by_address).await;
    for path in [
        "/v1/accounts/erika%40muster.example/recipient",
        "/v1/accounts/erika@muster.example/invoices/RE-erika%40muster.example",
        "/v1/acount/erika%40muster.example",
    ] {
        interfaces.get(path).await;
    }
    let text = lines.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 7, "{text}");
    assert!(!text.contains("erika"), "{text}");
    assert!(!lines[..3].concat().contains('@'), "{text}");
    assert!(lines[0].contains("status=422"), "{text}");
    assert!(lines[1].contains("sender=\"portal\"") && lines[1].contains("account.id=\"K-1001\""));
    let id = stranger.body["request_id"].as_str().unwrap();
    assert!(lines[2].contains("no sender's secret verifies the signature"));
    assert_eq!(lines[2].matches(id).count(), 1, "{text}");
    let masked = "account.id=\"e***@muster.example\"";
    for (line, path) in [
        (lines[3], "/v1/events"),
        (lines[4], "/v1/accounts/{account}/recipient"),
        (lines[5], "/v1/accounts/{account}/invoices/{number}"),
    ] {
        assert!(line.contains(masked), "{text}");
        assert!(line.contains(&format!("path=\"{path}\"")), "{text}");
    }
    assert!(lines[5].contains("invoice.number=\"R***@muster.example\""), "{text}");
    assert!(lines[6].contains("path=\"/v1/acount/e***@muster.example\""), "{text}");
    for line in &lines[4..] {
        assert!(line.contains("actor=\"uid:"), "{text}");
    }
}

#[tokio::test]
async fn versions_that_went_back_raise_one_alarm() {
    let (lines, _guard) = collected();
    let interfaces = Interfaces::start().await;
    for id in ["K-1001", "erika@muster.example"] {
        let of = |version: u64, timestamp: &str| {
            let mut body = account(version);
            body["data"]["account"] = json!(id);
            body["timestamp"] = json!(timestamp);
            body
        };
        interfaces.portal(&of(5, "2026-11-23T08:00:00Z")).await;
        let outdated = interfaces.portal(&of(4, "2026-11-23T07:00:00Z")).await;
        assert_eq!(outdated.body["result"], "stale");
        let answer = interfaces.portal(&of(3, "2026-11-23T09:00:00Z")).await;
        assert_refused(&answer, 409, "version_regressed");
    }
    let text = lines.text();
    let alarms: Vec<&str> = text.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(alarms.len(), 2, "{text}");
    assert!(alarms[0].contains("account.id=\"K-1001\" version=3 current_version=5"));
    assert!(!alarms[1].contains("erika"), "{}", alarms[1]);
}

#[tokio::test]
async fn a_panic_is_answered_as_a_fault_of_ours() {
    let interfaces =
        Interfaces::start_with(limits(), PATIENCE, || panic!("a check that panics")).await;
    assert_refused(&interfaces.get("/readyz").await, 500, "internal");
    assert_eq!(interfaces.get("/livez").await.status, 200);
}

#[tokio::test]
async fn a_store_that_takes_nothing_for_now_says_when_to_come_again() {
    for (fault, code, seconds) in [
        (StoreError::DiskFull, "disk_full", "60"),
        (StoreError::Busy, "busy", "2"),
        (StoreError::Closed, "draining", "2"),
    ] {
        let interfaces = Interfaces::start().await;
        let faults = [(UseCase::ChangeAccount, fault.clone()), (UseCase::ChangeAccount, fault)];
        let store: Arc<dyn Store> = FailingStore::new(&interfaces.store, faults);
        let failing = Interfaces::over(&store, &interfaces.clock, &interfaces.wake_up).await;
        let event = account(1);
        let refused = failing.portal(&event).await;
        assert_refused(&refused, 503, code);
        assert_eq!(refused.headers["retry-after"], seconds);
        assert_eq!(refused.body["retryable"], true);
        let lines = slice::from_ref(&event);
        let batch = failing.batch(PORTAL, "evt_batch", lines).await;
        assert_eq!(batch.lines(), [(1, 503, code)]);
        let again = failing.portal(&event).await;
        assert_eq!(again.body["result"], "applied", "{again:?}");
    }
}

#[tokio::test]
async fn an_event_over_the_limit_closes_the_connection() {
    let small = Limits { event_body_bytes: 10, ..limits() };
    let interfaces = Interfaces::within(small).await;
    let answer = interfaces.portal(&account(1)).await;
    assert_refused(&answer, 413, "too_large");
    assert_eq!(answer.headers["connection"], "close");
}
