//! What befalls a daemon: it is killed at the worst moment, its disk loses or spoils a file.

// Tells clippy that helpers belong to tests as well.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use invoice_router::cli::demo::sink::Sink;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::daemon::{DEADLINE, Daemon, alter, closed, far_schedule, home};
use crate::examples::who_got_what;
use crate::scripted_smtp::{Script, ScriptedRelay};

/// The Base64 of `%PDF-1.4`.
const DOCUMENT: &str = "JVBERi0xLjQ=";

/// A daemon that repeats an attempt after a second, with an account whose billing contact is selected.
async fn daemon(relay: SocketAddr) -> Daemon {
    let home = home(relay, &far_schedule());
    alter(&home, "[mail]\n", "[retry]\nfirst_delay_seconds = 1\nmax_delay_seconds = 1\n[mail]\n");
    let mut daemon = Daemon::start_in(home).await;
    daemon.push(&account()).await.expect(200);
    daemon
}

fn account() -> Value {
    json!({
        "type": "account.updated", "timestamp": "2026-11-23T08:00:00Z", "data": {
            "account": "K-1", "version": 1,
            "main_contact": {"name": "Erika Muster", "addresses": ["erika@muster.example"]},
            "sub_users": [{"id": "u-7", "group": "Rechnungen", "contact": {
                "name": "Buchhaltung", "addresses": ["rechnung@muster.example"]}}],
            "billing_contact": "u-7"}
    })
}

fn invoice(number: &str, release: &str) -> Value {
    json!({
        "type": "invoice.issued", "timestamp": "2026-11-23T09:00:00Z", "data": {
            "account": "K-1", "number": number, "kind": "invoice", "issued_on": "2026-11-23",
            "total": {"amount": "119.00", "currency": "EUR"}, "release": release,
            "documents": [{"content_base64": DOCUMENT, "file_name": format!("{number}.pdf"),
                           "media_type": "application/pdf"}]}
    })
}

/// The number and state of each invoice.
async fn states(daemon: &Daemon) -> BTreeMap<String, String> {
    let listed = daemon.json(&["invoices"]).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let items = listed["items"].as_array().unwrap().iter();
    items.map(|item| (text(&item["number"]), text(&item["state"]))).collect()
}

