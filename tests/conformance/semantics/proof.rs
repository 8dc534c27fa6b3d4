//! That the comparison can fail: a daemon with one thing wrong about it must answer otherwise than the model says, and
//! an answer that is another one in any place must be told from the right one.

use std::path::Path;

use anyhow::bail;
use chrono::{DateTime, SecondsFormat, TimeDelta};
use serde_json::{Value, json};

use crate::author::collect;
use crate::compare::{self, INSTANTS, OPEN, SETS};
use crate::model::Answer;
use crate::play;
use crate::seeds::{Figures, try_all};
use crate::setting::{Setting, beginning};
use crate::views::{self, Look};
use crate::{author, new_runtime};

/// Within so many sequences a wrong setting must have been seen.
const PATIENCE: u64 = 2_000;
/// Of so many sequences each answer is altered in each place.
const ALTERED: u64 = 15;

/// Proves both; says how.
pub(crate) fn prove(ground: &Path) -> anyhow::Result<String> {
    let altered = each_alteration()?;
    let settings = Setting::wrong();
    let tried = try_all(0..settings.len() as u64, "tests/conformance/semantics/run", |n, _| {
        let (name, setting) = &settings[usize::try_from(n)?];
        let runtime = new_runtime()?;
        for seed in 1..=PATIENCE {
            let script = author::write(seed);
            let figures = &mut Figures::default();
            if runtime.block_on(play::play(&script, ground, setting, figures))?.is_some() {
                return Ok(None);
            }
        }
        Ok(Some(format!(
            "{name} makes no difference within {PATIENCE} sequences: this proves nothing"
        )))
    });
    if let Some(wrong) = tried.wrong.first() {
        bail!("{wrong}");
    }
    Ok(format!(
        "the comparison can fail: {altered} alterations of right answers were seen, and {} wrong settings of the daemon",
        settings.len()
    ))
}

/// Alters what the model says of some sequences; says how often.
fn each_alteration() -> anyhow::Result<usize> {
    let mut count = 0;
    for seed in 1..=ALTERED {
        let script = author::write(seed);
        for answer in &script.answers {
            count += altered(answer)?;
        }
        let now = script.requests.last().map_or_else(beginning, |last| last.at);
        let looks = views::looks(&script.history, now).into_iter();
        let looks = looks.map(|Look { path: _, status, body }| (status, body));
        let lists = views::lists(&script.history).into_iter();
        let lists = lists.map(|list| (200, Value::Array(list.items)));
        for (status, body) in looks.chain(lists) {
            count += altered(&Answer::of(status, body))?;
        }
    }
    Ok(count)
}

/// Every alteration of an answer must be seen, and the answer itself be right.
fn altered(answer: &Answer) -> anyhow::Result<usize> {
    let right = as_answered(answer);
    let is_seen =
        |body: &Value| compare::of_answer(answer, (answer.status, body.clone())).is_some();
    if is_seen(&right) {
        bail!("{right} is not what is expected of itself: this proves nothing");
    }
    let wrong = alterations(&right);
    for body in &wrong {
        if !is_seen(body) {
            bail!("{body} passes for {right}: this proves nothing");
        }
    }
    if compare::of_answer(answer, (answer.status + 1, right)).is_none() {
        bail!("a status passes for another: this proves nothing");
    }
    Ok(wrong.len() + 1)
}

/// A body that is right.
fn as_answered(answer: &Answer) -> Value {
    if !answer.lines.is_empty() {
        let line = |(number, answer): &(usize, Answer)| json!({"line": number, "status": answer.status, "body": as_answered(answer)});
        return answer.lines.iter().map(line).collect();
    }
    let mut body = answer.body.clone();
    if let Some(place) = answer.broken.first() {
        body["errors"] = json!([{"pointer": place, "expected": "something else"}]);
    }
    body
}

/// A body with one thing wrong about it, for each thing. No member's name has to be escaped.
fn alterations(right: &Value) -> Vec<Value> {
    let mut places = vec![String::new()];
    collect(right, "", &mut places);
    let mut wrong = vec![Value::Null];
    for place in places {
        let (parent, name) = place.rsplit_once('/').unwrap_or_default();
        let mut less = right.clone();
        match less.pointer_mut(parent).filter(|_| !place.is_empty()) {
            Some(Value::Object(members)) => drop(members.remove(name)),
            Some(Value::Array(items)) => drop(items.remove(name.parse().unwrap_or_default())),
            Some(_) | None => {}
        }
        wrong.extend((less != *right).then_some(less));
        for other in others(name, right.pointer(&place).unwrap_or(&Value::Null)) {
            let mut body = right.clone();
            if let Some(value) = body.pointer_mut(&place) {
                *value = other;
            }
            wrong.push(body);
        }
    }
    wrong
}

/// Values that are not this one, of this name.
fn others(name: &str, value: &Value) -> Vec<Value> {
    match value {
        Value::Null => vec![json!("x")],
        Value::Bool(value) => vec![json!(!value), Value::Null],
        Value::Number(number) => vec![json!(number.as_i64().unwrap_or_default() + 1), Value::Null],
        Value::String(_) if OPEN.contains(&name) => vec![json!(""), json!(7), Value::Null],
        Value::String(text) => {
            let instant = DateTime::parse_from_rfc3339(text).ok();
            let later = instant
                .filter(|_| INSTANTS.contains(&name))
                .map(|at| at.to_utc() + TimeDelta::milliseconds(1));
            let other = match later {
                Some(later) => later.to_rfc3339_opts(SecondsFormat::Millis, true),
                None => format!("{text}x"),
            };
            vec![json!(other), Value::Null]
        }
        Value::Array(items) => {
            let more = [items.as_slice(), &[json!("x")]].concat();
            let reversed: Vec<&Value> = items.iter().rev().collect();
            let mut others = vec![json!(more), Value::Null];
            if !SETS.contains(&name) && reversed != items.iter().collect::<Vec<_>>() {
                others.push(json!(reversed));
            }
            others
        }
        Value::Object(members) => {
            let mut more = members.clone();
            more.insert("stray".to_owned(), Value::Null);
            vec![Value::Object(more), Value::Null]
        }
    }
}
