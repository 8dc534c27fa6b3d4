//! The audit log, as the interfaces show it: each event as data, beside its sentence.

use crate::api::{self, AccountChange};
use crate::domain::audit::{
    AccountChangeKind, AccountChanged, Actor, AttemptEnded, AuditEntry, AuditEvent, AuditRecipient,
    AuditReply, AuditTarget, AuditText, Consequence, PausedFor, ReleaseScope, sentence,
};
use crate::domain::id::Version;
use crate::domain::recipient::TargetKind;

fn text(value: &impl ToString) -> String {
    value.to_string()
}

/// An item of an invoice's history or of the audit log.
pub(super) fn history_item(entry: &AuditEntry) -> api::HistoryItem {
    let AuditEntry { at, actor: by, event: happened, reason } = entry;
    api::HistoryItem {
        at: *at,
        actor: text(by),
        by: actor(by),
        what: sentence(entry),
        event: event(happened),
        reason: reason.as_ref().map(text),
    }
}

fn actor(actor: &Actor) -> api::Actor {
    match actor {
        Actor::Sender(name, id) => api::Actor::Sender { name: text(name), webhook_id: text(id) },
        Actor::Operator(name) => api::Actor::Operator { name: name.clone() },
        Actor::Schedule(name) => api::Actor::Schedule { name: text(name) },
        Actor::Daemon => api::Actor::Daemon,
    }
}

fn event(event: &AuditEvent) -> api::AuditEvent {
    use api::AuditEvent as Shown;
    match event {
        AuditEvent::AccountChanged(changed) => account_changed(changed),
        AuditEvent::SuppressionsCleared { count } => Shown::SuppressionsCleared { count: *count },
        AuditEvent::WithdrawnBeforeIssue { number } => {
            Shown::WithdrawnBeforeIssue { number: text(number) }
        }
        AuditEvent::Issued { release, state } => {
            Shown::Issued { release: (*release).into(), state: (*state).into() }
        }
        AuditEvent::Freed { version, held } => {
            Shown::Freed { account_version: version.get(), held: *held }
        }
        AuditEvent::Retried { held } => Shown::Retried { held: *held },
        AuditEvent::Held { kind, cause, effect, state } => Shown::Held {
            hold: (*kind).into(),
            cause: cause.as_ref().map(text),
            effect: (*effect).into(),
            state: (*state).into(),
        },
        AuditEvent::Released { now, effect, state, suppressions_cleared } => Shown::Released {
            now: *now,
            effect: (*effect).into(),
            state: (*state).into(),
            suppressions_cleared: *suppressions_cleared,
        },
        AuditEvent::Withdrawn { effect, state } => {
            Shown::Withdrawn { effect: (*effect).into(), state: (*state).into() }
        }
        AuditEvent::Resent { revision, state, suppressions_cleared } => Shown::Resent {
            revision: *revision,
            state: (*state).into(),
            suppressions_cleared: *suppressions_cleared,
        },
        AuditEvent::RecipientResolved { recipient: resolved } => {
            Shown::RecipientResolved { recipient: recipient(resolved) }
        }
        AuditEvent::AttemptEnded(attempt) => attempt_ended(attempt),
        AuditEvent::NothingToSend { state, rule, held, superseded } => Shown::NothingToSend {
            state: (*state).into(),
            rule: (*rule).into(),
            hold: held.map(Into::into),
            superseded: *superseded,
        },
        AuditEvent::RunOpened { scope } => Shown::RunOpened { schedule: schedule_of(scope) },
        AuditEvent::ReleasedByRun { scope } => {
            Shown::ReleasedByRun { schedule: schedule_of(scope) }
        }
        AuditEvent::Paused { scope } => Shown::Paused { scope: (*scope).into() },
        AuditEvent::PauseReasonAdded { scope } => {
            Shown::PauseReasonAdded { scope: (*scope).into() }
        }
        AuditEvent::Resumed { scope, paused_for } => {
            let reason = |PausedFor { actor: by, reason }: &PausedFor| api::PausedFor {
                by: actor(by),
                reason: text(reason),
            };
            let paused_for = paused_for.iter().map(reason).collect();
            Shown::Resumed { scope: (*scope).into(), paused_for }
        }
    }
}

