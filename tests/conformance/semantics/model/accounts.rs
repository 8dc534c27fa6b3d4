//! Account events, and who gets an account's invoices.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::invoices::{self, members};
use super::{Accepted, Account, Answer, Effect, instant, refused, success, with};
use crate::compare::SOME;
use crate::setting::{BILLING_GROUPS, LANGUAGES, SCHEDULES};
use crate::words::{self, list};

/// So many an account may have.
const SUB_USERS: usize = 100;

/// More than this are freed in several steps, which must look as one.
const MANY: usize = 40;

/// The current account.
pub(crate) fn account<'h>(history: &'h [Accepted], id: &str) -> Option<&'h Account> {
    versions(history, id).next().map(|(_, account)| account)
}

/// The account in all its versions, the newest first, with the times of their commits.
pub(crate) fn versions<'h>(
    history: &'h [Accepted],
    id: &str,
) -> impl Iterator<Item = (DateTime<Utc>, &'h Account)> {
    history.iter().rev().filter_map(move |accepted| {
        let Effect::Changed(account) = &*accepted.what else {
            return None;
        };
        (account.id == id).then_some((accepted.at, account))
    })
}

pub(super) fn change(
    history: &[Accepted],
    now: DateTime<Utc>,
    event: &Value,
    repeated: bool,
) -> Answer {
    let data = &event["data"];
    let kind = event["type"].as_str().unwrap_or_default();
    let current = account(history, data["account"].as_str().unwrap_or_default());
    if let Some(current) = current
        && repeated
    {
        // Open in the contract: that it is answered its own warnings, whatever the current version.
        let warnings = warnings_of_settings(kind, data);
        return changed(history, current, ("duplicate", "a repeated change"), &warnings);
    }
    let after = apply(current, kind, data);
    if let Some(answer) = judge_version(history, event, current, after.as_ref().ok()) {
        return answer;
    }
    match after {
        Ok(after) => applied(history, now, event, after),
        Err(broken) => {
            let mut answer = refused(422, "invalid", "a change that breaks a rule");
            // Of several, an answer may tell any.
            answer.also = match broken.values().collect::<Vec<_>>()[..] {
                [only] => vec![*only],
                _ => Vec::new(),
            };
            answer.broken = broken.into_keys().collect();
            answer
        }
    }
}

/// The answer to a change whose version is not one that can come into force. The rules are not asked then: `after` is
/// only there to be compared.
fn judge_version(
    history: &[Accepted],
    event: &Value,
    current: Option<&Account>,
    after: Option<&After>,
) -> Option<Answer> {
    let data = &event["data"];
    let kind = event["type"].as_str().unwrap_or_default();
    let version = data["version"].as_u64().unwrap_or_default();
    let in_force = current.map_or(0, |account| account.version);
    let conflict = |code, because| {
        let mut answer = refused(409, code, because);
        answer.body["current_version"] = json!(in_force);
        Some(answer)
    };

    let Some(current) = current else {
        // Open in the contract: the code.
        return match kind {
            "account.updated" => None,
            _ => conflict("version_gap", "a change of an unknown account"),
        };
    };
    if version < in_force {
        return if words::instant(&event["timestamp"]) > current.timestamp {
            let because = "an older version with a newer time-stamp";
            conflict("version_regressed", because)
        } else {
            let stale = ("stale", "an older version");
            Some(changed(history, current, stale, &[]))
        };
    }
    if version == in_force {
        let same = after.is_some_and(|after| {
            current.profile == after.profile && current.closed == after.closed
        });
        return if same {
            let warnings = warnings_of_settings(kind, data);
            let duplicate = ("duplicate", "the version in force");
            Some(changed(history, current, duplicate, &warnings))
        } else {
            conflict("version_conflict", "other content of the version in force")
        };
    }
    // A whole account and a closure may leave versions out.
    let is_delta =
        matches!(kind, "sub_user.saved" | "sub_user.removed" | "billing_contact.selected");
    if is_delta && version > in_force + 1 {
        return conflict("version_gap", "a delta with a gap");
    }
    None
}

