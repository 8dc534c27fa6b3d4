//! Composed mails, read back by a parser of other hands.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test itself does"
)]

use chrono::{DateTime, NaiveDate, Utc};
use invoice_router::domain::address::{EmailAddress, FileName, HeaderText, MailDomain, MessageId};
use invoice_router::domain::contact::{Addresses, Contact, Language};
use invoice_router::domain::id::{AccountId, Digest, InvoiceNumber, Sequence};
use invoice_router::domain::invoice::{
    Document, Documents, Invoice, Kind, MediaType, PortalUrl, Release,
};
use invoice_router::domain::money::{Currency, Money};
use invoice_router::domain::recipient::Addressee;
use invoice_router::mail::compose::{
    Brand, ComposeError, Composition, Message, check_lines, compose, message_id,
};
use invoice_router::mail::template::Templates;
use mail_parser::{MessageParser, MimeHeaders as _};
use sha2::{Digest as _, Sha256};

const STORE: [u8; 16] = *b"an example store";

/// A mail that can be composed, and altered before.
struct Mail {
    invoice: Invoice,
    addressee: Addressee,
    files: Vec<Vec<u8>>,
    message_id: MessageId,
    brand: Brand,
    message_bytes: usize,
}

impl Mail {
    fn of(kind: Kind, number: &str, total: &str, language: &str) -> Self {
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
            files: Vec::new(),
            message_id: message_id(
                &STORE,
                Sequence(42),
                1,
                &MailDomain::parse("mail.hosting.example").unwrap(),
            )
            .unwrap(),
            brand: Brand {
                name: Some(HeaderText::parse("Beispiel-Hosting Köln").unwrap()),
                from: email("rechnung@hosting.example"),
                reply_to: email("buchhaltung@hosting.example"),
            },
            message_bytes: 20 << 20,
        };
        mail.attach(&[(
            "RE-2026-0042.pdf",
            "application/pdf",
            b"%PDF-1.7\n\x00\xff%%EOF\n",
        )]);
        mail
    }

    fn invoice() -> Self {
        Self::of(Kind::Invoice, "RE-2026/0042", "1234.56", "de")
    }

    fn attach(&mut self, files: &[(&str, &str, &[u8])]) {
        self.invoice.documents = documents(files);
        self.files = files.iter().map(|(_, _, bytes)| bytes.to_vec()).collect();
    }

    fn compose(&self) -> Result<Message, ComposeError> {
        let templates = Templates::load(None).unwrap();
        let files: Vec<&[u8]> = self.files.iter().map(Vec::as_slice).collect();
        compose(&Composition {
            invoice: &self.invoice,
            addressee: &self.addressee,
            to: &self.addressee.deliverable,
            documents: &files,
            message_id: &self.message_id,
            date: instant("2026-11-23T08:00:05Z"),
            brand: &self.brand,
            templates: &templates,
            default_language: &Language::parse("en").unwrap(),
            message_bytes: self.message_bytes,
        })
    }

    fn bytes(&self) -> Vec<u8> {
        let Message { bytes, digest } = self.compose().unwrap();
        assert_eq!(check_lines(&bytes), Ok(()));
        assert_eq!(digest, Digest::from_bytes(Sha256::digest(&bytes).into()));
        bytes
    }
}

fn email(raw: &str) -> EmailAddress {
    EmailAddress::parse(raw).unwrap()
}

fn date(year: i32, month: u32, day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(year, month, day).unwrap()
}

fn instant(raw: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(raw).unwrap().to_utc()
}

fn documents(files: &[(&str, &str, &[u8])]) -> Documents {
    let documents = files.iter().map(|(name, media_type, bytes)| Document {
        digest: Digest::from_bytes(Sha256::digest(bytes).into()),
        file_name: FileName::parse(*name).unwrap(),
        media_type: MediaType::parse(media_type).unwrap(),
    });
    Documents::parse(documents.collect()).unwrap()
}

/// Header lines with folded ones joined, in their order.
fn headers(bytes: &[u8]) -> Vec<(String, String)> {
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

fn header(bytes: &[u8], name: &str) -> String {
    let mut values = headers(bytes).into_iter().filter(|(it, _)| it == name);
    let (_, value) = values.next().unwrap();
    assert!(values.next().is_none(), "{name} twice");
    value
}

/// A mail as a reader sees it: headers decoded, both texts, the attachments.
fn read(bytes: &[u8]) -> Seen {
    let message = MessageParser::new().parse(bytes).unwrap();
    Seen {
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
                    bytes: part.contents().to_vec(),
                }
            })
            .collect(),
    }
}

struct Seen {
    subject: String,
    to: Vec<(Option<String>, String)>,
    from: Option<(Option<String>, String)>,
    text: String,
    html: String,
    attachments: Vec<Attachment>,
}

#[derive(Debug, PartialEq, Eq)]
struct Attachment {
    name: String,
    media_type: String,
    bytes: Vec<u8>,
}

#[test]
fn the_headers_are_these_and_no_others() {
    let bytes = Mail::invoice().bytes();
    let names: Vec<String> = headers(&bytes).into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "Message-ID",
            "Date",
            "From",
            "Reply-To",
            "To",
            "Subject",
            "Auto-Submitted",
            "X-Invoice-Number",
            "MIME-Version",
            "Content-Type",
        ]
    );
    assert_eq!(header(&bytes, "Date"), "Mon, 23 Nov 2026 08:00:05 +0000");
    assert_eq!(header(&bytes, "Reply-To"), "<buchhaltung@hosting.example>");
    assert_eq!(header(&bytes, "Auto-Submitted"), "auto-generated");
    assert_eq!(header(&bytes, "X-Invoice-Number"), "RE-2026/0042");
    let id = header(&bytes, "Message-ID");
    assert!(id.ends_with("@mail.hosting.example>"), "{id}");
}

#[test]
fn a_mail_reads_back_as_it_was_composed() {
    let seen = read(&Mail::invoice().bytes());
    assert_eq!(
        seen.subject,
        "Rechnung RE-2026/0042 vom 23.11.2026 (1.234,56 EUR)"
    );
    assert_eq!(
        seen.to,
        [(
            Some("Buchhaltung".to_owned()),
            "rechnung@muster.example".to_owned()
        )]
    );
    assert_eq!(
        seen.from,
        Some((
            Some("Beispiel-Hosting Köln".to_owned()),
            "rechnung@hosting.example".to_owned()
        ))
    );
    assert_eq!(
        seen.attachments,
        [Attachment {
            name: "RE-2026-0042.pdf".to_owned(),
            media_type: "application/pdf".to_owned(),
            bytes: b"%PDF-1.7\n\x00\xff%%EOF\n".to_vec(),
        }]
    );
    for body in [&seen.text, &seen.html] {
        for expected in [
            "RE-2026/0042",
            "23.11.2026",
            "07.12.2026",
            "1.234,56 EUR",
            "K-1001",
        ] {
            assert!(body.contains(expected), "{expected} in {body}");
        }
    }
    assert!(seen.text.contains("Müller & Söhne GmbH, Buchhaltung"));
    assert!(seen.html.contains("Müller &amp; Söhne GmbH, Buchhaltung"));
    assert!(
        seen.html
            .contains("href=\"https://portal.example/documents?id=42&amp;a=1\"")
    );
}
