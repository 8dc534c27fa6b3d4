//! `import` and `export`: all accounts as JSON Lines, each line the data of an `account.updated`.
//!
//! Neither holds more than a part of the file at a time. An import can be repeated from the beginning: what is stored
//! already is a duplicate, and what is newer stays. With `--accept-versions` what the portal has sent in between
//! would be undone.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _, Read as _};
use std::iter::Peekable;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::{Deserialize, Serialize};

use super::client::{Client, left_out, segment, unreadable};
use super::{Context, Failure, out};
use crate::api::{
    Acceptance, AccountPage, Code, Contact, Fault, LineAnswer, LineBody, Login, Name, Problem,
};
use crate::http::client::Method;

/// Lines that the daemon is sent at once; it takes up to a thousand.
const LINES: usize = 500;
/// Bytes that the daemon is sent at once, unless its configuration allows less.
const BYTES: usize = 4 * 1024 * 1024;
/// How often, and after which pause each time, lines are sent again that the daemon had no time for.
const TRIES: usize = 30;
const PAUSE: Duration = Duration::from_secs(1);
/// What some programs put before the first line of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
/// How many refused lines the result lists; all of them are printed on the way.
const NAMED: usize = 100;

/// A line of a file.
#[derive(Debug)]
struct Line {
    /// From 1.
    number: usize,
    /// Without its end.
    bytes: Vec<u8>,
}

/// What became of the lines so far.
#[derive(Debug, Default, Serialize)]
struct Tally {
    applied: u64,
    duplicate: u64,
    stale: u64,
    refused: u64,
    /// The fault was the daemon's.
    failed: u64,
    #[serde(rename = "refused_lines")]
    named: Vec<RefusedLine>,
}

#[derive(Debug, Serialize)]
struct RefusedLine {
    line: usize,
    code: Name<Code>,
    detail: String,
    errors: Vec<Fault>,
}

pub(super) async fn import(
    context: &Context,
    path: &Path,
    accept_versions: bool,
    reason: Option<&str>,
) -> Result<(), Failure> {
    let reason = reason.map_or_else(String::new, |reason| format!("&reason={}", segment(reason)));
    let target = format!("/v1/import?accept_versions={accept_versions}{reason}");
    let daemon = context.daemon()?;
    let most = BYTES.min(context.load()?.webhook.limits.event_body_bytes);
    let (input, bytes) = open(path)?;
    let progress = bar(bytes, bytes.map_or(OF_BYTES, |_| OF_ALL_BYTES));
    let mut lines = lines(input, most).peekable();
    let mut tally = Tally::default();
    let ended = async {
        loop {
            let batch = batch(&mut lines, most);
            let batch = batch.with_context(|| format!("cannot read {}", path.display()))?;
            if batch.is_empty() {
                return Ok(());
            }
            let taken: usize = batch.iter().map(|line| line.bytes.len() + 1).sum();
            send(&daemon, &target, batch, &mut tally, &progress).await?;
            progress.inc(u64::try_from(taken).unwrap_or(u64::MAX));
        }
    };
    let ended: Result<(), Failure> = ended.await;
    progress.finish_and_clear();
    // Show what was imported, whatever ended the import.
    let said = context.out.show(&tally, || tally.describe(accept_versions));
    ended.and(said)?;
    let Tally { refused, failed, .. } = tally;
    match (refused, failed) {
        (0, 0) => Ok(()),
        (_, 0) => Err(Failure::Refused(format!("{refused} lines were refused"))),
        (_, _) => Err(Failure::Failed(anyhow!("the daemon failed at {failed} lines; see its log"))),
    }
}

