//! Many changes at once: `application/x-ndjson`, one JSON text a line.
//!
//! Each line is judged on its own, in order, and answered by a line; a refused line does not affect the others.
//! Lines are committed side by side, a bounded number ahead of the answer that is awaited, so that a batch costs
//! few syncs of the disk and never more than a small part of the store's queue.

use std::collections::VecDeque;

use hyper::StatusCode;

use super::problem::{Code, Fault, Problem};
use super::request::{Reply, RequestContext};
use crate::api::{AccountAnswer, LineAnswer, LineBody};

/// What such a body is called.
pub(super) const MEDIA_TYPE: &str = "application/x-ndjson";
/// Most lines of a body.
const LINES: usize = 1000;
/// Largest body in bytes.
const BYTES: usize = 8 * 1024 * 1024;
/// So many lines are under way before the first of them has to be answered.
const AHEAD: usize = 64;

/// A line with its number, from 1.
pub(super) type Line<'b> = (usize, &'b [u8]);

/// How large a body may be, in bytes, if `most` is the limit of others.
pub(super) fn body_bytes(most: usize) -> usize {
    most.min(BYTES)
}

/// The lines of a body but for the blank ones, which keep their numbers.
pub(super) fn lines(body: &[u8]) -> Result<Vec<Line<'_>>, Problem> {
    let numbered = body.split(|&byte| byte == b'\n').zip(1..);
    let lines: Vec<Line<'_>> = numbered
        .map(|(line, number)| (number, line.trim_ascii()))
        .filter(|(_, line)| !line.is_empty())
        .take(LINES + 1)
        .collect();
    match lines.len() {
        0 => {
            let expected = "at least one line";
            Err(Problem::invalid(vec![Fault::at("", expected)]))
        }
        1..=LINES => Ok(lines),
        _ => Err(Problem::new(Code::TooLarge, format!("a body may have at most {LINES} lines"))),
    }
}

/// Answers each line: `begin` sets its work going, `end` waits for it.
pub(super) async fn answer<'b, W, F>(
    request: &mut RequestContext,
    lines: Vec<Line<'b>>,
    mut begin: impl FnMut(Line<'b>) -> W,
    end: impl Fn(W) -> F,
) -> Result<Reply, Problem>
where
    F: Future<Output = Result<AccountAnswer, Problem>>,
{
    let mut answers = Vec::new();
    let mut accepted = 0;
    let count = lines.len();
    let mut under_way = VecDeque::with_capacity(AHEAD);
    let mut lines = lines.into_iter();
    loop {
        while under_way.len() < AHEAD
            && let Some(line) = lines.next()
        {
            let (number, _) = line;
            under_way.push_back((number, begin(line)));
        }
        let Some((number, work)) = under_way.pop_front() else {
            break;
        };
        let answer = end(work).await;
        accepted += usize::from(answer.is_ok());
        let line = line_answer(number, answer, &request.request_id);
        serde_json::to_writer(&mut answers, &line)
            .map_err(|error| Problem::internal(error.to_string()))?;
        answers.push(b'\n');
    }
    request.log_fields.lines = Some((count, accepted));
    Ok(Reply::text(MEDIA_TYPE, answers))
}

fn line_answer(
    line: usize,
    answer: Result<AccountAnswer, Problem>,
    request_id: &str,
) -> LineAnswer {
    let (status, body) = match answer {
        Ok(answer) => (StatusCode::OK, LineBody::Accepted(Box::new(answer))),
        Err(problem) => {
            let status = problem.code.status();
            if status.is_server_error() {
                let cause = problem.cause.as_deref();
                tracing::error!(code = problem.code.as_str(), cause, "a line of a batch failed");
            }
            (status, LineBody::Refused(Box::new(problem.told(request_id))))
        }
    };
    LineAnswer { line, status: status.as_u16(), body }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_lines_are_passed_over_and_keep_their_numbers() {
        let found = lines(b"{}\n\n  \r\n [1]\r\n").unwrap();
        assert_eq!(found, [(1, b"{}".as_slice()), (4, b"[1]")]);
    }
}
