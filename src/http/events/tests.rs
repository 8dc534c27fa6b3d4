use serde_json::{Value, json};

use super::*;
use crate::http::problem::Fault;

fn faults(body: &Value) -> Vec<Fault> {
    let node = json::parse(body.to_string().as_bytes()).unwrap();
    match read_event(&node, &EventType::ALL, 1000) {
        Ok(_) => Vec::new(),
        Err(problem) => {
            assert_eq!(problem.code, Code::Invalid);
            problem.body.errors
        }
    }
}

fn pointers(body: &Value) -> Vec<String> {
    let pointer = |fault: Fault| match fault.place {
        super::super::problem::Place::Body(pointer) => pointer,
        super::super::problem::Place::Parameter(name) => panic!("a parameter: {name}"),
    };
    faults(body).into_iter().map(pointer).collect()
}

fn updated() -> Value {
    json!({"type": "account.updated", "timestamp": "2026-11-23T08:00:00Z", "data": {
        "account": "K-1001", "version": 4, "name": "Muster GmbH", "language": "de", "schedule": "default",
        "main_contact": {"name": "Erika Muster", "company": "Muster GmbH", "addresses": ["erika@muster.example"]},
        "sub_users": [
            {"id": "u-7", "group": "Rechnungen",
             "contact": {"name": "Buchhaltung", "addresses": ["rechnung@muster.example"]},
             "login": {"enabled": false, "user_name": null, "permissions": []}},
            {"id": "u-8", "group": "Technik", "contact": {"name": "Technik", "addresses": []}}],
        "billing_contact": "u-7"}})
}

fn issued() -> Value {
    json!({"type": "invoice.issued", "timestamp": "2026-11-23T09:00:00Z", "data": {
        "account": "K-1001", "number": "RE-2026/0042", "kind": "invoice", "issued_on": "2026-11-23",
        "due_on": "2026-12-07", "total": {"amount": "119.00", "currency": "EUR"}, "release": "scheduled",
        "min_account_version": null, "refers_to": null,
        "documents": [{"sha256": "9f".repeat(32), "file_name": "RE-2026-0042.pdf", "media_type": "application/pdf"}],
        "portal_url": null}})
}

fn saved(sub_user: &Value) -> Value {
    json!({"type": "sub_user.saved", "timestamp": "2026-11-23T08:00:00Z",
        "data": {"account": "K-1001", "version": 2, "sub_user": sub_user}})
}

/// The body with another value at a pointer.
fn with(mut body: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    match (body.pointer_mut(parent).unwrap(), name.parse::<usize>()) {
        (Value::Array(items), Ok(at)) => items[at] = value,
        (parent, _) => parent[name] = value,
    }
    body
}

fn without(mut body: Value, pointer: &str) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let members = body.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    assert!(members.remove(name).is_some());
    body
}

#[test]
fn the_events_of_the_contract_are_read() {
    let simple = |event_type: &str, data: Value| json!({"type": event_type, "timestamp": "2026-11-23T09:00:00+01:00", "data": data});
    for body in [
        updated(),
        issued(),
        simple("account.closed", json!({"account": "a", "version": 1})),
        simple("sub_user.removed", json!({"account": "a", "version": 1, "sub_user": "u"})),
        simple("billing_contact.selected", json!({"account": "a", "version": 1, "sub_user": null})),
        simple("invoice.withdrawn", json!({"account": "a", "number": "1"})),
        saved(&json!({"id": "u", "group": "Rechnungen", "copy_from": {"main_contact": true}})),
        saved(&json!({"id": "u", "group": "Rechnungen", "copy_from": {"sub_user": "u-7"},
            "contact": {"company": null, "addresses": ["a@b.example"]}})),
    ] {
        assert_eq!(faults(&body), [], "{body}");
    }
}

#[test]
fn every_required_field_is_asked_for_at_its_place() {
    for pointer in [
        "/type",
        "/timestamp",
        "/data",
        "/data/account",
        "/data/version",
        "/data/main_contact",
        "/data/main_contact/name",
        "/data/main_contact/addresses",
        "/data/sub_users",
        "/data/sub_users/0/id",
        "/data/sub_users/1/group",
        "/data/sub_users/1/contact",
        "/data/sub_users/0/contact/name",
        "/data/billing_contact",
    ] {
        assert_eq!(pointers(&without(updated(), pointer)), [pointer]);
    }
    for pointer in [
        "/data/account",
        "/data/number",
        "/data/kind",
        "/data/issued_on",
        "/data/total",
        "/data/total/amount",
        "/data/total/currency",
        "/data/release",
        "/data/documents",
        "/data/documents/0/file_name",
        "/data/documents/0/media_type",
    ] {
        assert_eq!(pointers(&without(issued(), pointer)), [pointer]);
    }
}

