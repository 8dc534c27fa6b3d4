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
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    let mut results: Vec<String> =
        answers.iter().map(|answer| answer.body["result"].as_str().unwrap().to_owned()).collect();
    results.sort();
    let applied = results.iter().filter(|result| *result == "applied").count();
    let counts = [("events at once", results.len()), ("events at once that applied", applied)];
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_events_that_come_at_once_under_one_id_one_is_taken_and_the_other_refused() {
    let interfaces = Interfaces::start().await;
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS {
        streams.push(interfaces.connect().await);
    }
    for round in 1..=30 {
        let mut asked = JoinSet::new();
        for (connection, mut stream) in streams.drain(..).enumerate() {
            let mut event = account(1);
            event["data"]["account"] = json!(format!("K-{round}-{}", connection % 2));
            let (id, event) = (format!("evt_{round}"), event.to_string());
            let head = interfaces.event_head_under(&id, PORTAL, event.as_bytes(), event.len());
            asked.spawn(async move {
                let whole = format!("{head}{event}");
                stream.write_all(whole.as_bytes()).await.unwrap();
                let (_, body) = read_answer(&mut stream).await;
                (stream, body)
            });
        }
        let mut said = Vec::new();
        for (stream, body) in asked.join_all().await {
            streams.push(stream);
            let result = body["result"].as_str().or(body["code"].as_str());
            said.push(result.unwrap().to_owned());
        }
        said.sort_unstable();
        let mut expected = vec!["applied"];
        expected.extend(["duplicate"; CONNECTIONS / 2 - 1]);
        expected.extend(["webhook_id_reused"; CONNECTIONS / 2]);
        assert_eq!(said, expected);
        let listed = interfaces.get("/v1/accounts?limit=1").await;
        assert_eq!(listed.body["total"], round);
    }
}
