//! The main job from end to end, through the public interfaces of the real program only.

// Tells clippy that helpers belong to tests as well.
#![cfg(test)]

use std::collections::BTreeSet;

use invoice_router::cli::demo::sink::Sink;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::daemon::{DEADLINE, Daemon};
use crate::examples::{Mail, document, event, events, push, push_all, who_got_what};

const ERIKA: &str = "erika@muster.example";
const CENTRAL: &str = "rechnungseingang@muster.example";
const ACCOUNTING: &str = "buchhaltung@muster.example";
const REPLACEMENT: &str = "muster-gmbh@steuerberatung.example";
const ENGLISH: &str = "invoices@sample.example";

/// A mail server, and a daemon that hands mails to it.
struct World {
    sink: Sink,
    _mails: TempDir,
    daemon: Daemon,
}

impl World {
    async fn new() -> Self {
        let mails = tempfile::tempdir().unwrap();
        let sink = Sink::start(Some(mails.path().to_owned())).await.unwrap();
        let daemon = Daemon::start(sink.address()).await;
        Self { sink, _mails: mails, daemon }
    }

    /// All mails, once there are so many, as recipient and invoice.
    async fn mails(&self, count: usize) -> Vec<(String, String)> {
        let arrived = self.sink.wait_for(count, DEADLINE).await;
        let mails = who_got_what(&self.sink.messages());
        assert!(arrived, "of {count} mails arrived: {mails:?}");
        mails
    }

    /// Stops the daemon, so that nothing can come any more, and tells who got what.
    async fn end(mut self) -> Vec<(String, String)> {
        assert!(self.daemon.stop().await.success());
        who_got_what(&self.sink.messages())
    }
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> = expected
        .iter()
        .map(|(recipient, number)| ((*recipient).to_owned(), (*number).to_owned()))
        .collect();
    pairs.sort();
    pairs
}

/// The recipient of an account's invoices, by the command line.
async fn recipient(daemon: &Daemon, account: &str) -> Value {
    daemon.json(&["explain", account]).await["recipient"].clone()
}

#[tokio::test]
async fn from_the_first_webhook_to_the_inbox_of_whoever_is_the_billing_contact() {
    let mut world = World::new().await;
    let daemon = &mut world.daemon;

    // Account, technician, and a billing contact that is not selected yet.
    push_all(daemon, 1..=3).await;
    assert_eq!(recipient(daemon, "K-1001").await["kind"], "main_contact");
    let answer = push(daemon, &event(4)).await;
    assert_eq!(answer["recipient"]["company"], "Muster GmbH", "{answer}");
    assert_eq!(answer["recipient"]["addresses"], json!([CENTRAL, ACCOUNTING]));
    push_all(daemon, [12]).await;

    // One invoice of each account waits; the one that is immediate goes out alone.
    push_all(daemon, [5, 13, 6]).await;
    daemon.settled("K-1001", "RE-2026/0043", "delivered").await;
    for (account, number) in [("K-1001", "RE-2026/0042"), ("K-2001", "INV-2026-0007")] {
        let invoice = daemon.json(&["invoice", account, number]).await;
        assert_eq!(invoice["state"], "waiting", "{invoice}");
    }
    assert_eq!(
        world.mails(2).await,
        pairs(&[(CENTRAL, "RE-2026/0043"), (ACCOUNTING, "RE-2026/0043")])
    );

    // The power fails; what was accepted is still there, and the schedule fires.
    let daemon = &mut world.daemon;
    daemon.kill().await;
    daemon.start_again().await;
    daemon.ask(&["dispatch"]).await;
    daemon.settled("K-1001", "RE-2026/0042", "delivered").await;
    daemon.settled("K-2001", "INV-2026-0007", "delivered").await;

    // Another contact takes its place, and is removed in turn.
    push_all(daemon, 7..=9).await;
    daemon.settled("K-1001", "RE-2026/0044", "delivered").await;
    push_all(daemon, 10..=11).await;
    daemon.ask(&["dispatch", "--account", "K-1001"]).await;
    let invoice = daemon.settled("K-1001", "RE-2026/0045", "delivered").await;
    assert_eq!(invoice["recipient"]["reason"]["rule"], "billing_contact_removed");
    let explained = daemon.ask(&["explain", "K-1001"]).await;
    assert!(
        explained.contains(ERIKA) && explained.contains("the selected billing contact was removed"),
        "{explained}"
    );

    let all = [
        (CENTRAL, "RE-2026/0042"),
        (ACCOUNTING, "RE-2026/0042"),
        (CENTRAL, "RE-2026/0043"),
        (ACCOUNTING, "RE-2026/0043"),
        (REPLACEMENT, "RE-2026/0044"),
        (ERIKA, "RE-2026/0045"),
        (ENGLISH, "INV-2026-0007"),
    ];
    assert_eq!(world.end().await, pairs(&all));
}

