//! The admin interface as operators meet it.

// Tells clippy that helpers belong to tests as well.
#![cfg(test)]

mod import;
mod sending;

use invoice_router::api::FailedCheck;
use invoice_router::domain::audit::Actor;
use invoice_router::domain::delivery::{DeliveryId, Verdict};
use invoice_router::http::Readiness;
use invoice_router::http::client::{Method, Target};
use invoice_router::store::{Filter, PauseScope};
use serde_json::{Value, json};

use crate::description::Interface;
use crate::interface::{
    Answer, BILLING, Interfaces, PATIENCE, PORTAL, account, ask, digest, invoice, limits, morning,
};
use crate::webhook::attempts::{begin, end};

/// An account, a document and these invoices over it.
async fn with_invoices(numbers: &[&str]) -> Interfaces {
    let interfaces = Interfaces::start().await;
    interfaces.portal(&account(1)).await;
    interfaces.put_pdf().await;
    for number in numbers {
        let answer = interfaces.billing(&invoice(number)).await;
        assert_eq!(answer.body["result"], "applied", "{answer:?}");
    }
    interfaces
}

fn members<'a>(answer: &'a Answer, name: &str) -> Vec<&'a str> {
    let items = answer.body["items"].as_array();
    items.into_iter().flatten().filter_map(|item| item[name].as_str()).collect()
}

#[tokio::test]
async fn an_account_shows_who_may_be_selected_and_who_is_active() {
    let interfaces = with_invoices(&[]).await;
    let answer = interfaces.get("/v1/accounts/K-1001").await;
    assert_eq!(answer.status, 200);
    let shown = &answer.body;
    assert_eq!(shown["main_contact"]["active"], false);
    let sub_users: Vec<(&str, bool, bool)> = shown["sub_users"]
        .as_array()
        .unwrap()
        .iter()
        .map(|sub_user| {
            let flag = |name: &str| sub_user[name].as_bool().unwrap();
            let id = sub_user["id"].as_str().unwrap();
            (id, flag("selectable"), flag("active"))
        })
        .collect();
    assert_eq!(sub_users, [("u-7", true, true), ("u-8", false, false)]);
    assert_eq!(shown["recipient"]["sub_user"], "u-7");
    assert_eq!(shown["closed"], false);
    assert_eq!(shown["suppressions"], json!([]));
    assert_eq!(shown["paused"], Value::Null);

    let recipient = interfaces.get("/v1/accounts/K-1001/recipient").await;
    assert_eq!(recipient.body["recipient"], shown["recipient"]);
    assert_eq!(interfaces.get("/v1/accounts/K-9").await.status, 404);
}

#[tokio::test]
async fn a_path_that_is_not_percent_encoded_utf8_is_refused() {
    let interfaces = Interfaces::start().await;
    for path in ["/v1/accounts/%FF", "/v1/accounts/%4"] {
        let answer = interfaces.get(path).await;
        assert_eq!((answer.status, answer.code()), (400, "bad_path"), "{path}");
    }
}

#[tokio::test]
async fn accounts_come_page_by_page() {
    let interfaces = Interfaces::start().await;
    for id in ["K/1", "K 2", "K-3"] {
        let mut body = account(1);
        body["data"]["account"] = json!(id);
        interfaces.portal(&body).await;
    }
    let seen = on_all_pages(&interfaces, "/v1/accounts?limit=2", "account", async || {}).await;
    assert_eq!(seen, ["K 2", "K-3", "K/1"]);
    assert_eq!(interfaces.get("/v1/accounts/K%2F1").await.status, 200);
}

#[tokio::test]
async fn an_invoice_shows_its_story() {
    let interfaces = with_invoices(&["RE-2026/0042"]).await;
    let path = "/v1/accounts/K-1001/invoices/RE-2026%2F0042";
    let answer = interfaces.get(path).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let shown = &answer.body;
    assert_eq!(shown["state"], "waiting");
    assert_eq!(shown["total"], json!({"amount": "119.00", "currency": "EUR"}));
    assert_eq!(shown["recipient"]["sub_user"], "u-7");
    assert_eq!(shown["release_at"], "2026-11-23T09:00:00Z");
    assert_eq!(
        shown["story"],
        json!([{
            "at": "2026-11-23T08:00:00Z",
            "actor": "sender billing (evt_2)",
            "by": {"kind": "sender", "name": "billing", "webhook_id": "evt_2"},
            "what": "issued, to be released by schedule; now waiting",
            "event": {"kind": "issued", "release": "scheduled", "state": "waiting"},
            "reason": null,
        }])
    );
    assert_eq!(interfaces.get("/v1/accounts/K-1001/invoices/RE-0").await.status, 404);
}

