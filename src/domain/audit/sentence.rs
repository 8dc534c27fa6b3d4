//! What people read: the English sentence of an entry.

use super::{
    AccountChangeKind, AccountChanged, AttemptEnded, AuditEntry, AuditEvent, AuditRecipient,
    AuditReply, AuditTarget, AuditText, Consequence, Effect, PausedFor, PausedScope, ReleaseScope,
};
use crate::domain::delivery::{HoldKind, Outcome, Shown};
use crate::domain::invoice::Release;
use crate::domain::recipient::Rule;

/// An entry's sentence, in one line without a full stop: what happened, what it means, and why.
#[must_use]
pub fn sentence(entry: &AuditEntry) -> String {
    let AuditEntry { at: _, actor: _, event, reason } = entry;
    let said = event_sentence(event);
    match (event, reason) {
        (AuditEvent::PauseReasonAdded { .. }, Some(reason)) => {
            format!("{said}; further reason: {reason}")
        }
        (_, Some(reason)) => format!("{said}; reason: {reason}"),
        (_, None) => said,
    }
}

fn event_sentence(event: &AuditEvent) -> String {
    match event {
        AuditEvent::AccountChanged(changed) => account_changed(changed),
        AuditEvent::SuppressionsCleared { count } => cleared(*count),
        AuditEvent::WithdrawnBeforeIssue { number } => {
            format!("invoice {number} withdrawn before it was issued: it is never sent")
        }
        AuditEvent::Issued { release, state } => {
            let how = match release {
                Release::Scheduled => "by schedule",
                Release::Immediately => "immediately",
            };
            format!("issued, to be released {how}; now {state}")
        }
        AuditEvent::Freed { version, held } => {
            format!("no longer parked: its account has version {version}{}", still_held(*held))
        }
        AuditEvent::Retried { held } => {
            let held = still_held(*held);
            format!("retrying: the account or its suppression list changed{held}")
        }
        AuditEvent::Held { kind, cause, effect, state } => {
            format!("{}{}", held(*kind, cause.as_ref()), outcome(*effect, *state))
        }
        AuditEvent::Released { now, effect, state, suppressions_cleared } => {
            let at_once = if *now { " for immediate sending" } else { "" };
            let outcome = outcome(*effect, *state);
            format!("released{at_once}{outcome}{}", and_cleared(*suppressions_cleared))
        }
        AuditEvent::Withdrawn { effect, state } => {
            format!("withdrawn{}", outcome(*effect, *state))
        }
        AuditEvent::Resent { revision, state, suppressions_cleared } => format!(
            "to be sent again: replaces revision {revision}; now {state}{}",
            and_cleared(*suppressions_cleared)
        ),
        AuditEvent::RecipientResolved { recipient } => format!("goes to {}", to(recipient)),
        AuditEvent::AttemptEnded(attempt) => attempt_ended(attempt),
        AuditEvent::NothingToSend { state, rule, held, superseded } => {
            let why = held.map_or_else(|| rule_in_words(*rule), HoldKind::in_words);
            let superseded = match superseded {
                0 => String::new(),
                count => format!(
                    "; addresses that get nothing, since they are no longer the recipient's or are suppressed: {count}"
                ),
            };
            let next = if *state == Shown::Withheld {
                "; retried when the account changes"
            } else if *state == Shown::Held {
                "; to be released or withdrawn"
            } else {
                ""
            };
            format!("{state}: {why}{superseded}{next}")
        }
        AuditEvent::RunOpened { scope } => format!("release of {} started", of(scope, "the")),
        AuditEvent::ReleasedByRun { scope } => format!("released with {}", of(scope, "its")),
        AuditEvent::Paused { scope } => format!("{} paused", scope_in_words(*scope)),
        AuditEvent::PauseReasonAdded { scope } => {
            format!("{} stays paused", scope_in_words(*scope))
        }
        AuditEvent::Resumed { scope, paused_for } => resumed(*scope, paused_for),
    }
}

fn of(scope: &ReleaseScope, article: &str) -> String {
    match scope {
        ReleaseScope::Schedule(name) => format!("schedule {name}"),
        ReleaseScope::Account => format!("{article} account"),
    }
}

fn account_changed(changed: &AccountChanged) -> String {
    let AccountChanged { change, version, replaced, deselected, recipient, suppressions_cleared } =
        changed;
    let change = match change {
        AccountChangeKind::Updated => "account updated".to_owned(),
        AccountChangeKind::Imported { closed: false } => "account imported".to_owned(),
        AccountChangeKind::Imported { closed: true } => "account imported as closed".to_owned(),
        AccountChangeKind::Closed => "account closed".to_owned(),
        AccountChangeKind::SubUserSaved { sub_user, group } => {
            format!("sub-user {sub_user} saved in group {group}")
        }
        AccountChangeKind::SubUserRemoved { sub_user } => format!("sub-user {sub_user} removed"),
        AccountChangeKind::BillingContactSelected { sub_user: Some(sub_user) } => {
            format!("sub-user {sub_user} selected as billing contact")
        }
        AccountChangeKind::BillingContactSelected { sub_user: None } => {
            "main contact selected as billing contact".to_owned()
        }
    };
    let replaced =
        replaced.map_or_else(String::new, |replaced| format!(", replaces version {replaced}"));
    let deselected = if *deselected { ", which deselects it as billing contact" } else { "" };
    let recipient = match &recipient.target {
        AuditTarget::None => format!("invoices are withheld: {}", rule_in_words(recipient.rule)),
        AuditTarget::SubUser(_) | AuditTarget::MainContact => {
            format!("invoices go to {}", to(recipient))
        }
    };
    let cleared = and_cleared(*suppressions_cleared);
    format!("version {version}: {change}{deselected}{replaced}; {recipient}{cleared}")
}