/// The file of the one document that was stored.
fn document_file(daemon: &Daemon) -> PathBuf {
    let documents = daemon.home().join("state/documents");
    let days = fs::read_dir(documents).unwrap().map(Result::unwrap);
    let mut files = days.flat_map(|day| fs::read_dir(day.path()).unwrap().map(Result::unwrap));
    files.next().unwrap().path()
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_kill_at_that_very_moment() {
    let sink = Sink::start(None).await.unwrap();
    let mut daemon = daemon(sink.address()).await;
    let mut expected = BTreeMap::new();
    for round in 1..=5 {
        let number = format!("RE-{round}");
        daemon.push(&invoice(&number, "scheduled")).await.expect(200);
        daemon.kill().await;
        daemon.start_again().await;
        expected.insert(number, "waiting".to_owned());
        assert_eq!(states(&daemon).await, expected);
    }
    assert!(daemon.stop().await.success());
}

/// A relay that takes a message for this address, whatever it says then.
fn message_to(address: &str) -> Script {
    Script::greeted_by_any(&[])
        .hear("MAIL FROM:")
        .say("250 ok")
        .hear(&format!("RCPT TO:<{address}>"))
        .say("250 ok")
        .hear("DATA")
        .say("354 go ahead")
        .message()
}

/// A daemon that is killed, after a change perhaps, when it has sent a message that is not answered; it then sends one
/// to the second of these addresses.
async fn cut_off(second: &str, change: Option<Value>) -> (Daemon, ScriptedRelay) {
    let heard = Arc::new(Notify::new());
    let first = message_to("rechnung@muster.example").tell(&heard);
    let relay = ScriptedRelay::start([first, message_to(second).say("250 2.0.0 queued")]).await;
    let mut daemon = daemon(relay.address()).await;
    daemon.push(&invoice("RE-1", "immediately")).await.expect(200);
    timeout(DEADLINE, heard.notified()).await.expect("no message comes");
    if let Some(change) = change {
        daemon.push(&change).await.expect(200);
    }
    daemon.kill().await;
    daemon.start_again().await;
    daemon.settled("K-1", "RE-1", "delivered").await;
    (daemon, relay)
}

#[tokio::test]
async fn an_attempt_cut_off_by_a_kill_is_repeated_as_the_very_same_message() {
    let (mut daemon, relay) = cut_off("rechnung@muster.example", None).await;
    let whole = daemon.json(&["invoice", "K-1", "RE-1"]).await;
    let attempts = whole["addresses"][0]["attempts"].as_array().unwrap();
    let outcomes: Vec<&Value> = attempts.iter().map(|attempt| &attempt["outcome"]).collect();
    assert_eq!(outcomes, ["uncertain", "accepted"], "{whole}");
    assert!(daemon.stop().await.success());
    let heard = relay.heard().await;
    assert_eq!(heard[0].last(), heard[1].get(4), "{heard:#?}");
}

#[tokio::test]
async fn a_previous_address_that_may_have_received_it_is_shown_as_such() {
    let mut change = account();
    change["data"]["version"] = 2.into();
    change["data"]["sub_users"][0]["contact"]["addresses"] = json!(["neu@muster.example"]);
    let (daemon, _relay) = cut_off("neu@muster.example", Some(change)).await;
    let explained = daemon.ask(&["explain", "K-1", "RE-1"]).await;
    for expected in [
        "rechnung@muster.example: stopped, but may have received it",
        "neu@muster.example: accepted by relay",
    ] {
        assert!(explained.contains(expected), "{explained}");
    }
}

#[tokio::test]
async fn a_run_cut_off_by_kills_is_brought_to_its_end() {
    let mails = tempfile::tempdir().unwrap();
    let sink = Sink::start(Some(mails.path().to_owned())).await.unwrap();
    let mut daemon = daemon(sink.address()).await;
    let numbers: BTreeSet<String> = (1..=30).map(|number| format!("RE-{number}")).collect();
    for number in &numbers {
        daemon.push(&invoice(number, "scheduled")).await.expect(200);
    }

    daemon.ask(&["dispatch"]).await;
    for so_many in [5, 15] {
        assert!(sink.wait_for(so_many, DEADLINE).await);
        daemon.kill().await;
        daemon.start_again().await;
    }
    for number in &numbers {
        daemon.settled("K-1", number, "delivered").await;
    }

    assert!(daemon.stop().await.success());
    let got = who_got_what(&sink.messages());
    assert!(got.iter().all(|(to, _)| to == "rechnung@muster.example"));
    let mut copies = BTreeMap::new();
    for (_, number) in got {
        *copies.entry(number).or_insert(0) += 1;
    }
    assert!(copies.keys().eq(&numbers), "{copies:?}");
    // A second copy only of what each of the connections was at when the daemon was killed.
    let repeated = copies.values().filter(|copies| **copies > 1).count();
    assert!(repeated <= 2 * 4, "{copies:?}");
}

#[tokio::test]
async fn an_invoice_whose_document_is_spoilt_is_held_and_goes_out_once_that_is_uploaded_again() {
    let sink = Sink::start(None).await.unwrap();
    let mut daemon = daemon(sink.address()).await;
    daemon.push(&invoice("RE-1", "scheduled")).await.expect(200);
    let file = document_file(&daemon);
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    daemon.ask(&["dispatch"]).await;

    let held = daemon.settled("K-1", "RE-1", "held").await;
    let reason = held["held_reason"].as_str().unwrap();
    assert!(reason.ends_with("its file cannot be read: is a directory"));
    let once = reason.matches("no message could be made").count();
    assert_eq!(once, 1, "{reason}");

    fs::remove_dir(&file).unwrap();
    let answer = daemon.upload(b"%PDF-1.4").await.expect(200);
    assert_eq!(answer["result"], "duplicate");
    daemon.ask(&["release", "K-1", "RE-1", "--now"]).await;
    daemon.settled("K-1", "RE-1", "delivered").await;
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn an_invoice_too_large_for_the_relay_is_held_and_says_so() {
    let relay = ScriptedRelay::start([Script::greeted_by_any(&["SIZE 1000"])]).await;
    let mut daemon = daemon(relay.address()).await;
    daemon.push(&invoice("RE-1", "immediately")).await.expect(200);
    let held = daemon.settled("K-1", "RE-1", "held").await;
    let reason = held["held_reason"].as_str().unwrap();
    assert!(reason.contains("1000"), "{reason}");
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn the_directory_for_mails_as_files_is_made_beside_the_store() {
    let home = home(closed(), &far_schedule());
    alter(&home, "[mail]\n", "[mail]\ntransport = \"file\"\nfile.directory = \"state/mail\"\n");
    let mut daemon = Daemon::start_in(home).await;
    daemon.push(&account()).await.expect(200);
    daemon.push(&invoice("RE-1", "immediately")).await.expect(200);
    daemon.settled("K-1", "RE-1", "delivered").await;
    assert!(daemon.stop().await.success());
    let mails = fs::read_dir(daemon.home().join("state/mail")).unwrap();
    assert_eq!(mails.count(), 1);
    daemon.start_again().await;
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn a_store_is_verified_while_nobody_has_it_open_and_says_what_is_wrong() {
    let sink = Sink::start(None).await.unwrap();
    let mut daemon = daemon(sink.address()).await;
    daemon.push(&invoice("RE-1", "immediately")).await.expect(200);
    daemon.settled("K-1", "RE-1", "delivered").await;
    let in_use = daemon.command(&["verify"]).await;
    assert_eq!(in_use.status.code(), Some(1));
    let errors = String::from_utf8(in_use.stderr).unwrap();
    assert!(errors.contains("stop the daemon first"), "{errors}");
    assert!(daemon.stop().await.success());

    let clean = daemon.json(&["verify"]).await;
    assert_eq!(clean["result"], "ok", "{clean}");
    assert_eq!(clean["documents"], 1);
    let document = document_file(&daemon);
    let day = document.parent().unwrap();
    fs::write(day.join("notes.txt"), "").unwrap();
    fs::write(day.join(format!("{}.sha256", "0".repeat(64))), "").unwrap();
    let strange = daemon.command(&["verify"]).await;
    assert_eq!(strange.status.code(), Some(0));
    let said = String::from_utf8(strange.stdout).unwrap();
    assert!(said.contains("notes.txt: does not belong to this store"), "{said}");
    let left_over =
        "1 documents without a record, left by interrupted uploads or by missing records";
    assert!(said.contains(left_over), "{said}");

    fs::write(document, "spoilt").unwrap();
    let damaged = daemon.command(&["verify"]).await;
    assert_eq!(damaged.status.code(), Some(1));
    let said = String::from_utf8(damaged.stdout).unwrap();
    assert!(said.contains("its file has other bytes"), "{said}");
}

#[tokio::test]
async fn a_result_that_cannot_be_written_is_a_failure() {
    let sink = Sink::start(None).await.unwrap();
    let daemon = daemon(sink.address()).await;
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let configuration = daemon.configuration();
    let ended = tokio::process::Command::new(crate::daemon::PROGRAM)
        .arg("--config")
        .arg(configuration)
        .args(["--json", "account", "K-1"])
        .stdout(Stdio::from(full))
        .status();
    let ended = timeout(DEADLINE, ended).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(1));
}
