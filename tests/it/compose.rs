//! Composed mails, read back by a parser of other hands.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test itself does")]

mod mail;

use std::fs;

use invoice_router::domain::address::{HeaderText, MailDomain, MessageId};
use invoice_router::domain::delivery::DeliveryId;
use invoice_router::domain::id::{AccountId, InvoiceNumber, Sequence};
use invoice_router::domain::invoice::{
    DOCUMENTS, Kind, MESSAGE_OVERHEAD_BYTES, PortalUrl, documents_bytes_max,
};
use invoice_router::mail::compose::{ComposeError, message_id};
use invoice_router::mail::message::MessageFault;
use invoice_router::mail::template::Templates;
use proptest::prelude::*;

use self::mail::{
    Attachment, Mail, ReadMail, STORE, email, header, header_text, headers, number, number_header,
    read,
};

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
    assert_eq!(header(&bytes, "Reply-To"), "\"Buchhaltung\" <buchhaltung@hosting.example>");
    assert_eq!(header(&bytes, "Auto-Submitted"), "auto-generated");
    assert_eq!(header(&bytes, "X-Invoice-Number"), "RE-2026/0042");
    let id = header(&bytes, "Message-ID");
    assert!(id.ends_with("@mail.hosting.example>"), "{id}");
}

#[test]
fn a_mail_reads_back_as_it_was_composed() {
    let seen = read(&Mail::invoice().bytes());
    assert_eq!(seen.subject, "Rechnung RE-2026/0042 vom 23.11.2026 (1.234,56 EUR)");
    assert_eq!(seen.to, [(Some("Buchhaltung".to_owned()), "rechnung@muster.example".to_owned())]);
    assert_eq!(
        seen.from,
        Some((Some("Beispiel-Hosting Köln".to_owned()), "rechnung@hosting.example".to_owned()))
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
        for expected in ["RE-2026/0042", "23.11.2026", "07.12.2026", "1.234,56 EUR", "K-1001"] {
            assert!(body.contains(expected), "{expected} in {body}");
        }
    }
    assert!(seen.text.contains("Müller & Söhne GmbH, Buchhaltung"));
    assert!(seen.html.contains("Müller &amp; Söhne GmbH, Buchhaltung"));
    assert!(seen.html.contains("href=\"https://portal.example/documents?id=42&amp;a=1\""));
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
    mail.addressee.deliverable =
        (0..10).map(|at| email(&format!("{}.{at}@muster.example", "a".repeat(40)))).collect();
    let seen = read(&mail.bytes());
    let expected: Vec<(Option<String>, String)> =
        mail.addressee.deliverable.iter().map(|address| (None, address.to_string())).collect();
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
        ("XRechnung.xml", "application/xml", b"<?xml version=\"1.0\"?>\n<Invoice/>\n"),
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
fn what_a_reader_might_decode_or_refold_is_read_literally() {
    // The second is folded between its two blanks.
    for text in ["=?utf-8?B?SGVsbG8=?=", &format!("{}  {}", "9".repeat(40), "9".repeat(60))] {
        let mut mail = Mail::of(Kind::Invoice, text, "1", "de");
        mail.addressee.contact.name = header_text(text);
        mail.brand.name = Some(header_text(text));
        let bytes = mail.bytes();
        let seen = read(&bytes);
        // A subject has single blanks.
        assert!(seen.subject.contains(&text.replace("  ", " ")), "{}", seen.subject);
        assert_eq!(number_header(&bytes), text);
        assert_eq!(seen.to[0].0.as_deref(), Some(text));
        assert_eq!(seen.from.unwrap().0.as_deref(), Some(text));
    }
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
    mail.addressee.contact.company =
        Some(header_text("<script>alert('1')</script> {{ number }} &amp;"));
    let seen = read(&mail.bytes());
    assert!(seen.text.contains("<script>alert('1')</script> {{ number }} &amp;, Buchhaltung"));
    assert!(!seen.html.contains("<script"));
    assert!(seen.html.contains(
        "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; {{ number }} &amp;amp;, Buchhaltung"
    ));
}

#[test]
fn who_is_fallback_for_a_rejected_contact_is_told_why() {
    for (language, words) in [
        ("de", "weil der ausgewählte Rechnungskontakt nicht erreichbar ist"),
        ("en", "because the selected billing contact cannot be reached"),
    ] {
        let mut mail = Mail::of(Kind::Invoice, "RE-2026/0042", "1234.56", language);
        let is_told = |mail: &Mail| {
            let seen = read(&mail.bytes());
            let text = seen.text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(text.contains(words), seen.html.contains(words));
            text.contains(words)
        };
        assert!(!is_told(&mail), "{language}");
        mail.is_fallback = true;
        assert!(is_told(&mail), "{language}");
    }
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
fn a_credit_note_without_an_invoice_and_a_reminder_without_a_date_are_whole_sentences() {
    let mut credit_note = Mail::of(Kind::CreditNote(None), "GS-1", "-1", "de");
    credit_note.invoice.due_on = None;
    let text = read(&credit_note.bytes()).text;
    assert!(text.contains("unsere Gutschrift GS-1 vom 23.11.2026.\r\n"), "{text}");
    assert!(text.contains("Gesamtbetrag: -1,00 EUR\r\n"), "{text}");

    let mut reminder = Mail::of(Kind::Reminder(number("RE-1")), "ZE-1", "1", "en");
    reminder.invoice.due_on = None;
    let text = read(&reminder.bytes()).text.replace("\r\n", " ");
    assert!(text.contains("of invoice RE-1. Please settle the outstanding amount. "), "{text}");
}

#[test]
fn an_overridden_file_is_used_and_the_others_stay_as_shipped() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("de")).unwrap();
    let words = "{% set subject %}Ihre Rechnung {{ number }}{% endset %}\
                 {% set heading %}Rechnung{% endset %}\
                 {% set introduction %}eins\n\nzwei {{ name }}\rdrei\0{% endset %}\
                 {% set regards %}Bis bald{% endset %}";
    fs::write(directory.path().join("de/invoice.txt"), words).unwrap();
    fs::write(directory.path().join("layout.html"), "<p>{{ company }}</p>").unwrap();
    let templates = Templates::load(Some(directory.path())).unwrap_err().to_string();
    assert!(templates.contains("layout.html:1: "), "{templates}");
    let layout = "<p lang=\"{{ language }}\">{{ regards }}, {{ sender }}: {{ introduction | join('|') }}</p>";
    fs::write(directory.path().join("layout.html"), layout).unwrap();
    let templates = Templates::load(Some(directory.path())).unwrap();

    let seen = read(Mail::invoice().compose_with(&templates).unwrap().bytes());
    assert_eq!(seen.subject, "Ihre Rechnung RE-2026/0042");
    assert!(seen.text.starts_with("Guten Tag,\r\n\r\neins\r\n\r\nzwei Buchhaltung drei\r\n\r\n"));
    assert!(seen.text.ends_with("\r\n\r\nBis bald\r\nBeispiel-Hosting Köln\r\n"), "{}", seen.text);
    assert_eq!(
        seen.html,
        "<p lang=\"de\">Bis bald, Beispiel-Hosting Köln: eins|zwei Buchhaltung drei</p>\r\n"
    );

    let english = Mail::of(Kind::Invoice, "RE-2026/0042", "1", "en");
    let seen = read(english.compose_with(&templates).unwrap().bytes());
    assert_eq!(seen.subject, "Invoice RE-2026/0042 dated 23 November 2026 (EUR 1.00)");
}

