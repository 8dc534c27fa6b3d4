//! Composed mails, read back by a parser of other hands.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test itself does"
)]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
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
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

const STORE: [u8; 16] = *b"an example store";

static TEMPLATES: LazyLock<Templates> = LazyLock::new(|| Templates::load(None).unwrap());

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
        let files: Vec<&[u8]> = self.files.iter().map(Vec::as_slice).collect();
        compose(&Composition {
            invoice: &self.invoice,
            addressee: &self.addressee,
            to: &self.addressee.deliverable,
            documents: &files,
            message_id: &self.message_id,
            date: instant("2026-11-23T08:00:05Z"),
            brand: &self.brand,
            templates: &TEMPLATES,
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

fn number(raw: &str) -> InvoiceNumber {
    InvoiceNumber::parse(raw).unwrap()
}

fn header_text(raw: &str) -> HeaderText {
    HeaderText::parse(raw).unwrap()
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

/// The invoice number in its header, decoded.
fn number_header(bytes: &[u8]) -> String {
    let parser = MessageParser::new()
        .with_mime_headers()
        .header_text("X-Invoice-Number");
    let message = parser.parse(bytes).unwrap();
    let value = message.header("X-Invoice-Number").unwrap();
    value.as_text().unwrap().to_owned()
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
                    bytes: decoded(
                        &bytes[part.raw_body_offset() as usize..part.raw_end_offset() as usize],
                    ),
                }
            })
            .collect(),
    }
}

