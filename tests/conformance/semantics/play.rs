//! One sequence against the daemon and against the model, and the shortest part of it that they differ about.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::compare;
use crate::figures::answered;
use crate::house::{House, Reply};
use crate::model::Accepted;
use crate::request::{Request, What};
use crate::script::Script;
use crate::seeds::Figures;
use crate::setting::{Setting, beginning};
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
        let Self { after: _, what, expected, answered } = self;
        write!(f, "  {what}\n    expected {expected}\n    answered {answered}")
    }
}

/// Plays a sequence; `ground` is where its house is built, by this setting.
pub(crate) async fn play(
    script: &Script,
    ground: &Path,
    setting: &Setting,
    figures: &mut Figures,
) -> anyhow::Result<Option<Difference>> {
    let directory = tempfile::Builder::new()
        .prefix("invoice-router-semantics.")
        .tempdir_in(ground)
        .context("a directory for documents")?;
    let mut house = House::open(directory.path(), setting).await?;
    let difference = play_in(&mut house, script, figures).await;
    let closed = house.close().await;
    match difference {
        Some(difference) => Ok(Some(difference)),
        None => closed.map(|()| None),
    }
}

async fn play_in(house: &mut House, script: &Script, figures: &mut Figures) -> Option<Difference> {
    let Script { requests, answers, history } = script;
    let mut refused: BTreeMap<(&str, &str, &[u8]), &Value> = BTreeMap::new();
    let mut succeeded: BTreeSet<(&str, &str, &[u8])> = BTreeSet::new();
    for (index, (request, expected)) in requests.iter().zip(answers).enumerate() {
        let difference = match house.send(request).await {
            Ok(Reply { status, body }) => compare::of_answer(expected, (status, body)),
            Err(error) => Some((json!("an answer"), no_answer(&error))),
        };
        if let Some((expected, answered)) = difference {
            return Some(Difference {
                after: index + 1,
                what: "the last of them".to_owned(),
                expected,
                answered,
            });
        }
        answered(figures, expected);
        if let What::Event(bytes) = &request.what {
            let event = (request.sender.name(), request.id.as_str(), bytes.as_slice());
            let is_new =
                expected.body["result"] == "applied" || expected.body["result"] == "parked";
            if expected.status >= 300 {
                refused.insert(event, &expected.body["code"]);
            } else if is_new && let Some(code) = refused.get(&event) {
                figures.count("a refused event that succeeds later");
                match code.as_str() {
                    Some("version_gap") => figures.count("an event after its gap was filled"),
                    Some("document_missing") => {
                        figures.count("an invoice after its document was uploaded");
                    }
                    Some(_) | None => {}
                }
            }
            let is_remembered = expected.because.starts_with("a repeated");
            if expected.status < 300 && !succeeded.insert(event) && !is_remembered {
                figures.count("a forgotten id");
            }
        }
    }
    let now = requests.last().map_or_else(beginning, |last| last.at);
    let difference = look_around(house, history, now, figures).await;
    difference.map(|(what, expected, answered)| Difference {
        after: requests.len(),
        what,
        expected,
        answered,
    })
}

/// What stands in the place of an answer that did not come.
fn no_answer(error: &anyhow::Error) -> Value {
    json!(format!("none: {error:#}"))
}

/// A path, with what is expected and answered there.
type Seen = (String, Value, Value);

/// Compares the state that both have come to.
async fn look_around(
    house: &mut House,
    history: &[Accepted],
    now: DateTime<Utc>,
    figures: &mut Figures,
) -> Option<Seen> {
    let none = BTreeSet::new();
    for Look { path, status, body } in views::looks(history, now) {
        figures.count("looks at the state that came of them");
        let differs = match house.look(&path, now).await {
            Ok(reply) => compare::difference((status, body), (reply.status, reply.body), &none),
            Err(error) => Some((body, no_answer(&error))),
        };
        if let Some((expected, answered)) = differs {
            return Some((format!("GET {path}"), expected, answered));
        }
    }
    for list in views::lists(history) {
        let found = look_through(house, list, now, figures).await;
        if found.is_some() {
            return found;
        }
    }
    None
}

