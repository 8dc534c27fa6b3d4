//! A schedule releases by itself what waits for it.

use invoice_router::cli::demo::sink::Sink;

use crate::daemon::{DEADLINE, Daemon, home};
use crate::examples::{push_all, who_got_what};

#[tokio::test]
async fn a_schedule_with_seconds_releases_invoices_without_anybody_asking() {
    let mails = tempfile::tempdir().unwrap();
    let sink = Sink::start(Some(mails.path().to_owned())).await.unwrap();
    let mut daemon = Daemon::start_in(home(sink.address(), "*/1 * * * * *")).await;

    push_all(&mut daemon, [12, 13]).await;

    assert!(sink.wait_for(1, DEADLINE).await, "the schedule did not fire");
    let invoice = daemon.settled("K-2001", "INV-2026-0007", "delivered").await;
    assert!(daemon.stop().await.success());
    let (recipient, number) = &who_got_what(&sink.messages())[0];
    assert_eq!((recipient.as_str(), number.as_str()), ("invoices@sample.example", "INV-2026-0007"));
    assert_eq!(sink.count(), 1, "{invoice}");
}
