use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::json;

use super::*;

/// Fails if a client that keeps to the description would not send this.
pub(super) fn is_described(event: &Value) {
    static DESCRIBED: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
        let document: Value = serde_saphyr::from_str(include_str!("../../openapi.yaml")).unwrap();
        let pointer = "/paths/~1v1~1events/post/requestBody/content/application~1json/schema";
        let mut schema = document.pointer(pointer).unwrap().clone();
        schema["components"] = document["components"].clone();
        jsonschema::options().with_draft(jsonschema::Draft::Draft202012).build(&schema).unwrap()
    });
    let wrong: Vec<String> = DESCRIBED.iter_errors(event).map(|error| error.to_string()).collect();
    assert!(wrong.is_empty(), "{event}: {wrong:?}");
}

fn contact() -> impl Strategy<Value = Value> {
    let addresses = prop::collection::vec("[a-z]{1,3}@(muster|Müller)\\.example", 0..4);
    let text = "[A-ZÄa-z,]{1,9}";
    (text, prop::option::of(text), prop::option::of("de|en|de-AT|DE_de"), addresses).prop_map(
        |(name, company, language, addresses)| {
            json!({"name": name, "company": company, "language": language, "addresses": addresses})
        },
    )
}

fn sub_user() -> impl Strategy<Value = Value> {
    let login = prop::option::of(prop_oneof![
        Just(json!({"enabled": true, "user_name": "erika", "permissions": ["a", "b"]})),
        Just(json!({"enabled": false})),
        Just(json!({})),
    ]);
    ("u-[0-9]", "Rechnungen|billing|Technik", contact(), login).prop_map(|(id, group, contact, login)| {
        json!({"id": id, "group": group, "contact": contact, "login": login})
    })
}

/// A sub-user whose contact is copied, with any of its members.
fn copying() -> impl Strategy<Value = Value> {
    let source = select(vec![
        json!({"main_contact": true}),
        json!({"sub_user": "u-8"}),
        json!({"sub_user": "u-1", "main_contact": null}),
    ]);
    (sub_user(), source, any::<[bool; 4]>()).prop_map(|(mut sub_user, source, kept)| {
        sub_user["copy_from"] = source;
        let contact = sub_user["contact"].as_object_mut().unwrap();
        for (name, kept) in ["name", "company", "language", "addresses"].iter().zip(kept) {
            if !kept {
                contact.remove(*name);
            }
        }
        sub_user
    })
}

fn invoice() -> impl Strategy<Value = Value> {
    let document = (any::<bool>(), "[0-9a-f]{64}", "[a-zä]{1,3}\\.pdf").prop_map(|(inside, sha256, name)| {
        let content = json!({"content_base64": "JVBERg==", "file_name": name, "media_type": "Application/pdf"});
        let named = json!({"sha256": sha256, "file_name": name, "media_type": "application/pdf"});
        if inside { content } else { named }
    });
    (
        select(vec!["invoice", "credit_note", "corrected_invoice", "reminder"]),
        prop::option::of("RE-[0-9]"),
        "-?[0-9]{1,3}\\.[0-9]{1,2}",
        "EUR|JPY|KWD",
        prop::option::of(1_u64..9),
        prop::collection::vec(document, 1..4),
    )
        .prop_map(|(kind, refers_to, amount, currency, version, documents)| {
            json!({
                "account": "K-1001", "number": "RE-2026/0042", "kind": kind, "refers_to": refers_to,
                "issued_on": "2026-11-23", "due_on": null, "total": {"amount": amount, "currency": currency},
                "release": "scheduled", "min_account_version": version, "documents": documents,
                "portal_url": "https://portal.example/i/42",
            })
        })
}