#[tokio::test]
async fn a_withdrawal_without_its_invoice_is_shown_as_a_tombstone() {
    let interfaces = with_invoices(&[]).await;
    interfaces
        .billing(&json!({"type": "invoice.withdrawn", "timestamp": "2026-11-23T09:00:00Z",
            "data": {"account": "K-1001", "number": "RE-1"}}))
        .await;
    let answer = interfaces.get("/v1/accounts/K-1001/invoices/RE-1").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body["state"], "withdrawn");
    assert_eq!(answer.body["tombstone_since"], "2026-11-23T08:00:00Z");
}

#[tokio::test]
async fn an_operator_holds_releases_and_withdraws() {
    let interfaces = with_invoices(&["RE-1"]).await;
    let path = |what: &str| format!("/v1/accounts/K-1001/invoices/RE-1/{what}");
    let held = interfaces.act(&path("hold"), json!({"reason": "a question of the customer"})).await;
    assert_eq!((&held.body["result"], &held.body["state"]), (&json!("applied"), &json!("held")));
    let shown = interfaces.get("/v1/accounts/K-1001/invoices/RE-1").await;
    assert_eq!(shown.body["held_reason"], "a question of the customer");
    let by = shown.body["held_by"].as_str().unwrap();
    assert!(by.starts_with("operator "), "{by}");
    let story = shown.body["story"].as_array().unwrap();
    let actor = story.last().unwrap()["actor"].as_str().unwrap();
    assert!(actor.starts_with("operator uid:"), "{actor}");

    let released = interfaces.act(&path("release"), json!({"now": true})).await;
    assert_eq!(released.body["state"], "due");
    let resent = interfaces.act(&path("resend"), json!({"revision": 1})).await;
    assert_eq!((resent.status, resent.code()), (409, "wrong_state"));
    assert_eq!(resent.body["state"], "due");
    let withdrawn = interfaces.act(&path("withdraw"), json!({})).await;
    assert_eq!(withdrawn.body["state"], "withdrawn");
    let unknown = interfaces.act("/v1/accounts/K-1001/invoices/RE-9/hold", json!({})).await;
    assert_eq!(unknown.status, 404);
}

#[tokio::test]
async fn what_an_operator_sends_is_read_as_strictly_as_events() {
    let interfaces = with_invoices(&["RE-1"]).await;
    for (path, body, pointer) in [
        ("/v1/accounts/K-1001/invoices/RE-1/hold", json!({"raeson": "x"}), "/raeson"),
        ("/v1/accounts/K-1001/invoices/RE-1/hold", json!({"reason": "a\nb"}), "/reason"),
        ("/v1/accounts/K-1001/invoices/RE-1/release", json!({"now": "yes"}), "/now"),
        ("/v1/accounts/K-1001/invoices/RE-1/resend", json!({}), "/revision"),
        ("/v1/pause", json!({"account": 7}), "/account"),
        ("/v1/resume", json!({"account": "K-1001", "removal": true}), "/removal"),
        (
            "/v1/resume",
            json!({"account": "K-1001", "forget_rejections": true}),
            "/forget_rejections",
        ),
        ("/v1/dispatch", json!({"schedule": "typo"}), "/schedule"),
        ("/v1/dispatch", json!({"schedule": "default", "account": "K-1001"}), "/account"),
    ] {
        let answer = interfaces.act(path, body).await;
        assert_eq!(answer.status, 422, "{path}");
        assert_eq!(answer.pointers(), [pointer]);
    }
    let shown = interfaces.get("/v1/accounts/K-1001/invoices/RE-1").await;
    assert_eq!(shown.body["state"], "waiting");
}

