//! The same event on many connections at the same instant.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::*;
use crate::figures::count;

/// As many as the listener takes at once.
const CONNECTIONS: usize = 16;

/// Sends an event's very bytes under one id on all connections; tells how often which result was answered.
async fn everywhere(
    interfaces: &Arc<Interfaces>,
    key: &'static str,
    id: String,
    event: Value,
) -> Vec<String> {
    let mut senders = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (interfaces, id, body) = (Arc::clone(interfaces), id.clone(), event.to_string());
        senders.spawn(async move { interfaces.post(key, &id, body.as_bytes()).await });
    }
    let answers = senders.join_all().await;
    assert!(
        answers.iter().all(|answer| answer.status == 200),
        "{answers:?}"
    );
    let mut results: Vec<String> = answers
        .iter()
        .map(|answer| answer.body["result"].as_str().unwrap().to_owned())
        .collect();
    results.sort();
    let applied = results.iter().filter(|result| *result == "applied").count();
    let counts = [
        ("events at once", results.len()),
        ("events at once that applied", applied),
    ];
    count("races", &counts);
    results
}

fn one_applied() -> Vec<String> {
    let mut results = vec!["duplicate".to_owned(); CONNECTIONS];
    "applied".clone_into(&mut results[0]);
    results
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_comes_on_many_connections_at_once_is_applied_once() {
    let interfaces = Arc::new(Interfaces::start().await);
    for number in 1..=10 {
        let id = format!("evt_a{number}");
        let results = everywhere(&interfaces, PORTAL, id, account(number)).await;
        assert_eq!(results, one_applied());
        assert_eq!(version(&interfaces), number);
    }
    interfaces.put_pdf().await;
    let id = "evt_i".to_owned();
    let results = everywhere(&interfaces, BILLING, id, invoice("RE-1")).await;
    assert_eq!(results, one_applied());
    let shown = interfaces.get("/v1/accounts/K-1001/invoices/RE-1").await;
    let story = shown.body["story"].as_array().unwrap();
    assert_eq!(story.len(), 1, "{story:?}");
}
