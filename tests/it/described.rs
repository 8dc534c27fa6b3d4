//! The description in `src/http/openapi.yaml` itself: its examples, and that nothing passes that it does not say.

// Tells clippy that helpers belong to tests as well.
#![cfg(test)]

use std::collections::BTreeMap;

use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use invoice_router::domain::address::{EmailAddress, FileName, HeaderText};
use invoice_router::domain::contact::Language;
use invoice_router::domain::id::AccountId;
use invoice_router::domain::invoice::{MediaType, PortalUrl};
use invoice_router::domain::money::{Currency, Money};
use invoice_router::http::client::{Method, Response};
use serde_json::{Value, json};

use crate::description::{Asked, Interface, description, findings};
use crate::examples;
use crate::interface::{account, invoice, with};

#[test]
fn the_examples_of_events_are_the_files_beside_the_configuration() {
    let pointer = "/paths/~1v1~1events/post/requestBody/content/application~1json/examples";
    let described = description().document().pointer(pointer).unwrap().as_object().unwrap();
    let described = described.iter().map(|(name, example)| {
        assert!(example["summary"].is_string(), "{name}");
        (name.clone(), example["value"].clone())
    });
    // A file's name has its number before that of the example.
    let files = examples::events().into_iter();
    let files = files.map(|(file, event)| (file[3..file.len() - ".json".len()].to_owned(), event));
    assert_eq!(described.collect::<BTreeMap<_, _>>(), files.collect());
}

/// How many examples there are in a part of the description; each is as its schema says.
fn check_examples(part: &Value) -> usize {
    let schema = part.get("schema");
    let beside = part["examples"].as_object().into_iter().flatten();
    let beside = beside.filter_map(|(_, example)| example.get("value")).chain(part.get("example"));
    // A schema has its examples in itself, all else beside its schema.
    let inside = part["examples"].as_array().into_iter().flatten();
    let mut count = 0;
    for (schema, example) in
        beside.filter_map(|it| Some((schema?, it))).chain(inside.map(|it| (part, it)))
    {
        let wrong = match part.get("x-line-schema") {
            Some(schema) => {
                let lines = example.as_str().unwrap().lines();
                let judge = |line: &str| description().json(schema, line.as_bytes(), "a line");
                lines.flat_map(judge).collect()
            }
            None => description().value(schema, example, "the example"),
        };
        assert_eq!(wrong, Vec::<String>::new(), "{part}");
        count += 1;
    }
    let members = part.as_object().into_iter().flatten();
    let members = members.filter(|(name, _)| !["example", "examples"].contains(&name.as_str()));
    let items = part.as_array().into_iter().flatten();
    count + members.map(|(_, member)| member).chain(items).map(check_examples).sum::<usize>()
}

#[test]
fn every_example_is_as_its_schema_says() {
    let count = check_examples(description().document());
    assert!(count >= 30, "{count}");
}

#[test]
fn every_operation_has_what_any_client_may_meet() {
    for interface in [Interface::Webhook, Interface::Admin] {
        for (path, method, operation) in description().operations(interface) {
            for status in ["400", "401", "408", "414", "429", "431", "500"] {
                assert!(operation["responses"].get(status).is_some(), "{method} {path} {status}");
            }
            assert!(operation["operationId"].is_string(), "{method} {path}");
            assert!(operation["summary"].is_string(), "{method} {path}");
        }
    }
}

fn answer(status: u16, content_type: &str, body: &Value) -> Response {
    let mut headers = HeaderMap::new();
    for (name, value) in [("content-type", content_type), ("x-request-id", "00000000deadbeef")] {
        let value = HeaderValue::from_str(value).unwrap();
        headers.insert(HeaderName::from_static(name), value);
    }
    Response {
        status: StatusCode::from_u16(status).unwrap(),
        headers,
        body: body.to_string().into_bytes(),
    }
}

fn applied() -> Value {
    json!({
        "result": "applied", "account": "K-1001", "version": 4, "warnings": [], "in_flight": [],
        "recipient": {"kind": "sub_user", "sub_user": "u-7", "name": "Buchhaltung", "company": null,
            "addresses": ["rechnung@muster.example"],
            "reason": {"rule": "billing_contact_selected", "account_version": 4, "since": "2026-11-23T08:00:00Z"}}})
}

