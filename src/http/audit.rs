//! The audit log, as the interfaces show it: each event as data, beside its sentence.
//!
//! The data are written as they are named here; a test holds a sample of each event against the description.

use serde_json::{Value, json};

use crate::api;
use crate::domain::audit::{
    AccountChangeKind, AccountChanged, Actor, AttemptEnded, AuditEntry, AuditEvent, AuditRecipient,
    AuditReply, AuditTarget, AuditText, Consequence, PausedFor, ReleaseScope, sentence,
};
use crate::domain::delivery::{EnhancedCode, HoldKind};
use crate::domain::id::Version;
use crate::domain::recipient::TargetKind;

/// An item of an invoice's history or of the audit log.
pub(super) fn history_item(entry: &AuditEntry) -> api::HistoryItem {
    let AuditEntry { at, actor: by, event: happened, reason } = entry;
    api::HistoryItem {
        at: *at,
        actor: by.to_string(),
        by: actor(by),
        what: sentence(entry),
        event: event(happened),
        reason: reason.as_ref().map(AuditText::to_string),
    }
}

fn actor(actor: &Actor) -> Value {
    match actor {
        Actor::Sender(name, id) => {
            json!({"kind": "sender", "name": name.as_str(), "webhook_id": id.as_str()})
        }
        Actor::Operator(name) => json!({"kind": "operator", "name": name}),
        Actor::Schedule(name) => json!({"kind": "schedule", "name": name.as_str()}),
        Actor::Daemon => json!({"kind": "daemon"}),
    }
}

fn event(event: &AuditEvent) -> Value {
    match event {
        AuditEvent::AccountChanged(changed) => account_changed(changed),
        AuditEvent::SuppressionsCleared { count } => {
            json!({"kind": "suppressions_cleared", "count": count})
        }
        AuditEvent::WithdrawnBeforeIssue { number } => {
            json!({"kind": "withdrawn_before_issue", "number": number.as_str()})
        }
        AuditEvent::Issued { release, state } => {
            json!({"kind": "issued", "release": release.as_str(), "state": state.as_str()})
        }
        AuditEvent::Freed { version, held } => {
            json!({"kind": "freed", "account_version": version.get(), "held": held})
        }
        AuditEvent::Retried { held } => json!({"kind": "retried", "held": held}),
        AuditEvent::Held { kind, cause, effect, state } => json!({
            "kind": "held",
            "hold": kind.as_str(),
            "cause": said(cause.as_ref()),
            "effect": effect.as_str(),
            "state": state.as_str(),
        }),
        AuditEvent::Released { now, effect, state, suppressions_cleared } => json!({
            "kind": "released",
            "now": now,
            "effect": effect.as_str(),
            "state": state.as_str(),
            "suppressions_cleared": suppressions_cleared,
        }),
        AuditEvent::Withdrawn { effect, state } => {
            json!({"kind": "withdrawn", "effect": effect.as_str(), "state": state.as_str()})
        }
        AuditEvent::Resent { revision, state, suppressions_cleared } => json!({
            "kind": "resent",
            "revision": revision,
            "state": state.as_str(),
            "suppressions_cleared": suppressions_cleared,
        }),
        AuditEvent::RecipientResolved { recipient: resolved } => {
            json!({"kind": "recipient_resolved", "recipient": recipient(resolved)})
        }
        AuditEvent::AttemptEnded(attempt) => attempt_ended(attempt),
        AuditEvent::NothingToSend { state, rule, held, superseded } => json!({
            "kind": "nothing_to_send",
            "state": state.as_str(),
            "rule": rule.as_str(),
            "hold": held.map(HoldKind::as_str),
            "superseded": superseded,
        }),
        AuditEvent::RunOpened { scope } => {
            json!({"kind": "run_opened", "schedule": schedule_of(scope)})
        }
        AuditEvent::ReleasedByRun { scope } => {
            json!({"kind": "released_by_run", "schedule": schedule_of(scope)})
        }
        AuditEvent::Paused { scope } => json!({"kind": "paused", "scope": scope.as_str()}),
        AuditEvent::PauseReasonAdded { scope } => {
            json!({"kind": "pause_reason_added", "scope": scope.as_str()})
        }
        AuditEvent::Resumed { scope, paused_for } => {
            let paused_for = paused_for.iter().map(|PausedFor { actor: by, reason }| {
                json!({"by": actor(by), "reason": reason.as_str()})
            });
            let paused_for: Vec<Value> = paused_for.collect();
            json!({"kind": "resumed", "scope": scope.as_str(), "paused_for": paused_for})
        }
    }
}

