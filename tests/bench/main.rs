//! Load for the measurements: a portal with many connections, and a mail server that counts.
//!
//! ```text
//! invoice-router-load accounts|invoices|document ADDRESS SECRETS CLIENTS RUN COUNT SECONDS [DOCUMENT]
//! invoice-router-load sink
//! ```
//! The first sends signed requests over connections that stay open, each client one after the other, until
//! `COUNT` are answered or `SECONDS` are over, and prints what that took. Event `n` is about account
//! `K-n`. The second prints its address, then answers each number on its standard input once so many
//! messages have come.

mod portal;

use std::io::{BufRead as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, bail};
use invoice_router::cli::demo::sink::Sink;
use tokio::runtime::{Builder, Runtime};

/// A message that does not come within this time never does.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // One thread: the second core is the daemon's.
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    match arguments.as_slice() {
        ["sink"] => sink(&runtime),
        [what, rest @ ..] => {
            let load = portal::Load::parse(what, rest)?;
            let line = runtime.block_on(load.run())?;
            print(&line)
        }
        [] => bail!("expected accounts, invoices, document or sink"),
    }
}

fn sink(runtime: &Runtime) -> anyhow::Result<()> {
    let sink = runtime.block_on(Sink::start(None))?;
    print(&sink.address().to_string())?;
    for line in std::io::stdin().lock().lines() {
        let count = line?.trim().parse().context("expected a number")?;
        if !runtime.block_on(sink.wait_for(count, PATIENCE)) {
            bail!("only {} of {count} messages came", sink.count());
        }
        let bytes = sink.messages().last().map_or(0, |message| message.bytes);
        print(&bytes.to_string())?;
    }
    Ok(())
}

/// Standard output is a pipe to whoever measures.
fn print(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
