//! Withdrawals, before their invoice, after it, and while it is being sent.

use invoice_router::domain::delivery::{DeliveryId, Verdict};
use invoice_router::store::Retention;

use super::attempts::{begin, end, with_one_due};
use super::*;

fn withdrawn(number: &str) -> Value {
    json!({"type": "invoice.withdrawn", "timestamp": "2026-11-23T09:00:00Z",
        "data": {"account": "K-1001", "number": number}})
}

async fn deliver(interfaces: &Interfaces, sequence: DeliveryId) {
    let intent = begin(interfaces, sequence).await;
    end(interfaces, sequence, intent, Verdict::Accepted, morning()).await;
}

fn said(answer: &Answer) -> (u16, &str, &str) {
    let text = |name: &str| answer.body[name].as_str().unwrap_or_default();
    (answer.status, text("result"), text("state"))
}

#[tokio::test]
async fn a_withdrawal_counts_before_and_after_its_invoice() {
    let interfaces = Interfaces::start().await;
    interfaces.portal(&account(1)).await;
    interfaces.put_pdf().await;
    interfaces.billing(&invoice("RE-1")).await;
    let answer = interfaces.billing(&withdrawn("RE-1")).await;
    assert_eq!(said(&answer), (200, "applied", "withdrawn"));
    let answer = interfaces.billing(&withdrawn("RE-1")).await;
    assert_eq!(said(&answer), (200, "duplicate", "withdrawn"));
    interfaces.billing(&withdrawn("RE-2")).await;
    let late = interfaces.billing(&invoice("RE-2")).await;
    assert_eq!(said(&late), (200, "stale", "withdrawn"));
}

#[tokio::test]
async fn an_invoice_that_is_being_sent_again_was_sent_already() {
    let (interfaces, sequence) = with_one_due().await;
    deliver(&interfaces, sequence).await;
    let invoice = "/v1/accounts/K-1001/invoices/RE-1";
    let resend = format!("{invoice}/resend");
    let answer = interfaces.act(&resend, json!({"revision": 1})).await;
    assert_eq!(said(&answer), (200, "applied", "due"));

    let answer = interfaces.billing(&withdrawn("RE-1")).await;
    assert_refused(&answer, 409, "already_sent");
    assert_eq!(answer.body["state"], "delivered");
    let shown = interfaces.get(invoice).await;
    assert_eq!(shown.body["state"], "delivered");
    assert_eq!(shown.body["next_attempt_at"], Value::Null, "the resend stops");
}

#[tokio::test]
async fn a_withdrawal_while_sending_never_claims_more_than_is_certain() {
    let (interfaces, sequence) = with_one_due().await;
    let intent = begin(&interfaces, sequence).await;
    let body = withdrawn("RE-1").to_string();
    let first = interfaces.post(BILLING, "evt_w", body.as_bytes()).await;
    assert_eq!(said(&first), (202, "applied", "sending"));
    let repeated = interfaces.post(BILLING, "evt_w", body.as_bytes()).await;
    assert_eq!(said(&repeated), (200, "duplicate", "sending"));
    let another = interfaces.billing(&withdrawn("RE-1")).await;
    assert_eq!(said(&another), (202, "duplicate", "sending"));
    let path = "/v1/accounts/K-1001/invoices/RE-1/withdraw";
    let operator = interfaces.act(path, json!({})).await;
    assert_eq!(said(&operator), (202, "duplicate", "sending"));

    end(&interfaces, sequence, intent, Verdict::Accepted, morning()).await;
    let repeated = interfaces.post(BILLING, "evt_w", body.as_bytes()).await;
    assert_eq!(said(&repeated), (200, "duplicate", "delivered"));
    let another = interfaces.billing(&withdrawn("RE-1")).await;
    assert_refused(&another, 409, "already_sent");
}

#[tokio::test]
async fn an_operator_who_withdraws_what_is_gone_is_told_what_became_of_it() {
    let (interfaces, sequence) = with_one_due().await;
    deliver(&interfaces, sequence).await;
    interfaces.billing(&withdrawn("RE-2")).await;
    let finished = Retention {
        unused_documents: Duration::from_secs(86_400),
        finished: Duration::from_secs(86_400),
    };
    let store = Arc::clone(&interfaces.store);
    let in_a_month = morning() + chrono::TimeDelta::days(31);
    let sweep = move || while store.sweep(&finished, in_a_month).unwrap() {};
    tokio::task::spawn_blocking(sweep).await.unwrap();

    let withdraw = |number: &str| format!("/v1/accounts/K-1001/invoices/{number}/withdraw");
    let answer = interfaces.act(&withdraw("RE-1"), json!({})).await;
    assert_refused(&answer, 409, "already_sent");
    assert_eq!(answer.body["state"], "delivered");
    let answer = interfaces.act(&withdraw("RE-2"), json!({})).await;
    assert_eq!(said(&answer), (200, "duplicate", "withdrawn"));
    let hold = "/v1/accounts/K-1001/invoices/RE-2/hold";
    let answer = interfaces.act(hold, json!({})).await;
    assert_refused(&answer, 409, "wrong_state");
}