fn applied(history: &[Accepted], now: DateTime<Utc>, event: &Value, after: After) -> Answer {
    let data = &event["data"];
    let kind = event["type"].as_str().unwrap_or_default();
    let id = data["account"].as_str().unwrap_or_default();
    let because = match (kind, account(history, id)) {
        ("account.updated", None) => "an account created",
        ("account.updated", Some(current)) if current.closed => "an account reopened",
        ("account.updated", Some(_)) => "an account replaced",
        ("account.closed", _) => "an account closed",
        ("sub_user.saved", _) if !data["sub_user"]["copy_from"].is_null() => "a sub-user copied",
        ("sub_user.saved", _) => "a sub-user saved",
        ("sub_user.removed", _) => "a sub-user removed",
        _ => "a billing contact selected",
    };
    let After { profile, closed, rule, mut warnings } = after;
    warnings.extend(warnings_of_settings(kind, data));
    let account = Account {
        id: id.to_owned(),
        version: data["version"].as_u64().unwrap_or_default(),
        timestamp: words::instant(&event["timestamp"]),
        closed,
        rule,
        profile,
    };
    let what = Arc::new(Effect::Changed(account.clone()));
    let after = with(history, now, &what);
    let mut answer = changed(&after, &account, ("applied", because), &warnings);
    answer.also = freed(history, &after, kind);
    answer.leaves.push(what);
    answer
}

/// For each invoice that is parked no more, which kind of change brought that.
fn freed(before: &[Accepted], after: &[Accepted], kind: &str) -> Vec<&'static str> {
    let by = match kind {
        "account.updated" => "an invoice freed by account.updated",
        "account.closed" => "an invoice freed by account.closed",
        "sub_user.saved" => "an invoice freed by sub_user.saved",
        "sub_user.removed" => "an invoice freed by sub_user.removed",
        _ => "an invoice freed by billing_contact.selected",
    };
    let invoices = before.iter().filter_map(|accepted| match &*accepted.what {
        Effect::Issued(invoice) => Some(invoice),
        Effect::Remembered { .. }
        | Effect::Changed(_)
        | Effect::Withdrawn { .. }
        | Effect::Document(_) => None,
    });
    let is_freed = |invoice: &&Value| {
        let text = |name: &str| invoice[name].as_str().unwrap_or_default();
        let (account, number) = (text("account"), text("number"));
        let state = |history| invoices::state(history, account, number);
        state(before) == Some("parked") && state(after) != Some("parked")
    };
    let mut freed: Vec<&str> = invoices.filter(is_freed).map(|_| by).collect();
    if freed.len() > MANY {
        freed.push("many invoices freed at once");
    }
    freed
}

