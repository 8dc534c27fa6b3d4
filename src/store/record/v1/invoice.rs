//! Invoices, what their numbers stand for, and their documents.

use serde::{Deserialize, Serialize};

use super::super::{DocumentRow, IdentityRow, InvoiceRow, Malformed, Stored};
use super::delivery::ShownForm;
use super::{day, field, numbered, read_day, read_time, time};
use crate::domain::address::FileName;
use crate::domain::id::{AccountId, Digest, InvoiceNumber, Sequence, Version};
use crate::domain::invoice::{Document, Documents, Invoice, Kind, MediaType, PortalUrl, Release};
use crate::domain::money::{Currency, Money};

#[derive(Serialize, Deserialize)]
pub(in crate::store::record) struct InvoiceForm<'a> {
    account: &'a str,
    number: &'a str,
    #[serde(borrow)]
    kind: KindForm<'a>,
    issued_on: i32,
    due_on: Option<i32>,
    total_minor: i128,
    currency: &'a str,
    release: ReleaseForm,
    min_account_version: Option<u64>,
    portal_url: Option<&'a str>,
    documents: Vec<AttachedForm<'a>>,
    received_at: i64,
}

#[derive(Serialize, Deserialize)]
pub(in crate::store::record) enum KindForm<'a> {
    Invoice,
    #[serde(borrow)]
    CreditNote(Option<&'a str>),
    CorrectedInvoice(&'a str),
    Reminder(&'a str),
}

numbered!(ReleaseForm = Release { Scheduled, Immediately });

#[derive(Serialize, Deserialize)]
pub(in crate::store::record) struct AttachedForm<'a> {
    digest: [u8; 32],
    file_name: &'a str,
    media_type: &'a str,
}

impl Stored for InvoiceRow {
    const KIND: &'static str = "invoice";
    type Form<'a> = InvoiceForm<'a>;

    fn form(&self) -> InvoiceForm<'_> {
        let Self { invoice, received_at } = self;
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
        InvoiceForm {
            account: account.as_str(),
            number: number.as_str(),
            kind: KindForm::of(kind),
            issued_on: day(*issued_on),
            due_on: due_on.map(day),
            total_minor: total.minor(),
            currency: total.currency().code(),
            release: (*release).into(),
            min_account_version: min_account_version.map(Version::get),
            portal_url: portal_url.as_ref().map(PortalUrl::as_str),
            documents: documents.as_slice().iter().map(AttachedForm::of).collect(),
            received_at: time(*received_at),
        }
    }

    fn restore(form: InvoiceForm<'_>) -> Result<Self, Malformed> {
        let InvoiceForm {
            account,
            number,
            kind,
            issued_on,
            due_on,
            total_minor,
            currency,
            release,
            min_account_version,
            portal_url,
            documents,
            received_at,
        } = form;
        let currency = field("currency", Currency::parse(currency))?;
        let documents: Vec<Document> =
            documents.into_iter().map(AttachedForm::restore).collect::<Result<_, _>>()?;
        let invoice = Invoice {
            account: field("account", AccountId::parse(account))?,
            number: read_number(number)?,
            kind: kind.restore()?,
            issued_on: read_day("issued on", issued_on)?,
            due_on: due_on.map(|days| read_day("due on", days)).transpose()?,
            total: Money::from_minor(total_minor, currency),
            release: release.into(),
            min_account_version: field(
                "account's least version",
                min_account_version.map(Version::parse).transpose(),
            )?,
            portal_url: field("portal URL", portal_url.map(PortalUrl::parse).transpose())?,
            documents: field("documents", Documents::parse(documents))?,
        };
        Ok(Self { invoice, received_at: read_time("received at", received_at)? })
    }
}

impl<'a> KindForm<'a> {
    fn of(kind: &'a Kind) -> Self {
        match kind {
            Kind::Invoice => Self::Invoice,
            Kind::CreditNote(number) => {
                Self::CreditNote(number.as_ref().map(InvoiceNumber::as_str))
            }
            Kind::CorrectedInvoice(number) => Self::CorrectedInvoice(number.as_str()),
            Kind::Reminder(number) => Self::Reminder(number.as_str()),
        }
    }

    fn restore(self) -> Result<Kind, Malformed> {
        Ok(match self {
            Self::Invoice => Kind::Invoice,
            Self::CreditNote(number) => Kind::CreditNote(number.map(read_number).transpose()?),
            Self::CorrectedInvoice(number) => Kind::CorrectedInvoice(read_number(number)?),
            Self::Reminder(number) => Kind::Reminder(read_number(number)?),
        })
    }
}

fn read_number(number: &str) -> Result<InvoiceNumber, Malformed> {
    field("number", InvoiceNumber::parse(number))
}

impl<'a> AttachedForm<'a> {
    fn of(document: &'a Document) -> Self {
        let Document { digest, file_name, media_type } = document;
        Self {
            digest: *digest.as_bytes(),
            file_name: file_name.as_str(),
            media_type: media_type.as_str(),
        }
    }

    fn restore(self) -> Result<Document, Malformed> {
        let Self { digest, file_name, media_type } = self;
        Ok(Document {
            digest: Digest::from_bytes(digest),
            file_name: field("file name", FileName::parse(file_name))?,
            media_type: field("media type", MediaType::parse(media_type))?,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(in crate::store::record) enum IdentityForm {
    Sequence(u64),
    Tombstone { content: Option<[u8; 32]>, state: ShownForm, at: i64 },
}

impl Stored for IdentityRow {
    const KIND: &'static str = "identity";
    type Form<'a> = IdentityForm;

    fn form(&self) -> IdentityForm {
        match self {
            Self::Sequence(Sequence(number)) => IdentityForm::Sequence(*number),
            Self::Tombstone { content, state, at } => IdentityForm::Tombstone {
                content: content.map(|digest| *digest.as_bytes()),
                state: (*state).into(),
                at: time(*at),
            },
        }
    }

    fn restore(form: IdentityForm) -> Result<Self, Malformed> {
        Ok(match form {
            IdentityForm::Sequence(number) => Self::Sequence(Sequence(number)),
            IdentityForm::Tombstone { content, state, at } => Self::Tombstone {
                content: content.map(Digest::from_bytes),
                state: state.into(),
                at: read_time("at", at)?,
            },
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(in crate::store::record) struct DocumentForm {
    bytes: u64,
    day: i32,
    references: u64,
    billed: bool,
    stored_at: i64,
}

impl Stored for DocumentRow {
    const KIND: &'static str = "document";
    type Form<'a> = DocumentForm;

    fn form(&self) -> DocumentForm {
        let Self { bytes, day: directory, references, billed, stored_at } = self;
        DocumentForm {
            bytes: *bytes,
            day: day(*directory),
            references: *references,
            billed: *billed,
            stored_at: time(*stored_at),
        }
    }

    fn restore(form: DocumentForm) -> Result<Self, Malformed> {
        let DocumentForm { bytes, day, references, billed, stored_at } = form;
        Ok(Self {
            bytes,
            day: read_day("day", day)?,
            references,
            billed,
            stored_at: read_time("stored at", stored_at)?,
        })
    }
}