fn account_changed(changed: &AccountChanged) -> Value {
    let AccountChanged {
        change,
        version,
        replaced,
        deselected,
        recipient: now,
        suppressions_cleared,
    } = changed;
    let (change, sub_user, group, closed) = match change {
        AccountChangeKind::Updated => ("updated", None, None, None),
        AccountChangeKind::Imported { closed } => ("imported", None, None, Some(closed)),
        AccountChangeKind::Closed => ("closed", None, None, None),
        AccountChangeKind::SubUserSaved { sub_user, group } => {
            ("sub_user_saved", Some(sub_user), Some(group), None)
        }
        AccountChangeKind::SubUserRemoved { sub_user } => {
            ("sub_user_removed", Some(sub_user), None, None)
        }
        AccountChangeKind::BillingContactSelected { sub_user } => {
            ("billing_contact_selected", sub_user.as_ref(), None, None)
        }
    };
    json!({
        "kind": "account_changed",
        "change": change,
        "sub_user": said(sub_user),
        "group": said(group),
        "closed": closed,
        "version": version.get(),
        "replaced_version": replaced.map(Version::get),
        "deselected": deselected,
        "recipient": recipient(now),
        "suppressions_cleared": suppressions_cleared,
    })
}

fn attempt_ended(attempt: &AttemptEnded) -> Value {
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
    let reply = reply.as_ref().map(|AuditReply { code, enhanced, text }| {
        let enhanced = enhanced.as_ref().map(EnhancedCode::to_string);
        json!({"code": code, "enhanced": enhanced, "text": text.as_str()})
    });
    json!({
        "kind": "attempt_ended",
        "revision": revision,
        "number": number,
        "started_at": started_at,
        "address": address,
        "addresses": addresses,
        "outcome": outcome.as_str(),
        "stage": stage.as_str(),
        "reply": reply,
        "cause": said(cause.as_ref()),
        "message": {"sha256": message_digest.to_string(), "bytes": message_bytes},
        "consequence": follows.as_ref().map(consequence),
    })
}

fn consequence(consequence: &Consequence) -> Value {
    let kind = match consequence {
        Consequence::Held(kind) => return json!({"kind": "held", "hold": kind.as_str()}),
        Consequence::Delivered { accepted, of, withdrawal_stopped } => {
            let mut delivered = json!({"kind": "delivered", "accepted": accepted, "of": of});
            if let Some(stopped) = withdrawal_stopped {
                delivered["withdrawal_stopped"] = json!(stopped);
            }
            return delivered;
        }
        Consequence::EarlierRevisionDelivered => "earlier_revision_delivered",
        Consequence::Undeliverable => "undeliverable",
        Consequence::Withdrawn => "withdrawn",
        Consequence::AddressSuppressed => "address_suppressed",
    };
    json!({"kind": kind})
}

fn recipient(recipient: &AuditRecipient) -> Value {
    let AuditRecipient { target, rule } = recipient;
    let (kind, sub_user) = match target {
        AuditTarget::SubUser(id) => (TargetKind::SubUser, Some(id)),
        AuditTarget::MainContact => (TargetKind::MainContact, None),
        AuditTarget::None => (TargetKind::None, None),
    };
    json!({"kind": kind.as_str(), "sub_user": said(sub_user), "rule": rule.as_str()})
}

fn schedule_of(scope: &ReleaseScope) -> Option<&str> {
    match scope {
        ReleaseScope::Schedule(name) => Some(name.as_str()),
        ReleaseScope::Account => None,
    }
}

fn said(text: Option<&AuditText>) -> Option<&str> {
    text.map(AuditText::as_str)
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
