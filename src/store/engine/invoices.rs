//! Invoices: handed over, taken back, moved by an operator.

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};

use super::keys::{self, Object};
use super::subject::Subject;
use super::tx::{Records as _, Tree, Tx};
use super::write::{self, By, Idempotency, Placed};
use super::{accounts, read};
use crate::domain::account::Account;
use crate::domain::audit::{Actor, AuditEvent, AuditText, Effect};
use crate::domain::delivery::{Delivery, DeliveryId, Event, HoldReason, Shown, State, StepAnswer};
use crate::domain::id::{AccountId, Digest, InvoiceNumber, Sequence, Version};
use crate::domain::invoice::{Document, Invoice};
use crate::store::record::{CounterRow, DocumentRow, IdentityRow, InvoiceRow};
use crate::store::{
    Command, Deduplicated, InvoiceStatus, IssueAnswer, OperateAnswer, Order, Received, Result,
    WithdrawAnswer,
};

/// Takes an invoice.
pub(super) fn issue(
    tx: &mut Tx<'_>,
    received: &Received,
    invoice: &Invoice,
) -> Result<Deduplicated<IssueAnswer>> {
    let memory = write::memory(tx, received)?;
    if memory == Idempotency::Reused {
        return Ok(Deduplicated::IdReused);
    }
    let known = read::identity(tx, &invoice.account, &invoice.number)?;
    let answer = match known {
        Some(identity) => compare(tx, invoice, &identity)?,
        None => accept(tx, received, invoice)?,
    };
    let is_success = match answer {
        IssueAnswer::Applied(_)
        | IssueAnswer::Parked(_)
        | IssueAnswer::Duplicate(_)
        | IssueAnswer::Stale(_) => true,
        IssueAnswer::Conflict { .. }
        | IssueAnswer::DocumentsMissing(_)
        | IssueAnswer::DocumentsTooLarge { .. } => false,
    };
    write::judged(tx, received, memory, answer, is_success)
}

/// Judges an invoice whose number is known.
fn compare(tx: &Tx<'_>, invoice: &Invoice, identity: &IdentityRow) -> Result<IssueAnswer> {
    match identity {
        IdentityRow::Sequence(sequence) => {
            let stored = read::invoice(tx, *sequence)?.invoice;
            let id = DeliveryId::of_invoice(*sequence);
            let row = read::delivery(tx, id)?;
            let standing = read::standing(tx, &stored, id, &row, tx.rules())?;
            let differs = stored.differs(invoice);
            if differs.is_empty() {
                return Ok(IssueAnswer::Duplicate(standing));
            }
            Ok(IssueAnswer::Conflict { state: standing.state, differs })
        }
        IdentityRow::Tombstone { content, state, at: _ } => {
            let standing =
                InvoiceStatus { state: *state, schedule: None, next_at: None, recipient: None };
            Ok(match content {
                None => IssueAnswer::Stale(standing),
                Some(digest) if *digest == content_digest(invoice) => {
                    IssueAnswer::Duplicate(standing)
                }
                Some(_) => IssueAnswer::Conflict { state: *state, differs: Vec::new() },
            })
        }
    }
}

