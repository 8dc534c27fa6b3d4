//! The message of a round: the invoice's documents, read and checked, put into words for the recipient.
//!
//! One message serves all addresses of a round. It is made on a thread that may block, and a fault in it
//! concerns this invoice only: the caller holds it, others go on.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{Parts, Shared};
use crate::domain::address::{EmailAddress, MessageId};
use crate::domain::delivery::{AddressState, Delivery};
use crate::domain::recipient::{Addressee, Recipient, Rule};
use crate::mail::compose::{Composition, compose, message_id};
use crate::mail::message::Message;
use crate::store::{Job, StoreError, in_full};

/// A message, with what it was made from.
#[derive(Debug)]
pub(super) struct ComposedMessage {
    key: MessageKey,
    message: Arc<Message>,
}

/// What distinguishes two messages of one invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
struct MessageKey {
    message_id: MessageId,
    date: DateTime<Utc>,
    addressee: Addressee,
    is_fallback: bool,
    /// The addresses in `To`.
    to: Vec<EmailAddress>,
}

/// Why there is no message.
#[derive(Debug)]
pub(super) enum ComposeFailure {
    /// No message can be made of the invoice, whenever that is tried.
    Invoice(String),
    /// The store failed.
    Store(StoreError),
}

impl ComposedMessage {
    /// The message for `resolved`, a delivery whose round begins: the one made `before` if that is the
    /// same, or if nothing but an address that is done with by now has gone from its `To`.
    pub(super) async fn take_or_make(
        before: Option<Self>,
        shared: &Arc<Shared>,
        job: &Job,
        resolved: &Delivery,
        recipient: &Recipient,
    ) -> Result<Self, ComposeFailure> {
        let key = MessageKey::of(shared, job, resolved, recipient)?;
        if let Some(before) = before
            && before.key.serves(&key)
        {
            return Ok(before);
        }
        let made = make(shared, job, key.clone());
        Ok(Self { key, message: Arc::new(made.await?) })
    }

    pub(super) fn message(&self) -> &Arc<Message> {
        &self.message
    }
}

impl MessageKey {
    fn of(
        shared: &Shared,
        job: &Job,
        resolved: &Delivery,
        recipient: &Recipient,
    ) -> Result<Self, ComposeFailure> {
        let failure = |what: &str| ComposeFailure::Invoice(what.to_owned());
        let addressee = recipient.addressee().ok_or_else(|| failure("it has no recipient"))?;
        let is_in_it = |address: &&EmailAddress| {
            resolved
                .addresses
                .iter()
                .any(|known| known.address == **address && known.state != AddressState::Superseded)
        };
        let message_id = message_id(
            &shared.store.id(),
            job.id,
            resolved.revision,
            &shared.settings.message_id_domain,
        )
        .map_err(|_| failure("mail.message_id_domain is too long"))?;
        Ok(Self {
            message_id,
            date: resolved.round_at.ok_or_else(|| failure("its round has no time"))?,
            addressee: addressee.clone(),
            is_fallback: recipient.reason.rule == Rule::FallbackAfterRejection,
            to: recipient.addresses().iter().filter(is_in_it).cloned().collect(),
        })
    }

    /// Whether the message made from this one also serves for `wanted`: the same to the same contact, whose
    /// addresses may have become fewer since.
    fn serves(&self, wanted: &Self) -> bool {
        self.message_id == wanted.message_id
            && self.date == wanted.date
            && self.is_fallback == wanted.is_fallback
            && self.addressee.contact == wanted.addressee.contact
            && self.addressee.language == wanted.addressee.language
            && wanted.to.iter().all(|address| self.to.contains(address))
    }
}

async fn make(shared: &Arc<Shared>, job: &Job, key: MessageKey) -> Result<Message, ComposeFailure> {
    let (invoice, blocking) = (job.invoice.clone(), shared.blocking);
    let shared = Arc::clone(shared);
    let made = blocking.run(move || {
        let Parts { store, templates, settings, .. } = &shared.parts;
        let mut documents = Vec::new();
        let mut total = 0;
        for document in invoice.documents.as_slice() {
            match store.document(&document.digest) {
                Ok(Some(bytes)) => {
                    total += bytes.len();
                    documents.push(bytes);
                    // As base64 they only grow. All twenty might not fit into memory.
                    if total > settings.message_bytes {
                        let most = settings.message_bytes;
                        let cause = format!("its documents exceed {most} bytes in total");
                        return Err(ComposeFailure::Invoice(cause));
                    }
                }
                Ok(None) => {
                    let name = &document.file_name;
                    return Err(ComposeFailure::Invoice(format!("the document {name} is missing")));
                }
                Err(StoreError::Damaged { key, cause }) => {
                    return Err(ComposeFailure::Invoice(format!("damaged record {key}: {cause}")));
                }
                Err(failure) => return Err(ComposeFailure::Store(failure)),
            }
        }
        let documents: Vec<&[u8]> = documents.iter().map(Vec::as_slice).collect();
        compose(&Composition {
            invoice: &invoice,
            addressee: &key.addressee,
            is_fallback: key.is_fallback,
            to: &key.to,
            documents: &documents,
            message_id: &key.message_id,
            date: key.date,
            brand: &settings.brand,
            templates,
            default_language: &settings.default_language,
            message_bytes: settings.message_bytes,
        })
        .map_err(|error| ComposeFailure::Invoice(in_full(&error)))
    });
    // A panic in there is a fault with this invoice, not with all.
    made.await.unwrap_or_else(|_| Err(ComposeFailure::Invoice("composing it failed".to_owned())))
}