/// Sends a batch until the daemon has had the time for each of its lines.
async fn send(
    daemon: &Client,
    target: &str,
    mut batch: Vec<Line>,
    tally: &mut Tally,
    progress: &ProgressBar,
) -> Result<(), Failure> {
    for _ in 0..TRIES {
        let body = batch.iter().flat_map(|line| [&line.bytes, &b"\n"[..]].concat()).collect();
        let headers = [("content-type", "application/x-ndjson")];
        let answers = daemon.exchange(Method::POST, target, &headers, body).await?;
        let answers = serde_json::Deserializer::from_slice(&answers).into_iter();
        let answers: Vec<LineAnswer> = answers.collect::<Result<_, _>>().map_err(unreadable)?;
        if answers.len() != batch.len() {
            let (lines, answers) = (batch.len(), answers.len());
            return Err(Failure::Failed(anyhow!("{lines} lines got {answers} answers")));
        }
        batch = tally.take(batch, answers, progress)?;
        if batch.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    let first = batch.first().map_or(0, |line| line.number);
    Err(Failure::Failed(anyhow!(
        "the daemon is too busy for line {first} and later ones; repeat the import later"
    )))
}

impl Tally {
    /// Counts what became of these lines. Returns those that the daemon had no time for, with all after them, in their
    /// order: of an account that occurs twice the last line counts.
    fn take(
        &mut self,
        lines: Vec<Line>,
        answers: Vec<LineAnswer>,
        progress: &ProgressBar,
    ) -> Result<Vec<Line>, Failure> {
        let mut left: Vec<Line> = Vec::new();
        let mut stopped = None;
        for (line, answer) in lines.into_iter().zip(answers) {
            match answer.body {
                _ if !left.is_empty() => left.push(line),
                LineBody::Accepted(answer) => match answer.result.known() {
                    Some(Acceptance::Duplicate) => self.duplicate += 1,
                    Some(Acceptance::Stale) => self.stale += 1,
                    Some(Acceptance::Applied | Acceptance::Parked | Acceptance::Stored) | None => {
                        self.applied += 1;
                    }
                },
                LineBody::Refused(problem) if problem.code == Code::Busy => left.push(line),
                // No rule refuses it: the disk is full, or the daemon stops. One after it may have been a duplicate.
                LineBody::Refused(problem) if answer.status == 503 => {
                    stopped.get_or_insert((line.number, problem.detail));
                }
                LineBody::Refused(problem) => self.refuse(line.number, *problem, progress),
            }
        }
        match stopped {
            None => Ok(left),
            Some((line, why)) => Err(Failure::Failed(anyhow!(
                "line {line} and later ones were not imported: {why}; repeat the import later"
            ))),
        }
    }

    fn refuse(&mut self, line: usize, problem: Problem, progress: &ProgressBar) {
        let Problem { code, detail, errors, .. } = problem;
        if code == Code::Internal {
            self.failed += 1;
        } else {
            self.refused += 1;
        }
        progress.suspend(|| {
            out::complain(&format!("line {line}: {code}: {detail}{}", places(&errors)));
        });
        if self.named.len() < NAMED {
            self.named.push(RefusedLine { line, code, detail, errors });
        }
    }

    fn describe(&self, accept_versions: bool) -> String {
        let Self { applied, duplicate, stale, refused, failed, named: _ } = self;
        let mut words = format!(
            "applied: {applied} · unchanged: {duplicate} · older than the stored version: {stale} · refused: {refused}"
        );
        if *failed > 0 {
            words = format!("{words} · failed: {failed}");
        }
        if *stale > 0 && !accept_versions {
            words.push_str(
                "\nIf the portal was restored from a backup and its older versions are right, \
                 import them with --accept-versions.",
            );
        }
        words
    }
}

/// Where a line is wrong, in brackets.
fn places(errors: &[Fault]) -> String {
    let place = |error: &Fault| format!("{}: {}", error.place.as_str(), error.expected);
    let places: Vec<String> = errors.iter().map(place).collect();
    if places.is_empty() { String::new() } else { format!(" ({})", places.join("; ")) }
}

/// Where the lines come from, and how many bytes there are, if that is known.
type Input = (Box<dyn BufRead>, Option<u64>);

fn open(path: &Path) -> Result<Input, Failure> {
    if path == Path::new("-") {
        return Ok((Box::new(io::stdin().lock()), None));
    }
    let read = || -> io::Result<Input> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let bytes = metadata.is_file().then_some(metadata.len());
        Ok((Box::new(BufReader::new(file)), bytes))
    };
    Ok(read().with_context(|| format!("cannot read {}", path.display()))?)
}

