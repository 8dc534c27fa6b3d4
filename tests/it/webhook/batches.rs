//! Many account events in one body.

use super::*;

fn of(id: &str, version: u64) -> Value {
    let mut event = account(version);
    event["data"]["account"] = json!(id);
    event
}

#[tokio::test]
async fn each_line_is_judged_on_its_own_and_in_order() {
    let interfaces = Interfaces::start().await;
    let lines = [
        of("K-1", 1),
        delta("billing_contact.selected", 2, json!({"account": "K-1", "sub_user": null})),
        invoice("RE-1"),
        delta("sub_user.removed", 9, json!({"account": "K-1", "sub_user": "u-7"})),
        of("K-2", 1),
        delta("account.closed", 3, json!({"account": "K-1"})),
        json!([]),
    ];
    let answer = interfaces.batch(PORTAL, "evt_a", &lines).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    assert_eq!(
        answer.lines(),
        [
            (1, 200, "applied"),
            (2, 200, "applied"),
            (3, 422, "invalid"),
            (4, 409, "version_gap"),
            (5, 200, "applied"),
            (6, 200, "applied"),
            (7, 422, "invalid"),
        ]
    );
    let bodies = answer.body.as_array().unwrap();
    assert_eq!(bodies[2]["body"]["errors"][0]["pointer"], "/type");
    assert_eq!(bodies[3]["body"]["current_version"], 2);
    assert_eq!(bodies[3]["body"]["request_id"], answer.headers["x-request-id"].to_str().unwrap());
    assert_eq!(bodies[5]["body"]["recipient"]["kind"], "main_contact");
}

#[tokio::test]
async fn a_batch_that_comes_again_says_what_it_said_and_goes_on_where_it_was_refused() {
    let interfaces = Interfaces::start().await;
    let lines =
        [of("K-1", 1), delta("sub_user.removed", 4, json!({"account": "K-1", "sub_user": "u-8"}))];
    let first = interfaces.batch(PORTAL, "evt_a", &lines).await;
    assert_eq!(first.lines(), [(1, 200, "applied"), (2, 409, "version_gap")]);
    interfaces.portal(&of("K-1", 3)).await;
    let again = interfaces.batch(PORTAL, "evt_a", &lines).await;
    assert_eq!(again.lines(), [(1, 200, "duplicate"), (2, 200, "applied")]);
    assert_eq!(again.body[0]["body"]["version"], 3, "the state of now");

    let other = [of("K-9", 1), lines[1].clone()];
    let reused = interfaces.batch(PORTAL, "evt_a", &other).await;
    assert_eq!(reused.lines(), [(1, 422, "webhook_id_reused"), (2, 200, "duplicate")]);
    let unreadable = [json!({"type": "account.moved"}), lines[1].clone()];
    let reused = interfaces.batch(PORTAL, "evt_a", &unreadable).await;
    assert_eq!(reused.lines(), [(1, 422, "webhook_id_reused"), (2, 200, "duplicate")]);
}

#[tokio::test]
async fn a_batch_needs_the_right_to_push_accounts_and_a_line_at_least() {
    let interfaces = Interfaces::start().await;
    let answer = interfaces.batch(BILLING, "evt_a", &[of("K-1", 1)]).await;
    assert_refused(&answer, 403, "forbidden");
    let answer = interfaces.batch(PORTAL, "evt_b", &[]).await;
    assert_refused(&answer, 422, "invalid");
    assert!(interfaces.is_untouched());
}

#[tokio::test]
async fn a_batch_of_a_thousand_lines_is_answered_line_by_line() {
    let large =
        Limits { event_body_bytes: 4 * 1024 * 1024, bodies_bytes: 8 * 1024 * 1024, ..limits() };
    let interfaces = Interfaces::within(large).await;
    let lines: Vec<Value> = (1..=1000).map(|n| of(&format!("K-{n}"), 1)).collect();
    let answer = interfaces.batch(PORTAL, "evt_a", &lines).await;
    let expected: Vec<_> = (1..=1000).map(|n| (n, 200, "applied")).collect();
    assert_eq!(answer.lines(), expected);
    let one_more = [lines, vec![of("K-0", 1)]].concat();
    let answer = interfaces.batch(PORTAL, "evt_b", &one_more).await;
    assert_refused(&answer, 413, "too_large");
}