/// Compares a list, page by page.
async fn look_through(
    house: &mut House,
    List { path, items }: List,
    now: DateTime<Utc>,
    figures: &mut Figures,
) -> Option<Seen> {
    let sign = if path.contains('?') { '&' } else { '?' };
    let mut listed = Vec::new();
    let mut cursor = String::new();
    // A page may be short, and even empty, but there is no need for more pages than this.
    for _ in 0..items.len() + 2 {
        let page = format!("{path}{sign}limit={PAGE}{cursor}");
        figures.count("looks at the state that came of them");
        let page_expected =
            json!({"status": 200, "body": format!("a page of at most {PAGE} items")});
        let Reply { status, body } = match house.look(&page, now).await {
            Ok(reply) => reply,
            Err(error) => return Some((format!("GET {page}"), page_expected, no_answer(&error))),
        };
        let on_it = body["items"].as_array().filter(|on_it| on_it.len() <= PAGE);
        let next = body.get("next_cursor");
        let (Some(on_it), Some(next), 200) = (on_it, next, status) else {
            let answered = json!({"status": status, "body": body});
            return Some((format!("GET {page}"), page_expected, answered));
        };
        listed.extend_from_slice(on_it);
        if next.is_null() {
            let (wanted, answered) = ((200, Value::Array(items)), (200, Value::Array(listed)));
            let differs = compare::difference(wanted, answered, &BTreeSet::new());
            return differs.map(|(wanted, answered)| (format!("GET {path}"), wanted, answered));
        }
        // What is no text is no cursor, and will be refused.
        let next = next.as_str().unwrap_or_default();
        cursor = format!("&cursor={}", views::encoded(next));
    }
    let expected = json!(format!("a list of {} items", items.len()));
    let answered = json!("the list does not end");
    Some((format!("GET {path}"), expected, answered))
}

/// Leaves one request after the other out as long as there is a difference, and then one line of a batch after the
/// other. What cannot be played says nothing.
pub(crate) async fn shrink(
    script: Script,
    found: Difference,
    ground: &Path,
) -> (Script, Difference) {
    let setting = Setting::default();
    let mut shortest = script;
    let mut difference = found;
    let mut at = difference.after;
    while at > 0 {
        at -= 1;
        let others = shortest.requests[..difference.after].iter().enumerate();
        let others = others.filter(|(index, _)| *index != at);
        let shorter = Script::of(others.map(|(_, request)| request.clone()));
        let played = play(&shorter, ground, &setting, &mut Figures::default()).await;
        if let Ok(Some(found)) = played {
            shortest = shorter;
            difference = found;
            // What came before may be needed no more.
            at = difference.after;
        }
    }
    shortest = Script::of(shortest.requests[..difference.after].iter().cloned());
    for at in 0..shortest.requests.len() {
        let mut line = 0;
        while let Some(request) = without_line(&shortest.requests[at], line) {
            line += 1;
            let mut requests = shortest.requests.clone();
            requests[at] = request;
            let shorter = Script::of(requests);
            let played = play(&shorter, ground, &setting, &mut Figures::default()).await;
            if let Ok(Some(found)) = played {
                shortest = shorter;
                difference = found;
            }
        }
    }
    (shortest, difference)
}

/// A batch with nothing on one of its lines, so that the others keep their numbers.
fn without_line(request: &Request, line: usize) -> Option<Request> {
    let What::Batch(body) = &request.what else {
        return None;
    };
    let mut lines: Vec<&[u8]> = body.split(|byte| *byte == b'\n').collect();
    *lines.get_mut(line)? = b"";
    let what = What::Batch(lines.join(&b'\n'));
    Some(Request { what, ..request.clone() })
}