fn problem(code: &str, status: u16) -> Value {
    json!({"type": format!("urn:invoice-router:problem:{code}"), "title": "t", "status": status, "detail": "d", "code": code,
        "retryable": false, "request_id": "00000000deadbeef"})
}

/// What is found of an event and its answer.
fn found(event: &Value, answer: &Response) -> Vec<String> {
    let body = event.to_string();
    let asked = Asked {
        interface: Interface::Webhook,
        method: &Method::POST,
        path: "/v1/events",
        headers: &[("content-type", "application/json")],
        body: body.as_bytes(),
    };
    findings(&asked, answer)
}

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";

#[test]
fn an_answer_that_is_not_described_is_found() {
    let event = account(4);
    let right = answer(200, JSON, &applied());
    assert_eq!(found(&event, &right), Vec::<String>::new());
    let refused = answer(403, PROBLEM, &problem("forbidden", 403));
    assert_eq!(found(&event, &refused), Vec::<String>::new());

    let with = |pointer: &str, value: Value| answer(200, JSON, &with(applied(), pointer, value));
    let without = |name: &str| {
        let mut answer = right.clone();
        answer.headers.remove(name);
        answer
    };
    let mut told_more = right.clone();
    let server = HeaderValue::from_static("invoice-router");
    told_more.headers.insert("server", server);
    let mut other_id = refused.clone();
    let id = HeaderValue::from_static("00000000deadbeee");
    other_id.headers.insert("x-request-id", id);
    for (what, wrong) in [
        ("a member too many", with("/colour", json!("red"))),
        ("deeper", with("/recipient/reason/colour", json!("red"))),
        ("another value", with("/result", json!("done"))),
        ("another type", with("/version", json!("4"))),
        (
            "a time with an offset",
            with("/recipient/reason/since", json!("2026-11-23T08:00:00+00:00")),
        ),
        ("a recipient at odds with its kind", with("/recipient/kind", json!("main_contact"))),
        ("no content type", without("content-type")),
        ("no request id", without("x-request-id")),
        ("another content type", answer(200, "text/plain", &applied())),
        ("another status", answer(204, JSON, &applied())),
        ("a status of another operation", answer(201, JSON, &applied())),
        ("a code of another status", answer(403, PROBLEM, &problem("not_found", 403))),
        ("another status in the problem", answer(403, PROBLEM, &problem("forbidden", 404))),
        ("a problem without its details", answer(409, PROBLEM, &problem("version_gap", 409))),
        ("another request id", other_id),
        ("a header too many", told_more),
        ("no Retry-After", answer(503, PROBLEM, &problem("busy", 503))),
        ("no Allow", answer(405, PROBLEM, &problem("method_not_allowed", 405))),
        ("a path that is there", answer(404, PROBLEM, &problem("not_found", 404))),
    ] {
        assert!(!found(&event, &wrong).is_empty(), "{what}");
    }
}

#[test]
fn a_request_that_is_accepted_and_not_described_is_found() {
    let right = answer(200, JSON, &applied());
    let document = json!([{"file_name": "a.pdf", "media_type": "application/pdf"}]);
    for (what, wrong) in [
        ("a member too many", with(account(4), "/data/colour", json!("red"))),
        ("a password", with(account(4), "/data/sub_users/0/login/password", json!("x"))),
        ("another type", with(account(4), "/type", json!("account.exploded"))),
        ("a blank at the end", with(account(4), "/data/account", json!("K-1001 "))),
        ("an invisible character", with(account(4), "/data/name", json!("a\u{202E}b"))),
        (
            "an address that is none",
            with(account(4), "/data/main_contact/addresses", json!(["a b@c.example"])),
        ),
        ("version 0", with(account(4), "/data/version", json!(0))),
        (
            "a login without a name",
            with(account(4), "/data/sub_users/0/login/enabled", json!(true)),
        ),
        ("an invoice that refers", with(invoice("RE-1"), "/data/refers_to", json!("RE-0"))),
        ("a reminder that does not", with(invoice("RE-1"), "/data/kind", json!("reminder"))),
        ("an amount in words", with(invoice("RE-1"), "/data/total/amount", json!("1,00"))),
        ("a document without bytes", with(invoice("RE-1"), "/data/documents", document)),
        ("no body", json!(null)),
    ] {
        assert!(!found(&wrong, &right).is_empty(), "{what}");
    }
}

