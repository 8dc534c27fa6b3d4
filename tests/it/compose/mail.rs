//! A mail that can be altered before it is composed, and what a reader sees of it.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, NaiveDate, Utc};
use invoice_router::domain::address::{
    EmailAddress, FileName, HeaderText, MailDomain, Mailbox, MessageId,
};
use invoice_router::domain::contact::{Addresses, Contact, Language};
use invoice_router::domain::delivery::DeliveryId;
use invoice_router::domain::id::{AccountId, Digest, InvoiceNumber, Sequence};
use invoice_router::domain::invoice::{
    Document, Documents, Invoice, Kind, MediaType, PortalUrl, Release,
};
use invoice_router::domain::money::{Currency, Money};
use invoice_router::domain::recipient::Addressee;
use invoice_router::mail::compose::{Brand, ComposeError, Composition, compose, message_id};
use invoice_router::mail::message::Message;
use invoice_router::mail::template::Templates;
use mail_parser::{MessageParser, MimeHeaders as _};

pub(super) const STORE: [u8; 16] = *b"an example store";

pub(super) static TEMPLATES: LazyLock<Templates> = LazyLock::new(|| Templates::load(None).unwrap());

/// A mail that can be composed, and altered before.
pub(super) struct Mail {
    pub(super) invoice: Invoice,
    pub(super) addressee: Addressee,
    pub(super) is_fallback: bool,
    pub(super) files: Vec<Vec<u8>>,
    pub(super) message_id: MessageId,
    pub(super) brand: Brand,
    pub(super) message_bytes: usize,
}

impl Mail {
    pub(super) fn of(kind: Kind, number: &str, total: &str, language: &str) -> Self {
        let address = email("rechnung@muster.example");
        let mut mail = Self {
            invoice: Invoice {
                account: AccountId::parse("K-1001").unwrap(),
                number: InvoiceNumber::parse(number).unwrap(),
                kind,
                issued_on: date(2026, 11, 23),
                due_on: Some(date(2026, 12, 7)),
                total: Money::parse(total, Currency::parse("EUR").unwrap()).unwrap(),
                release: Release::Scheduled,
                min_account_version: None,
                portal_url: Some(
                    PortalUrl::parse("https://portal.example/documents?id=42&a=1").unwrap(),
                ),
                documents: documents(&[("RE-2026-0042.pdf", "application/pdf", b"%PDF-1.7")]),
            },
            addressee: Addressee {
                contact: Contact {
                    name: HeaderText::parse("Buchhaltung").unwrap(),
                    company: Some(HeaderText::parse("Müller & Söhne GmbH").unwrap()),
                    language: None,
                    addresses: Addresses::parse(vec![address.clone()]).unwrap(),
                },
                deliverable: vec![address],
                language: Some(Language::parse(language).unwrap()),
            },
            is_fallback: false,
            files: Vec::new(),
            message_id: message_id(
                &STORE,
                DeliveryId::of_invoice(Sequence(42)),
                1,
                &MailDomain::parse("mail.hosting.example").unwrap(),
            )
            .unwrap(),
            brand: Brand {
                name: Some(HeaderText::parse("Beispiel-Hosting Köln").unwrap()),
                from: email("rechnung@hosting.example"),
                reply_to: Mailbox::parse("Buchhaltung <buchhaltung@hosting.example>").unwrap(),
            },
            message_bytes: 20 << 20,
        };
        mail.attach(&[("RE-2026-0042.pdf", "application/pdf", b"%PDF-1.7\n\x00\xff%%EOF\n")]);
        mail
    }

    pub(super) fn invoice() -> Self {
        Self::of(Kind::Invoice, "RE-2026/0042", "1234.56", "de")
    }

    pub(super) fn attach(&mut self, files: &[(&str, &str, &[u8])]) {
        self.invoice.documents = documents(files);
        self.files = files.iter().map(|(_, _, bytes)| bytes.to_vec()).collect();
    }

    pub(super) fn compose(&self) -> Result<Message, ComposeError> {
        self.compose_with(&TEMPLATES)
    }

