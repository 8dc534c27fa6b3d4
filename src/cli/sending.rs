//! `dispatch`, `pause` and `resume`.

use super::out::table;
use super::words::{pause_in_words, relay_in_words, who, why};
use super::{Context, DispatchArguments, Failure, PauseArguments};
use crate::api::{
    Acceptance, DispatchRequest, Dispatched, DryRun, PauseAnswer, PauseRequest, Planned,
    ResumeAnswer, ResumeRequest,
};

pub(super) async fn dispatch(
    context: &Context,
    arguments: DispatchArguments,
) -> Result<(), Failure> {
    let DispatchArguments { dry_run, schedule, account, reason } = arguments;
    let request = DispatchRequest {
        dry_run,
        schedule: schedule.map(|schedule| schedule.to_string()),
        account: account.map(|account| account.to_string()),
        reason,
    };
    let relay = relay_in_words(&context.daemon()?).await;
    let with_relay = |words: String| match relay {
        Some(relay) => format!("{}\n{relay}", words.trim_end()),
        None => words,
    };
    let path = "/v1/dispatch";
    if dry_run {
        context.act(path, &request, |answer| with_relay(plan(answer))).await
    } else {
        context.act(path, &request, |answer| with_relay(released(answer))).await
    }
}

fn released(answer: &Dispatched) -> String {
    let waiting = answer.runs.iter().any(|run| run.waiting);
    match (waiting, pause_in_words(answer.paused.as_ref())) {
        (true, None) => "released: the waiting invoices are being sent".to_owned(),
        (true, Some(paused)) => format!("released, but {paused}"),
        (false, None) => "no invoice was waiting".to_owned(),
        (false, Some(paused)) => format!("no invoice was waiting; {paused}"),
    }
}

fn plan(answer: &DryRun) -> String {
    let all_paused = pause_in_words(answer.paused.as_ref());
    if answer.items.is_empty() {
        return match all_paused {
            None => "no invoice is waiting".to_owned(),
            Some(paused) => format!("no invoice is waiting; {paused}"),
        };
    }
    let mut rows = Vec::new();
    for Planned { account, recipient, paused, invoices } in &answer.items {
        let mut why = why(recipient);
        // What is said of all need not be said of each.
        if let (None, Some(paused)) = (&all_paused, pause_in_words(paused.as_ref())) {
            why = format!("{why}; but {paused}");
        }
        for invoice in invoices {
            rows.push([account.clone(), invoice.number.clone(), who(recipient), why.clone()]);
        }
    }
    if !answer.complete {
        rows.push(["…", "", "", ""].map(str::to_owned));
    }
    let table = table(["account", "number", "would go to", "why"], &rows);
    match all_paused {
        None => table,
        Some(paused) => format!("{table}\nnot sent now: {paused}"),
    }
}

pub(super) async fn pause(
    context: &Context,
    scope: &PauseArguments,
    reason: String,
) -> Result<(), Failure> {
    let text = |answer: &PauseAnswer| {
        let Named { what, of, meanwhile } = named(scope);
        let in_force = pause_in_words(answer.in_force.as_ref()).unwrap_or_default();
        if answer.result == Acceptance::Duplicate {
            format!("{of} was already paused: {in_force}")
        } else {
            format!("{what} is paused; {meanwhile}")
        }
    };
    context.act("/v1/pause", &request(scope, Some(reason)), text).await
}

pub(super) async fn resume(
    context: &Context,
    scope: &PauseArguments,
    forget_rejections: bool,
    reason: Option<String>,
) -> Result<(), Failure> {
    let request = ResumeRequest { scope: request(scope, reason), forget_rejections };
    let text = |answer: &ResumeAnswer| {
        let ResumeAnswer { now, ended, rejections_forgotten } = answer;
        let Named { what, of, .. } = named(scope);
        let was_paused = now.result != Acceptance::Duplicate;
        let said = match (was_paused, pause_in_words(now.in_force.as_ref())) {
            (true, None) => format!("{what} is resumed"),
            (true, Some(paused)) => format!("the pause of {of} has ended, but {paused}"),
            (false, None) => format!("{of} was not paused"),
            (false, Some(paused)) => format!("{of} was not paused, but {paused}"),
        };
        let forgotten =
            rejections_forgotten.map(|count| format!("; suppressions cleared: {count}"));
        let why = ended
            .as_ref()
            .filter(|ended| !ended.reason.is_empty())
            .map(|ended| format!("\nit was paused: {}", ended.reason));
        format!("{said}{}{}", forgotten.unwrap_or_default(), why.unwrap_or_default())
    };
    context.act("/v1/resume", &request, text).await
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
    let accepting = "events are still accepted";
    let (what, of, meanwhile) = match &scope.account {
        None if scope.removal => {
            let removal = "removal by retention";
            (removal.to_owned(), removal.to_owned(), "everything else continues")
        }
        None => ("all sending".to_owned(), "sending".to_owned(), accepting),
        Some(account) => {
            let what = format!("sending for account {account}");
            (what, format!("account {account}"), accepting)
        }
    };
    Named { what, of, meanwhile }
}

fn request(scope: &PauseArguments, reason: Option<String>) -> PauseRequest {
    let PauseArguments { account, removal } = scope;
    let account = account.as_ref().map(ToString::to_string);
    PauseRequest { account, removal: *removal, reason }
}