#[test]
fn a_wrong_value_is_refused_at_its_place() {
    let addresses = |second: &str| json!(["fine@b.example", second]);
    let too_long = format!("{}@b.example", "a".repeat(400));
    let eleven: Vec<String> = (0..11).map(|n| format!("a{n}@b.example")).collect();
    let (document, contact) = ("/data/documents/0", "/data/sub_users/1/contact/addresses");
    // The place of the value, the value, and where it is wrong behind that place.
    let of_accounts = [
        ("/timestamp", json!("2026-11-23 8 Uhr"), ""),
        ("/timestamp", json!(1_764_000_000), ""),
        ("/data/account", json!(1001), ""),
        ("/data/account", json!(" K"), ""),
        ("/data/version", json!(0), ""),
        ("/data/version", json!("4"), ""),
        ("/data/version", json!(4.5), ""),
        ("/data/version", json!(9_007_199_254_740_992_u64), ""),
        ("/data/language", json!("deutsch!"), ""),
        ("/data/name", json!("a\r\nBcc: x"), ""),
        ("/data/main_contact", json!("Erika"), ""),
        ("/data/main_contact/addresses", json!("erika@muster.example"), ""),
        ("/data/main_contact/addresses", json!(["a@b.example", "a@B.example"]), "/1"),
        ("/data/main_contact/receiving", json!("peppol"), ""),
        ("/data/sub_users", json!({}), ""),
        ("/data/sub_users/0", json!([]), ""),
        ("/data/sub_users/1/id", json!("u-7"), ""),
        ("/data/sub_users/0/login/enabled", json!("yes"), ""),
        ("/data/sub_users/0/login", json!({"enabled": true}), "/user_name"),
        ("/data/sub_users/0/contact/addresses", json!(eleven), ""),
        (contact, addresses("a@b.example\r\nRCPT TO:<x@y.example>"), "/1"),
        (contact, addresses("a@b"), "/1"),
        (contact, addresses("a"), "/1"),
        (contact, addresses(&too_long), "/1"),
        ("/data/billing_contact", json!(7), ""),
        ("/data/unknown", json!(null), ""),
        ("/unknown", json!(1), ""),
        ("/data/sub_users/0/copy_from", json!({"main_contact": true}), ""),
    ];
    let of_invoices = [
        ("/data/number", json!(".."), ""),
        ("/data/kind", json!("Rechnung"), ""),
        ("/data/issued_on", json!("2026-2-1"), ""),
        ("/data/issued_on", json!("2026-02-30"), ""),
        ("/data/due_on", json!("23.11.2026"), ""),
        ("/data/release", json!("now"), ""),
        ("/data/min_account_version", json!(0), ""),
        ("/data/portal_url", json!("http://portal.example"), ""),
        ("/data/refers_to", json!("RE-1"), ""),
        ("/data/documents", json!([]), ""),
        ("/data/documents/0/sha256", json!("9F".repeat(32)), ""),
        ("/data/documents/0/file_name", json!("../../etc/passwd"), ""),
        ("/data/documents/0/media_type", json!("pdf"), ""),
        (document, json!({"file_name": "a.pdf", "media_type": "a/b"}), ""),
        ("/data/total/amount", json!(119.0), ""),
        ("/data/total/amount", json!("1.234,56"), ""),
        ("/data/total/amount", json!("NaN"), ""),
        ("/data/total/amount", json!("119.001"), ""),
        ("/data/total/amount", json!("1e2"), ""),
        ("/data/total/amount", json!(""), ""),
        ("/data/total/amount", json!("+1"), ""),
    ];
    let of_accounts = of_accounts.into_iter().map(|row| (updated(), row));
    let of_invoices = of_invoices.into_iter().map(|row| (issued(), row));
    for (body, (place, value, below)) in of_accounts.chain(of_invoices) {
        let body = with(body, place, value);
        assert_eq!(pointers(&body), [format!("{place}{below}")], "{body}");
    }
}