    pub(super) fn compose_with(&self, templates: &Templates) -> Result<Message, ComposeError> {
        let files: Vec<&[u8]> = self.files.iter().map(Vec::as_slice).collect();
        compose(&Composition {
            invoice: &self.invoice,
            addressee: &self.addressee,
            is_fallback: self.is_fallback,
            to: &self.addressee.deliverable,
            documents: &files,
            message_id: &self.message_id,
            date: instant("2026-11-23T08:00:05Z"),
            brand: &self.brand,
            templates,
            default_language: &Language::parse("en").unwrap(),
            message_bytes: self.message_bytes,
        })
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.compose().unwrap().bytes().to_vec()
    }
}

pub(super) fn email(raw: &str) -> EmailAddress {
    EmailAddress::parse(raw).unwrap()
}

pub(super) fn date(year: i32, month: u32, day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(year, month, day).unwrap()
}

pub(super) fn instant(raw: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(raw).unwrap().to_utc()
}

pub(super) fn number(raw: &str) -> InvoiceNumber {
    InvoiceNumber::parse(raw).unwrap()
}

pub(super) fn header_text(raw: &str) -> HeaderText {
    HeaderText::parse(raw).unwrap()
}

pub(super) fn documents(files: &[(&str, &str, &[u8])]) -> Documents {
    let documents = files.iter().map(|(name, media_type, bytes)| Document {
        digest: Digest::of(bytes),
        file_name: FileName::parse(*name).unwrap(),
        media_type: MediaType::parse(media_type).unwrap(),
    });
    Documents::parse(documents.collect()).unwrap()
}

/// Header lines with folded ones joined, in their order.
pub(super) fn headers(bytes: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(bytes);
    let (head, _) = text.split_once("\r\n\r\n").unwrap();
    head.replace("\r\n ", " ")
        .lines()
        .map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_owned(), value.to_owned())
        })
        .collect()
}

pub(super) fn header(bytes: &[u8], name: &str) -> String {
    let mut values = headers(bytes).into_iter().filter(|(it, _)| it == name);
    let (_, value) = values.next().unwrap();
    assert!(values.next().is_none(), "{name} twice");
    value
}

/// The invoice number in its header, decoded.
pub(super) fn number_header(bytes: &[u8]) -> String {
    let parser = MessageParser::new().with_mime_headers().header_text("X-Invoice-Number");
    let message = parser.parse(bytes).unwrap();
    let value = message.header("X-Invoice-Number").unwrap();
    value.as_text().unwrap().to_owned()
}

/// A mail as a reader sees it: headers decoded, both texts, the attachments.
pub(super) fn read(bytes: &[u8]) -> ReadMail {
    let message = MessageParser::new().parse(bytes).unwrap();
    ReadMail {
        subject: message.subject().unwrap().to_owned(),
        to: message
            .to()
            .unwrap()
            .iter()
            .map(|to| {
                let name = to.name().map(str::to_owned);
                (name, to.address().unwrap().to_owned())
            })
            .collect(),
        from: message.from().unwrap().first().map(|from| {
            let name = from.name().map(str::to_owned);
            (name, from.address().unwrap().to_owned())
        }),
        text: message.body_text(0).unwrap().into_owned(),
        html: message.body_html(0).unwrap().into_owned(),
        attachments: message
            .attachments()
            .map(|part| {
                let kind = part.content_type().unwrap();
                Attachment {
                    name: part.attachment_name().unwrap().to_owned(),
                    media_type: format!("{}/{}", kind.ctype(), kind.subtype().unwrap()),
                    bytes: decoded(
                        &bytes[part.raw_body_offset() as usize..part.raw_end_offset() as usize],
                    ),
                }
            })
            .collect(),
    }
}

/// The parser takes what calls itself text for UTF-8, so its bytes are decoded here.
pub(super) fn decoded(base64: &[u8]) -> Vec<u8> {
    let lines: Vec<u8> =
        base64.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    STANDARD.decode(lines).unwrap()
}

pub(super) struct ReadMail {
    pub(super) subject: String,
    pub(super) to: Vec<(Option<String>, String)>,
    pub(super) from: Option<(Option<String>, String)>,
    pub(super) text: String,
    pub(super) html: String,
    pub(super) attachments: Vec<Attachment>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Attachment {
    pub(super) name: String,
    pub(super) media_type: String,
    pub(super) bytes: Vec<u8>,
}
