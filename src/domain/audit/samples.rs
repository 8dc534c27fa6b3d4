//! A sample of every event, for all tests of what is made of entries.

use chrono::DateTime;

use super::*;
use crate::domain::delivery::EnhancedCode;

/// Every event, and each of its alternatives that reads differently.
pub(crate) fn entries() -> Vec<AuditEntry> {
    let events = [account_events(), invoice_events(), attempt_events(), operating_events()];
    events.into_iter().flatten().map(|(event, reason)| entry(event, reason)).collect()
}

/// How many kinds of event there are, and the number of one: a new one is added here and to [`entries`].
pub(crate) const VARIANTS: usize = 18;

pub(crate) fn variant(event: &AuditEvent) -> usize {
    match event {
        AuditEvent::AccountChanged(_) => 0,
        AuditEvent::SuppressionsCleared { .. } => 1,
        AuditEvent::WithdrawnBeforeIssue { .. } => 2,
        AuditEvent::Issued { .. } => 3,
        AuditEvent::Freed { .. } => 4,
        AuditEvent::Retried { .. } => 5,
        AuditEvent::Held { .. } => 6,
        AuditEvent::Released { .. } => 7,
        AuditEvent::Withdrawn { .. } => 8,
        AuditEvent::Resent { .. } => 9,
        AuditEvent::RecipientResolved { .. } => 10,
        AuditEvent::AttemptEnded(_) => 11,
        AuditEvent::NothingToSend { .. } => 12,
        AuditEvent::RunOpened { .. } => 13,
        AuditEvent::Paused { .. } => 14,
        AuditEvent::PauseReasonAdded { .. } => 15,
        AuditEvent::Resumed { .. } => 16,
        AuditEvent::ReleasedByRun { .. } => 17,
    }
}

pub(crate) fn actors() -> [Actor; 4] {
    [
        Actor::Sender(
            SenderName::parse("portal").unwrap(),
            WebhookId::parse("evt_1").unwrap().of_line(2),
        ),
        Actor::Operator("erika".to_owned()),
        Actor::Schedule(text("weekly")),
        Actor::Daemon,
    ]
}

