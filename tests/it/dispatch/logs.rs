//! What sending says about itself: enough to find an invoice, nothing about a person.

use invoice_router::domain::delivery::Shown;
use invoice_router::domain::invoice::Release;

use super::house::House;
use super::relay::{Moment, Reaction};
use crate::logged::Lines;

#[tokio::test]
async fn each_attempt_leaves_a_line_by_which_it_is_found_and_no_address() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_max_level(tracing::Level::TRACE)
        .with_writer(lines.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let house = House::with(&["erika@muster.example"], &["weg@muster.example"]).await;
    house.relay.behave(|moment| match moment {
        Moment::Rcpt(to) if to == "weg@muster.example" => {
            Reaction::Say("550 5.1.1 <weg@muster.example> unknown")
        }
        _ => Reaction::Yes,
    });
    let running = house.start();
    house.invoice("K-1", "R-1", Release::Immediately).await;
    house.until("K-1", "R-1", Shown::Delivered).await;
    // A portal may take an address for its account's id.
    house.account("max@muster.example", 1, &["max@muster.example"], &[]).await;
    house.invoice("max@muster.example", "R-2", Release::Immediately).await;
    house.until("max@muster.example", "R-2", Shown::Delivered).await;
    running.stop().await;
    drop(guard);

    let text = lines.text();
    let found: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &serde_json::Value| line["invoice.number"] == "R-1")
        .collect();
    assert_eq!(found.len(), 2, "{text}");
    assert_eq!(found[0]["level"], "WARN");
    assert_eq!(found[0]["stage"], "rcpt");
    assert_eq!(found[0]["address"], "w***@muster.example");
    assert_eq!(found[1]["level"], "INFO");
    assert_eq!(found[1]["message"], "accepted by relay");
    assert_eq!(found[1]["account.id"], "K-1");
    assert_eq!(found[1]["stage"], "final_dot");
    assert_eq!(found[1]["attempt"], 1);
    assert!(found[1]["duration_ms"].is_u64());
    assert!(text.contains("\"account.id\":\"m***@muster.example\""), "{text}");
    for address in ["weg@", "erika@", "max@"] {
        assert!(!text.contains(address), "{text}");
    }
}