/// The next batch that the daemon takes; empty at the end.
fn batch(
    lines: &mut Peekable<impl Iterator<Item = anyhow::Result<Line>>>,
    most: usize,
) -> anyhow::Result<Vec<Line>> {
    let mut batch: Vec<Line> = Vec::new();
    let mut bytes = 0;
    // What comes before a line that cannot be read is sent first.
    let mut fits = |next: &anyhow::Result<Line>, is_first| {
        bytes += next.as_ref().map_or(most, |line| line.bytes.len()) + 1;
        is_first || bytes <= most
    };
    while batch.len() < LINES
        && let Some(next) = lines.next_if(|next| fits(next, batch.is_empty()))
    {
        batch.push(next?);
    }
    Ok(batch)
}

/// The lines of a file that are not blank. One that is too long to be sent is an error.
fn lines(mut input: impl BufRead, most: usize) -> impl Iterator<Item = anyhow::Result<Line>> {
    let mut read = move |number: usize| -> anyhow::Result<Option<Line>> {
        let mut bytes = Vec::new();
        let limit = u64::try_from(most).unwrap_or(u64::MAX);
        if input.by_ref().take(limit).read_until(b'\n', &mut bytes)? == 0 {
            return Ok(None);
        }
        if number == 1 && bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.drain(..BYTE_ORDER_MARK.len());
        }
        let has_ended = bytes.pop_if(|last| *last == b'\n').is_some();
        ensure!(
            has_ended || bytes.len() < most,
            "line {number} is longer than {most} bytes; the lines before it were imported"
        );
        Ok(Some(Line { number, bytes }))
    };
    let is_blank = |line: &Line| line.bytes.trim_ascii().is_empty();
    (1..)
        .map_while(move |number| read(number).transpose())
        .filter(move |line| !line.as_ref().is_ok_and(is_blank))
}

pub(super) async fn export(context: &Context) -> Result<(), Failure> {
    let daemon = context.daemon()?;
    let progress = bar(None, OF_ACCOUNTS);
    let mut path = "/v1/accounts?limit=500".to_owned();
    let mut damaged = 0;
    let ended = async {
        loop {
            let page: AccountPage<Data> = daemon.get(&path).await?.value;
            damaged += page.damaged;
            progress.set_length(page.total);
            let mut lines = String::new();
            for account in &page.items {
                lines.push_str(&serde_json::to_string(account).map_err(anyhow::Error::new)?);
                lines.push('\n');
            }
            // Whoever reads may have enough.
            if !out::stream(&lines)? {
                return Ok(());
            }
            progress.inc(u64::try_from(page.items.len()).unwrap_or(u64::MAX));
            let Some(cursor) = page.next_cursor else { return Ok(()) };
            path = format!("/v1/accounts?limit=500&cursor={}", segment(&cursor));
        }
    };
    let ended: Result<(), Failure> = ended.await;
    progress.finish_and_clear();
    ended?;
    if damaged == 0 { Ok(()) } else { Err(Failure::Failed(anyhow!(left_out(damaged)))) }
}

/// The data of an `account.updated` that says what is stored: the members of an account that are not derived from
/// others.
#[derive(Serialize, Deserialize)]
struct Data {
    account: String,
    version: u64,
    name: Option<String>,
    language: Option<String>,
    schedule: String,
    main_contact: Contact,
    sub_users: Vec<SubUserData>,
    billing_contact: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    closed: bool,
}

#[derive(Serialize, Deserialize)]
struct SubUserData {
    id: String,
    group: String,
    contact: Contact,
    login: Option<Login>,
}