#[test]
fn the_html_part_loads_nothing() {
    let html = read(&Mail::invoice().bytes()).html;
    for remote in ["<img", "src=", "url(", "@import", "<link", "<script"] {
        assert!(!html.contains(remote), "{remote}");
    }
    assert_eq!(html.matches("https://").count(), 1, "only the link to the portal");
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
        Err(ComposeError::DocumentCount { expected: 1, given: 0 })
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
        Err(ComposeError::Message(MessageFault::TooLarge { bytes, limit }))
            if bytes == size && limit == size - 1
    ));
}

/// The heaviest mail there can be: everything as long as it may be, of characters that need most octets.
fn heaviest(language: &str, message_bytes: usize) -> Mail {
    let most = |count: usize| "\u{10400}".repeat(count);
    let mut mail =
        Mail::of(Kind::Reminder(number(&most(128))), &most(128), "999999999999999.99", language);
    mail.message_bytes = message_bytes;
    mail.is_fallback = true;
    mail.invoice.account = AccountId::parse(most(128)).unwrap();
    mail.invoice.portal_url =
        Some(PortalUrl::parse(format!("https://a/{}", "&".repeat(890))).unwrap());
    mail.brand.name = Some(header_text(&most(200)));
    mail.brand.reply_to.name = Some(header_text(&most(200)));
    mail.addressee.contact.name = header_text(&most(200));
    mail.addressee.contact.company = Some(header_text(&most(200)));
    let domain = [&*"a".repeat(60); 3].join(".");
    mail.addressee.deliverable =
        (0..10).map(|at| email(&format!("{at}{}@{domain}", "a".repeat(63)))).collect();
    // All but one of a single byte: a line each that is nearly empty.
    let whole = documents_bytes_max(message_bytes) - (DOCUMENTS - 1);
    let names: Vec<String> =
        (0..DOCUMENTS).map(|at| format!("{}{}.pdf", most(114), 10 + at)).collect();
    let bytes = vec![0xFF; whole];
    let kind = ["a".repeat(127), "a".repeat(127)].join("/");
    let files: Vec<(&str, &str, &[u8])> = names
        .iter()
        .enumerate()
        .map(|(at, name)| (&**name, &*kind, if at == 0 { &bytes[..] } else { &bytes[..1] }))
        .collect();
    mail.attach(&files);
    mail
}

