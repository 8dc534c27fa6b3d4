//! `POST /v1/events`: from a signed body to a durable change and its answer.
//!
//! [`receive`] checks in order, top to bottom. What an event says is read by
//! [`account`] and [`invoice`] into domain types; [`answer`] turns what the store decided into the
//! answer. The store judges version and `webhook-id`; the remembered id is looked up before only where
//! nothing would reach the store, or documents would.

mod account;
mod answer;
mod change;
mod invoice;

#[cfg(any(test, fuzzing))]
pub(super) mod property;

pub(super) use self::change::ChangeUnderWay;

use std::sync::Arc;

use chrono::{DateTime, Utc};

use self::account::ParsedChange;
use self::answer::unless_reused;
use self::invoice::ParsedInvoice;
use super::fields::{Fields, Item, Noted, Report};
use super::json::{self, Node};
use super::problem::{Code, Problem, forbidden, unsigned};
use super::request::{LogFields, Reply, RequestContext, blocking_if_large};
use super::signature::{Rejected, Signed};
use super::values::{account_id, instant, invoice_number};
use super::{Context, batch, documents};
use crate::config::Sender;
use crate::domain::id::{AccountId, Digest, InvoiceNumber};
use crate::domain::invoice::Invoice;
use crate::domain::named;
use crate::store::{DocumentAnswer, InvoiceView, Received, Store, StoreError};

named! {
    /// What an event is about.
    enum EventType {
        AccountUpdated = "account.updated",
        AccountClosed = "account.closed",
        SubUserSaved = "sub_user.saved",
        SubUserRemoved = "sub_user.removed",
        BillingContactSelected = "billing_contact.selected",
        InvoiceIssued = "invoice.issued",
        InvoiceWithdrawn = "invoice.withdrawn",
    }
}

impl EventType {
    /// Those that a batch may hold.
    const OF_ACCOUNTS: &[Self] = Self::ALL.split_at(5).0;

    /// The type that a body claims to have.
    fn claimed(body: &Node) -> Option<Self> {
        body.text_at("type").and_then(Self::parse)
    }

    fn is_allowed_to(self, sender: &Sender) -> bool {
        match self {
            Self::AccountUpdated
            | Self::AccountClosed
            | Self::SubUserSaved
            | Self::SubUserRemoved
            | Self::BillingContactSelected => sender.accounts,
            Self::InvoiceIssued | Self::InvoiceWithdrawn => sender.invoices,
        }
    }
}

/// What an event says.
#[derive(Debug)]
enum Event {
    Account(Box<ParsedChange>),
    Issued(Box<ParsedInvoice>),
    Withdrawn(AccountId, InvoiceNumber),
}

/// Takes an event, or a batch of them.
pub(super) async fn receive(request: &mut RequestContext) -> Result<Reply, Problem> {
    // Limits and headers.
    let most = request.limits().event_body_bytes;
    request.check_announced(most)?;
    let is_batch = request.has_content_type(batch::MEDIA_TYPE);
    if !is_batch && !request.has_content_type("application/json") {
        let batch = batch::MEDIA_TYPE;
        let sentence =
            format!("expected Content-Type: application/json, or {batch} for many account events");
        return Err(Problem::new(Code::UnsupportedMediaType, sentence));
    }
    let most = if is_batch { batch::body_bytes(most) } else { most };
    let context = Arc::clone(&request.service.context);
    let signed = Signed::read(&request.headers, context.clock.now())
        .map_err(|rejected| unsigned(&rejected))?;
    let body = Arc::new(request.read_body(most).await?);
    let body_bytes = body.len();

    // Signature and right. What is no JSON has no type that could be forbidden; it is refused below.
    let access = context.access();
    let (signed, sender) = {
        let (access, body) = (Arc::clone(&access), Arc::clone(&body));
        let verify = move || {
            let sender = signed.verify(&access.senders, &body);
            let name = sender.map(|sender| sender.name.clone());
            (signed, name)
        };
        blocking_if_large(body_bytes, verify).await?
    };
    let sender = sender
        .and_then(|name| access.senders.get(&name).ok_or(Rejected::NoMatch))
        .map_err(|rejected| unsigned(&rejected))?;
    request.log_fields.sender = Some(sender.name.clone());
    request.service.rates.admit(&sender.name)?;
    if is_batch {
        return receive_batch(request, &context, sender, &signed, &body).await;
    }
    let (parsed, digest) = {
        let body = Arc::clone(&body);
        blocking_if_large(body_bytes, move || (json::parse(&body), Digest::of(&body))).await?
    };
    let claimed = parsed.as_ref().ok().and_then(EventType::claimed);
    if let Some(event_type) = claimed {
        request.log_fields.event_type = Some(event_type.as_str());
        if !event_type.is_allowed_to(sender) {
            return Err(forbidden(&format!("push {event_type}")));
        }
    }

    // Remembered id, JSON, then everything else inside the store's commit.
    let received = Received {
        sender: sender.name.clone(),
        id: signed.id,
        body: digest,
        at: context.clock.now(),
    };
    let document_bytes = request.limits().document_bytes;
    match parsed.and_then(|body| read_event(&body, &EventType::ALL, document_bytes)) {
        Ok(event) => commit(request, &context, received, event).await,
        Err(problem) => Err(unless_remembered(&context, received, problem).await),
    }
}

