//! What commands print. A reader that leaves early (`… | head`) is not an error; a result that cannot be
//! written, as on a full disk, is: a script would take half of it for the whole.

use std::io::{self, Write as _};

use anyhow::Context as _;
use serde::Serialize;

use super::Failure;
use super::client::Answer;

/// Where a command's result goes: text for people, or one JSON value for scripts.
#[derive(Debug)]
pub(super) struct Out {
    pub(super) json: bool,
}

impl Out {
    /// Prints `value` for scripts, or else what `text` says.
    pub(super) fn show(
        &self,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        line(&if self.json {
            serde_json::to_string(value).map_err(anyhow::Error::new)?
        } else {
            text()
        })
    }

    /// Prints an answer of the daemon for scripts, as it came, or else what `text` makes of it.
    pub(super) fn answer<T>(
        &self,
        answer: &Answer<T>,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        let Answer { raw, value } = answer;
        if self.json { line(raw) } else { line(&text(value)) }
    }

    /// Prints what is going on, for people; a script wants the result only.
    pub(super) fn tell(&self, text: &str) {
        if !self.json {
            // The result itself will tell if nothing can be written.
            drop(line(text));
        }
    }
}

/// Prints a line to standard output.
fn line(text: &str) -> Result<(), Failure> {
    // A reader that has left needs no notice.
    stream(&format!("{}\n", text.trim_end())).map(drop)
}

/// Prints a part of a long output as it is. Returns whether it is still being read.
pub(super) fn stream(text: &str) -> Result<bool, Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to standard output")?,
    }
}

/// Prints a message to standard error.
pub(super) fn complain(text: &str) {
    drop(writeln!(io::stderr().lock(), "invoice-router: {text}"));
}

/// Lines up columns under their headings, two blanks apart.
pub(super) fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> String {
    let heading = heading.map(str::to_owned);
    let rows = || std::iter::once(&heading).chain(rows);
    let mut widths = [0; N];
    for row in rows() {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows() {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}