fn accept(tx: &mut Tx<'_>, received: &Received, invoice: &Invoice) -> Result<IssueAnswer> {
    let mut documents = Vec::new();
    let mut missing = Vec::new();
    for digest in invoice.documents.digests() {
        match tx.read::<DocumentRow>(&keys::document(&digest))? {
            Some(row) => documents.push((digest, row)),
            None => missing.push(digest),
        }
    }
    if !missing.is_empty() {
        return Ok(IssueAnswer::DocumentsMissing(missing));
    }
    let bytes_of = |document: &Document| {
        let stored = documents.iter().find(|(digest, _)| *digest == document.digest);
        stored.map_or(0, |(_, row)| row.bytes)
    };
    let bytes: u64 = invoice.documents.as_slice().iter().map(bytes_of).sum();
    let most = tx.rules().documents_bytes;
    if bytes > most {
        return Ok(IssueAnswer::DocumentsTooLarge { most });
    }

    let sequence = next_sequence(tx)?;
    let account = read::account(tx, &invoice.account)?;
    let version = account.as_ref().map_or(Version::UNKNOWN, Account::version);
    let known = account.is_some() && invoice.min_account_version.is_none_or(|min| min <= version);
    let delivery = Delivery::new(known, invoice.release, received.at);

    tx.put(&keys::identity(&invoice.account, &invoice.number), &IdentityRow::Sequence(sequence))?;
    let stored = InvoiceRow { invoice: invoice.clone(), received_at: received.at };
    tx.put(&keys::invoice(sequence), &stored)?;
    for (digest, before) in documents {
        let row = DocumentRow { references: before.references + 1, billed: true, ..before };
        write::put_document(tx, &digest, Some(&before), Some(&row))?;
    }
    let id = DeliveryId::of_invoice(sequence);
    let placed = Placed { id, account_id: &invoice.account, account: account.as_ref() };
    let row = write::put_delivery(tx, &placed, None, delivery, received.at)?;
    let standing = read::standing(tx, invoice, id, &row, tx.rules())?;
    let by = By { actor: &received.actor(), reason: None };
    let issued = AuditEvent::Issued { release: invoice.release, state: standing.state };
    write::tell(tx, Object::Invoice(sequence), received.at, &by, issued);
    Ok(if known { IssueAnswer::Applied(standing) } else { IssueAnswer::Parked(standing) })
}

fn next_sequence(tx: &mut Tx<'_>) -> Result<Sequence> {
    let sequence = Sequence(last_sequence(tx)?.0 + 1);
    tx.put(&keys::counter("sequence"), &CounterRow(sequence.0))?;
    Ok(sequence)
}

/// The sequence of the invoice that arrived last.
pub(super) fn last_sequence(tree: &dyn Tree) -> Result<Sequence> {
    let last: Option<CounterRow> = tree.read(&keys::counter("sequence"))?;
    Ok(last.map_or(Sequence(0), |CounterRow(last)| Sequence(last)))
}

/// Takes an invoice back, or makes sure that it will not be sent when it comes.
pub(super) fn withdraw(
    tx: &mut Tx<'_>,
    received: &Received,
    account: &AccountId,
    number: &InvoiceNumber,
) -> Result<Deduplicated<WithdrawAnswer>> {
    let memory = write::memory(tx, received)?;
    if memory == Idempotency::Reused {
        return Ok(Deduplicated::IdReused);
    }
    let known = read::identity(tx, account, number)?;
    if memory == Idempotency::Repeated {
        let answer = WithdrawAnswer::Duplicate { state: state_now(tx, known.as_ref())? };
        return write::judged(tx, received, memory, answer, true);
    }
    let by = By { actor: &received.actor(), reason: None };
    let answer = match known {
        None => {
            let tombstone =
                IdentityRow::Tombstone { content: None, state: Shown::Withdrawn, at: received.at };
            tx.put(&keys::identity(account, number), &tombstone)?;
            let withdrawn = AuditEvent::WithdrawnBeforeIssue { number: AuditText::new(number) };
            write::tell(tx, Object::Account(account.clone()), received.at, &by, withdrawn);
            WithdrawAnswer::Withdrawn
        }
        Some(IdentityRow::Tombstone { content: _, state, at: _ }) if state == Shown::Withdrawn => {
            WithdrawAnswer::Duplicate { state }
        }
        Some(IdentityRow::Tombstone { content: _, state, at: _ }) => {
            WithdrawAnswer::AlreadySent { state }
        }
        Some(IdentityRow::Sequence(sequence)) => {
            let id = DeliveryId::of_invoice(sequence);
            let moved = move_delivery(tx, id, &Event::Withdraw, &by, received.at)?;
            match moved.answer {
                StepAnswer::Applied => WithdrawAnswer::Withdrawn,
                StepAnswer::Deferred => WithdrawAnswer::Recorded,
                StepAnswer::Unchanged => WithdrawAnswer::Duplicate { state: moved.state },
                StepAnswer::AlreadySent
                | StepAnswer::WrongState
                | StepAnswer::OtherRevision { .. } => {
                    WithdrawAnswer::AlreadySent { state: moved.state }
                }
            }
        }
    };
    let is_success = !matches!(answer, WithdrawAnswer::AlreadySent { .. });
    write::judged(tx, received, memory, answer, is_success)
}