#[test]
fn a_line_of_a_batch_that_is_not_as_the_whole_says_is_found() {
    const NDJSON: &str = "application/x-ndjson";
    let sent = format!("{}\n\n{}\n", account(4), account(9));
    let asked = Asked {
        interface: Interface::Webhook,
        method: &Method::POST,
        path: "/v1/events",
        headers: &[("content-type", NDJSON)],
        body: sent.as_bytes(),
    };
    let found = |lines: &[(u64, u64, Value)]| {
        let mut answer = answer(200, NDJSON, &Value::Null);
        let line = |(line, status, body): &(u64, u64, Value)| {
            format!("{}\n", json!({"line": line, "status": status, "body": body}))
        };
        answer.body = lines.iter().map(line).collect::<String>().into_bytes();
        findings(&asked, &answer)
    };
    let refused = || problem("webhook_id_reused", 422);
    let right = [(1, 200, applied()), (3, 422, refused())];
    assert_eq!(found(&right), Vec::<String>::new());

    let first = || (1, 200, applied());
    for (what, wrong) in [
        ("no answer to a line", vec![first()]),
        ("the number of a blank line", vec![first(), (2, 422, refused())]),
        ("another order", vec![(3, 422, refused()), first()]),
        ("another status than the problem's", vec![first(), (3, 409, refused())]),
        ("a problem with a success", vec![first(), (3, 200, refused())]),
        ("a success with a problem's status", vec![(1, 422, applied()), (3, 422, refused())]),
        (
            "another request id",
            vec![first(), (3, 422, with(refused(), "/request_id", json!("0000000000000000")))],
        ),
        (
            "another type",
            vec![
                first(),
                (3, 422, with(refused(), "/type", json!("urn:invoice-router:problem:busy"))),
            ],
        ),
    ] {
        assert!(!found(&wrong).is_empty(), "{what}");
    }
}

/// Whether a schema of the description takes this text.
fn takes(schema: &str, text: &str) -> bool {
    let schema = json!({"$ref": format!("#/components/schemas/{schema}")});
    description().value(&schema, &json!(text), "it").is_empty()
}

#[test]
fn a_character_is_described_as_it_is_judged() {
    // Tags have no escape that every reader of patterns knows; the description tells of them in words.
    // Between these blocks nothing is special to anybody.
    let blocks = [
        '\0'..='\u{17F}',
        '\u{600}'..='\u{61F}',
        '\u{1670}'..='\u{168F}',
        '\u{1800}'..='\u{181F}',
        '\u{1FF0}'..='\u{207F}',
        '\u{2FF0}'..='\u{3010}',
        '\u{FE00}'..='\u{10010}',
    ];
    for c in blocks.into_iter().flatten() {
        for text in [format!("{c}"), format!("a{c}b")] {
            let id = AccountId::parse(&*text).is_ok();
            assert_eq!(takes("Id", &text), id, "an id {text:?}");
            let words = HeaderText::parse(&*text).is_ok();
            assert_eq!(takes("Text", &text), words, "a text {text:?}");
        }
        let file_name = FileName::parse(format!("a{c}.pdf"));
        let is_described = takes("FileName", &format!("a{c}.pdf"));
        assert!(is_described || file_name.is_err(), "a file name with {c:?}");
        assert!(!c.is_ascii() || is_described == file_name.is_ok(), "a file name with {c:?}");
        for text in [format!("a{c}b@c.example"), format!("a@b{c}c.example")] {
            let is_described = takes("EmailAddress", &text);
            let address = EmailAddress::parse(&text);
            assert!(is_described || address.is_err(), "an address {text:?}");
            assert!(!c.is_ascii() || is_described == address.is_ok(), "an address {text:?}");
        }
    }
}

