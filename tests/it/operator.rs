//! What the command line tells an operator, and how.

// Tells clippy that helpers belong to tests as well.
#![cfg(test)]

use std::process::Output;

use invoice_router::cli::demo::sink::Sink;
use serde_json::{Value, json};

use crate::daemon::{DEADLINE, Daemon, closed, far_schedule, home, run};
use crate::examples::{document, event, events, push, push_all, who_got_what};
use crate::scripted_smtp::{Script, ScriptedRelay};

/// A daemon with an account whose invoice RE-2026/0042 waits, and the server that its mails go to.
async fn world() -> (Daemon, Sink) {
    let sink = Sink::start(None).await.unwrap();
    let mut daemon = Daemon::start(sink.address()).await;
    push_all(&mut daemon, 1..=5).await;
    (daemon, sink)
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn every_example_is_accepted_and_only_the_removal_of_who_is_selected_is_warned_of() {
    let mut daemon = Daemon::start(closed()).await;
    let mut warned = Vec::new();
    for (name, event) in events() {
        let answer = push(&mut daemon, &event).await;
        if answer["warnings"] != json!([]) {
            warned.push(name);
        }
    }
    assert_eq!(warned, ["10-replacement-removed.json"]);
}

#[tokio::test]
async fn an_invoice_that_comes_before_its_account_waits_for_it_and_is_counted() {
    let sink = Sink::start(None).await.unwrap();
    let mut daemon = Daemon::start(sink.address()).await;
    for name in ["RE-2026-0043.pdf", "RE-2026-0043.xml"] {
        daemon.upload(&document(name)).await.expect(201);
    }
    assert_eq!(daemon.push(&event(6)).await.expect(202)["result"], "parked");
    // It asks for version 4, with which the billing contact is selected.
    for (events, state, figure) in [
        (1..=3, "parked", "open_invoices{state=\"parked\"} 1"),
        (4..=4, "delivered", "attempts_total{outcome=\"accepted\",stage=\"final_dot\"} 2"),
    ] {
        push_all(&mut daemon, events).await;
        daemon.settled("K-1001", "RE-2026/0043", state).await;
        let metrics = daemon.admin_text("/metrics").await;
        assert!(metrics.contains(&format!("invoice_router_{figure}")), "{metrics}");
    }
    assert_eq!(sink.count(), 2);
}

#[tokio::test]
async fn a_schedule_releases_what_waits_without_anybody_asking() {
    let mails = tempfile::tempdir().unwrap();
    let sink = Sink::start(Some(mails.path().to_owned())).await.unwrap();
    let mut daemon = Daemon::start_in(home(sink.address(), "*/1 * * * * *")).await;
    push_all(&mut daemon, [12, 13]).await;
    daemon.settled("K-2001", "INV-2026-0007", "delivered").await;
    assert!(daemon.stop().await.success());
    let expected = ("invoices@sample.example".to_owned(), "INV-2026-0007".to_owned());
    assert_eq!(who_got_what(&sink.messages()), [expected]);
}

#[tokio::test]
async fn while_everything_is_paused_no_command_speaks_as_if_mail_went_out() {
    let (mut daemon, sink) = world().await;
    push_all(&mut daemon, [6]).await;
    daemon.settled("K-1001", "RE-2026/0043", "delivered").await;
    daemon.ask(&["pause", "--reason", "a wrong batch"]).await;
    let mut urgent = event(5);
    urgent["data"]["number"] = "RE-9".into();
    urgent["data"]["release"] = "immediately".into();
    push(&mut daemon, &urgent).await;

    let commands: [&[&str]; 8] = [
        &["dispatch", "--dry-run"],
        &["dispatch"],
        &["dispatch", "--account", "K-1001"],
        &["account", "K-1001"],
        &["explain", "K-1001"],
        &["explain", "K-1001", "RE-9"],
        &["invoice", "K-1001", "RE-9"],
        &["invoices"],
    ];
    for arguments in commands {
        let told = daemon.ask(arguments).await;
        assert!(
            told.contains("all sending is paused since 20") && told.contains(": a wrong batch"),
            "{arguments:?}: {told}"
        );
        assert!(!told.contains("are being sent"), "{arguments:?}: {told}");
        assert!(!told.contains("Its next attempt"), "{arguments:?}: {told}");
    }
    let delivered = daemon.ask(&["invoice", "K-1001", "RE-2026/0043"]).await;
    assert!(!delivered.contains("paused"), "{delivered}");
    assert_eq!(sink.count(), 2);
}

#[tokio::test]
async fn a_dispatch_says_whether_anything_was_waiting_and_the_history_names_who_asked_for_it() {
    let (daemon, _sink) = world().await;
    let first = daemon.ask(&["dispatch", "--account", "K-1001"]).await;
    assert_eq!(first, "released: the waiting invoices are being sent\n");
    let invoice = daemon.settled("K-1001", "RE-2026/0042", "delivered").await;
    let second = daemon.ask(&["dispatch"]).await;
    assert_eq!(second, "no invoice was waiting\n");
    let released = |item: &&Value| item["event"]["kind"] == "released_by_run";
    let item = invoice["story"].as_array().unwrap().iter().find(released).unwrap();
    assert_eq!(item["event"]["schedule"], Value::Null, "{item}");
    assert_eq!(item["by"]["kind"], "operator", "{item}");
}

#[tokio::test]
async fn a_pause_and_its_end_name_their_scope_and_what_they_changed() {
    let (daemon, _sink) = world().await;
    let ask = async |arguments: &[&str]| daemon.ask(arguments).await;

    let told = ask(&["pause", "--account", "K-1001", "--reason", "wrong logo"]).await;
    assert_eq!(told, "sending for account K-1001 is paused; events are still accepted\n");
    let told = ask(&["pause", "--account", "K-1001", "--reason", "other"]).await;
    assert!(
        told.contains("was already paused") && told.contains(": wrong logo; other (operator uid:"),
        "{told}"
    );
    let told = ask(&["dispatch", "--dry-run"]).await;
    assert!(told.contains("sending for this account is paused"), "{told}");
    let told = ask(&["resume"]).await;
    assert_eq!(told, "sending was not paused\n");
    ask(&["pause", "--reason", "a wrong batch"]).await;
    let told = ask(&["resume", "--account", "K-1001"]).await;
    assert!(told.contains("has ended, but all sending is paused since"), "{told}");
    let told = ask(&["resume"]).await;
    assert_eq!(told, "all sending is resumed\nit was paused: a wrong batch\n");
    let told = ask(&["pause", "--removal", "--reason", "an audit"]).await;
    let removal = "removal by retention";
    assert_eq!(told, format!("{removal} is paused; everything else continues\n"));
    let told = ask(&["resume"]).await;
    assert_eq!(told, "sending was not paused\n");
    let told = ask(&["pause", "--removal"]).await;
    assert!(
        told.contains("was already paused: nothing is removed since 20")
            && told.contains(": an audit"),
        "{told}"
    );
    let told = ask(&["resume", "--removal"]).await;
    let me = format!("uid:{}", rustix::process::getuid().as_raw());
    assert_eq!(
        told,
        format!(
            "{removal} is resumed\nit was paused: an audit; paused by an operator (operator {me})\n"
        )
    );

    for command in ["pause", "resume"] {
        let output = daemon.command(&[command, "--account", "NOPE"]).await;
        assert_eq!(output.status.code(), Some(1), "{command}");
        assert!(errors(&output).contains("this account is not known"), "{command}");
    }
}

#[tokio::test]
async fn an_invoice_that_was_sent_again_shows_every_revisions_attempts() {
    let (daemon, sink) = world().await;
    daemon.ask(&["dispatch"]).await;
    let invoice = ["K-1001", "RE-2026/0042"];
    daemon.settled(invoice[0], invoice[1], "delivered").await;
    let resend = [&["resend"], &invoice[..]].concat();
    daemon.ask(&resend).await;
    daemon.settled(invoice[0], invoice[1], "delivered").await;

    let output = daemon.command(&resend).await;
    assert_eq!(output.status.code(), Some(65));
    let told = errors(&output);
    assert!(told.contains("revision 1 is not the current one, which is 2"), "{told}");

    let told = daemon.ask(&[&["invoice"], &invoice[..]].concat()).await;
    assert!(told.contains("· revision 2 · accepted by relay"), "{told}");
    let attempts: Vec<&str> = told
        .lines()
        .skip_while(|line| !line.starts_with("revision "))
        .skip(1)
        .map(|line| &line[..1])
        .collect();
    assert_eq!(attempts, ["1", "1", "2", "2"], "{told}");
    assert_eq!(sink.count(), 4);
}

#[tokio::test]
async fn what_a_command_asks_of_the_daemon_is_overheard() {
    let (daemon, _sink) = world().await;
    daemon.ask(&["account", "K-1001"]).await;
    assert_eq!(daemon.asked(), 1);
    daemon.command(&["hold", "K-1001", "RE-0"]).await;
    assert_eq!(daemon.asked(), 2);
    daemon.json(&["check-config"]).await;
    assert_eq!(daemon.asked(), 2);
}

#[tokio::test]
async fn a_signature_for_scripts_is_one_object() {
    let (daemon, _sink) = world().await;
    let file = daemon.configuration();
    let file = file.to_str().unwrap();
    let arguments = ["sign", "--sender", "portal", "--id", "msg_1", file];
    let signed = daemon.json(&arguments).await;
    let names: Vec<&String> = signed.as_object().unwrap().keys().collect();
    assert_eq!(names, ["webhook-id", "webhook-signature", "webhook-timestamp"]);
    assert_eq!(signed["webhook-id"], "msg_1");
    assert!(signed["webhook-signature"].as_str().unwrap().starts_with("v1,"));
    let read = daemon.ask(&arguments).await;
    assert!(read.starts_with("webhook-id: msg_1\nwebhook-timestamp: "), "{read}");
}

#[tokio::test]
async fn a_test_mail_tells_which_relay_was_tried_and_what_it_answered() {
    let refusing = Script::greeted_by_any(&[])
        .hear("MAIL FROM:")
        .say("250 2.1.0 ok")
        .hear("RCPT TO:<nobody@muster.example>")
        .say("550 5.1.1 no such user here");
    let relay = ScriptedRelay::start([refusing]).await;
    for (address, expected) in [
        (relay.address(), "rcpt: the relay answered 550 5.1.1 no such user here"),
        (closed(), "connect: connection refused"),
    ] {
        let home = home(address, &far_schedule());
        let output = run(home.path(), &["test-mail", "nobody@muster.example"]).await;
        assert_eq!(output.status.code(), Some(1));
        let told = errors(&output);
        assert!(told.contains(&format!("{address}: {expected}")), "{told}");
    }
}

#[tokio::test]
async fn a_state_that_there_is_not_is_refused_without_a_daemon() {
    let home = tempfile::tempdir().unwrap();
    let output = run(home.path(), &["invoices", "--state", "bogus"]).await;
    assert_eq!(output.status.code(), Some(2));
    let told = errors(&output);
    assert!(told.contains("undeliverable") && told.contains("withheld"), "{told}");
}

#[tokio::test]
async fn all_that_is_held_is_released_together_and_says_why() {
    let (mut daemon, sink) = world().await;
    push_all(&mut daemon, [6]).await;
    daemon.settled("K-1001", "RE-2026/0043", "delivered").await;
    let held = ["hold", "K-1001", "RE-2026/0042", "--reason", "a wrong total"];
    daemon.ask(&held).await;

    let planned = daemon.ask(&["release", "--state", "held", "--dry-run"]).await;
    assert!(
        planned.contains("a wrong total (by operator uid:")
            && planned.contains("would be released"),
        "{planned}"
    );
    let explained = daemon.ask(&["explain", "K-1001", "RE-2026/0042"]).await;
    assert!(explained.contains("It is held: a wrong total (by operator uid:"), "{explained}");
    let whole = daemon.json(&["invoice", "K-1001", "RE-2026/0042"]).await;
    assert_eq!(whole["state"], "held");

    let released = ["release", "--state", "held", "--now", "--reason", "it was right"];
    daemon.ask(&released).await;
    let whole = daemon.settled("K-1001", "RE-2026/0042", "delivered").await;
    let story = whole["story"].as_array().unwrap();
    let told =
        |words: &str| story.iter().any(|entry| entry["what"].as_str().unwrap().contains(words));
    assert!(told("reason: it was right"), "{whole}");
    assert!(sink.wait_for(4, DEADLINE).await);
    let none = daemon.ask(&["release", "--state", "held"]).await;
    assert_eq!(none.trim(), "no invoice is held");
    for wrong in [&["release"][..], &["release", "--state", "waiting"], &["release", "K-1001"]] {
        assert_eq!(daemon.command(wrong).await.status.code(), Some(2), "{wrong:?}");
    }
}

#[tokio::test]
async fn what_is_not_sent_yet_is_told_with_what_it_waits_for() {
    let (mut daemon, _sink) = world().await;
    let mut early = event(5);
    early["data"]["number"] = "RE-8".into();
    early["data"]["min_account_version"] = 99.into();
    daemon.push(&early).await.expect(202);
    early["data"]["account"] = "K-NEW".into();
    early["data"]["min_account_version"] = Value::Null;
    daemon.push(&early).await.expect(202);
    for (account, number, expected) in [
        ("K-1001", "RE-2026/0042", "It waits for its schedule, default, at 20"),
        ("K-1001", "RE-8", "It waits for version 99 of its account."),
        ("K-NEW", "RE-8", "Its recipient is not known yet. It waits for its account."),
    ] {
        let told = daemon.ask(&["explain", account, number]).await;
        assert!(told.contains(expected), "{told}");
    }
}

#[tokio::test]
async fn the_trail_is_read_in_order_and_backwards_and_names_who_did_it() {
    let (daemon, _sink) = world().await;
    daemon.ask(&["pause", "--reason", "a look"]).await;
    let oldest = daemon.admin("/v1/audit?limit=2").await;
    let items = oldest["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!(items[0]["account"], "K-1001");
    assert_eq!(items[0]["actor"], "sender portal (msg_1)");
    let next = oldest["next_cursor"].as_str().unwrap();
    let further = daemon.admin(&format!("/v1/audit?cursor={next}")).await;
    assert_eq!(further["next_cursor"], Value::Null);
    let newest = daemon.admin("/v1/audit?order=newest&limit=1").await;
    let what = newest["items"][0]["what"].as_str().unwrap();
    assert_eq!(what, "all sending paused; reason: a look");
    assert_eq!(further["items"].as_array().unwrap().last(), newest["items"].get(0));
}
