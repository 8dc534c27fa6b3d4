//! One sequence against the daemon and against the model, and the shortest part of it that they differ about.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::compare;
use crate::figures::Figures;
use crate::house::{House, Reply};
use crate::model::Accepted;
use crate::request::What;
use crate::script::Script;
use crate::setting::beginning;
use crate::views::{self, List, Look};

/// Items on a page of a list: few, so that there are several.
const PAGE: usize = 2;

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
    for list in views::lists(history) {
        if let Some(found) = look_through(house, list, now, figures).await? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Compares a list, page by page.
async fn look_through(
    house: &mut House,
    List { path, items }: List,
    now: DateTime<Utc>,
    figures: &mut Figures,
) -> anyhow::Result<Option<(String, Value, Value)>> {
    let sign = if path.contains('?') { '&' } else { '?' };
    let mut listed = Vec::new();
    let mut cursor = String::new();
    // A page may be short, and even empty, but there is no need for more pages than this.
    for _ in 0..items.len() + 2 {
        let page = format!("{path}{sign}limit={PAGE}{cursor}");
        let Reply { status, body } = house.look(&page, now).await?;
        figures.looks += 1;
        let on_it = body["items"].as_array().filter(|on_it| on_it.len() <= PAGE);
        let next = body.get("next_cursor");
        let (Some(on_it), Some(next), 200) = (on_it, next, status) else {
            let expected =
                json!({"status": 200, "body": format!("a page of at most {PAGE} items")});
            let answered = json!({"status": status, "body": body});
            return Ok(Some((format!("GET {page}"), expected, answered)));
        };
        listed.extend_from_slice(on_it);
        if next.is_null() {
            let (wanted, answered) = ((200, Value::Array(items)), (200, Value::Array(listed)));
            let differs = compare::difference(wanted, answered, &BTreeSet::new());
            return Ok(differs.map(|(wanted, answered)| (format!("GET {path}"), wanted, answered)));
        }
        // What is no text is no cursor, and will be refused.
        let next = next.as_str().unwrap_or_default();
        cursor = format!("&cursor={}", views::encoded(next));
    }
    let expected = json!(format!("a list of {} items", items.len()));
    let answered = json!("the list does not end");
    Ok(Some((format!("GET {path}"), expected, answered)))
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