type Told = (AuditEvent, Option<&'static str>);

fn entry(event: AuditEvent, reason: Option<&str>) -> AuditEntry {
    let [sender, operator, schedule, daemon] = actors();
    let actor = match &event {
        AuditEvent::AccountChanged(AccountChanged {
            change: AccountChangeKind::Imported { .. },
            ..
        })
        | AuditEvent::SuppressionsCleared { .. }
        | AuditEvent::Held { kind: HoldKind::Operator, .. }
        | AuditEvent::Released { .. }
        | AuditEvent::Resent { .. }
        | AuditEvent::RunOpened { scope: ReleaseScope::Account }
        | AuditEvent::ReleasedByRun { scope: ReleaseScope::Account }
        | AuditEvent::Paused { .. }
        | AuditEvent::Resumed { .. } => operator,
        AuditEvent::AccountChanged(_)
        | AuditEvent::WithdrawnBeforeIssue { .. }
        | AuditEvent::Issued { .. }
        | AuditEvent::Withdrawn { .. } => sender,
        AuditEvent::RunOpened { scope: ReleaseScope::Schedule(_) }
        | AuditEvent::ReleasedByRun { scope: ReleaseScope::Schedule(_) } => schedule,
        AuditEvent::Freed { .. }
        | AuditEvent::Retried { .. }
        | AuditEvent::Held { .. }
        | AuditEvent::RecipientResolved { .. }
        | AuditEvent::AttemptEnded(_)
        | AuditEvent::NothingToSend { .. }
        | AuditEvent::PauseReasonAdded { .. } => daemon,
    };
    AuditEntry { at: DateTime::UNIX_EPOCH, actor, event, reason: reason.map(AuditText::new) }
}

/// Whatever others chose holds an address.
fn text(words: &str) -> AuditText {
    AuditText::new(words)
}

fn version(raw: u64) -> Version {
    Version::parse(raw).unwrap()
}

fn sub_user() -> AuditRecipient {
    let target = AuditTarget::SubUser(text("u-7"));
    AuditRecipient { target, rule: Rule::BillingContactSelected }
}

fn main_contact(rule: Rule) -> AuditRecipient {
    AuditRecipient { target: AuditTarget::MainContact, rule }
}

fn account_events() -> Vec<Told> {
    let saved =
        AccountChangeKind::SubUserSaved { sub_user: text("u-7"), group: text("Rechnungen") };
    let moved =
        AccountChangeKind::SubUserSaved { sub_user: text("a@b.example"), group: text("support") };
    let removed = |id| AccountChangeKind::SubUserRemoved { sub_user: text(id) };
    let selected =
        |id: Option<&str>| AccountChangeKind::BillingContactSelected { sub_user: id.map(text) };
    let change = |change, version_of, deselected, recipient, suppressions_cleared| {
        let version = version(version_of);
        let replaced = None;
        let changed = AccountChanged {
            change,
            version,
            replaced,
            deselected,
            recipient,
            suppressions_cleared,
        };
        (AuditEvent::AccountChanged(changed), None)
    };
    let nobody = AuditRecipient { target: AuditTarget::None, rule: Rule::NoDeliverableAddress };
    let fallback = main_contact(Rule::FallbackAfterRejection);
    let imported = AccountChanged {
        change: AccountChangeKind::Imported { closed: false },
        version: version(4),
        replaced: Some(version(17)),
        deselected: false,
        recipient: sub_user(),
        suppressions_cleared: 2,
    };
    vec![
        change(AccountChangeKind::Updated, 1, false, main_contact(Rule::NoBillingContact), 0),
        change(AccountChangeKind::Updated, 2, false, nobody, 1),
        (AuditEvent::AccountChanged(imported), Some("asked erika@muster.example, restored")),
        change(AccountChangeKind::Imported { closed: true }, 5, false, fallback, 0),
        change(AccountChangeKind::Closed, 6, false, sub_user(), 0),
        change(saved, 7, false, sub_user(), 0),
        change(moved, 8, true, main_contact(Rule::BillingContactLeftGroup), 0),
        change(removed("u-3"), 9, false, sub_user(), 0),
        change(removed("u-7"), 10, true, main_contact(Rule::BillingContactRemoved), 0),
        change(selected(Some("u-7")), 11, false, sub_user(), 0),
        change(selected(None), 12, false, main_contact(Rule::NoBillingContact), 0),
        (AuditEvent::SuppressionsCleared { count: 1 }, Some("a wrong relay")),
        (AuditEvent::SuppressionsCleared { count: 20 }, None),
        (AuditEvent::WithdrawnBeforeIssue { number: text("RE-2026/0042") }, None),
    ]
}

fn invoice_events() -> Vec<Told> {
    let held = |kind, cause: Option<&str>, effect, state| AuditEvent::Held {
        kind,
        cause: cause.map(text),
        effect,
        state,
    };
    let released = |now, effect, state, suppressions_cleared| AuditEvent::Released {
        now,
        effect,
        state,
        suppressions_cleared,
    };
    let (applied, deferred) = (Effect::Applied, Effect::Deferred);
    let withdrawn = |effect, state| (AuditEvent::Withdrawn { effect, state }, None);
    let operator = HoldKind::Operator;
    let cause = "document missing of x@y.example";
    vec![
        (AuditEvent::Issued { release: Release::Scheduled, state: Shown::Waiting }, None),
        (AuditEvent::Issued { release: Release::Immediately, state: Shown::Parked }, None),
        (AuditEvent::Freed { version: version(3), held: false }, None),
        (AuditEvent::Freed { version: version(3), held: true }, None),
        (AuditEvent::Retried { held: false }, None),
        (AuditEvent::Retried { held: true }, None),
        (held(operator, None, applied, Shown::Held), Some("a wrong total, says a@b.example")),
        (held(operator, None, deferred, Shown::Sending), None),
        (held(HoldKind::NotComposable, Some(cause), applied, Shown::Held), None),
        (released(false, applied, Shown::Waiting, 0), Some("it was right")),
        (released(true, applied, Shown::Due, 2), None),
        (released(false, deferred, Shown::Sending, 0), None),
        withdrawn(applied, Shown::Withdrawn),
        withdrawn(deferred, Shown::Sending),
        withdrawn(Effect::AlreadySent, Shown::Delivered),
        (
            AuditEvent::Resent { revision: 1, state: Shown::Due, suppressions_cleared: 0 },
            Some("lost"),
        ),
        (AuditEvent::Resent { revision: 2, state: Shown::Due, suppressions_cleared: 1 }, None),
    ]
}

fn attempt_events() -> Vec<Told> {
    let resolved = |recipient| (AuditEvent::RecipientResolved { recipient }, None);
    let nothing = |state, rule, held, superseded| {
        (AuditEvent::NothingToSend { state, rule, held, superseded }, None)
    };
    let rejected = Some(HoldKind::RejectedAfterUncertain);
    let mut events = vec![
        resolved(sub_user()),
        resolved(main_contact(Rule::NoBillingContact)),
        nothing(Shown::Withheld, Rule::NoDeliverableAddress, None, 0),
        nothing(Shown::Delivered, Rule::BillingContactSelected, None, 2),
        nothing(Shown::Held, Rule::FallbackAfterRejection, rejected, 0),
    ];
    events.extend(attempts().into_iter().map(|attempt| {
        let event = AuditEvent::AttemptEnded(Box::new(attempt));
        (event, None)
    }));
    events
}

fn attempts() -> Vec<AttemptEnded> {
    let delivered = |withdrawal_stopped| {
        Some(Consequence::Delivered { accepted: 1, of: 2, withdrawal_stopped })
    };
    let refused = Some(Consequence::Held(HoldKind::MessageRefused));
    let unknown = Some(Consequence::Held(HoldKind::UncertainTooOften));
    vec![
        attempt(Outcome::Accepted, Stage::FinalDot, (250, "2.0.0", "ok"), None),
        attempt(Outcome::Accepted, Stage::FinalDot, (250, "", ""), delivered(None)),
        attempt(Outcome::Accepted, Stage::FinalDot, (250, "2.0.0", "ok"), delivered(Some(1))),
        attempt(Outcome::Deferred, Stage::Rcpt, (451, "4.7.1", "<a@b.example> greylisted"), None),
        attempt(
            Outcome::Rejected,
            Stage::Rcpt,
            (550, "5.1.1", "no such user"),
            Some(Consequence::AddressSuppressed),
        ),
        attempt(
            Outcome::Rejected,
            Stage::Rcpt,
            (550, "5.1.1", "no such user"),
            Some(Consequence::Undeliverable),
        ),
        attempt(Outcome::Rejected, Stage::Data, (554, "5.7.1", "spam"), refused),
        attempt(
            Outcome::Deferred,
            Stage::Data,
            (451, "", "later"),
            Some(Consequence::EarlierRevisionDelivered),
        ),
        attempt(Outcome::Deferred, Stage::Data, (451, "", "later"), Some(Consequence::Withdrawn)),
        AttemptEnded {
            reply: None,
            cause: Some(text("the daemon ended before the outcome was known")),
            ..attempt(Outcome::Uncertain, Stage::FinalDot, (250, "", ""), unknown)
        },
        AttemptEnded {
            reply: None,
            ..attempt(Outcome::Uncertain, Stage::FinalDot, (250, "", ""), None)
        },
    ]
}

fn attempt(
    outcome: Outcome,
    stage: Stage,
    (code, enhanced, words): (u16, &str, &str),
    consequence: Option<Consequence>,
) -> AttemptEnded {
    let mut digits = enhanced.split('.').flat_map(str::parse);
    let enhanced = (|| {
        let class = u8::try_from(digits.next()?).ok()?;
        Some(EnhancedCode(class, digits.next()?, digits.next()?))
    })();
    AttemptEnded {
        revision: 1,
        number: 2,
        started_at: DateTime::UNIX_EPOCH,
        address: 1,
        addresses: 2,
        outcome,
        stage,
        reply: Some(AuditReply { code, enhanced, text: text(words) }),
        cause: None,
        message_digest: Digest::from_bytes([0xab; 32]),
        message_bytes: 48_211,
        consequence,
    }
}

fn operating_events() -> Vec<Told> {
    let [_, operator, _, daemon] = actors();
    let paused_for = vec![
        PausedFor { actor: operator, reason: text("an audit of a@b.example") },
        PausedFor { actor: daemon, reason: text("the clock stepped") },
    ];
    let schedule = || ReleaseScope::Schedule(text("weekly"));
    vec![
        (AuditEvent::RunOpened { scope: schedule() }, None),
        (AuditEvent::RunOpened { scope: ReleaseScope::Account }, Some("asked for by phone")),
        (AuditEvent::ReleasedByRun { scope: schedule() }, None),
        (AuditEvent::ReleasedByRun { scope: ReleaseScope::Account }, None),
        (AuditEvent::Paused { scope: PausedScope::Everything }, Some("started with --paused")),
        (AuditEvent::Paused { scope: PausedScope::Account }, None),
        (AuditEvent::Paused { scope: PausedScope::Removal }, Some("an audit")),
        (AuditEvent::PauseReasonAdded { scope: PausedScope::Removal }, Some("the clock stepped")),
        (
            AuditEvent::Resumed { scope: PausedScope::Removal, paused_for },
            Some("the clock is right"),
        ),
        (AuditEvent::Resumed { scope: PausedScope::Everything, paused_for: Vec::new() }, None),
    ]
}