#[test]
fn documents_that_are_accepted_fit_into_a_mail_whatever_else_is_in_it() {
    for message_bytes in [2 * MESSAGE_OVERHEAD_BYTES, 1_000_000] {
        for language in ["de", "en"] {
            let bytes = heaviest(language, message_bytes).bytes().len();
            let encoded = documents_bytes_max(message_bytes) / 57 * 78;
            let others = bytes - encoded;
            assert!(2 * others <= MESSAGE_OVERHEAD_BYTES, "{others} bytes besides the documents");
        }
    }
}

#[test]
fn a_message_id_is_one_for_each_delivery_and_revision_and_says_nothing() {
    let domain = MailDomain::parse("mail.hosting.example").unwrap();
    let id = |store: &[u8; 16], delivery, revision| {
        message_id(store, DeliveryId::of_invoice(Sequence(delivery)), revision, &domain).unwrap()
    };
    let first = id(&STORE, 42, 1);
    assert_eq!(first, id(&STORE, 42, 1));
    for other in [id(&STORE, 42, 2), id(&STORE, 43, 1), id(b"one more example", 42, 1)] {
        assert_ne!(first, other);
    }

    let (name, host) = first.as_str().split_once('@').unwrap();
    assert_eq!(host, "mail.hosting.example");
    assert_eq!(name.len(), 32);
    assert!(name.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");

    let too_long = MailDomain::parse(&[&*"a".repeat(60); 4].join(".")).unwrap();
    assert!(message_id(&STORE, DeliveryId::of_invoice(Sequence(1)), 1, &too_long).is_err());
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
        (Kind::CreditNote(Some(refers_to.clone())), "GS-2026/0007", "-119.00"),
        (Kind::CorrectedInvoice(refers_to.clone()), "RE-2026/0043", "119.00"),
        (Kind::Reminder(refers_to), "ZE-2026/0003", "119.00"),
    ] {
        for language in ["de", "en"] {
            let mut mail = Mail::of(kind.clone(), own, total, language);
            if matches!(kind, Kind::CreditNote(_)) {
                mail.invoice.due_on = None;
            }
            let ReadMail { subject, text, html, .. } = read(&mail.bytes());
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
        let [company, name] = [&company, &name].map(|text| {
            [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\"", "&quot;"), ("'", "&#39;")]
                .into_iter()
                .fold(text.to_string(), |text, (plain, escaped)| text.replace(plain, escaped))
        });
        let cell = format!("<td>{company}, {name}</td>");
        prop_assert!(seen.html.contains(&cell), "{:?} in {:?}", cell, seen.html);
    }
}
