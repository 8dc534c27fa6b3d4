//! The demo, as a user runs it.

// Tells clippy that helpers belong to tests as well.
#![cfg(test)]

use std::fs;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::daemon::{DEADLINE, PROGRAM};

/// The demo, leaving what it leaves below `home`.
fn demo(home: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(arguments)
        .arg("demo")
        .env("TMPDIR", home.path())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

#[tokio::test]
async fn the_demo_shows_who_got_what_and_leaves_the_mails() {
    let home = tempfile::tempdir().unwrap();

    let output = timeout(DEADLINE, demo(&home, &[]).output()).await.unwrap().unwrap();

    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{errors}");
    let words = String::from_utf8(output.stdout).unwrap();
    let table: Vec<Vec<&str>> = words
        .lines()
        .skip_while(|line| !line.starts_with("account "))
        .skip(1)
        .map_while(|line| {
            let cells: Vec<&str> = line.split_whitespace().take(3).collect();
            (cells.len() == 3).then_some(cells)
        })
        .collect();
    assert_eq!(
        table,
        [
            ["K-1001", "RE-2026/0043", "rechnungseingang@muster.example"],
            ["K-1001", "RE-2026/0043", "buchhaltung@muster.example"],
            ["K-1001", "RE-2026/0042", "rechnungseingang@muster.example"],
            ["K-1001", "RE-2026/0042", "buchhaltung@muster.example"],
            ["K-2001", "INV-2026-0007", "invoices@sample.example"],
            ["K-1001", "RE-2026/0044", "muster-gmbh@steuerberatung.example"],
            ["K-1001", "RE-2026/0045", "erika@muster.example"],
        ],
        "{words}"
    );
    let left = fs::read_dir(home.path()).unwrap().next().unwrap().unwrap();
    let mails = fs::read_dir(left.path().join("mail")).unwrap();
    assert_eq!(mails.count(), 7);
}

#[tokio::test]
async fn for_scripts_the_demo_prints_one_value() {
    let home = tempfile::tempdir().unwrap();

    let output = timeout(DEADLINE, demo(&home, &["--json"]).output()).await.unwrap().unwrap();

    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["mails"].as_array().map(Vec::len), Some(7), "{value}");
}

#[tokio::test]
async fn an_interrupted_demo_leaves_no_daemon_behind() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        no_daemon_is_left_after(signal).await;
    }
}

async fn no_daemon_is_left_after(signal: Signal) {
    let home = tempfile::tempdir().unwrap();
    let mut demo = demo(&home, &[]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let webhook = loop {
        let line = lines.next_line().await.unwrap().expect("the demo starts a daemon");
        if let Some((_, rest)) = line.split_once("http://") {
            let (address, _) = rest.split_once(',').unwrap();
            break address.parse::<SocketAddr>().unwrap();
        }
    };

    let id = i32::try_from(demo.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();

    timeout(DEADLINE, demo.wait()).await.unwrap().unwrap();
    let gone = async {
        while TcpStream::connect(webhook).await.is_ok() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, gone).await.expect("the daemon lives on");
}

#[tokio::test]
async fn a_demo_that_cannot_do_its_work_says_so_and_fails() {
    let home = tempfile::tempdir().unwrap();
    let mut demo = demo(&home, &[]);
    demo.env("TMPDIR", home.path().join("gone"));

    let output = timeout(DEADLINE, demo.output()).await.unwrap().unwrap();

    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("cannot create "), "{errors}");
}