fn changed(
    history: &[Accepted],
    account: &Account,
    (result, because): (&str, &'static str),
    warnings: &[Value],
) -> Answer {
    let body = json!({
        "result": result,
        "account": account.id,
        "version": account.version,
        "recipient": recipient(history, account),
        "warnings": warnings,
        // Nothing is sent.
        "in_flight": [],
    });
    success(200, because, body)
}

/// The places that break a rule, with the rule.
type Broken = BTreeMap<String, &'static str>;

/// What a change makes of an account.
struct After {
    profile: Value,
    closed: bool,
    rule: &'static str,
    warnings: Vec<Value>,
}

/// The account after a change, in whatever version, or what it breaks.
fn apply(current: Option<&Account>, kind: &str, data: &Value) -> Result<After, Broken> {
    let Some(current) = current else {
        // Nothing else creates an account.
        return replace(None, data);
    };
    let mut after = After {
        profile: current.profile.clone(),
        closed: current.closed,
        rule: current.rule,
        warnings: Vec::new(),
    };
    let selected = current.profile["billing_contact"].clone();
    let sub_user = &data["sub_user"];
    match kind {
        "account.updated" => return replace(Some(current), data),
        "account.closed" => after.closed = true,
        "sub_user.saved" => {
            let contact = saved_contact(&current.profile, sub_user)?;
            let is_billing = is_billing_group(&sub_user["group"]);
            let id = sub_user["id"].as_str().unwrap_or_default();
            after.profile["sub_users"][id] = words::sub_user_of(sub_user, &contact);
            let mut broken = Broken::new();
            if is_billing && list(&contact["addresses"]).is_empty() {
                let rule = "a saved member of a billing group without an address";
                broken.insert("/data/sub_user/contact/addresses".to_owned(), rule);
            }
            if members(&after.profile["sub_users"]).count() > SUB_USERS {
                let rule = "one more sub-user than an account may have";
                broken.insert("/data/sub_user".to_owned(), rule);
            }
            if !broken.is_empty() {
                return Err(broken);
            }
            if selected == id && !is_billing {
                after.profile["billing_contact"] = Value::Null;
                after.rule = "billing_contact_left_group";
                let field = "/data/sub_user/group";
                after.warnings.push(warning("billing_contact_left_group", field));
            }
        }
        "sub_user.removed" => {
            let id = sub_user.as_str().unwrap_or_default();
            let sub_users = after.profile["sub_users"].as_object_mut();
            // Open in the contract: to remove a sub-user who is not there is no fault.
            if sub_users.is_none_or(|sub_users| sub_users.remove(id).is_none()) {
                after.warnings.push(warning("sub_user_unknown", "/data/sub_user"));
            }
            if selected == id {
                after.profile["billing_contact"] = Value::Null;
                after.rule = "billing_contact_removed";
                after.warnings.push(warning("billing_contact_removed", "/data/sub_user"));
            }
        }
        _ => {
            if let Some(rule) = unselectable(&current.profile, sub_user) {
                return broken("/data/sub_user", rule);
            }
            after.profile["billing_contact"] = sub_user.clone();
            after.rule = rule_of_selection(sub_user);
        }
    }
    Ok(after)
}

/// The whole account anew.
fn replace(current: Option<&Account>, data: &Value) -> Result<After, Broken> {
    let profile = words::profile_of(data);
    let selected = &profile["billing_contact"];
    let mut broken = Broken::new();
    for (index, sub_user) in list(&data["sub_users"]).iter().enumerate() {
        let addresses = list(&sub_user["contact"]["addresses"]);
        if is_billing_group(&sub_user["group"]) && addresses.is_empty() {
            let place = format!("/data/sub_users/{index}/contact/addresses");
            broken.insert(place, "a member of a billing group without an address");
        }
    }
    if let Some(rule) = unselectable(&profile, selected) {
        broken.insert("/data/billing_contact".to_owned(), rule);
    }
    if !broken.is_empty() {
        return Err(broken);
    }
    // Open in the contract: to deselect once more keeps the reason why none is selected.
    let rule = match current {
        Some(current) if selected.is_null() && current.profile["billing_contact"].is_null() => {
            current.rule
        }
        Some(_) | None => rule_of_selection(selected),
    };
    Ok(After { profile, closed: false, rule, warnings: Vec::new() })
}

/// The contact of a sub-user that is saved: its own, or a copy with what differs.
fn saved_contact(profile: &Value, sub_user: &Value) -> Result<Value, Broken> {
    let from = &sub_user["copy_from"];
    if from.is_null() {
        return Ok(words::contact_of(&sub_user["contact"]));
    }
    let source = match from["sub_user"].as_str() {
        None => &profile["main_contact"],
        Some(id) => {
            let Some(other) = profile["sub_users"].get(id) else {
                let rule = "a copy of somebody who is not there";
                return broken("/data/sub_user/copy_from/sub_user", rule);
            };
            &other["contact"]
        }
    };
    let mut contact = source.clone();
    for (name, value) in members(&sub_user["contact"]) {
        match name.as_str() {
            "addresses" => contact["addresses"] = words::addresses_of(value),
            "language" => contact["language"] = words::language_of(value),
            "name" | "company" => contact[name] = value.clone(),
            _ => {}
        }
    }
    Ok(contact)
}

fn is_billing_group(group: &Value) -> bool {
    BILLING_GROUPS.iter().any(|billing| group == billing)
}

/// Why the sub-user of this id cannot be selected. None can be, and any in a billing group.
fn unselectable(profile: &Value, id: &Value) -> Option<&'static str> {
    match profile["sub_users"].get(id.as_str()?) {
        None => Some("a selection of somebody who is not there"),
        Some(sub_user) if !is_billing_group(&sub_user["group"]) => {
            Some("a selection of somebody outside the billing groups")
        }
        Some(_) => None,
    }
}

