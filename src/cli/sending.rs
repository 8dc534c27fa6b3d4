//! `dispatch`, `pause` and `resume`.

use serde_json::{Value, json};

use super::out::{list, table, text};
use super::words::{who, why};
use super::{Context, DispatchArguments, Failure};
use crate::domain::id::AccountId;

pub(super) fn dispatch(context: &Context, arguments: &DispatchArguments) -> Result<(), Failure> {
    let DispatchArguments {
        dry_run,
        schedule,
        account,
    } = arguments;
    let mut body = json!({ "dry_run": dry_run });
    if let Some(schedule) = schedule {
        body["schedule"] = json!(schedule.as_str());
    }
    if let Some(account) = account {
        body["account"] = json!(account.as_str());
    }
    let answer = context.admin()?.post("/v1/dispatch", &body)?;
    context.out.show(&answer, |answer| {
        if *dry_run {
            plan(answer)
        } else {
            "released: what was waiting is being sent".to_owned()
        }
    })?;
    Ok(())
}

fn plan(answer: &Value) -> String {
    let items = list(answer, "/items");
    if items.is_empty() {
        return "nothing is waiting".to_owned();
    }
    let mut rows = vec![
        ["account", "number", "would go to", "why"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for item in items {
        let recipient = &item["recipient"];
        let mut why = why(recipient);
        if let Some(reason) = item["paused"]["reason"].as_str() {
            why = format!("{why}; but its account is paused: {reason}");
        }
        for invoice in list(item, "/invoices") {
            let (account, number) = (text(item, "/account"), text(invoice, "/number"));
            rows.push(vec![
                account.to_owned(),
                number.to_owned(),
                who(recipient),
                why.clone(),
            ]);
        }
    }
    if answer["complete"] == Value::Bool(false) {
        rows.push(vec!["…".to_owned()]);
    }
    table(&rows)
}

pub(super) fn pause(
    context: &Context,
    account: Option<&AccountId>,
    reason: &str,
) -> Result<(), Failure> {
    let mut body = scope(account);
    body["reason"] = json!(reason);
    let answer = context.admin()?.post("/v1/pause", &body)?;
    context.out.show(&answer, |_| {
        "sending is paused; accepting goes on".to_owned()
    })?;
    Ok(())
}

pub(super) fn resume(context: &Context, account: Option<&AccountId>) -> Result<(), Failure> {
    let answer = context.admin()?.post("/v1/resume", &scope(account))?;
    context
        .out
        .show(&answer, |_| "sending goes on".to_owned())?;
    Ok(())
}

fn scope(account: Option<&AccountId>) -> Value {
    account.map_or_else(
        || json!({}),
        |account| json!({ "account": account.as_str() }),
    )
}