fn account_changed(changed: &AccountChanged) -> api::AuditEvent {
    let AccountChanged {
        change,
        version,
        replaced,
        deselected,
        recipient: now,
        suppressions_cleared,
    } = changed;
    let named = |name: &AuditText| Some(text(name));
    let (change, sub_user, group, closed) = match change {
        AccountChangeKind::Updated => (AccountChange::Updated, None, None, None),
        AccountChangeKind::Imported { closed } => {
            (AccountChange::Imported, None, None, Some(*closed))
        }
        AccountChangeKind::Closed => (AccountChange::Closed, None, None, None),
        AccountChangeKind::SubUserSaved { sub_user, group } => {
            (AccountChange::SubUserSaved, named(sub_user), named(group), None)
        }
        AccountChangeKind::SubUserRemoved { sub_user } => {
            (AccountChange::SubUserRemoved, named(sub_user), None, None)
        }
        AccountChangeKind::BillingContactSelected { sub_user } => {
            let sub_user = sub_user.as_ref().and_then(named);
            (AccountChange::BillingContactSelected, sub_user, None, None)
        }
    };
    api::AuditEvent::AccountChanged {
        change: change.into(),
        sub_user,
        group,
        closed,
        version: version.get(),
        replaced_version: replaced.map(Version::get),
        deselected: *deselected,
        recipient: recipient(now),
        suppressions_cleared: *suppressions_cleared,
    }
}

fn attempt_ended(attempt: &AttemptEnded) -> api::AuditEvent {
    let AttemptEnded {
        revision,
        number,
        started_at,
        address,
        addresses,
        outcome,
        stage,
        reply,
        cause,
        message_digest,
        message_bytes,
        consequence: follows,
    } = attempt;
    api::AuditEvent::AttemptEnded {
        revision: *revision,
        address: *address,
        addresses: *addresses,
        attempt: api::Attempt {
            number: *number,
            started_at: *started_at,
            stage: (*stage).into(),
            reply: reply.as_ref().map(|AuditReply { code, enhanced, text: words }| api::Reply {
                code: *code,
                enhanced: enhanced.as_ref().map(text),
                text: text(words),
            }),
            cause: cause.as_ref().map(text),
            outcome: (*outcome).into(),
            message: api::Message { sha256: text(message_digest), bytes: *message_bytes },
        },
        consequence: follows.as_ref().map(consequence),
    }
}

fn consequence(consequence: &Consequence) -> api::Consequence {
    match consequence {
        Consequence::Held(kind) => api::Consequence::Held { hold: (*kind).into() },
        Consequence::Delivered { accepted, of, withdrawal_stopped } => {
            api::Consequence::Delivered {
                accepted: *accepted,
                of: *of,
                withdrawal_stopped: *withdrawal_stopped,
            }
        }
        Consequence::EarlierRevisionDelivered => api::Consequence::EarlierRevisionDelivered,
        Consequence::Undeliverable => api::Consequence::Undeliverable,
        Consequence::Withdrawn => api::Consequence::Withdrawn,
        Consequence::AddressSuppressed => api::Consequence::AddressSuppressed,
    }
}

fn recipient(recipient: &AuditRecipient) -> api::AuditRecipient {
    let AuditRecipient { target, rule } = recipient;
    let (kind, sub_user) = match target {
        AuditTarget::SubUser(id) => (TargetKind::SubUser, Some(text(id))),
        AuditTarget::MainContact => (TargetKind::MainContact, None),
        AuditTarget::None => (TargetKind::None, None),
    };
    api::AuditRecipient { kind: kind.into(), sub_user, rule: (*rule).into() }
}

fn schedule_of(scope: &ReleaseScope) -> Option<String> {
    match scope {
        ReleaseScope::Schedule(name) => Some(text(name)),
        ReleaseScope::Account => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jsonschema::{Draft, options};
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::audit::samples;

    #[test]
    fn every_entry_is_shown_as_described_and_without_an_address() {
        let description: Value = serde_saphyr::from_str(include_str!("openapi.yaml")).unwrap();
        let schema = json!({
            "$ref": "#/components/schemas/HistoryEvent",
            "components": description["components"],
        });
        let described = options().with_draft(Draft::Draft202012).build(&schema).unwrap();
        let mut kinds = BTreeSet::new();
        let entries = samples::entries();
        let by_all = samples::actors().map(|actor| AuditEntry { actor, ..entries[0].clone() });
        for entry in entries.iter().chain(&by_all) {
            let item = json!(history_item(entry));
            let wrong: Vec<String> =
                described.iter_errors(&item).map(|error| error.to_string()).collect();
            assert!(wrong.is_empty(), "{item}: {wrong:?}");
            assert!(!item.to_string().contains('@'), "{item}");
            kinds.insert(item["event"]["kind"].as_str().unwrap().to_owned());
        }
        let mapping =
            &description["components"]["schemas"]["AuditEvent"]["discriminator"]["mapping"];
        let described: BTreeSet<String> = mapping.as_object().unwrap().keys().cloned().collect();
        assert_eq!(kinds, described);
    }
}
