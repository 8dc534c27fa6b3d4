//! Attempts as sending makes them, for what is said while they are under way and afterwards.

// Tells clippy that helpers belong to tests as well.
#![cfg(test)]

use chrono::{DateTime, TimeDelta, Utc};
use invoice_router::domain::address::MessageId;
use invoice_router::domain::delivery::{
    Attempt, DeliveryId, EnhancedCode, Intent, Outcome, Reply, Stage, Verdict,
};
use invoice_router::domain::recipient::{OnRejected, resolve};
use invoice_router::store::{Begin, Filter, IntentOutcome, Settle};

use super::*;

/// An invoice of a known account that is due.
pub(super) async fn with_one_due() -> (Interfaces, DeliveryId) {
    let interfaces = Interfaces::start().await;
    interfaces.portal(&account(1)).await;
    interfaces.put_pdf().await;
    let mut at_once = invoice("RE-1");
    at_once["data"]["release"] = json!("immediately");
    let answer = interfaces.billing(&at_once).await;
    assert_eq!(answer.body["state"], "due", "{answer:?}");
    let page = interfaces.store.invoices(&Filter::default(), None, 1);
    let sequence = DeliveryId::of_invoice(page.unwrap().items[0].sequence);
    (interfaces, sequence)
}

/// Begins an attempt, as sending does.
pub(crate) async fn begin(interfaces: &Interfaces, sequence: DeliveryId) -> Intent {
    let job = interfaces.store.job(sequence).unwrap().unwrap();
    let recipient = resolve(&job.account, &job.suppressions, OnRejected::MainContact);
    let intent = Intent {
        revision: job.delivery.revision,
        address: recipient.addresses()[0].clone(),
        number: 1,
        started_at: morning(),
        account_version: job.account.version(),
        message_id: MessageId::parse("0123abcd@mail.hosting.example").unwrap(),
        message_digest: digest(b"message"),
        message_bytes: 7,
    };
    let begin = Begin { seen: job.seen, recipient, round_at: morning(), intent: intent.clone() };
    let answer = interfaces.store.begin(sequence, begin).await.unwrap();
    assert_eq!(answer, IntentOutcome::Durable);
    intent
}

/// Ends it with an answer of the relay's to the final dot.
pub(crate) async fn end(
    interfaces: &Interfaces,
    sequence: DeliveryId,
    intent: Intent,
    verdict: Verdict,
    at: DateTime<Utc>,
) {
    let (outcome, code, enhanced) = match verdict {
        Verdict::Accepted => (Outcome::Accepted, 250, EnhancedCode(2, 0, 0)),
        Verdict::Deferred => (Outcome::Deferred, 451, EnhancedCode(4, 0, 0)),
        Verdict::AddressRejected => (Outcome::Rejected, 550, EnhancedCode(5, 1, 1)),
        Verdict::MessageRefused | Verdict::Uncertain | Verdict::RelayFailed => {
            panic!("no test needs {verdict:?}")
        }
    };
    let reply = Reply { code, enhanced: Some(enhanced), text: String::new() };
    let settle = Settle::Ended {
        attempt: Box::new(Attempt {
            intent,
            stage: Stage::FinalDot,
            reply: Some(reply),
            cause: None,
            outcome,
        }),
        verdict,
        at,
        jitter: 0.0,
    };
    interfaces.store.settle(sequence, settle).await.unwrap();
}

#[tokio::test]
async fn rejections_shortly_before_a_pause_are_forgotten_at_an_operators_wish() {
    for (hours, forgotten, kind) in [(1, 1, "sub_user"), (3, 0, "main_contact")] {
        let (interfaces, sequence) = with_one_due().await;
        let intent = begin(&interfaces, sequence).await;
        let at = morning() - TimeDelta::hours(hours);
        end(&interfaces, sequence, intent, Verdict::AddressRejected, at).await;
        let recipient = async || {
            let shown = interfaces.get("/v1/accounts/K-1001/recipient").await;
            shown.body["recipient"]["kind"].clone()
        };
        assert_eq!(recipient().await, "main_contact");
        interfaces.act("/v1/pause", json!({})).await;
        let body = json!({"forget_rejections": true, "reason": "the relay is mended"});
        let resumed = interfaces.act("/v1/resume", body).await;
        assert_eq!(resumed.body["rejections_forgotten"], forgotten, "{hours} hours");
        assert_eq!(resumed.body["in_force"], Value::Null);
        assert_eq!(recipient().await, kind);
        let audit = interfaces.get("/v1/audit?order=newest&limit=2").await;
        let told = &audit.body["items"][1];
        let is_told = told["event"] == json!({"kind": "suppressions_cleared", "count": 1})
            && told["reason"] == "the relay is mended"
            && told["by"]["kind"] == "operator";
        assert_eq!(is_told, forgotten > 0, "{audit:?}");
    }
}