/// The answer to an event that cannot be read: that its id is used already comes first.
///
/// Only here is the id looked up before the commit, which judges it itself: so an event that can be read costs no
/// read of the disk but its commit's.
async fn unless_remembered(context: &Context, received: Received, problem: Problem) -> Problem {
    match context.read(move |store| is_reused(store, &received)).await {
        Ok(false) => problem,
        Ok(true) => answer::id_reused(),
        Err(failure) => failure,
    }
}

/// Whether other bytes were accepted under the id.
fn is_reused(store: &dyn Store, received: &Received) -> Result<bool, StoreError> {
    let remembered = store.remembered(&received.sender, &received.id, received.at)?;
    Ok(remembered.is_some_and(|digest| !received.body.as_bytes().starts_with(&digest)))
}

/// Takes account events, each as if it had come alone under an id of its own.
async fn receive_batch(
    request: &mut RequestContext,
    context: &Context,
    sender: &Sender,
    signed: &Signed,
    body: &[u8],
) -> Result<Reply, Problem> {
    if !sender.accounts {
        return Err(forbidden("push accounts"));
    }
    let lines = batch::lines(body)?;
    let more = u32::try_from(lines.len() - 1).unwrap_or(u32::MAX);
    request.service.rates.charge(&sender.name, more);
    let document_bytes = request.limits().document_bytes;
    let begin = |(number, line): batch::Line<'_>| {
        let received = Received {
            sender: sender.name.clone(),
            id: signed.id.of_line(number),
            body: Digest::of(line),
            at: context.clock.now(),
        };
        let event = json::parse(line)
            .and_then(|body| read_event(&body, EventType::OF_ACCOUNTS, document_bytes));
        match event {
            Ok(Event::Account(parsed)) => Ok(ChangeUnderWay::of_event(context, received, *parsed)),
            // Its type would have been none of those that are taken.
            Ok(Event::Issued(_) | Event::Withdrawn(..)) => {
                Err(Box::new((received, Problem::internal("an invoice in a batch"))))
            }
            Err(problem) => Err(Box::new((received, problem))),
        }
    };
    let end = |line: Result<ChangeUnderWay, Box<(Received, Problem)>>| async move {
        match line {
            Ok(change) => change.end(&mut LogFields::default()).await,
            Err(unread) => {
                let (received, problem) = *unread;
                Err(unless_remembered(context, received, problem).await)
            }
        }
    };
    batch::answer(request, lines, begin, end).await
}

/// Reads a body with an event of one of these types; every mistake in it is in the problem.
fn read_event(body: &Node, types: &[EventType], document_bytes: usize) -> Result<Event, Problem> {
    let report = Report::default();
    let event = read_envelope(&Item::root(body, &report), types, document_bytes);
    report.finish(event)
}