/// An event as it should be, but for what two random parts of it make of each other.
fn event() -> impl Strategy<Value = Value> {
    let account = |version| json!({"account": "K-1001", "version": version});
    let with = |mut data: Value, name: &str, value| {
        data[name] = value;
        data
    };
    let updated =
        (1_u64..9, contact(), prop::collection::vec(sub_user(), 0..4), prop::option::of("u-[0-9]"))
            .prop_map(move |(version, main_contact, sub_users, selected)| {
                let mut data = account(version);
                data["main_contact"] = main_contact;
                data["billing_contact"] = selected
                    .or_else(|| sub_users.first().map(|one| text(&one["id"]).to_owned()))
                    .into();
                data["sub_users"] = sub_users.into();
                ("account.updated", data)
            });
    let saved =
        (3_u64..5, prop_oneof![sub_user(), copying()]).prop_map(move |(version, sub_user)| {
            ("sub_user.saved", with(account(version), "sub_user", sub_user))
        });
    let named = (
        3_u64..5,
        select(vec!["sub_user.removed", "billing_contact.selected", "account.closed"]),
        prop::option::of("u-[7-9]"),
    )
        .prop_map(move |(version, name, sub_user)| match name {
            "account.closed" => (name, account(version)),
            _ => (name, with(account(version), "sub_user", sub_user.into())),
        });
    let withdrawn =
        Just(("invoice.withdrawn", json!({"account": "K-1001", "number": "RE-2026/0042"})));
    let timestamp = "20[0-9]{2}-1[0-2]-[0-2][1-9]T[01][0-9]:00:00(\\.[0-9]{1,6})?(Z|[+-]0[0-9]:30)";
    let data = prop_oneof![4 => updated, 3 => saved, 2 => named, 3 => invoice().prop_map(|data| ("invoice.issued", data)), 1 => withdrawn];
    (data, timestamp).prop_map(
        |((name, data), timestamp)| json!({"type": name, "timestamp": timestamp, "data": data}),
    )
}

/// What does not belong where it is put, most of the time.
fn odd() -> impl Strategy<Value = Value> {
    prop_oneof![
        select(vec![
            json!(null),
            json!(true),
            json!(false),
            json!(0),
            json!(1.5),
            json!(9_007_199_254_740_992_u64),
            json!(""),
            json!([]),
            json!({}),
            json!([null]),
            json!({"a/~": 1}),
            json!("null"),
            json!(" x"),
            json!("u-7"),
            json!("x".repeat(129)),
            json!("9999-12-31T23:59:59.9999Z"),
            json!("a@b.example"),
        ]),
        "\\PC{0,4}".prop_map(Value::String),
    ]
}

/// Every place in a value.
fn places(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| places(value, &format!("{at}/{name}"), all));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, item)| places(item, &format!("{at}/{n}"), all));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Those that two random parts of it do not make wrong are a good part of all, always the same ones.
#[test]
fn what_looks_like_an_event_of_each_type_is_often_accepted() {
    let mut runner = TestRunner::deterministic();
    let mut counts = BTreeMap::new();
    for _ in 0..400 {
        let event = event().new_tree(&mut runner).unwrap().current();
        let (accepted, all) = counts.entry(text(&event["type"]).to_owned()).or_insert((0, 0));
        *accepted += u32::from(is_event(event.to_string().as_bytes()));
        *all += 1;
    }
    assert_eq!(counts.len(), EventType::ALL.len());
    for (name, (accepted, all)) in counts {
        assert!(accepted * 5 > all, "{accepted} of {all} {name}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_an_event_by_the_rules_or_are_refused_in_their_place(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        events(&bytes);
    }

    #[test]
    fn what_looks_like_an_event_says_the_same_or_is_refused_in_its_place(
        mut event in event(),
        (at, other, is_more) in (any::<Index>(), odd(), any::<bool>()),
        (byte, another) in (any::<Index>(), any::<u8>()),
    ) {
        let mut body = event.to_string().into_bytes();
        events(&body);
        let byte = byte.index(body.len());
        body[byte] = another;
        events(&body);

        let mut all = Vec::new();
        places(&event, "", &mut all);
        let place = event.pointer_mut(&all[at.index(all.len())]).unwrap();
        if let Some(members) = place.as_object_mut().filter(|_| is_more) {
            members.insert("more/~".to_owned(), other);
        } else if let Some(items) = place.as_array_mut().filter(|_| is_more) {
            items.push(other);
        } else {
            *place = other;
        }
        events(event.to_string().as_bytes());
    }
}