#[tokio::test]
async fn each_account_reads_its_own_language_and_gets_the_bytes_that_were_handed_over() {
    let mut world = World::new().await;
    push_all(&mut world.daemon, [1, 2, 3, 4, 12, 6, 13]).await;
    world.daemon.ask(&["dispatch"]).await;
    world.mails(3).await;

    let messages = world.sink.messages();
    let mails: Vec<Mail> = messages.iter().map(Mail::read).collect();
    let to = |address: &str| mails.iter().find(|mail| mail.recipients == [address]).unwrap();

    let german = to(CENTRAL);
    assert_eq!(german.subject, "Rechnung RE-2026/0043 vom 23.11.2026 (14,28 EUR)");
    assert!(german.text.contains("Anlagen:"), "{}", german.text);
    let attached =
        |name: &str, media_type: &str| (name.to_owned(), media_type.to_owned(), document(name));
    let expected = [
        attached("RE-2026-0043.pdf", "application/pdf"),
        attached("RE-2026-0043.xml", "application/xml"),
    ];
    assert_eq!(german.attachments, expected);
    assert_eq!(german.message_id, to(ACCOUNTING).message_id);

    let english = to(ENGLISH);
    assert!(english.subject.starts_with("Invoice INV-2026-0007 "), "{}", english.subject);
    assert!(english.subject.contains("1,250.00"), "{}", english.subject);
    let expected = [attached("INV-2026-0007.pdf", "application/pdf")];
    assert_eq!(english.attachments, expected);
}

#[tokio::test]
async fn an_account_shows_who_may_be_selected_and_who_is_active() {
    let mut world = World::new().await;
    push_all(&mut world.daemon, [1, 2, 3, 4, 7]).await;
    let shown = |account: &Value| -> Vec<(String, bool, bool)> {
        let subs = account["sub_users"].as_array().unwrap().iter();
        subs.map(|sub| {
            let flag = |name: &str| sub[name].as_bool().unwrap();
            (sub["id"].as_str().unwrap().to_owned(), flag("selectable"), flag("active"))
        })
        .collect()
    };
    let of = |id: &str, selectable, active| (id.to_owned(), selectable, active);

    let account = world.daemon.json(&["account", "K-1001"]).await;
    let expected = [of("u-7", false, false), of("u-8", true, true), of("u-9", true, false)];
    assert_eq!(shown(&account), expected);
    assert_eq!(account["main_contact"]["active"], false);

    push_all(&mut world.daemon, [8]).await;
    let account = world.daemon.json(&["account", "K-1001"]).await;
    let expected = [of("u-7", false, false), of("u-8", true, false), of("u-9", true, true)];
    assert_eq!(shown(&account), expected);

    push_all(&mut world.daemon, [10]).await;
    let account = world.daemon.json(&["account", "K-1001"]).await;
    assert_eq!(shown(&account), [of("u-7", false, false), of("u-8", true, false)]);
    assert_eq!(account["main_contact"]["active"], true);
}