#[test]
fn a_password_is_refused_by_name_wherever_it_stands() {
    for pointer in [
        "/data/sub_users/0/password",
        "/data/sub_users/0/login/Passwort",
        "/data/sub_users/0/login/new_passwd",
        "/data/main_contact/kennwort",
        "/data/sub_users/1/contact/pin",
    ] {
        let body = with(updated(), pointer, json!("hunter2"));
        let expected = "no password: passwords stay in the portal";
        assert_eq!(faults(&body), [Fault::at(pointer, expected)]);
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let mut body = with(updated(), "/data/version", json!("x"));
    body = with(body, "/data/main_contact/name", json!(""));
    body = with(body, "/data/sub_users/1/contact/addresses", json!(["x"]));
    body = with(body, "/extra", json!(1));
    assert_eq!(
        pointers(&body),
        [
            "/data/version",
            "/data/main_contact/name",
            "/data/sub_users/1/contact/addresses/0",
            "/extra"
        ]
    );
}

#[test]
fn a_copy_names_one_source_and_cannot_clear_a_name() {
    let base = json!({"id": "u", "group": "g"});
    assert_eq!(pointers(&saved(&base)), ["/data/sub_user/contact"]);
    for source in [json!({}), json!({"main_contact": true, "sub_user": "u"})] {
        let body = saved(&with(base.clone(), "/copy_from", source));
        assert_eq!(pointers(&body), ["/data/sub_user/copy_from"]);
    }
    let body = saved(&with(base.clone(), "/copy_from", json!({"main_contact": false})));
    assert_eq!(pointers(&body), ["/data/sub_user/copy_from/main_contact"]);
    let mut cleared = with(base, "/copy_from", json!({"main_contact": true}));
    cleared["contact"] = json!({"name": null});
    assert_eq!(pointers(&saved(&cleared)), ["/data/sub_user/contact/name"]);
}

#[test]
fn what_hangs_on_another_member_is_refused_with_it() {
    let both = with(issued(), "/data/total", json!({"amount": "x", "currency": "eur"}));
    assert_eq!(pointers(&both), ["/data/total/currency", "/data/total/amount"]);
    let both = with(issued(), "/data/documents/0/content_base64", json!("QQ=="));
    assert_eq!(pointers(&both), ["/data/documents/0"]);
    for kind in ["corrected_invoice", "reminder"] {
        let body = with(issued(), "/data/kind", json!(kind));
        assert_eq!(pointers(&body), ["/data/refers_to"]);
    }
}

#[test]
fn embedded_documents_are_base64_of_something_within_the_limit() {
    let embedded = |content: &str| {
        let body = without(issued(), "/data/documents/0/sha256");
        with(body, "/data/documents/0/content_base64", json!(content))
    };
    assert_eq!(faults(&embedded("JVBERg==")), []);
    let too_large = "QUFB".repeat(400);
    for content in ["", "JVBERg", "%%%", "JVBE\nRg==", &too_large] {
        assert_eq!(pointers(&embedded(content)), ["/data/documents/0/content_base64"]);
    }
}

#[test]
fn an_instant_is_described_as_it_is_read_in_utc_and_whole_milliseconds() {
    let description: Value = serde_saphyr::from_str(include_str!("../openapi.yaml")).unwrap();
    let described = &description["components"]["schemas"]["InstantIn"];
    let described = jsonschema::validator_for(described).unwrap();
    for (raw, read) in [
        ("2026-11-23T09:00:00.123456+01:00", Some("2026-11-23T08:00:00.123+00:00")),
        ("0001-01-01T00:00:00+01:00", Some("0000-12-31T23:00:00+00:00")),
        ("0000-01-01T00:00:00+01:00", None),
        ("0000-06-01T00:00:00Z", None),
        ("", None),
        ("2026-11-23", None),
        ("2026-11-23T09:00:00", None),
        ("2026-11-23 09:00:00Z", None),
        ("2026-11-23T09:00:00\u{2212}01:00", None),
        ("1764000000", None),
    ] {
        let at = instant(raw).ok().map(|at| at.to_rfc3339());
        assert_eq!(at.as_deref(), read, "{raw}");
        assert_eq!(described.is_valid(&json!(raw)), read.is_some(), "{raw}");
    }
    // The description has this one in words.
    assert!(instant("9999-12-31T23:59:59-01:00").is_err());
}