fn to(recipient: &AuditRecipient) -> String {
    let AuditRecipient { target, rule } = recipient;
    let target = match target {
        AuditTarget::SubUser(id) => format!("sub-user {id}"),
        AuditTarget::MainContact => "the main contact".to_owned(),
        AuditTarget::None => "no contact".to_owned(),
    };
    format!("{target}: {}", rule_in_words(*rule))
}

/// Why an account has its recipient.
#[must_use]
pub fn rule_in_words(rule: Rule) -> &'static str {
    match rule {
        Rule::BillingContactSelected => "it is selected as billing contact",
        Rule::NoBillingContact => "no billing contact is selected",
        Rule::BillingContactRemoved => "the selected billing contact was removed",
        Rule::BillingContactLeftGroup => "the selected billing contact left the billing group",
        Rule::FallbackAfterRejection => {
            "the relay rejected every address of the selected billing contact"
        }
        Rule::NoDeliverableAddress => "there is no address that mail could be delivered to",
    }
}

fn attempt_ended(attempt: &AttemptEnded) -> String {
    let AttemptEnded {
        revision: _,
        number,
        started_at: _,
        address,
        addresses,
        outcome,
        stage,
        reply,
        cause,
        message_digest,
        message_bytes,
        consequence,
    } = attempt;
    let outcome = match outcome {
        Outcome::Accepted => {
            format!("accepted by relay, {message_bytes} bytes with SHA-256 {message_digest}")
        }
        Outcome::Deferred | Outcome::Rejected | Outcome::Uncertain => outcome.as_str().to_owned(),
    };
    let said = match (reply, cause) {
        (Some(AuditReply { code, enhanced, text }), _) => {
            let enhanced = enhanced.map(|enhanced| enhanced.to_string());
            let words = [&code.to_string(), enhanced.as_deref().unwrap_or_default(), text.as_str()];
            words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
        }
        (None, Some(cause)) => cause.to_string(),
        (None, None) => "no reply".to_owned(),
    };
    let stage = stage.as_str();
    let consequence = consequence.as_ref().map_or_else(String::new, follows);
    format!(
        "attempt {number} at address {address} of {addresses}: {outcome} ({stage}: {said}){consequence}"
    )
}

fn follows(consequence: &Consequence) -> String {
    match consequence {
        Consequence::Held(kind) => format!("; {}", held(*kind, None)),
        Consequence::Delivered { accepted, of, withdrawal_stopped: None } => {
            format!("; delivered to {accepted} of {of} addresses")
        }
        Consequence::Delivered { accepted, of, withdrawal_stopped: Some(stopped) } => format!(
            "; the withdrawal came too late: delivered to {accepted} of {of} addresses; addresses that get nothing: {stopped}"
        ),
        Consequence::EarlierRevisionDelivered => {
            "; the resend is withdrawn, and the invoice stays delivered in an earlier revision"
                .to_owned()
        }
        Consequence::Undeliverable => "; undeliverable: no address is left".to_owned(),
        Consequence::Withdrawn => "; withdrawn".to_owned(),
        Consequence::AddressSuppressed => "; the address is suppressed for this account".to_owned(),
    }
}

fn held(kind: HoldKind, cause: Option<&AuditText>) -> String {
    let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
    if kind == HoldKind::Operator {
        return format!("held by an operator{cause}");
    }
    format!("held: {}{cause}; to be released or withdrawn", kind.in_words())
}

fn outcome(effect: Effect, state: Shown) -> String {
    match effect {
        Effect::Applied if matches!(state, Shown::Held | Shown::Withdrawn) => String::new(),
        Effect::Applied => format!("; now {state}"),
        Effect::Deferred => "; takes effect when the attempt under way ends".to_owned(),
        Effect::AlreadySent => format!(
            ", but it was or may have been sent: the remaining addresses get nothing; now {state}"
        ),
    }
}

fn still_held(held: bool) -> &'static str {
    if held { "; still held" } else { "" }
}

fn cleared(count: u64) -> String {
    match count {
        1 => "1 suppression cleared".to_owned(),
        count => format!("{count} suppressions cleared"),
    }
}

fn and_cleared(count: u64) -> String {
    if count == 0 { String::new() } else { format!("; {}", cleared(count)) }
}

fn scope_in_words(scope: PausedScope) -> &'static str {
    match scope {
        PausedScope::Everything => "all sending",
        PausedScope::Account => "sending for the account",
        PausedScope::Removal => "removal by retention",
    }
}

fn resumed(scope: PausedScope, paused_for: &[PausedFor]) -> String {
    let said = |PausedFor { actor, reason }: &PausedFor| format!("{reason} ({actor})");
    let scope = scope_in_words(scope);
    match paused_for {
        [] => format!("{scope} resumed"),
        reasons => {
            let reasons = reasons.iter().map(said).collect::<Vec<_>>().join("; ");
            format!("{scope} resumed, which was paused for: {reasons}")
        }
    }
}