/// A progress bar on a terminal; scripts and logs get none. What it writes goes to standard error.
fn bar(length: Option<u64>, count: &str) -> ProgressBar {
    // Not between the lines of an export on the terminal.
    let target = if io::stderr().is_terminal() && (length.is_some() || !io::stdout().is_terminal())
    {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let progress = ProgressBar::with_draw_target(length, target);
    // The templates are constant, and a test reads them.
    let style = ProgressStyle::with_template(&template(count));
    progress.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    progress
}

/// What a bar counts.
const OF_ALL_BYTES: &str = "{bytes}/{total_bytes}";
const OF_BYTES: &str = "{bytes}";
const OF_ACCOUNTS: &str = "{pos}/{len} accounts";

fn template(count: &str) -> String {
    format!("{{elapsed_precise}} {{wide_bar}} {count} {{eta}}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn numbers(batch: &[Line]) -> Vec<usize> {
        batch.iter().map(|line| line.number).collect()
    }

    #[test]
    fn a_file_is_cut_into_batches_that_leave_no_line_out() {
        let many = "{}\n".repeat(LINES + 1);
        let first: Vec<usize> = (1..=LINES).collect();
        for (text, most, expected, error) in [
            ("{}\n\n[1]\n[1,2]\n[3]", 9, vec![&[1, 3][..], &[4], &[5], &[]], ""),
            (&many, BYTES, vec![&first, &[LINES + 1], &[]], ""),
            ("{}\n[\"a long line\"]\n", 10, vec![&[1]], "line 2 is longer"),
        ] {
            let mut lines = lines(text.as_bytes(), most).peekable();
            for expected in expected {
                assert_eq!(numbers(&batch(&mut lines, most).unwrap()), expected);
            }
            let end = batch(&mut lines, most).err().map_or_else(String::new, |e| e.to_string());
            assert!(end.starts_with(error) && end.is_empty() == error.is_empty(), "{end}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line() {
        let mut lines = lines("\u{FEFF}{}\n".as_bytes(), BYTES).peekable();
        assert_eq!(batch(&mut lines, BYTES).unwrap()[0].bytes, b"{}");
    }

    #[test]
    fn a_line_that_the_daemon_fails_at_keeps_none_after_it_from_being_counted() {
        let answer = |status: u16, body: serde_json::Value| -> LineAnswer {
            serde_json::from_value(json!({"line": 1, "status": status, "body": body})).unwrap()
        };
        let applied = || {
            let reason = json!({"rule": "no_billing_contact", "account_version": 1, "since": "2026-11-23T08:00:00Z"});
            let recipient =
                json!({"kind": "main_contact", "name": "Erika", "addresses": [], "reason": reason});
            answer(
                200,
                json!({"result": "applied", "account": "K", "version": 1, "recipient": recipient, "warnings": [], "in_flight": []}),
            )
        };
        let problem = |status: u16, code: &str, detail: &str| {
            answer(
                status,
                json!({"type": "", "title": "", "status": status, "detail": detail, "code": code, "retryable": true, "request_id": ""}),
            )
        };
        let busy = || problem(503, "busy", "");
        let full = problem(503, "disk_full", "no room");
        let failed = problem(500, "internal", "");
        let refused = problem(422, "invalid", "");
        let lines = || (1..=4).map(|number| Line { number, bytes: Vec::new() }).collect();
        let progress = ProgressBar::hidden();
        let mut tally = Tally::default();
        let left = tally.take(lines(), vec![applied(), failed, refused, applied()], &progress);
        assert!(left.unwrap().is_empty());
        assert_eq!((tally.applied, tally.failed, tally.refused), (2, 1, 1));
        let left = tally.take(lines(), vec![applied(), busy(), applied(), busy()], &progress);
        assert_eq!(numbers(&left.unwrap()), [2, 3, 4]);
        assert_eq!(tally.applied, 3);
        let stopped = tally.take(lines(), vec![applied(), full, applied(), applied()], &progress);
        let told = stopped.unwrap_err().to_string();
        assert!(told.starts_with("line 2 and later ones were not imported: no room"), "{told}");
        assert_eq!(tally.applied, 6, "applied lines are counted");
    }

    #[test]
    fn the_words_of_a_bar_are_a_template() {
        for count in [OF_ALL_BYTES, OF_BYTES, OF_ACCOUNTS] {
            let style = ProgressStyle::with_template(&template(count));
            assert!(style.is_ok(), "{count}");
        }
    }
}