/// What has become of an invoice whose withdrawal was obeyed when it came first. It must not act again:
/// an operator may have decided otherwise meanwhile.
fn state_now(tx: &Tx<'_>, known: Option<&IdentityRow>) -> Result<Shown> {
    match known {
        Some(IdentityRow::Sequence(sequence)) => {
            Ok(read::delivery(tx, DeliveryId::of_invoice(*sequence))?.delivery.shown())
        }
        Some(IdentityRow::Tombstone { content: _, state, at: _ }) => Ok(*state),
        None => Err(read::damaged(
            "of kind identity",
            "a withdrawal that was obeyed left nothing behind",
        )),
    }
}

/// Obeys an operator; nothing if the invoice is not there.
pub(super) fn operate(
    tx: &mut Tx<'_>,
    account: &AccountId,
    number: &InvoiceNumber,
    order: &Order,
    operator: &str,
    at: DateTime<Utc>,
) -> Result<Option<OperateAnswer>> {
    let Order { command, reason } = order;
    let sequence = match read::identity(tx, account, number)? {
        Some(IdentityRow::Sequence(sequence)) => sequence,
        Some(IdentityRow::Tombstone { content: _, state, at: _ }) => {
            let answer = match command {
                Command::Withdraw if state == Shown::Withdrawn => StepAnswer::Unchanged,
                Command::Withdraw => StepAnswer::AlreadySent,
                Command::Hold { .. } | Command::Release { .. } | Command::Resend { .. } => {
                    StepAnswer::WrongState
                }
            };
            return Ok(Some(OperateAnswer { answer, state }));
        }
        None => return Ok(None),
    };
    let (event, reason) = match command {
        Command::Hold { reason } => {
            let hold = HoldReason::Operator { name: operator.to_owned(), reason: reason.clone() };
            (Event::Hold(hold), Some(reason))
        }
        Command::Release { now } => (Event::Release { now: *now }, reason.as_ref()),
        Command::Withdraw => (Event::Withdraw, reason.as_ref()),
        Command::Resend { revision } => (Event::Resend { revision: *revision }, reason.as_ref()),
    };
    let actor = Actor::Operator(operator.to_owned());
    let by = By { actor: &actor, reason: reason.map(String::as_str) };
    move_delivery(tx, DeliveryId::of_invoice(sequence), &event, &by, at).map(Some)
}

/// Has a delivery wait for an operator, for a reason of the daemon's.
pub(super) fn hold(
    tx: &mut Tx<'_>,
    id: DeliveryId,
    reason: HoldReason,
    at: DateTime<Utc>,
) -> Result<()> {
    move_delivery(tx, id, &Event::Hold(reason), &By::DAEMON, at)?;
    Ok(())
}