fn read_envelope(
    body: &Item<'_>,
    types: &[EventType],
    document_bytes: usize,
) -> Result<Event, Noted> {
    let envelope = body.fields()?;
    let event_type = envelope.required("type").and_then(|item| item.choice(types));
    let timestamp = envelope.required("timestamp").and_then(|item| item.parse(instant));
    let data = envelope.required("data").and_then(|item| item.fields());
    // Without a type there is no telling which data would be right.
    let event = match (event_type, data) {
        (Ok(event_type), Ok(data)) => read_data(event_type, data, timestamp, document_bytes),
        (Err(noted), _) | (_, Err(noted)) => Err(noted),
    };
    envelope.finish();
    event
}

fn read_data(
    event_type: EventType,
    data: Fields<'_>,
    timestamp: Result<DateTime<Utc>, Noted>,
    document_bytes: usize,
) -> Result<Event, Noted> {
    let kind = match event_type {
        EventType::AccountUpdated => account::updated,
        EventType::AccountClosed => account::closed,
        EventType::SubUserSaved => account::sub_user_saved,
        EventType::SubUserRemoved => account::sub_user_removed,
        EventType::BillingContactSelected => account::billing_contact_selected,
        EventType::InvoiceIssued => {
            let issued = invoice::issued(data, document_bytes);
            return Ok(Event::Issued(Box::new(issued?)));
        }
        EventType::InvoiceWithdrawn => {
            let account = account_id(&data);
            let number = invoice_number(&data);
            data.finish();
            return Ok(Event::Withdrawn(account?, number?));
        }
    };
    let change = account::read(data, timestamp, kind);
    Ok(Event::Account(Box::new(change?)))
}

async fn commit(
    request: &mut RequestContext,
    context: &Context,
    received: Received,
    event: Event,
) -> Result<Reply, Problem> {
    let log_fields = &mut request.log_fields;
    match event {
        Event::Account(parsed) => {
            log_fields.account = Some(parsed.change.account.to_string());
            let changed =
                ChangeUnderWay::of_event(context, received, *parsed).end(log_fields).await;
            Reply::ok(&changed?)
        }
        Event::Issued(parsed) => {
            let ParsedInvoice { invoice, embedded, places } = *parsed;
            log_fields.account = Some(invoice.account.to_string());
            log_fields.number = Some(invoice.number.to_string());
            keep_embedded(context, &received, &invoice, embedded).await?;
            let (account, number) = (invoice.account.clone(), invoice.number.clone());
            let judged = context.store.issue(received, invoice).await?;
            context.wake_up.notify_one();
            let (issued, repeated) = unless_reused(judged)?;
            answer::issued(&account, &number, issued, repeated, &places, context, log_fields)
        }
        Event::Withdrawn(account, number) => {
            log_fields.account = Some(account.to_string());
            log_fields.number = Some(number.to_string());
            let judged = context.store.withdraw(received, account.clone(), number.clone()).await?;
            let (withdrawn, repeated) = unless_reused(judged)?;
            answer::withdrawn(&account, &number, &withdrawn, repeated, log_fields)
        }
    }
}

/// Keeps the documents that came inside an event, unless nothing can refer to them: the number is known
/// with other content. Those of an invoice that is refused for another document's sake are there when it
/// comes again, and else collected as unused.
async fn keep_embedded(
    context: &Context,
    received: &Received,
    invoice: &Invoice,
    embedded: Vec<(Digest, Vec<u8>)>,
) -> Result<(), Problem> {
    if embedded.is_empty() {
        return Ok(());
    }
    let (account, number) = (invoice.account.clone(), invoice.number.clone());
    let received = received.clone();
    let read = context
        .read(move |store| Ok((is_reused(store, &received)?, store.invoice(&account, &number)?)));
    let (is_reused, known) = read.await?;
    if is_reused {
        return Err(answer::id_reused());
    }
    let wanted = match known {
        None => true,
        // What the disk lost or spoilt is put right.
        Some(InvoiceView::Whole(known)) => known.invoice.differs(invoice).is_empty(),
        Some(InvoiceView::Tombstone { .. }) => false,
    };
    if wanted {
        for (digest, bytes) in embedded {
            match documents::keep(&context.store, &context.clock, digest, bytes).await? {
                DocumentAnswer::Stored | DocumentAnswer::Duplicate => {}
                DocumentAnswer::TooMany => return Err(documents::too_many()),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
