//! The demo, as a user runs it.

// Tells clippy that helpers belong to tests as well.
#![cfg(test)]

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::daemon::{DEADLINE, PROGRAM};

/// The demo, leaving what it leaves below `home`.
fn demo(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).arg("demo").env("TMPDIR", home);
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Its exit code and what it says, on standard output and as errors.
async fn ended(mut demo: Command) -> (Option<i32>, String, String) {
    let output = timeout(DEADLINE, demo.output()).await.unwrap().unwrap();
    let [said, errors] =
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (output.status.code(), said, errors)
}

#[tokio::test]
async fn the_demo_shows_who_got_what_and_leaves_the_mails() {
    let home = tempfile::tempdir().unwrap();
    let (code, said, errors) = ended(demo(home.path(), &[])).await;
    assert_eq!(code, Some(0), "{errors}");
    let rows = said.lines().skip_while(|line| !line.starts_with("account ")).skip(1);
    let table: Vec<String> = rows
        .map(|line| line.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
        .take_while(|row| !row.is_empty())
        .collect();
    let expected = [
        "K-1001 RE-2026/0043 rechnungseingang@muster.example",
        "K-1001 RE-2026/0043 buchhaltung@muster.example",
        "K-1001 RE-2026/0042 rechnungseingang@muster.example",
        "K-1001 RE-2026/0042 buchhaltung@muster.example",
        "K-2001 INV-2026-0007 invoices@sample.example",
        "K-1001 RE-2026/0044 muster-gmbh@steuerberatung.example",
        "K-1001 RE-2026/0045 erika@muster.example",
    ];
    assert_eq!(table, expected, "{said}");
    let left = fs::read_dir(home.path()).unwrap().next().unwrap().unwrap();
    assert_eq!(fs::read_dir(left.path().join("mail")).unwrap().count(), 7);

    let (_, said, _) = ended(demo(home.path(), &["--json"])).await;
    let value: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(value["mails"].as_array().map(Vec::len), Some(7), "{value}");
}

#[tokio::test]
async fn an_interrupted_demo_leaves_no_daemon_behind() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let home = tempfile::tempdir().unwrap();
        let mut demo = demo(home.path(), &[]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
        let webhook: SocketAddr = loop {
            let line = lines.next_line().await.unwrap().expect("the demo starts a daemon");
            if let Some((_, rest)) = line.split_once("http://") {
                break rest.split(',').next().unwrap().parse().unwrap();
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
}

#[tokio::test]
async fn a_demo_that_cannot_do_its_work_says_so_and_fails() {
    let home = tempfile::tempdir().unwrap();
    let (code, _, errors) = ended(demo(&home.path().join("gone"), &[])).await;
    assert_eq!(code, Some(1));
    assert!(errors.contains("cannot create "), "{errors}");
}
