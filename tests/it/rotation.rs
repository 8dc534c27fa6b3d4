//! Secrets that are exchanged while the daemon runs.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::{sleep, timeout};

use crate::daemon::{DEADLINE, Daemon, PORTAL};
use crate::interface::account;

/// Waits until the daemon has logged a line that holds all of `words`.
async fn logged(daemon: &Daemon, words: &[&str]) {
    let said = async {
        while !daemon
            .log()
            .lines()
            .any(|line| words.iter().all(|word| line.contains(word)))
        {
            sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(
        timeout(DEADLINE, said).await.is_ok(),
        "{words:?} is not logged"
    );
}

#[tokio::test]
async fn secrets_are_exchanged_without_a_restart_as_a_whole_or_not_at_all() {
    let mut daemon = Daemon::start((Ipv4Addr::LOCALHOST, 9).into()).await;
    let secrets = daemon.home().join("portal-secrets");
    let next = "whsec_bmV4dCBuZXh0IG5leHQgbmV4dCBuZXh0IG5leHQgMTIzNDU2";
    let event = account(1);
    daemon.push_signed(next, &event).await.expect(401);

    // Old and new together, then the new one alone.
    fs::write(&secrets, format!("{PORTAL}\n{next}\n")).unwrap();
    daemon.signal(Signal::HUP);
    logged(&daemon, &["were read anew", "\"secrets\":3"]).await;
    daemon.push_signed(next, &event).await.expect(200);
    daemon.push_signed(PORTAL, &event).await.expect(200);
    fs::write(&secrets, next).unwrap();
    daemon.signal(Signal::HUP);
    logged(&daemon, &["were read anew", "\"secrets\":2"]).await;
    daemon.push_signed(PORTAL, &event).await.expect(401);
    daemon.push_signed(next, &event).await.expect(200);

    // A mistake anywhere leaves everything as it is, and other changes wait.
    fs::write(&secrets, PORTAL).unwrap();
    let configuration = daemon.configuration();
    let text = fs::read_to_string(&configuration).unwrap();
    fs::write(
        &configuration,
        text.replace("[mail]\n", "[mail]\nfrm = \"x\"\n"),
    )
    .unwrap();
    daemon.signal(Signal::HUP);
    logged(&daemon, &["everything stays as it was", "mail.frm"]).await;
    daemon.push_signed(next, &event).await.expect(200);
    fs::write(
        &configuration,
        text.replace("[mail]\n", "[mail]\nmessage_bytes = 30000000\n"),
    )
    .unwrap();
    daemon.signal(Signal::HUP);
    logged(
        &daemon,
        &["take effect at the next start", "mail.message_bytes"],
    )
    .await;
    daemon.push_signed(PORTAL, &event).await.expect(200);
    assert!(daemon.stop().await.success());
}