#[tokio::test]
async fn invoices_are_listed_by_every_filter_and_page_by_page() {
    let interfaces = with_invoices(&["RE-1", "RE-2", "RE-3"]).await;
    interfaces.act("/v1/accounts/K-1001/invoices/RE-2/hold", json!({})).await;
    for (query, expected) in [
        ("", &["RE-1", "RE-2", "RE-3"][..]),
        ("?state=held", &["RE-2"]),
        ("?account=K-1001&state=waiting", &["RE-1", "RE-3"]),
        ("?account=K-9", &[]),
        ("?number=RE-3", &["RE-3"]),
        ("?issued_from=2026-11-24", &[]),
        ("?issued_to=2026-11-22", &[]),
        ("?issued_from=2026-11-23&issued_to=2026-11-23", &["RE-1", "RE-2", "RE-3"]),
        ("?changed_since=2026-11-23T09:00:00%2B01:00", &["RE-1", "RE-2", "RE-3"]),
        ("?changed_since=2026-11-24", &[]),
    ] {
        let answer = interfaces.get(&format!("/v1/invoices{query}")).await;
        assert_eq!(members(&answer, "number"), expected, "{query}");
    }
    let page = interfaces.get("/v1/invoices?limit=2").await;
    let cursor = page.body["next_cursor"].as_str().unwrap();
    let rest = interfaces.get(&format!("/v1/invoices?limit=2&cursor={cursor}")).await;
    assert_eq!(members(&rest, "number"), ["RE-3"]);
    for query in
        ["state=sent", "limit=0", "limit=x", "cursor=x", "issued_from=1.1.26", "colour=red"]
    {
        let answer = interfaces.get(&format!("/v1/invoices?{query}")).await;
        assert_eq!(answer.status, 422, "{query}");
        let parameter = query.split_once('=').unwrap().0;
        assert_eq!(answer.body["errors"][0]["parameter"], parameter);
    }
}

/// A member of all items on all pages of a list; `change` happens after the first of them.
async fn on_all_pages(
    interfaces: &Interfaces,
    first: &str,
    member: &str,
    change: impl AsyncFnOnce(),
) -> Vec<String> {
    let mut page = interfaces.get(first).await;
    change().await;
    let mut seen = Vec::new();
    loop {
        seen.extend(members(&page, member).into_iter().map(str::to_owned));
        let Some(cursor) = page.body["next_cursor"].as_str() else {
            return seen;
        };
        page = interfaces.get(&format!("{first}&cursor={cursor}")).await;
    }
}

#[tokio::test]
async fn a_list_of_invoices_shows_each_once_whatever_changes_meanwhile() {
    let numbers = ["RE-1", "RE-2", "RE-3", "RE-4", "RE-5", "RE-6"];
    for (query, expected) in [
        ("", &["RE-1", "RE-2", "RE-3", "RE-4", "RE-5", "RE-6", "RE-7"][..]),
        // RE-2 was waiting when it was shown, and RE-5 is by now.
        ("&state=waiting", &["RE-1", "RE-2", "RE-3", "RE-4", "RE-5", "RE-6", "RE-7"]),
        ("&state=held", &["RE-5"]),
    ] {
        let interfaces = with_invoices(&numbers).await;
        let act = async |number: &str, what: &str| {
            let path = format!("/v1/accounts/K-1001/invoices/{number}/{what}");
            let answer = interfaces.act(&path, json!({})).await;
            assert_eq!(answer.body["result"], "applied", "{answer:?}");
        };
        act("RE-5", "hold").await;
        let first = format!("/v1/invoices?limit=2{query}");
        let seen = on_all_pages(&interfaces, &first, "number", async || {
            act("RE-2", "hold").await;
            act("RE-5", "release").await;
            interfaces.billing(&invoice("RE-7")).await;
        });
        assert_eq!(seen.await, expected, "{query}");
    }
}

/// An account of which one user has a login, and two invoices that came with their documents: RE-1, of which an
/// attempt failed before it was held, and RE-2, which waits.
async fn with_everything_there_may_be(embedded: &str) -> Interfaces {
    let interfaces = Interfaces::start().await;
    let mut with_login = account(1);
    with_login["data"]["sub_users"][0]["login"] =
        json!({"enabled": true, "user_name": "buch", "permissions": ["invoices"]});
    interfaces.portal(&with_login).await;
    for (number, release) in [("RE-1", "immediately"), ("RE-2", "scheduled")] {
        let mut event = invoice(number);
        event["data"]["release"] = json!(release);
        event["data"]["documents"] = json!([{"content_base64": embedded, "file_name": "a.pdf",
            "media_type": "application/pdf"}]);
        let answer = interfaces.billing(&event).await;
        assert_eq!(answer.body["result"], "applied", "{answer:?}");
    }
    let page = interfaces.store.invoices(&Filter::default(), None, 1);
    let sequence = DeliveryId::of_invoice(page.unwrap().items[0].sequence);
    let intent = begin(&interfaces, sequence).await;
    end(&interfaces, sequence, intent, Verdict::Deferred, morning()).await;
    let target = Target::Tcp(interfaces.admin_tcp);
    let path = "/v1/accounts/K-1001/invoices/RE-1/hold";
    let operate = [("authorization", "Bearer ops-token")];
    let (admin, body) = (Interface::Admin, b"{}".to_vec());
    let held = ask(admin, &target, Method::POST, path, &operate, body).await;
    assert_eq!(held.body["state"], "held", "{held:?}");
    interfaces
}

