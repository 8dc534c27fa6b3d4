//! All accounts in and out of a running daemon, at the command line.

use std::fs;

use serde_json::{Value, json};

use crate::daemon::{Daemon, closed};
use crate::interface::ndjson;

fn data(n: u32, version: u64) -> Value {
    json!({"account": format!("K-{n:04}"), "version": version, "name": "Muster GmbH",
        "main_contact": {"name": "Erika Muster", "addresses": ["erika@muster.example"]},
        "sub_users": [{"id": "u-1", "group": "Rechnungen", "contact":
            {"name": "Buchhaltung", "company": "Muster GmbH", "addresses": [format!("rechnung-{n}@muster.example")]},
            "login": {"enabled": true, "user_name": "buch", "permissions": ["invoices"]}}],
        "billing_contact": "u-1"})
}

async fn daemon() -> Daemon {
    Daemon::start(closed()).await
}

#[tokio::test]
async fn what_one_daemon_exports_another_imports_and_exports_again() {
    let (mut first, mut second) = (daemon().await, daemon().await);
    let mut accounts: Vec<Value> = (0..1200).map(|n| data(n, 3)).collect();
    accounts[7]["closed"] = json!(true);
    accounts[8]["schedule"] = json!("default");
    accounts[9]["language"] = json!("de-AT");
    let file = first.home().join("accounts.jsonl");
    fs::write(&file, ndjson(&accounts)).unwrap();
    let file = file.to_str().unwrap();
    let imported = first.json(&["import", file]).await;
    assert_eq!(imported["applied"], 1200, "{imported}");

    let exported = first.ask(&["export"]).await;
    assert_eq!(exported.lines().count(), 1200);
    let copy = second.home().join("accounts.jsonl");
    fs::write(&copy, &exported).unwrap();
    let copied = second.json(&["import", copy.to_str().unwrap()]).await;
    assert_eq!(copied["applied"], 1200, "{copied}");
    assert_eq!(second.ask(&["export"]).await, exported);
    let again = first.json(&["import", copy.to_str().unwrap()]).await;
    assert_eq!((&again["duplicate"], &again["applied"]), (&json!(1200), &json!(0)), "{again}");
    assert!(first.stop().await.success() && second.stop().await.success());
}

#[tokio::test]
async fn an_import_names_each_line_that_is_refused_and_takes_the_others() {
    let mut daemon = daemon().await;
    let mut wrong = data(2, 1);
    wrong["billing_contact"] = json!("u-9");
    let file = daemon.home().join("accounts.jsonl");
    let text = format!("{}\nnot json\n{}", ndjson(&[data(1, 5), wrong]), ndjson(&[data(3, 1)]));
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let output = daemon.command(&["import", file]).await;
    assert_eq!(output.status.code(), Some(65));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("line 2: invalid: ") && told.contains("/billing_contact"), "{told}");
    assert!(told.contains("line 4: not_json: "), "{told}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("applied: 2 ·"), "{said}");

    let older = daemon.home().join("older.jsonl");
    fs::write(&older, ndjson(&[data(1, 4)])).unwrap();
    let older = older.to_str().unwrap();
    let hint = daemon.ask(&["import", older]).await;
    assert!(hint.contains("--accept-versions"), "{hint}");
    let healed = daemon.json(&["import", "--accept-versions", older]).await;
    assert_eq!(healed["applied"], 1, "{healed}");
    assert_eq!(daemon.json(&["account", "K-0001"]).await["version"], 4);
    let missing = daemon.command(&["import", "nowhere.jsonl"]).await;
    assert_eq!(missing.status.code(), Some(1));
    assert!(daemon.stop().await.success());
}