fn move_delivery(
    tx: &mut Tx<'_>,
    id: DeliveryId,
    event: &Event<'_>,
    by: &By<'_>,
    at: DateTime<Utc>,
) -> Result<OperateAnswer> {
    let subject = Subject::read(tx, id)?;
    let moved = subject.step(tx, event, at, 0.0);
    let state = moved.delivery.shown();
    if moved.delivery != subject.row.delivery {
        subject.put(tx, moved.delivery, at)?;
        let mut suppressions_cleared = 0;
        if is_to_be_tried_anew(event, &subject.row.delivery)
            && let Some(account) = &subject.account
        {
            let marks = accounts::clear_marks_of_recipients(tx, account, at)?;
            suppressions_cleared = write::count_of(marks);
        }
        if let Some(told) = told_of(event, moved.answer, state, suppressions_cleared) {
            subject.tell(tx, at, by, told);
        }
    }
    Ok(OperateAnswer { answer: moved.answer, state })
}

/// Whether an operator releases what stopped because no address could be reached, or what an operator held, or has
/// it sent again: then what the relay said of addresses counts no more. Where it was wrong about many (see the
/// brake on rejections), a hold and a release put that right. A hold because of a rejection is left by the way
/// that the rejection leads to.
fn is_to_be_tried_anew(event: &Event<'_>, before: &Delivery) -> bool {
    let was_stopped = matches!(before.state, State::Withheld | State::Undeliverable)
        || matches!(before.hold, Some(HoldReason::Operator { .. }));
    matches!(event, Event::Resend { .. }) || matches!(event, Event::Release { .. }) && was_stopped
}

/// The audit event of a command that changed a delivery.
fn told_of(
    event: &Event<'_>,
    answer: StepAnswer,
    state: Shown,
    suppressions_cleared: u64,
) -> Option<AuditEvent> {
    let effect = match answer {
        StepAnswer::Applied
        | StepAnswer::Unchanged
        | StepAnswer::WrongState
        | StepAnswer::OtherRevision { .. } => Effect::Applied,
        StepAnswer::Deferred => Effect::Deferred,
        StepAnswer::AlreadySent => Effect::AlreadySent,
    };
    match event {
        Event::Hold(reason) => {
            let cause = if let HoldReason::NotComposable(cause) = reason {
                Some(AuditText::new(cause))
            } else {
                None
            };
            Some(AuditEvent::Held { kind: reason.kind(), cause, effect, state })
        }
        Event::Release { now } => {
            Some(AuditEvent::Released { now: *now, effect, state, suppressions_cleared })
        }
        Event::Withdraw => Some(AuditEvent::Withdrawn { effect, state }),
        Event::Resend { revision } => {
            Some(AuditEvent::Resent { revision: *revision, state, suppressions_cleared })
        }
        Event::Freed(_)
        | Event::AccountChanged
        | Event::ScheduleFired
        | Event::Resolved { .. }
        | Event::AttemptBegan(_)
        | Event::AttemptEnded { .. }
        | Event::AttemptDropped
        | Event::Interrupted(_) => None,
    }
}

/// A digest of all that an invoice says, which outlives the invoice. Its form never changes: each
/// field as text with its length in front, in this order.
pub(super) fn content_digest(invoice: &Invoice) -> Digest {
    let Invoice {
        account,
        number,
        kind,
        issued_on,
        due_on,
        total,
        release,
        min_account_version,
        portal_url,
        documents,
    } = invoice;
    let text = |text: Option<String>| text.unwrap_or_default();
    let mut fields = vec![
        account.to_string(),
        number.to_string(),
        kind.as_str().to_owned(),
        text(kind.refers_to().map(ToString::to_string)),
        issued_on.to_string(),
        text(due_on.map(|date| date.to_string())),
        total.to_string(),
        release.as_str().to_owned(),
        text(min_account_version.map(|version| version.to_string())),
        text(portal_url.as_ref().map(|url| url.as_str().to_owned())),
    ];
    for Document { digest, file_name, media_type } in documents.as_slice() {
        fields.extend([digest.to_string(), file_name.to_string(), media_type.to_string()]);
    }
    let mut hasher = Sha256::new();
    for field in fields {
        hasher.update(u64::try_from(field.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(field);
    }
    Digest::from_bytes(hasher.finalize().into())
}