#[tokio::test]
async fn no_answer_shows_a_secret_or_what_a_document_holds() {
    let embedded = "JVBERi0xLjcgaW52b2ljZQ==";
    let interfaces = with_everything_there_may_be(embedded).await;
    let plan = interfaces.act("/v1/dispatch", json!({"dry_run": true})).await;
    let mut shown = vec![("dry run", "RE-2", plan)];
    for (path, known) in [
        ("/v1/accounts", "buch"),
        ("/v1/accounts?view=version", "K-1001"),
        ("/v1/accounts/K-1001", "buch"),
        ("/v1/accounts/K-1001/recipient", "u-7"),
        ("/v1/invoices", "RE-1"),
        ("/v1/accounts/K-1001/invoices/RE-1", "deferred"),
        ("/v1/accounts/K-1001/invoices/RE-2", "a.pdf"),
        ("/v1/audit", "operator ops"),
        ("/readyz", "ready"),
    ] {
        shown.push((path, known, interfaces.get(path).await));
    }
    let token_digests =
        ["ops-token", "watch-token"].map(|token| digest(token.as_bytes()).to_string());
    for (what, known, answer) in shown {
        let body = answer.body.to_string();
        assert!(body.contains(known), "{what}: {body}");
        let secrets = [PORTAL, BILLING].map(|secret| secret.trim_start_matches("whsec_"));
        let others = [embedded, "%PDF", "whsec_", "ops-token", "watch-token"];
        let secret = secrets.into_iter().chain(others);
        for hidden in secret.chain(token_digests.iter().map(String::as_str)) {
            assert!(!body.contains(hidden), "{what} shows {hidden}: {body}");
        }
    }
}