fn rule_of_selection(selected: &Value) -> &'static str {
    if selected.is_null() { "no_billing_contact" } else { "billing_contact_selected" }
}

fn broken<T>(place: &str, rule: &'static str) -> Result<T, Broken> {
    Err(Broken::from([(place.to_owned(), rule)]))
}

fn warning(code: &str, field: &str) -> Value {
    json!({"code": code, "field": field, "detail": SOME})
}

/// Languages without a template; and, open in the contract, schedules that are not configured.
fn warnings_of_settings(kind: &str, data: &Value) -> Vec<Value> {
    let mut places = Vec::new();
    match kind {
        "account.updated" => {
            places.push(("/data".to_owned(), data));
            places.push(("/data/main_contact".to_owned(), &data["main_contact"]));
            for (index, sub_user) in list(&data["sub_users"]).iter().enumerate() {
                let place = format!("/data/sub_users/{index}/contact");
                places.push((place, &sub_user["contact"]));
            }
        }
        "sub_user.saved" => {
            let place = "/data/sub_user/contact".to_owned();
            places.push((place, &data["sub_user"]["contact"]));
        }
        _ => {}
    }
    let mut warnings = Vec::new();
    for (place, of) in places {
        let language = words::language_of(&of["language"]);
        if !language.is_null() && !LANGUAGES.iter().any(|known| language == *known) {
            let field = format!("{place}/language");
            warnings.push(warning("language_without_template", &field));
        }
    }
    let schedule = &data["schedule"];
    if !schedule.is_null() && !SCHEDULES.iter().any(|known| schedule == known) {
        warnings.push(warning("unknown_schedule", "/data/schedule"));
    }
    warnings
}

// Who gets an account's invoices.

/// The selected sub-user or else the main contact; none if that one has no address.
fn contact_in_force(account: &Account) -> (&Value, &Value) {
    let profile = &account.profile;
    let selected = &profile["billing_contact"];
    match selected.as_str() {
        Some(id) => (selected, &profile["sub_users"][id]["contact"]),
        None => (selected, &profile["main_contact"]),
    }
}

pub(crate) fn kind_of_recipient(account: &Account) -> &'static str {
    let (selected, contact) = contact_in_force(account);
    if list(&contact["addresses"]).is_empty() {
        "none"
    } else if selected.is_null() {
        "main_contact"
    } else {
        "sub_user"
    }
}

/// The recipient of an account's invoices, with the reason.
pub(crate) fn recipient(history: &[Accepted], account: &Account) -> Value {
    let (selected, contact) = contact_in_force(account);
    let reason = reason(history, account);
    match kind_of_recipient(account) {
        "none" => json!({
            "kind": "none", "sub_user": null, "name": null, "company": null, "addresses": [],
            "reason": reason,
        }),
        kind => json!({
            "kind": kind,
            "sub_user": selected,
            "name": contact["name"],
            "company": contact["company"],
            "addresses": contact["addresses"],
            "reason": reason,
        }),
    }
}

/// The rule, with the version and time of the commit in which it and its recipient began to hold.
fn reason(history: &[Accepted], account: &Account) -> Value {
    let now = rule_and_recipient(account);
    let began = versions(history, &account.id)
        .take_while(|(_, earlier)| rule_and_recipient(earlier) == now)
        .last();
    let (since, version) = began.map(|(at, account)| (instant(at), account.version)).unzip();
    json!({"rule": now.0, "account_version": version, "since": since})
}

fn rule_and_recipient(account: &Account) -> (&'static str, &Value) {
    let rule =
        if kind_of_recipient(account) == "none" { "no_deliverable_address" } else { account.rule };
    (rule, &account.profile["billing_contact"])
}
