//! One sequence against the daemon and against the model, and the shortest part of it that they differ about.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::compare;
use crate::figures::Figures;
use crate::house::{House, Reply};
use crate::model::Accepted;
use crate::request::What;
use crate::script::Script;
use crate::setting::beginning;
use crate::views::{self, List, Look};

/// Items on a page of a list: few, so that there are several.
const PAGE: usize = 3;

/// What daemon and model differ about.
#[derive(Debug, Clone)]
pub(crate) struct Difference {
    /// After so many requests.
    after: usize,
    /// The request, or the path that was looked at.
    what: String,
    expected: Value,
    answered: Value,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            after: _,
            what,
            expected,
            answered,
        } = self;
        write!(
            f,
            "  {what}\n    expected {expected}\n    answered {answered}"
        )
    }
}

/// Plays a sequence; `ground` is where its house is built.
pub(crate) async fn play(
    script: &Script,
    ground: &Path,
    figures: &mut Figures,
) -> anyhow::Result<Option<Difference>> {
    let directory = tempfile::Builder::new()
        .prefix("invoice-router-semantics.")
        .tempdir_in(ground)
        .context("a directory for documents")?;
    let mut house = House::open(directory.path()).await?;
    let difference = play_in(&mut house, script, figures).await?;
    house.close().await?;
    Ok(difference)
}

async fn play_in(
    house: &mut House,
    script: &Script,
    figures: &mut Figures,
) -> anyhow::Result<Option<Difference>> {
    let Script {
        requests,
        answers,
        history,
    } = script;
    let mut refused: BTreeSet<(&str, &str, &[u8])> = BTreeSet::new();
    let mut succeeded = refused.clone();
    for (index, (request, expected)) in requests.iter().zip(answers).enumerate() {
        let Reply { status, body } = house.send(request).await?;
        let wanted = (expected.status, expected.body.clone());
        let difference = compare::difference(wanted, (status, body), &expected.broken);
        if let Some((expected, answered)) = difference {
            return Ok(Some(Difference {
                after: index + 1,
                what: "the last of them".to_owned(),
                expected,
                answered,
            }));
        }
        figures.answered(expected);
        if let What::Event(bytes) = &request.what {
            let event = (request.sender.name(), request.id.as_str(), bytes.as_slice());
            let is_new =
                expected.body["result"] == "applied" || expected.body["result"] == "parked";
            if status >= 300 {
                refused.insert(event);
            } else if is_new && refused.contains(&event) {
                figures.count("a refused event that succeeds later");
            }
            let is_remembered = expected.because.starts_with("a repeated");
            if status < 300 && !succeeded.insert(event) && !is_remembered {
                figures.count("a forgotten id");
            }
        }
    }
    let now = requests.last().map_or_else(beginning, |last| last.at);
    let difference = look_around(house, history, now, figures).await?;
    Ok(difference.map(|(what, expected, answered)| Difference {
        after: requests.len(),
        what,
        expected,
        answered,
    }))
}

/// Compares the state that both have come to.
async fn look_around(
    house: &mut House,
    history: &[Accepted],
    now: DateTime<Utc>,
    figures: &mut Figures,
) -> anyhow::Result<Option<(String, Value, Value)>> {
    let none = BTreeSet::new();
    for Look { path, status, body } in views::looks(history, now) {
        let reply = house.look(&path, now).await?;
        figures.looks += 1;
        let answered = (reply.status, reply.body);
        if let Some((expected, answered)) = compare::difference((status, body), answered, &none) {
            return Ok(Some((format!("GET {path}"), expected, answered)));
        }
    }
    for List { path, items } in views::lists(history) {
        let mut answered = Vec::new();
        let mut cursor = String::new();
        // More pages than there are items would be an endless list.
        for _ in 0..items.len() + 2 {
            let sign = if path.contains('?') { '&' } else { '?' };
            let page = format!("{path}{sign}limit={PAGE}{cursor}");
            let mut page = house.look(&page, now).await?.body;
            figures.looks += 1;
            if let Some(items) = page["items"].as_array_mut() {
                answered.append(items);
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={}", views::encoded(next)),
                None => break,
            }
        }
        let (wanted, answered) = ((200, Value::Array(items)), (200, Value::Array(answered)));
        if let Some((expected, answered)) = compare::difference(wanted, answered, &none) {
            return Ok(Some((format!("GET {path}"), expected, answered)));
        }
    }
    Ok(None)
}

/// Leaves one request after the other out as long as there is a difference.
pub(crate) async fn shrink(
    script: Script,
    found: Difference,
    ground: &Path,
) -> anyhow::Result<(Script, Difference)> {
    let mut shortest = script;
    let mut difference = found;
    let mut at = difference.after;
    while at > 0 {
        at -= 1;
        let others = shortest.requests[..difference.after].iter().enumerate();
        let others = others.filter(|(index, _)| *index != at);
        let shorter = Script::of(others.map(|(_, request)| request.clone()));
        if let Some(found) = play(&shorter, ground, &mut Figures::default()).await? {
            shortest = shorter;
            difference = found;
            // What came before may be needed no more.
            at = difference.after;
        }
    }
    let needed = shortest.requests[..difference.after].iter().cloned();
    Ok((Script::of(needed), difference))
}
