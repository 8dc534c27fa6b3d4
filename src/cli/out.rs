//! What commands print. A reader that leaves early (`… | head`) is not an error; a result that cannot be
//! written, as on a full disk, is: a script would take half of it for the whole.

use std::io::{self, Write as _};

use anyhow::Context as _;
use serde_json::Value;

/// Where a command's result goes: text for people, or one JSON value for scripts.
#[derive(Debug)]
pub(super) struct Out {
    json: bool,
}

impl Out {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints `value` for scripts, or else what `text` makes of it.
    pub(super) fn show(
        &self,
        value: &Value,
        text: impl FnOnce(&Value) -> String,
    ) -> anyhow::Result<()> {
        if self.json { line(&value.to_string()) } else { line(&text(value)) }
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
pub(super) fn line(text: &str) -> anyhow::Result<()> {
    // If nobody reads it, there is nobody to tell, either.
    stream(&format!("{}\n", text.trim_end())).map(drop)
}

/// Prints a part of a long output as it is. Says whether somebody still reads it.
pub(super) fn stream(text: &str) -> anyhow::Result<bool> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

/// Prints a message to standard error.
pub(super) fn complain(text: &str) {
    drop(writeln!(io::stderr().lock(), "invoice-router: {text}"));
}

/// Lines up columns, two blanks apart. The first row is the heading.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}", width = *width))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A member of a JSON object as text; empty if it is absent or `null`.
pub(super) fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The members of an array; none if it is absent.
pub(super) fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
