//! What the demo's portal and billing system send: the files of `config/examples/`, compiled in so that the
//! demo runs without a checkout.

use crate::domain::id::Digest;

/// An event, as it is sent.
#[derive(Debug)]
pub(super) struct Event {
    /// The name of its file.
    pub(super) file: &'static str,
    pub(super) body: &'static str,
}

/// A document of an invoice, as it is uploaded.
#[derive(Debug)]
pub(super) struct Document {
    /// The name of its file, and of the attachment.
    pub(super) file: &'static str,
    pub(super) bytes: &'static [u8],
}

impl Document {
    pub(super) fn digest(&self) -> Digest {
        Digest::of(self.bytes)
    }
}

macro_rules! event {
    ($file:literal) => {
        Event { file: $file, body: include_str!(concat!("../../../config/examples/", $file)) }
    };
}

macro_rules! document {
    ($file:literal) => {
        Document {
            file: $file,
            bytes: include_bytes!(concat!("../../../config/examples/documents/", $file)),
        }
    };
}

pub(super) const ACCOUNT: Event = event!("01-account-updated.json");
pub(super) const TECHNICIAN: Event = event!("02-technician-added.json");
pub(super) const BILLING_CONTACT: Event = event!("03-billing-contact-added.json");
pub(super) const BILLING_CONTACT_SELECTED: Event = event!("04-billing-contact-selected.json");
pub(super) const INVOICE_SCHEDULED: Event = event!("05-invoice-for-the-schedule.json");
pub(super) const INVOICE_IMMEDIATE: Event = event!("06-invoice-sent-immediately.json");
pub(super) const REPLACEMENT: Event = event!("07-replacement-added.json");
pub(super) const REPLACEMENT_SELECTED: Event = event!("08-replacement-selected.json");
pub(super) const INVOICE_FOR_REPLACEMENT: Event = event!("09-invoice-for-the-replacement.json");
pub(super) const REPLACEMENT_REMOVED: Event = event!("10-replacement-removed.json");
pub(super) const INVOICE_FOR_MAIN_CONTACT: Event = event!("11-invoice-for-the-main-contact.json");
pub(super) const ENGLISH_ACCOUNT: Event = event!("12-english-account-updated.json");
/// Carries its document itself.
pub(super) const ENGLISH_INVOICE: Event = event!("13-english-invoice-with-document-inside.json");

pub(super) const RE_42: Document = document!("RE-2026-0042.pdf");
pub(super) const RE_43: Document = document!("RE-2026-0043.pdf");
pub(super) const RE_43_XML: Document = document!("RE-2026-0043.xml");
pub(super) const RE_44: Document = document!("RE-2026-0044.pdf");
pub(super) const RE_45: Document = document!("RE-2026-0045.pdf");
pub(super) const INV_7: Document = document!("INV-2026-0007.pdf");
