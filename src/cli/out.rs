//! What commands print. A reader that leaves early (`… | head`) is not an error.

use std::io::{self, Write as _};

use serde_json::Value;

/// Where a command's result goes: text for people, or one JSON value for scripts.
pub(super) struct Out {
    json: bool,
}

impl Out {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints `value` for scripts, or else what `text` makes of it.
    pub(super) fn show(&self, value: &Value, text: impl FnOnce(&Value) -> String) {
        if self.json {
            line(&value.to_string());
        } else {
            line(&text(value));
        }
    }
}

/// Prints a line to standard output.
pub(super) fn line(text: &str) {
    let mut stdout = io::stdout().lock();
    // Nobody reads it: there is nobody to tell, either.
    drop(writeln!(stdout, "{}", text.trim_end()).and_then(|()| stdout.flush()));
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
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The members of an array; none if it is absent.
pub(super) fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}