#[tokio::test]
async fn a_dry_run_says_who_would_get_what_and_sends_nothing() {
    let mut world = World::new().await;
    push_all(&mut world.daemon, [1, 2, 3, 4, 5, 12, 13]).await;

    let plan = world.daemon.json(&["dispatch", "--dry-run"]).await;
    let read = world.daemon.ask(&["dispatch", "--dry-run"]).await;

    let items = plan["items"].as_array().unwrap();
    let planned: BTreeSet<(&str, &str, &str)> = items
        .iter()
        .map(|item| {
            (
                item["account"].as_str().unwrap(),
                item["invoices"][0]["number"].as_str().unwrap(),
                item["recipient"]["reason"]["rule"].as_str().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("K-1001", "RE-2026/0042", "billing_contact_selected"),
        ("K-2001", "INV-2026-0007", "billing_contact_selected"),
    ];
    assert_eq!(planned, BTreeSet::from(expected));
    for words in ["RE-2026/0042", CENTRAL, "INV-2026-0007", ENGLISH] {
        assert!(read.contains(words), "{read}");
    }
    let waiting = world.daemon.json(&["invoices", "--state", "waiting"]).await;
    assert_eq!(waiting["items"].as_array().unwrap().len(), 2, "{waiting}");
    assert_eq!(world.end().await, []);
}

#[tokio::test]
async fn a_paused_daemon_accepts_and_sends_only_after_it_is_resumed() {
    let mut world = World::new().await;
    push_all(&mut world.daemon, 1..=4).await;
    world.daemon.ask(&["pause", "--reason", "a wrong batch"]).await;

    push_all(&mut world.daemon, [6]).await;
    world.daemon.kill().await;
    world.daemon.start_again().await;
    let invoice = world.daemon.json(&["invoice", "K-1001", "RE-2026/0043"]).await;
    assert_eq!(invoice["state"], "due", "{invoice}");
    assert_eq!(world.sink.count(), 0);

    world.daemon.ask(&["resume"]).await;
    world.daemon.settled("K-1001", "RE-2026/0043", "delivered").await;
    let expected = [(CENTRAL, "RE-2026/0043"), (ACCOUNTING, "RE-2026/0043")];
    assert_eq!(world.end().await, pairs(&expected));
}

#[tokio::test]
async fn pausing_one_account_does_not_stop_the_others() {
    let mut world = World::new().await;
    push_all(&mut world.daemon, [1, 2, 3, 4, 12]).await;
    world.daemon.ask(&["pause", "--account", "K-1001"]).await;
    push_all(&mut world.daemon, [6]).await;
    let mut later = event(13);
    later["data"]["release"] = "immediately".into();
    push(&mut world.daemon, &later).await;

    world.daemon.settled("K-2001", "INV-2026-0007", "delivered").await;

    let invoice = world.daemon.json(&["invoice", "K-1001", "RE-2026/0043"]).await;
    assert_eq!(invoice["state"], "due", "{invoice}");
    assert_eq!(world.end().await, pairs(&[(ENGLISH, "INV-2026-0007")]));
}

#[tokio::test]
async fn the_contact_selected_when_it_is_sent_gets_an_invoice_that_was_issued_before() {
    let mut world = World::new().await;
    push_all(&mut world.daemon, 1..=5).await;
    push_all(&mut world.daemon, 7..=8).await;

    world.daemon.ask(&["dispatch"]).await;

    world.daemon.settled("K-1001", "RE-2026/0042", "delivered").await;
    assert_eq!(world.end().await, pairs(&[(REPLACEMENT, "RE-2026/0042")]));
}

#[tokio::test]
async fn an_invoice_that_comes_before_its_account_waits_for_it() {
    let mut world = World::new().await;
    let daemon = &mut world.daemon;
    daemon.upload(&document("RE-2026-0043.pdf")).await.expect(201);
    daemon.upload(&document("RE-2026-0043.xml")).await.expect(201);
    assert_eq!(daemon.push(&event(6)).await.expect(202)["result"], "parked");

    // It asks for version 4, with which the billing contact is selected.
    push_all(daemon, 1..=3).await;
    daemon.settled("K-1001", "RE-2026/0043", "parked").await;
    let metrics = daemon.admin_text("/metrics").await;
    let parked = "invoice_router_open_invoices{state=\"parked\"} 1";
    assert!(metrics.contains(parked), "{metrics}");
    push_all(daemon, [4]).await;

    daemon.settled("K-1001", "RE-2026/0043", "delivered").await;
    let metrics = daemon.admin_text("/metrics").await;
    let accepted = "invoice_router_attempts_total{outcome=\"accepted\",stage=\"final_dot\"} 2";
    assert!(metrics.contains(accepted), "{metrics}");
    let expected = [(CENTRAL, "RE-2026/0043"), (ACCOUNTING, "RE-2026/0043")];
    assert_eq!(world.end().await, pairs(&expected));
}

#[tokio::test]
async fn an_event_that_comes_again_changes_and_sends_nothing_again() {
    let mut world = World::new().await;
    push_all(&mut world.daemon, [1, 2, 3, 4, 6]).await;
    world.daemon.settled("K-1001", "RE-2026/0043", "delivered").await;

    for number in [4, 6] {
        let answer = world.daemon.push(&event(number)).await.expect(200);
        assert_eq!(answer["result"], "duplicate", "{answer}");
    }

    let expected = [(CENTRAL, "RE-2026/0043"), (ACCOUNTING, "RE-2026/0043")];
    assert_eq!(world.end().await, pairs(&expected));
}

#[tokio::test]
async fn every_example_is_accepted_and_only_the_removal_of_who_is_selected_is_warned_of() {
    let mut world = World::new().await;
    let mut warned = Vec::new();
    for (name, event) in events() {
        let answer = push(&mut world.daemon, &event).await;
        if answer["warnings"] != json!([]) {
            warned.push(name);
        }
    }
    assert_eq!(warned, ["10-replacement-removed.json"]);
}
