//! An issued invoice: immutable, identified by account and number.

use std::collections::BTreeSet;

use chrono::NaiveDate;

use super::address::FileName;
use super::id::{AccountId, Digest, InvoiceNumber, Version};
use super::money::Money;
use super::{Invalid, named, text};

/// Most documents of an invoice.
pub const DOCUMENTS: usize = 20;

/// What a mail needs besides its documents, in bytes: headers, text and HTML, and the names of attachments. The
/// heaviest mail of the supplied templates needs 104,453; the rest is for an operator's own templates.
pub const MESSAGE_OVERHEAD_BYTES: usize = 256 * 1024;

/// How many bytes an invoice's documents may have together if its mail may have `message_bytes`: in base64, each
/// 57 bytes take a line of 78 (RFC 2045, section 6.8).
#[must_use]
pub fn documents_bytes_max(message_bytes: usize) -> usize {
    message_bytes.saturating_sub(MESSAGE_OVERHEAD_BYTES) / 78 * 57
}

/// What the billing system handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    /// Whose.
    pub account: AccountId,
    /// The document's own number.
    pub number: InvoiceNumber,
    /// What kind of document, with the number of the one that it refers to.
    pub kind: Kind,
    /// Its date.
    pub issued_on: NaiveDate,
    /// When payment is due.
    pub due_on: Option<NaiveDate>,
    /// Its total.
    pub total: Money,
    /// When it is to be sent.
    pub release: Release,
    /// Stays parked until the account has at least this version.
    pub min_account_version: Option<Version>,
    /// Where the customer finds it in the portal.
    pub portal_url: Option<PortalUrl>,
    /// What is attached, 1 to 20.
    pub documents: Documents,
}

/// What kind of document an invoice is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// An invoice.
    Invoice,
    /// A credit note, perhaps to one invoice.
    CreditNote(Option<InvoiceNumber>),
    /// Replaces an invoice.
    CorrectedInvoice(InvoiceNumber),
    /// Reminds of an unpaid one.
    Reminder(InvoiceNumber),
}

named! {
    /// What a [`Kind`] is, without the number that it refers to.
    pub enum KindName of Kind {
        /// See [`Kind::Invoice`].
        Invoice = "invoice",
        /// See [`Kind::CreditNote`].
        CreditNote = "credit_note",
        /// See [`Kind::CorrectedInvoice`].
        CorrectedInvoice = "corrected_invoice",
        /// See [`Kind::Reminder`].
        Reminder = "reminder",
    }
}

impl Kind {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        self.kind().as_str()
    }

    /// The document that it refers to.
    #[must_use]
    pub fn refers_to(&self) -> Option<&InvoiceNumber> {
        match self {
            Self::Invoice => None,
            Self::CreditNote(number) => number.as_ref(),
            Self::CorrectedInvoice(number) | Self::Reminder(number) => Some(number),
        }
    }
}

named! {
    /// When an invoice is to be sent.
    pub enum Release {
        /// When its account's schedule fires.
        Scheduled = "scheduled",
        /// At once.
        Immediately = "immediately",
    }
}

/// The documents of an invoice, in the order in which they are attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Documents(Vec<Document>);

impl Documents {
    /// 1 to [`DOCUMENTS`], each under a file name of its own.
    pub fn parse(documents: Vec<Document>) -> Result<Self, Invalid> {
        if !(1..=DOCUMENTS).contains(&documents.len()) {
            return Err(Invalid::expected(format!("1 to {DOCUMENTS} documents")));
        }
        let twice = documents.iter().enumerate().any(|(at, document)| {
            documents[..at].iter().any(|other| other.file_name == document.file_name)
        });
        if twice {
            return Err(Invalid::expected("each file name once"));
        }
        Ok(Self(documents))
    }

    /// The documents.
    #[must_use]
    pub fn as_slice(&self) -> &[Document] {
        &self.0
    }

    /// What the documents are kept under, each once: two names may have the same bytes.
    #[must_use]
    pub fn digests(&self) -> BTreeSet<Digest> {
        self.0.iter().map(|document| document.digest).collect()
    }
}

