//! What `invoice.issued` says: the wire's invoice and its documents, into domain types.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::account::version;
use crate::domain::address::FileName;
use crate::domain::id::{Digest, InvoiceNumber};
use crate::domain::invoice::{
    DOCUMENTS, Document, Documents, Invoice, Kind, KindName, MediaType, PortalUrl, Release,
};
use crate::domain::money::{Currency, Money};
use crate::http::fields::{Fields, Item, Noted};
use crate::http::values::{account_id, date, invoice_number};

/// An invoice, with the documents that came inside the event.
#[derive(Debug)]
pub(super) struct ParsedInvoice {
    pub(super) invoice: Invoice,
    /// To be kept before the invoice is.
    pub(super) embedded: Vec<(Digest, Vec<u8>)>,
    /// The pointer to each document's digest in the body.
    pub(super) places: Vec<(Digest, String)>,
}

pub(super) fn issued(data: Fields<'_>, document_bytes: usize) -> Result<ParsedInvoice, Noted> {
    let account = account_id(&data);
    let number = invoice_number(&data);
    let kind = kind(&data);
    let issued_on = data.required("issued_on").and_then(|item| item.parse(date));
    let due_on = data.optionally("due_on", |item| item.parse(date));
    let total = data.required("total").and_then(|item| total(&item));
    let release = data.required("release").and_then(|item| item.choice(&Release::ALL));
    let min_account_version = data.optionally("min_account_version", version);
    let portal_url = data.optionally("portal_url", |item| item.parse(|raw| PortalUrl::parse(raw)));
    let documents = data.required("documents").and_then(|item| documents(&item, document_bytes));
    data.finish();
    let (documents, embedded, places) = documents?;
    let invoice = Invoice {
        account: account?,
        number: number?,
        kind: kind?,
        issued_on: issued_on?,
        due_on: due_on?,
        total: total?,
        release: release?,
        min_account_version: min_account_version?,
        portal_url: portal_url?,
        documents,
    };
    Ok(ParsedInvoice { invoice, embedded, places })
}

fn kind(data: &Fields<'_>) -> Result<Kind, Noted> {
    let name = data.required("kind").and_then(|item| item.choice(&KindName::ALL));
    let refers_to =
        data.optionally("refers_to", |item| item.parse(|raw| InvoiceNumber::parse(raw)));
    match (name?, refers_to?) {
        (KindName::Invoice, None) => Ok(Kind::Invoice),
        (KindName::Invoice, Some(_)) => {
            data.fault("refers_to", "null: an invoice refers to no other")
        }
        (KindName::CreditNote, number) => Ok(Kind::CreditNote(number)),
        (KindName::CorrectedInvoice, Some(number)) => Ok(Kind::CorrectedInvoice(number)),
        (KindName::Reminder, Some(number)) => Ok(Kind::Reminder(number)),
        (KindName::CorrectedInvoice | KindName::Reminder, None) => {
            data.fault("refers_to", "the number that this kind refers to")
        }
    }
}

fn total(item: &Item<'_>) -> Result<Money, Noted> {
    let fields = item.fields()?;
    let currency = fields.required("currency").and_then(|item| item.parse(Currency::parse));
    let amount = fields.required("amount").and_then(|item| item.text().map(|text| (item, text)));
    fields.finish();
    let (item, text) = amount?;
    // In an unknown currency the form can be judged still, by the one with the most decimals.
    let judged_in = match currency {
        Ok(currency) => currency,
        Err(noted) => Currency::parse("CLF").map_err(|_| noted)?,
    };
    let money = item.check(Money::parse(text, judged_in));
    currency.and(money)
}

/// A document, its bytes if they came with it, and the pointer to its digest.
type ReadDocument = (Document, Option<Vec<u8>>, String);
/// All of them, the bytes to be kept, and the pointer to each digest.
type ReadDocuments = (Documents, Vec<(Digest, Vec<u8>)>, Vec<(Digest, String)>);

fn documents(item: &Item<'_>, document_bytes: usize) -> Result<ReadDocuments, Noted> {
    let read = item.each(DOCUMENTS, |item| document(item, document_bytes))?;
    let (mut documents, mut embedded, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for (document, bytes, place) in read {
        if let Some(bytes) = bytes {
            embedded.push((document.digest, bytes));
        }
        places.push((document.digest, place));
        documents.push(document);
    }
    let documents = item.check(Documents::parse(documents))?;
    Ok((documents, embedded, places))
}

fn document(item: &Item<'_>, most: usize) -> Result<ReadDocument, Noted> {
    let fields = item.fields()?;
    let sha256 = fields.optionally("sha256", |item| item.parse(Digest::parse));
    let content = fields.optionally("content_base64", |item| content(item, most));
    let file_name =
        fields.required("file_name").and_then(|item| item.parse(|raw| FileName::parse(raw)));
    let media_type = fields.required("media_type").and_then(|item| item.parse(MediaType::parse));
    let place = fields.pointer_of("sha256");
    fields.finish();
    let (digest, bytes) = match (sha256?, content?) {
        (Some(digest), None) => (digest, None),
        (None, Some(bytes)) => (Digest::of(&bytes), Some(bytes)),
        (Some(_), Some(_)) | (None, None) => {
            return item.fault("exactly one of sha256 and content_base64");
        }
    };
    let document = Document { digest, file_name: file_name?, media_type: media_type? };
    Ok((document, bytes, place))
}

fn content(item: &Item<'_>, most: usize) -> Result<Vec<u8>, Noted> {
    let Ok(bytes) = STANDARD.decode(item.text()?) else {
        return item.fault("base64 with padding, on one line (RFC 4648, section 4)");
    };
    if bytes.is_empty() {
        return item.fault("at least one byte");
    }
    if bytes.len() > most {
        return item.fault(format!("a document of at most {most} bytes"));
    }
    Ok(bytes)
}
