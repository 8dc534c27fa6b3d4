//! Secrets that are exchanged while the daemon runs.

use std::fs;
use std::time::Duration;

use invoice_router::http::client::{Method, Target};
use rustix::process::Signal;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::daemon::{DEADLINE, Daemon, PORTAL, alter, closed, far_schedule, home};
use crate::description::Interface;
use crate::interface::{account, ask, digest};

/// Waits until the daemon has logged a line that holds all of `words`.
async fn logged(daemon: &Daemon, words: &[&str]) {
    let said = async {
        while !daemon.log().lines().any(|line| words.iter().all(|word| line.contains(word))) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(DEADLINE, said).await.is_ok(), "{words:?} is not logged");
}

#[tokio::test]
async fn secrets_are_exchanged_without_a_restart_as_a_whole_or_not_at_all() {
    let mut daemon = Daemon::start(closed()).await;
    let secrets = daemon.home().join("portal-secrets");
    let next = "whsec_bmV4dCBuZXh0IG5leHQgbmV4dCBuZXh0IG5leHQgMTIzNDU2";
    let event = account(1);
    daemon.push_signed(next, &event).await.expect(401);

    // Old and new together, then the new one alone.
    fs::write(&secrets, format!("{PORTAL}\n{next}\n")).unwrap();
    daemon.signal(Signal::HUP);
    logged(&daemon, &["were reloaded", "\"secrets\":3"]).await;
    daemon.push_signed(next, &event).await.expect(200);
    daemon.push_signed(PORTAL, &event).await.expect(200);
    fs::write(&secrets, next).unwrap();
    daemon.signal(Signal::HUP);
    logged(&daemon, &["were reloaded", "\"secrets\":2"]).await;
    daemon.push_signed(PORTAL, &event).await.expect(401);
    daemon.push_signed(next, &event).await.expect(200);

    // A mistake anywhere leaves everything as it is, and other changes wait.
    fs::write(&secrets, PORTAL).unwrap();
    let configuration = daemon.configuration();
    let text = fs::read_to_string(&configuration).unwrap();
    fs::write(&configuration, text.replace("[mail]\n", "[mail]\nfrm = \"x\"\n")).unwrap();
    daemon.signal(Signal::HUP);
    logged(&daemon, &["nothing was changed", "mail.frm"]).await;
    daemon.push_signed(next, &event).await.expect(200);
    fs::write(&configuration, text.replace("[mail]\n", "[mail]\nmessage_bytes = 30000000\n"))
        .unwrap();
    daemon.signal(Signal::HUP);
    logged(&daemon, &["take effect at the next start", "mail.message_bytes"]).await;
    daemon.push_signed(PORTAL, &event).await.expect(200);
    assert!(daemon.stop().await.success());
}

/// A file of tokens for these names.
fn tokens(names: &[&str]) -> String {
    let line = |name: &&str| {
        let digest = digest(format!("{name}-token").as_bytes());
        format!("{name} read {digest}\n")
    };
    names.iter().map(line).collect()
}

#[tokio::test]
async fn tokens_are_exchanged_without_a_restart() {
    let home = home(closed(), &far_schedule());
    alter(&home, "[admin]\n", "[admin]\nlisten = \"127.0.0.1:0\"\ntokens_file = \"./tokens\"\n");
    let file = home.path().join("tokens");
    fs::write(&file, tokens(&["old"])).unwrap();
    let mut daemon = Daemon::start_in(home).await;
    logged(&daemon, &["admin.address"]).await;
    let log = daemon.log();
    let mut events = log.lines().map(serde_json::from_str::<Value>);
    let address = events.find_map(|event| event.ok()?["admin.address"].as_str()?.parse().ok());
    let target = Target::Tcp(address.unwrap());
    let status = async |name: &str| {
        let token = format!("Bearer {name}-token");
        let headers = [("authorization", token.as_str())];
        let (admin, path) = (Interface::Admin, "/v1/accounts");
        let answer = ask(admin, &target, Method::GET, path, &headers, Vec::new()).await;
        answer.status
    };
    assert_eq!((status("old").await, status("new").await), (200, 401));

    fs::write(&file, tokens(&["new", "newer"])).unwrap();
    daemon.signal(Signal::HUP);
    logged(&daemon, &["were reloaded", "\"tokens\":2"]).await;
    assert_eq!((status("old").await, status("new").await), (401, 200));
    assert!(daemon.stop().await.success());
}