/// One attached file. Its bytes are kept once under their digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Of its bytes.
    pub digest: Digest,
    /// As which it is attached.
    pub file_name: FileName,
    /// Of its bytes.
    pub media_type: MediaType,
}

text! {
    /// A media type without parameters (RFC 6838, section 4.2), in lower case.
    MediaType
}

impl MediaType {
    /// `type/subtype`; containers of further parts (`multipart`, `message`) are refused.
    pub fn parse(raw: &str) -> Result<Self, Invalid> {
        let is_name = |name: &str| {
            (1..=127).contains(&name.len())
                && name.starts_with(|c: char| c.is_ascii_alphanumeric())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
        };
        let lower = raw.to_ascii_lowercase();
        match lower.split_once('/') {
            Some((top, sub))
                if is_name(top) && is_name(sub) && top != "multipart" && top != "message" =>
            {
                Ok(Self(lower))
            }
            Some(_) | None => {
                Err(Invalid::expected("a media type such as application/pdf, without parameters"))
            }
        }
    }
}

text! {
    /// A link into the portal: an absolute `https` URI of visible ASCII (RFC 3986).
    PortalUrl
}

/// Longest link in characters; the text part keeps it on one line of a mail (RFC 5322, section 2.1.1).
const PORTAL_URL_CHARACTERS: usize = 900;

impl PortalUrl {
    /// `https://host…` without user information.
    pub fn parse(raw: impl Into<String>) -> Result<Self, Invalid> {
        let raw = raw.into();
        let invalid = || Invalid::expected("an https URL of at most 900 visible ASCII characters");
        let rest = raw.strip_prefix("https://").ok_or_else(invalid)?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "443"));
        let is_host = !host.is_empty()
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
        let is_safe = raw.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b));
        // A plus sign is a number to Rust, and no digit.
        let is_port = port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
        if !is_host || !is_port || !is_safe || raw.len() > PORTAL_URL_CHARACTERS {
            return Err(invalid());
        }
        Ok(Self(raw))
    }
}

impl Invoice {
    /// The members in which `other` says something else of the same number, by their names on the wire.
    #[must_use]
    pub fn differs(&self, other: &Self) -> Vec<&'static str> {
        let Self {
            account: _,
            number: _,
            kind,
            issued_on,
            due_on,
            total,
            release,
            min_account_version,
            portal_url,
            documents,
        } = self;
        [
            ("kind", kind.as_str() == other.kind.as_str()),
            ("issued_on", *issued_on == other.issued_on),
            ("due_on", *due_on == other.due_on),
            ("total", *total == other.total),
            ("release", *release == other.release),
            ("min_account_version", *min_account_version == other.min_account_version),
            ("refers_to", kind.refers_to() == other.kind.refers_to()),
            ("portal_url", *portal_url == other.portal_url),
            ("documents", *documents == other.documents),
        ]
        .into_iter()
        .filter_map(|(name, same)| (!same).then_some(name))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_portal_url_is_https_and_nothing_else() {
        assert!(PortalUrl::parse("https://portal.example:8443/i/42?x=%20&y=1#z").is_ok());
        for raw in [
            "http://a.example",
            "https://",
            "javascript:alert(1)",
            "https://a.example/\"onx",
            "https://u:p@a.example",
            "https://a.example/ b",
            "https://a.example:99999/",
            "https://a.example:+80/",
        ] {
            assert!(PortalUrl::parse(raw).is_err(), "{raw}");
        }
    }

    #[test]
    fn a_media_type_has_no_parameters_and_is_no_container() {
        assert_eq!(MediaType::parse("Application/PDF").unwrap().as_str(), "application/pdf");
        for raw in [
            "",
            "pdf",
            "text/plain; charset=x",
            "multipart/mixed",
            "message/rfc822",
            "a/b\r\nX: y",
            "a/",
        ] {
            assert!(MediaType::parse(raw).is_err(), "{raw}");
        }
    }
}