#[tokio::test]
async fn probes_tell_whether_the_daemon_lives_and_works() {
    let interfaces = Interfaces::start_with(limits(), PATIENCE, || Readiness {
        failing: vec![FailedCheck {
            check: "relay".to_owned(),
            detail: "the circuit is open".to_owned(),
        }],
        ..Readiness::default()
    })
    .await;
    assert_eq!(interfaces.get("/livez").await.status, 200);
    let answer = interfaces.get("/readyz").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.headers["retry-after"], "2");
    assert_eq!(
        answer.body["failing"],
        json!([{"check": "relay", "detail": "the circuit is open"}])
    );
    let ready = Interfaces::start().await;
    let answer = ready.get("/readyz").await;
    assert_eq!(answer.status, 200);
    assert!(!answer.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn a_packed_body_is_not_taken() {
    let interfaces = with_invoices(&["RE-1"]).await;
    let target = Target::Unix(interfaces.socket.clone());
    let packed = [("content-encoding", "gzip")];
    for path in ["/v1/pause", "/v1/accounts/K-1001/invoices/RE-1/hold"] {
        let body = b"{}".to_vec();
        let answer = ask(Interface::Admin, &target, Method::POST, path, &packed, body).await;
        assert_eq!((answer.status, answer.code()), (415, "unsupported_media_type"));
    }
    let pause = interfaces.store.paused(&PauseScope::Everything).unwrap();
    assert!(pause.is_none());
}

#[tokio::test]
async fn whoever_changes_something_stands_in_the_trail_with_the_reason() {
    let interfaces = with_invoices(&["RE-1"]).await;
    let target = Target::Tcp(interfaces.admin_tcp);
    let account = serde_json::to_vec(&account(2)["data"]).unwrap();
    let operation = |path: &str| (path.to_owned(), json!({"reason": path}).to_string());
    let operations = [
        operation("/v1/pause"),
        operation("/v1/resume"),
        operation("/v1/accounts/K-1001/invoices/RE-1/hold"),
        operation("/v1/accounts/K-1001/invoices/RE-1/release"),
        operation("/v1/dispatch"),
        operation("/v1/accounts/K-1001/invoices/RE-1/withdraw"),
        ("/v1/import?reason=a%20lawsuit".to_owned(), String::from_utf8(account).unwrap()),
    ];
    for (path, body) in operations {
        let media_type = if path.starts_with("/v1/import") {
            "application/x-ndjson"
        } else {
            "application/json"
        };
        let headers = [("authorization", "Bearer ops-token"), ("content-type", media_type)];
        let answer =
            ask(Interface::Admin, &target, Method::POST, &path, &headers, body.into_bytes()).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let reason = if path.starts_with("/v1/import") { "a lawsuit" } else { &path };
        // After that of a dispatch come those of what it released.
        let newest = interfaces.get("/v1/audit?order=newest&limit=2").await;
        let mut items = newest.body["items"].as_array().unwrap().iter();
        let entry = items.find(|entry| entry["reason"] == *reason).unwrap();
        assert_eq!(entry["actor"], "operator ops", "{path}: {entry}");
        assert_eq!(entry["by"], json!({"kind": "operator", "name": "ops"}), "{path}: {entry}");
        assert!(entry["what"].as_str().unwrap().ends_with(reason), "{path}: {entry}");
    }
}

#[tokio::test]
async fn what_stands_in_the_query_of_an_operation_is_not_passed_over() {
    let interfaces = with_invoices(&["RE-1"]).await;
    for path in [
        "/v1/dispatch?dry_run=true",
        "/v1/pause?account=K-1001",
        "/v1/accounts/K-1001/invoices/RE-1/hold?reason=fraud",
    ] {
        let answer = interfaces.act(path, json!({})).await;
        assert_eq!((answer.status, answer.code()), (422, "invalid"), "{path}");
        assert_eq!(answer.body["errors"][0]["expected"], "no parameters", "{path}");
    }
    let answer = interfaces.get("/v1/accounts/K-1001?view=version").await;
    assert_eq!(answer.status, 422);
    let pause = interfaces.store.paused(&PauseScope::Everything).unwrap();
    assert!(pause.is_none());
    let invoice = interfaces.get("/v1/accounts/K-1001/invoices/RE-1").await;
    assert_eq!(invoice.body["state"], "waiting");
}

#[tokio::test]
async fn a_cursor_of_the_trail_belongs_to_its_order() {
    let interfaces = with_invoices(&["RE-1"]).await;
    let page = interfaces.get("/v1/audit?order=newest&limit=1").await;
    let cursor = page.body["next_cursor"].as_str().unwrap();
    for (order, status) in [("newest", 200), ("oldest", 422)] {
        let path = format!("/v1/audit?order={order}&cursor={cursor}");
        assert_eq!(interfaces.get(&path).await.status, status, "{order}");
    }
}

#[tokio::test]
async fn over_tcp_a_token_says_who_may_what() {
    let interfaces = with_invoices(&[]).await;
    let target = Target::Tcp(interfaces.admin_tcp);
    let ask = |method, path: &'static str, token: &'static str| {
        let target = target.clone();
        async move {
            let headers = [("authorization", token)];
            let headers = if token.is_empty() { &[] } else { &headers[..] };
            let body = b"{}".to_vec();
            ask(Interface::Admin, &target, method, path, headers, body).await
        }
    };
    for token in ["", "Bearer wrong", "Basic d2F0Y2g6eA==", "Bearer"] {
        let answer = ask(Method::GET, "/v1/accounts", token).await;
        assert_eq!((answer.status, answer.code()), (401, "token_invalid"));
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
        assert_eq!(ask(Method::GET, "/nothing", token).await.status, 401);
    }
    let read = "Bearer watch-token";
    assert_eq!(ask(Method::GET, "/v1/accounts", read).await.status, 200);
    assert_eq!(ask(Method::POST, "/v1/pause", read).await.status, 403);
    let operate = "Bearer ops-token";
    assert_eq!(ask(Method::POST, "/v1/pause", operate).await.status, 200);
    let pause = interfaces.store.paused(&PauseScope::Everything).unwrap();
    assert_eq!(pause.unwrap().by, Actor::Operator("ops".to_owned()));
}

#[tokio::test]
async fn a_head_request_is_a_get_without_a_body() {
    let interfaces = with_invoices(&[]).await;
    let target = Target::Unix(interfaces.socket.clone());
    let ask = async |method| {
        let admin = Interface::Admin;
        ask(admin, &target, method, "/v1/accounts", &[], Vec::new()).await
    };
    let answer = ask(Method::HEAD).await;
    assert_eq!((answer.status, answer.body), (200, Value::Null));
    let answer = ask(Method::DELETE).await;
    assert_eq!(answer.headers["allow"], "GET, HEAD");
}