/// A schema takes what the code does, of these texts.
#[track_caller]
fn as_judged(schema: &str, judge: impl Fn(&str) -> bool, right: &[&str], wrong: &[&str]) {
    for (texts, expected) in [(right, true), (wrong, false)] {
        for text in texts {
            let found = (judge(text), takes(schema, text));
            assert_eq!(found, (expected, expected), "{schema} {text:?}");
        }
    }
}

#[test]
fn names_are_described_as_they_are_judged() {
    let (a64, a65) = (&*"a".repeat(64), &*"a".repeat(65));
    let (a128, a129) = (&*"ä".repeat(128), &*"ä".repeat(129));
    let (a200, a201) = (&*"ä".repeat(200), &*"ä".repeat(201));
    as_judged(
        "Id",
        |raw| AccountId::parse(raw).is_ok(),
        &[a128, "RE-2026/0042", "a b", "..."],
        &["", a129, " a", "a ", ".", ".."],
    );
    as_judged(
        "Text",
        |raw| HeaderText::parse(raw).is_ok(),
        &[a200, ".", "Muster & Söhne"],
        &["", a201, "a\u{A0}", " a"],
    );
    let long = |local: &str| format!("{local}@b.example");
    as_judged(
        "EmailAddress",
        |raw| EmailAddress::parse(raw).is_ok(),
        &[
            &long(a64),
            "a.b+c@muster.example",
            "a@müster.example",
            "a@b。example",
            "{|}~'`@b.example",
        ],
        &[
            &long(a65),
            "a",
            "@b.example",
            "a..b@c.example",
            ".a@c.example",
            "\"a\"@c.example",
            "a@[127.0.0.1]",
        ],
    );
    as_judged(
        "FileName",
        |raw| FileName::parse(raw).is_ok(),
        &["RE-2026_0042.pdf", "Rechnung_für_März.pdf", "1.a"],
        &["", "pdf", ".pdf", "a.", "a/b.pdf", "a.pdf.exe", "a.12345678901"],
    );
}

#[test]
fn values_are_described_as_they_are_judged() {
    as_judged(
        "Language",
        |raw| Language::parse(raw).is_ok(),
        &["de", "DE", "de-AT", "de_DE", "gsw", "de-Latn-DE-1996"],
        &["", "d", "german", "de-", "de-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a"],
    );
    as_judged(
        "Amount",
        |raw| Currency::parse("CLF").is_ok_and(|most| Money::parse(raw, most).is_ok()),
        &["0", "-0.5", "119.00", "999999999999999.9999"],
        &["", "-", "01", "1.", ".5", "+1", "1e3", "1,00", "1234567890123456", "1.00000"],
    );
    as_judged(
        "MediaType",
        |raw| MediaType::parse(raw).is_ok(),
        &["application/pdf", "Application/PDF", "a/b+c.d-e"],
        &["", "pdf", "multipart/mixed", "Message/rfc822", "text/plain; charset=x", "a/"],
    );
    let url = |length: usize| format!("https://a/{}", "b".repeat(length - 10));
    as_judged(
        "PortalUrl",
        |raw| PortalUrl::parse(raw).is_ok(),
        &[
            &url(900),
            "https://a.example",
            "https://portal.example:8443/i/42?x=%20&y=1#z",
            "https://a?b[c]=d",
        ],
        &[
            &url(901),
            "http://a.example",
            "https://",
            "https://u:p@a.example",
            "https://a/ b",
            "https://a/\\",
        ],
    );
}

#[test]
fn what_is_not_described_is_not_there() {
    let ask = |path, method, answer: &Response| {
        let asked = Asked { interface: Interface::Webhook, method, path, headers: &[], body: &[] };
        findings(&asked, answer)
    };
    let unknown = answer(404, PROBLEM, &problem("not_found", 404));
    let live = answer(200, JSON, &json!({"status": "live"}));
    assert_eq!(ask("/livez", &Method::GET, &unknown), Vec::<String>::new());
    assert!(!ask("/livez", &Method::GET, &live).is_empty(), "the other interface's");
    assert!(!ask("/v1/events", &Method::GET, &unknown).is_empty(), "no such method");
}
