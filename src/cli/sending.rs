//! `dispatch`, `pause` and `resume`.

use serde_json::{Value, json};

use super::out::{list, table, text};
use super::words::{pause_in_words, relay_in_words, who, why};
use super::{Context, DispatchArguments, Failure, PauseArguments};

pub(super) fn dispatch(context: &Context, arguments: &DispatchArguments) -> Result<(), Failure> {
    let DispatchArguments { dry_run, schedule, account, reason } = arguments;
    let mut body = json!({ "dry_run": dry_run });
    if let Some(schedule) = schedule {
        body["schedule"] = json!(schedule.as_str());
    }
    if let Some(account) = account {
        body["account"] = json!(account.as_str());
    }
    if let Some(reason) = reason {
        body["reason"] = json!(reason);
    }
    let admin = context.admin()?;
    let answer = admin.post("/v1/dispatch", &body)?;
    let relay = relay_in_words(&admin);
    context.out.show(&answer, |answer| {
        let mut words = if *dry_run { plan(answer) } else { released(answer) };
        if let Some(relay) = relay {
            words = format!("{}\n{relay}", words.trim_end());
        }
        words
    })?;
    Ok(())
}

fn released(answer: &Value) -> String {
    let is_waiting = |run: &Value| run["waiting"] == Value::Bool(true);
    let waiting = list(answer, "/runs").iter().any(is_waiting);
    match (waiting, pause_in_words(&answer["paused"])) {
        (true, None) => "released: what was waiting is being sent".to_owned(),
        (true, Some(paused)) => format!("released, but {paused}"),
        (false, None) => "nothing was waiting".to_owned(),
        (false, Some(paused)) => format!("nothing was waiting; {paused}"),
    }
}

fn plan(answer: &Value) -> String {
    let paused = pause_in_words(&answer["paused"]);
    let items = list(answer, "/items");
    if items.is_empty() {
        return match paused {
            None => "nothing is waiting".to_owned(),
            Some(paused) => format!("nothing is waiting; {paused}"),
        };
    }
    let mut rows = vec![["account", "number", "would go to", "why"].map(str::to_owned).to_vec()];
    for item in items {
        let recipient = &item["recipient"];
        let mut why = why(recipient);
        // What is said of all need not be said of each.
        if let (None, Some(paused)) = (&paused, pause_in_words(&item["paused"])) {
            why = format!("{why}; but {paused}");
        }
        for invoice in list(item, "/invoices") {
            let (account, number) = (text(item, "/account"), text(invoice, "/number"));
            rows.push(vec![account.to_owned(), number.to_owned(), who(recipient), why.clone()]);
        }
    }
    if answer["complete"] == Value::Bool(false) {
        rows.push(vec!["…".to_owned()]);
    }
    match paused {
        None => table(&rows),
        Some(paused) => format!("{}\nnothing of it is sent now: {paused}", table(&rows)),
    }
}

pub(super) fn pause(
    context: &Context,
    scope: &PauseArguments,
    reason: &str,
) -> Result<(), Failure> {
    let mut body = asked(scope);
    body["reason"] = json!(reason);
    let answer = context.admin()?.post("/v1/pause", &body)?;
    context.out.show(&answer, |answer| {
        let Named { what, of, meanwhile } = named(scope);
        let in_force = pause_in_words(&answer["in_force"]).unwrap_or_default();
        if text(answer, "/result") == "duplicate" {
            format!("{of} was paused before, and stays so: {in_force}")
        } else {
            format!("{what} is paused; {meanwhile}")
        }
    })?;
    Ok(())
}

pub(super) fn resume(
    context: &Context,
    scope: &PauseArguments,
    forget_rejections: bool,
    reason: Option<&str>,
) -> Result<(), Failure> {
    let mut body = asked(scope);
    if forget_rejections {
        body["forget_rejections"] = json!(true);
    }
    if let Some(reason) = reason {
        body["reason"] = json!(reason);
    }
    let answer = context.admin()?.post("/v1/resume", &body)?;
    context.out.show(&answer, |answer| {
        let Named { what, of, .. } = named(scope);
        let was_paused = text(answer, "/result") != "duplicate";
        let said = match (was_paused, pause_in_words(&answer["in_force"])) {
            (true, None) => format!("{what} goes on"),
            (true, Some(paused)) => format!("the pause of {of} has ended, but {paused}"),
            (false, None) => format!("there was no pause of {of}"),
            (false, Some(paused)) => format!("there was no pause of {of}, but {paused}"),
        };
        let forgotten = answer["rejections_forgotten"]
            .as_u64()
            .map(|count| format!("; rejected addresses that count as good again: {count}"));
        let why = match text(answer, "/ended/reason") {
            "" => String::new(),
            why => format!("\nit was paused: {why}"),
        };
        format!("{said}{}{why}", forgotten.unwrap_or_default())
    })?;
    Ok(())
}

/// A pause in words.
struct Named {
    /// What it stops.
    what: String,
    /// What it is of.
    of: String,
    /// What it does not stop.
    meanwhile: &'static str,
}

fn named(scope: &PauseArguments) -> Named {
    let accepting = "accepting goes on";
    let (what, of, meanwhile) = match &scope.account {
        None if scope.removal => {
            let removal = "the removal of what retention no longer covers";
            (removal.to_owned(), "the removal".to_owned(), "all else goes on")
        }
        None => ("all sending".to_owned(), "everything".to_owned(), accepting),
        Some(account) => {
            let what = format!("sending for account {account}");
            (what, format!("account {account}"), accepting)
        }
    };
    Named { what, of, meanwhile }
}

fn asked(scope: &PauseArguments) -> Value {
    let mut body = json!({});
    if let Some(account) = &scope.account {
        body["account"] = json!(account.as_str());
    }
    if scope.removal {
        body["removal"] = json!(true);
    }
    body
}
