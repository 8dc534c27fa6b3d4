//! What operators do to all that is sent: release it now, stop it, go on; and where it is said that it is stopped.

use super::*;

#[tokio::test]
async fn a_dry_run_shows_who_would_get_what_and_changes_nothing() {
    let interfaces = with_invoices(&["RE-1", "RE-2"]).await;
    interfaces.act("/v1/accounts/K-1001/invoices/RE-2/hold", json!({})).await;
    for body in [
        json!({"dry_run": true}),
        json!({"dry_run": true, "schedule": "default"}),
        json!({"dry_run": true, "account": "K-1001"}),
    ] {
        let answer = interfaces.act("/v1/dispatch", body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let items = answer.body["items"].as_array().unwrap();
        assert_eq!(items.len(), 1);
        assert_eq!(items[0]["recipient"]["sub_user"], "u-7");
        let invoices = items[0]["invoices"].as_array().unwrap();
        assert_eq!(invoices.len(), 1, "the held one would stay");
        assert_eq!(invoices[0]["number"], "RE-1");
    }
    assert!(interfaces.store.runs().unwrap().is_empty());
}

#[tokio::test]
async fn a_dispatch_releases_what_waits() {
    let interfaces = with_invoices(&["RE-1"]).await;
    let answer = interfaces.act("/v1/dispatch", json!({"account": "K-1001"})).await;
    assert_eq!(
        answer.body["runs"],
        json!([{"schedule": null, "account": "K-1001", "opened": true, "waiting": true}])
    );
    let shown = interfaces.get("/v1/accounts/K-1001/invoices/RE-1").await;
    assert_eq!(shown.body["state"], "due");
    let unknown = interfaces.act("/v1/dispatch", json!({"account": "K-9"})).await;
    assert_eq!(unknown.status, 404);
}

#[tokio::test]
async fn a_schedule_that_is_not_configured_is_dispatched_with_the_default_one() {
    let interfaces = Interfaces::start().await;
    let mut body = account(1);
    body["data"]["schedule"] = json!("gone");
    interfaces.portal(&body).await;
    interfaces.put_pdf().await;
    interfaces.billing(&invoice("RE-1")).await;
    let answer = interfaces.act("/v1/dispatch", json!({"schedule": "default"})).await;
    let runs = answer.body["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2, "{answer:?}");
    let shown = interfaces.get("/v1/accounts/K-1001/invoices/RE-1").await;
    assert_eq!(shown.body["state"], "due");
}

#[tokio::test]
async fn a_pause_is_kept_and_shown_until_it_is_resumed() {
    let interfaces = with_invoices(&["RE-1"]).await;
    let body = json!({"account": "K-1001", "reason": "wrong logo"});
    let paused = interfaces.act("/v1/pause", body.clone()).await;
    assert_eq!(paused.body["result"], "applied");
    assert_eq!(interfaces.act("/v1/pause", body).await.body["result"], "duplicate");
    let shown = interfaces.get("/v1/accounts/K-1001").await;
    assert_eq!(shown.body["paused"]["reason"], "wrong logo");
    let resumed = interfaces
        .act("/v1/resume", json!({"account": "K-1001", "reason": "asked the customer"}))
        .await;
    assert_eq!(resumed.body["result"], "applied");
    let audit = interfaces.get("/v1/audit?order=newest").await;
    let told = &audit.body["items"][0];
    let event = &told["event"];
    assert_eq!((&event["kind"], &event["scope"]), (&json!("resumed"), &json!("account")));
    assert_eq!(event["paused_for"], json!([{"by": told["by"], "reason": "wrong logo"}]));
    assert_eq!(told["reason"], "asked the customer");
    let what = told["what"].as_str().unwrap();
    assert!(what.contains("wrong logo") && what.ends_with("reason: asked the customer"), "{what}");
    assert_eq!(resumed.body["ended"]["reason"], "wrong logo");
    assert_eq!(resumed.body["rejections_forgotten"], Value::Null);
    let forget = json!({"forget_rejections": true});
    let not_paused = interfaces.act("/v1/resume", forget.clone()).await;
    assert_eq!((not_paused.status, not_paused.body["code"].as_str()), (409, Some("wrong_state")));
    interfaces.act("/v1/pause", json!({})).await;
    let resumed = interfaces.act("/v1/resume", forget).await;
    assert_eq!(resumed.body["rejections_forgotten"], 0);
    let everything = interfaces.act("/v1/pause", json!({})).await;
    assert_eq!(everything.body["account"], Value::Null);
    let pause = interfaces.store.paused(&PauseScope::Everything).unwrap();
    assert!(pause.is_some());
}

#[tokio::test]
async fn a_pause_of_removals_stops_no_mail() {
    let interfaces = with_invoices(&["RE-1"]).await;
    let body = json!({"removal": true, "reason": "an audit"});
    let paused = interfaces.act("/v1/pause", body).await;
    assert_eq!(paused.body["removal"], true);
    assert_eq!(paused.body["in_force"]["scope"], "removal");
    let ready = interfaces.get("/readyz").await;
    assert_eq!(ready.status, 200);
    assert_eq!(ready.body["paused"], Value::Null);
    assert_eq!(ready.body["removal_paused"]["reason"], "an audit");
    let audit = interfaces.get("/v1/audit?order=newest").await;
    assert_eq!(audit.body["items"][0]["what"], "removal by retention paused; reason: an audit");
    assert_eq!(
        interfaces.act("/v1/resume", json!({"removal": true})).await.body["result"],
        "applied"
    );
    let ready = interfaces.get("/readyz").await;
    assert_eq!(ready.body["removal_paused"], Value::Null);
}

/// What each answer that speaks of sending shows as `paused`.
async fn pauses_shown(interfaces: &Interfaces, waiting: &str) -> Vec<(&'static str, Value)> {
    interfaces.billing(&invoice(waiting)).await;
    let dry_run = json!({"account": "K-1001", "dry_run": true});
    let plan = interfaces.act("/v1/dispatch", dry_run).await.body;
    let mut shown = vec![
        ("item of a dry run", plan["items"][0]["paused"].clone()),
        ("dry run", plan["paused"].clone()),
    ];
    for (what, path) in [
        ("account", "/v1/accounts/K-1001"),
        ("recipient", "/v1/accounts/K-1001/recipient"),
        ("invoice", "/v1/accounts/K-1001/invoices/RE-1"),
    ] {
        shown.push((what, interfaces.get(path).await.body["paused"].clone()));
    }
    let account = json!({"account": "K-1001"});
    let dispatched = interfaces.act("/v1/dispatch", account).await.body;
    shown.push(("dispatch", dispatched["paused"].clone()));
    shown
}

#[tokio::test]
async fn whatever_stops_sending_is_shown_wherever_sending_is_spoken_of() {
    let interfaces = with_invoices(&["RE-1"]).await;
    let everything =
        json!({"scope": "everything", "reason": "moving", "since": "2026-11-23T08:00:00Z"});
    let account =
        json!({"scope": "account", "reason": "wrong logo", "since": "2026-11-23T08:00:00Z"});
    let without_name = |mut paused: Value| {
        let name = paused.as_object_mut().and_then(|paused| paused.remove("by"));
        assert!(name.is_some_and(|name| name.as_str().unwrap().starts_with("operator uid:")));
        paused
    };
    for (what, paused) in pauses_shown(&interfaces, "RE-2").await {
        assert_eq!(paused, Value::Null, "{what}");
    }

    let body = json!({"account": "K-1001", "reason": "wrong logo"});
    interfaces.act("/v1/pause", body).await;
    for (what, paused) in pauses_shown(&interfaces, "RE-3").await {
        assert_eq!(without_name(paused), account, "{what}");
    }
    for path in ["/v1/invoices", "/readyz"] {
        let answer = interfaces.get(path).await;
        assert_eq!(answer.body["paused"], Value::Null, "{path}");
    }

    interfaces.act("/v1/pause", json!({"reason": "moving"})).await;
    for (what, paused) in pauses_shown(&interfaces, "RE-4").await {
        assert_eq!(without_name(paused), everything, "{what}");
    }
    for path in ["/v1/invoices", "/readyz"] {
        let answer = interfaces.get(path).await;
        assert_eq!(answer.status, 200);
        assert_eq!(without_name(answer.body["paused"].clone()), everything, "{path}");
    }
}

#[tokio::test]
async fn what_is_not_sent_any_more_is_not_shown_as_paused() {
    let interfaces = with_invoices(&["RE-1"]).await;
    interfaces.act("/v1/pause", json!({})).await;
    let path = "/v1/accounts/K-1001/invoices/RE-1";
    interfaces.act(&format!("{path}/withdraw"), json!({})).await;
    assert_eq!(interfaces.get(path).await.body["paused"], Value::Null);
}

#[tokio::test]
async fn a_dispatch_says_of_each_run_whether_anything_was_waiting() {
    let interfaces = with_invoices(&[]).await;
    let waiting = async |body: Value| {
        let answer = interfaces.act("/v1/dispatch", body).await;
        answer.body["runs"][0]["waiting"].clone()
    };
    for body in [json!({}), json!({"account": "K-1001"})] {
        assert_eq!(waiting(body).await, false);
    }
    for (number, body) in [("RE-1", json!({})), ("RE-2", json!({"account": "K-1001"}))] {
        interfaces.billing(&invoice(number)).await;
        assert_eq!(waiting(body).await, true);
    }
    assert_eq!(waiting(json!({})).await, false, "what is due is not waiting any more");
}

#[tokio::test]
async fn an_account_that_is_not_known_cannot_be_paused_or_resumed() {
    let interfaces = with_invoices(&["RE-1"]).await;
    for path in ["/v1/pause", "/v1/resume"] {
        let answer = interfaces.act(path, json!({"account": "K-1O01"})).await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
    }
}