/// The parser takes what calls itself text for UTF-8, so its bytes are decoded here.
fn decoded(base64: &[u8]) -> Vec<u8> {
    let lines: Vec<u8> = base64
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    STANDARD.decode(lines).unwrap()
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

#[test]
fn the_same_input_gives_the_same_bytes() {
    let mail = Mail::invoice();
    assert_eq!(mail.compose().unwrap(), mail.compose().unwrap());
    let mut other = Mail::invoice();
    other.message_id = MessageId::parse("another@mail.hosting.example").unwrap();
    assert_ne!(mail.bytes(), other.bytes());
}

#[test]
fn several_addresses_stand_without_a_name() {
    let mut mail = Mail::invoice();
    mail.addressee.deliverable = (0..10)
        .map(|at| email(&format!("{}.{at}@muster.example", "a".repeat(40))))
        .collect();
    let seen = read(&mail.bytes());
    let expected: Vec<(Option<String>, String)> = mail
        .addressee
        .deliverable
        .iter()
        .map(|address| (None, address.to_string()))
        .collect();
    assert_eq!(seen.to, expected);
}

#[test]
fn a_language_without_templates_gets_the_default_one() {
    let mail = Mail::of(Kind::Invoice, "RE-2026/0042", "119.00", "fr");
    assert_eq!(
        read(&mail.bytes()).subject,
        "Invoice RE-2026/0042 dated 23 November 2026 (EUR 119.00)"
    );
}

#[test]
fn attachments_keep_their_exact_bytes_whatever_they_call_themselves() {
    let every_byte: Vec<u8> = (0..=255).collect();
    let long_name = format!("Überweisungsträger_{}.pdf", "ä".repeat(96));
    let files: [(&str, &str, &[u8]); 6] = [
        ("Rechnung_für_März.pdf", "application/pdf", &every_byte),
        (&long_name, "application/pdf", b"%PDF-1.7"),
        ("lines.txt", "text/plain", b"a\rb\nc\r\n\0 \n.\n"),
        ("boundary.html", "text/html", b"--=_x\n<p>\n"),
        (
            "XRechnung.xml",
            "application/xml",
            b"<?xml version=\"1.0\"?>\n<Invoice/>\n",
        ),
        ("empty.csv", "text/csv", b""),
    ];
    let mut mail = Mail::invoice();
    mail.attach(&files);
    let seen = read(&mail.bytes());
    let expected: Vec<Attachment> = files
        .iter()
        .map(|(name, media_type, bytes)| Attachment {
            name: (*name).to_owned(),
            media_type: (*media_type).to_owned(),
            bytes: bytes.to_vec(),
        })
        .collect();
    assert_eq!(seen.attachments, expected);
    for (name, _, _) in files {
        assert!(seen.text.contains(&format!("- {name}\r\n")), "{name}");
    }
}

#[test]
fn an_attachment_of_five_megabytes_composes() {
    let pages: Vec<u8> = (0_u8..=250).cycle().take(5 << 20).collect();
    let mut mail = Mail::invoice();
    mail.attach(&[("RE.pdf", "application/pdf", &pages)]);
    let seen = read(&mail.bytes());
    assert!(seen.attachments[0].bytes == pages);
}

#[test]
fn what_looks_encoded_is_read_literally() {
    let lookalike = "=?utf-8?B?SGVsbG8=?=";
    let mut mail = Mail::of(Kind::Invoice, lookalike, "1", "de");
    mail.addressee.contact.name = header_text(lookalike);
    mail.brand.name = Some(header_text(lookalike));
    let bytes = mail.bytes();
    let seen = read(&bytes);
    assert!(seen.subject.contains(lookalike), "{}", seen.subject);
    assert_eq!(number_header(&bytes), lookalike);
    assert_eq!(seen.to[0].0.as_deref(), Some(lookalike));
    assert_eq!(seen.from.unwrap().0.as_deref(), Some(lookalike));
}

#[test]
fn a_number_of_128_characters_of_any_script_is_read_back() {
    for raw in [
        "№".repeat(128),
        "9".repeat(128),
        "請求書 ".repeat(32).trim().to_owned(),
        "Nº 7/ä".to_owned(),
        "🧾".repeat(128),
    ] {
        let bytes = Mail::of(Kind::Reminder(number(&raw)), &raw, "1", "en").bytes();
        assert_eq!(number_header(&bytes), raw);
        assert_eq!(
            read(&bytes).subject,
            format!("Payment reminder {raw} for invoice {raw} (EUR 1.00)")
        );
    }
}

#[test]
fn markup_in_a_name_is_text_in_both_parts() {
    let mut mail = Mail::invoice();
    mail.addressee.contact.company = Some(header_text(
        "<script>alert('1')</script> {{ number }} &amp;",
    ));
    let seen = read(&mail.bytes());
    assert!(
        seen.text
            .contains("<script>alert('1')</script> {{ number }} &amp;, Buchhaltung")
    );
    assert!(!seen.html.contains("<script"));
    assert!(seen.html.contains(
        "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; {{ number }} &amp;amp;, Buchhaltung"
    ));
}

#[test]
fn what_an_invoice_does_not_have_is_not_mentioned() {
    let mut mail = Mail::invoice();
    mail.invoice.due_on = None;
    mail.invoice.portal_url = None;
    mail.addressee.contact.company = None;
    let seen = read(&mail.bytes());
    for body in [&seen.text, &seen.html] {
        for absent in ["none", "Fällig", "Kundenportal", "href"] {
            assert!(!body.contains(absent), "{absent} in {body}");
        }
    }
    assert!(seen.text.contains("Empfänger: Buchhaltung\r\n"));
}

#[test]
fn the_html_part_loads_nothing() {
    let html = read(&Mail::invoice().bytes()).html;
    for remote in ["<img", "src=", "url(", "@import", "<link", "<script"] {
        assert!(!html.contains(remote), "{remote}");
    }
    assert_eq!(
        html.matches("https://").count(),
        1,
        "only the link to the portal"
    );
}

#[test]
fn another_documents_bytes_are_never_attached() {
    let mut swapped = Mail::invoice();
    swapped.files = vec![b"somebody else's invoice".to_vec()];
    assert!(matches!(
        swapped.compose(),
        Err(ComposeError::DocumentDigest { file_name }) if file_name.as_str() == "RE-2026-0042.pdf"
    ));

    let mut missing = Mail::invoice();
    missing.files.clear();
    assert!(matches!(
        missing.compose(),
        Err(ComposeError::DocumentCount {
            expected: 1,
            given: 0
        })
    ));
}

#[test]
fn a_mail_without_an_address_is_not_composed() {
    let mut mail = Mail::invoice();
    mail.addressee.deliverable.clear();
    assert!(matches!(mail.compose(), Err(ComposeError::NoAddress)));
}

#[test]
fn the_size_limit_is_that_of_the_finished_bytes() {
    let mut mail = Mail::invoice();
    let size = mail.bytes().len();
    mail.message_bytes = size;
    assert_eq!(mail.bytes().len(), size);
    mail.message_bytes = size - 1;
    assert!(matches!(
        mail.compose(),
        Err(ComposeError::TooLarge { bytes, limit }) if bytes == size && limit == size - 1
    ));
}

#[test]
fn a_message_id_is_one_for_each_delivery_and_revision_and_says_nothing() {
    let domain = MailDomain::parse("mail.hosting.example").unwrap();
    let id = |store: &[u8; 16], delivery, revision| {
        message_id(store, Sequence(delivery), revision, &domain).unwrap()
    };
    let first = id(&STORE, 42, 1);
    assert_eq!(first, id(&STORE, 42, 1));
    for other in [
        id(&STORE, 42, 2),
        id(&STORE, 43, 1),
        id(b"one more example", 42, 1),
    ] {
        assert_ne!(first, other);
    }

    let (name, host) = first.as_str().split_once('@').unwrap();
    assert_eq!(host, "mail.hosting.example");
    assert_eq!(name.len(), 32);
    assert!(name.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");

    let too_long = MailDomain::parse(&[&*"a".repeat(60); 4].join(".")).unwrap();
    assert!(message_id(&STORE, Sequence(1), 1, &too_long).is_err());
}

/// Compares with a file under `tests/golden`, where a change of the words can be reviewed.
fn assert_golden(name: &str, actual: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../golden");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, actual));
}

#[test]
fn every_kind_says_in_both_languages_what_a_finance_department_expects() {
    let refers_to = number("RE-2026/0041");
    for (kind, own, total) in [
        (Kind::Invoice, "RE-2026/0042", "1234.56"),
        (
            Kind::CreditNote(Some(refers_to.clone())),
            "GS-2026/0007",
            "-119.00",
        ),
        (
            Kind::CorrectedInvoice(refers_to.clone()),
            "RE-2026/0043",
            "119.00",
        ),
        (Kind::Reminder(refers_to), "ZE-2026/0003", "119.00"),
    ] {
        for language in ["de", "en"] {
            let mut mail = Mail::of(kind.clone(), own, total, language);
            if matches!(kind, Kind::CreditNote(_)) {
                mail.invoice.due_on = None;
            }
            let Seen {
                subject,
                text,
                html,
                ..
            } = read(&mail.bytes());
            let (text, html) = (text.replace('\r', ""), html.replace('\r', ""));
            assert_golden(
                &format!("mail-{language}-{}", kind.as_str()),
                &format!("Subject: {subject}\n\n{text}\n=== HTML ===\n\n{html}"),
            );
        }
    }
}

#[test]
fn a_message_is_these_bytes() {
    let mut mail = Mail::invoice();
    let pages: &[u8] =
        b"%PDF-1.7 an example of a document that takes more than one line of base64\n";
    mail.attach(&[
        ("RE-2026-0042.pdf", "application/pdf", pages),
        ("Leistungsübersicht.csv", "text/csv", b"a;b\n"),
    ]);
    let bytes = String::from_utf8(mail.bytes()).unwrap();
    assert_golden("mail-bytes", &bytes.replace("\r\n", "\n"));
}

/// One line of printable text, often with what other formats give a meaning.
fn hostile_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => "\\PC{1,12}",
        1 => "[ -~]{1,40}",
        1 => prop::sample::select(vec![
            "=?utf-8?Q?=41?=", "=_", "--", "\"", "\\", "<a@b.example>", ",", ";", "(", ")", "=", "_", "  ",
            "{{ total }}", "{% if %}", "</td>", "&amp;", ".", "From ", "é", "e\u{301}", "🧾", "\u{a0}", "%0D%0A",
        ]).prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 1..10).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn whatever_is_valid_reads_back(
        name in hostile_text().prop_filter_map("a header text", |raw| HeaderText::parse(raw).ok()),
        company in hostile_text().prop_filter_map("a header text", |raw| HeaderText::parse(raw).ok()),
        sender in hostile_text().prop_filter_map("a header text", |raw| HeaderText::parse(raw).ok()),
        own in hostile_text().prop_filter_map("a number", |raw| InvoiceNumber::parse(raw).ok()),
        url in "https://[a-z.]{1,20}\\.example/[!#-;=?-\\[\\]_a-z~]{0,600}".prop_filter_map("a url", |raw| PortalUrl::parse(raw).ok()),
        file in prop::collection::vec(any::<u8>(), 0..400),
        media_type in prop::sample::select(vec!["application/pdf", "text/plain", "text/xml"]),
    ) {
        let mut mail = Mail::invoice();
        mail.attach(&[("Rechnung_ä.pdf", media_type, &file)]);
        mail.addressee.contact.name = name.clone();
        mail.addressee.contact.company = Some(company.clone());
        mail.brand.name = Some(sender.clone());
        mail.invoice.number = own.clone();
        mail.invoice.portal_url = Some(url.clone());

        let bytes = mail.bytes();
        let names: Vec<String> = headers(&bytes).into_iter().map(|(name, _)| name).collect();
        prop_assert_eq!(names.len(), 10);
        let seen = read(&bytes);
        prop_assert_eq!(number_header(&bytes), own.as_str());
        prop_assert_eq!(seen.to, vec![(Some(name.to_string()), "rechnung@muster.example".to_owned())]);
        prop_assert_eq!(seen.from, Some((Some(sender.to_string()), "rechnung@hosting.example".to_owned())));
        prop_assert_eq!(&seen.attachments[0].bytes, &file);
        prop_assert_eq!(seen.attachments.len(), 1);
        prop_assert!(seen.text.contains(url.as_str()));
        let line = format!("Empfänger: {company}, {name}\r\n");
        prop_assert!(seen.text.contains(&line), "{:?} in {:?}", line, seen.text);
        prop_assert!(!seen.html.contains(company.as_str()) || !company.as_str().contains('<'));
    }
}
