//! `demo`: the whole way of an invoice, on this machine, in a few seconds.
//!
//! Nothing of it is staged: the daemon is this very program in a process of its own, the portal's events are
//! the files of `config/examples/`, signed and sent over HTTP, and the mail server speaks SMTP. What arrives
//! is compared with what should arrive, mail by mail and byte by byte; only if all is right is the exit code 0.
//! The daemon ends with the demo, whichever way that ends; the directory stays, to look into.

mod callers;
pub mod daemon;
mod examples;
mod home;
mod mails;
pub mod sink;
mod story;

use std::path::Path;
use std::task::Poll;
use std::time::Instant;

use anyhow::{Context as _, anyhow, bail, ensure};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use self::callers::Callers;
use self::daemon::Daemon;
use self::home::Home;
use self::mails::{Expected, mistakes};
use self::sink::Sink;
use self::story::{EXPECTED, Story, as_json};
use super::client::Client;
use super::out::{Out, table};
use super::{Context, Failure};
use crate::domain::audit::rule_in_words;
use crate::http::client::Target;

/// The demo has a configuration of its own; what the command line names is not touched.
pub(super) async fn run(context: &Context) -> Result<(), Failure> {
    let mut signals = Vec::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        signals.push(signal(kind).context("cannot listen for signals")?);
    }
    let interrupted = std::future::poll_fn(|context| {
        let is_interrupted = signals.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
        if is_interrupted { Poll::Ready(()) } else { Poll::Pending }
    });
    // The daemon of an interrupted demo is killed as `play` is dropped.
    tokio::select! {
        result = play(&context.out) => Ok(result?),
        () = interrupted => Err(anyhow!("the demo was interrupted").into()),
    }
}

async fn play(out: &Out) -> anyhow::Result<()> {
    let begin = Instant::now();
    let home = Home::create()?;
    out.tell(&format!(
        "A daemon, a portal, a billing system and a receiving mail server, all real and all on this\n\
         machine. All that they leave is in {}.",
        home.directory.display()
    ));
    let sink = Sink::start(Some(home.mails())).await.context("cannot start the mail server")?;
    home.configure(sink.address())?;
    let program = std::env::current_exe().context("cannot find this program's file")?;
    let daemon = Daemon::start(&program, &home.configuration(), &home.log()).await?;
    out.tell(&format!(
        "The daemon takes signed events at http://{}, the mail server listens at {}.",
        daemon.webhook,
        sink.address()
    ));
    let callers = Callers::new(&home, daemon.webhook);
    let admin = Client(Target::Unix(home.socket()));
    Story { callers: &callers, admin: &admin, sink: &sink, out }.play().await?;
    let status = daemon.stop().await?;
    ensure!(status.success(), "the daemon stopped with {status}");
    // Nothing can be sent any more: what is here now is all.
    let mistakes = mistakes(EXPECTED, &sink.messages())?;
    if !mistakes.is_empty() {
        bail!("not every mail arrived as it should:\n  {}", mistakes.join("\n  "));
    }
    let summary = json!({"directory": home.directory, "mails": as_json(EXPECTED)});
    out.show(&summary, || {
        let mails = EXPECTED.len();
        let seconds = begin.elapsed().as_secs_f64();
        format!(
            "\n{}\nAll {mails} mails arrived once, at the right address, in the right language, with \
             attachments equal\nto the documents byte by byte. Nobody else got anything. It took \
             {seconds:.1} s.\n\n{}",
            results(EXPECTED),
            further(&home, &sink)
        )
    })?;
    Ok(())
}

fn results(expected: &[Expected]) -> String {
    let rows: Vec<_> = expected
        .iter()
        .map(|one| {
            let Expected { account, number, address, rule, .. } = one;
            [account, number, address, rule_in_words(*rule)].map(str::to_owned)
        })
        .collect();
    table(["account", "invoice", "who got it", "why"], &rows)
}

/// Commands to look further with.
fn further(home: &Home, sink: &Sink) -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| "invoice-router".into());
    let command = format!("{} --config invoice-router.toml", quoted(&program));
    let newest = sink.messages().pop().and_then(|message| message.file);
    format!(
        "Look further. What was received, the last mail, and what the daemon did:\n  \
         ls {mails}\n  less {newest}\n  less {log}\n\
         Start the daemon again:\n  cd {directory}\n  {command} serve\n\
         and ask it, in the same directory in another terminal:\n  \
         {command} account K-1001\n  {command} explain K-1001\n  \
         {command} explain K-1001 RE-2026/0044\n  {command} invoice K-1001 RE-2026/0042\n  \
         {command} invoices\n\
         Once it is needed no more:\n  rm -r {directory}",
        mails = quoted(&home.mails()),
        newest = quoted(&newest.unwrap_or_else(|| home.mails())),
        log = quoted(&home.log()),
        directory = quoted(&home.directory),
    )
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-@+".contains(c);
    if path.chars().all(is_plain) { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_blanks_and_quotes_is_one_word_of_the_shell() {
        assert_eq!(quoted(Path::new("/tmp/demo-1")), "/tmp/demo-1");
        assert_eq!(quoted(Path::new("/tmp/it's me")), r"'/tmp/it'\''s me'");
    }
}
