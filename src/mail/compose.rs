//! Makes the bytes of a mail: `multipart/mixed` of `multipart/alternative` and the documents.
//!
//! Pure: the same input gives the same bytes, so that the repeat of an uncertain attempt is the same mail
//! and its digest says what was sent. Date, Message-ID and boundaries are therefore given to
//! mail-builder, which would take them from the clock and the host.
//!
//! mail-builder refuses nothing (version 2.0.1): an address, a Message-ID or a content type is written
//! as it comes, text keeps bare carriage returns and NUL, an attachment that calls itself text is
//! re-encoded as text, and ASCII that looks like an encoded word (RFC 2047) is left for the reader to
//! decode. So only checked types reach it, texts come cleaned from [`super::template`], documents are
//! encoded here, and the finished bytes are checked when they become a [`Message`].

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use mail_builder::MessageBuilder;
use mail_builder::headers::HeaderType;
use mail_builder::headers::address::Address;
use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::date::Date;
use mail_builder::headers::raw::Raw;
use mail_builder::headers::text::Text;
use mail_builder::mime::{BodyPart, MimePart};
use sha2::{Digest as _, Sha256};

use crate::domain::Invalid;
use crate::domain::address::{EmailAddress, FileName, HeaderText, MailDomain, Mailbox, MessageId};
use crate::domain::contact::Language;
use crate::domain::delivery::DeliveryId;
use crate::domain::id::Digest;
use crate::domain::invoice::{Document, Invoice};
use crate::domain::recipient::Addressee;

use super::message::{Message, MessageFault};
use super::template::{Facts, RenderError, Rendered, Templates};

/// Octets of a line of base64 (RFC 2045, section 6.8).
const BASE64_LINE_OCTETS: usize = 76;

/// Far more than a test mail has.
const TEST_MESSAGE_BYTES: usize = 64 * 1024;

/// Octets of text in one encoded word, so that it fits after the longest header name
/// (RFC 2047, section 2).
const ENCODED_WORD_OCTETS: usize = 30;

/// In whose name mail is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brand {
    /// Shown by mail programs, and the signature of the mail; the address, if there is none.
    pub name: Option<HeaderText>,
    /// The address in `From`.
    pub from: EmailAddress,
    /// Where answers go. Required: machine inboxes refuse senders that cannot be answered.
    pub reply_to: Mailbox,
}

/// All that a mail is made of.
#[derive(Debug, Clone, Copy)]
pub struct Composition<'a> {
    /// The invoice that it brings.
    pub invoice: &'a Invoice,
    /// Whom it addresses.
    pub addressee: &'a Addressee,
    /// Whether they get it in place of the selected contact, whom the relay rejects.
    pub is_fallback: bool,
    /// The addresses in `To`, those of this attempt round; at least one.
    pub to: &'a [EmailAddress],
    /// The bytes of the invoice's documents, in their order.
    pub documents: &'a [&'a [u8]],
    /// See [`message_id`].
    pub message_id: &'a MessageId,
    /// The start of the attempt round.
    pub date: DateTime<Utc>,
    /// In whose name.
    pub brand: &'a Brand,
    /// The words.
    pub templates: &'a Templates,
    /// For an addressee without a language, or with one that has no templates.
    pub default_language: &'a Language,
    /// Largest message, in bytes as they go to the relay.
    pub message_bytes: usize,
}

/// A mail that was not made.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// There is no address to send it to.
    #[error("no address to compose for")]
    NoAddress,
    /// Another number of documents than the invoice has.
    #[error("{given} documents were read, the invoice has {expected}")]
    DocumentCount {
        /// The invoice's.
        expected: usize,
        /// Those given.
        given: usize,
    },
    /// Other bytes than the billing system handed over, whatever became of them.
    #[error("the bytes of \"{file_name}\" do not match the digest of the invoice's document")]
    DocumentDigest {
        /// As which it would have been attached.
        file_name: FileName,
    },
    /// The templates failed.
    #[error("cannot render the mail")]
    Words(#[from] RenderError),
    /// Too large, or its bytes would not survive SMTP.
    #[error("the composed message cannot be sent")]
    Message(#[from] MessageFault),
}

/// The Message-ID of a delivery's revision.
///
/// A hash, so that a repeat has the same one and it reveals nothing; the store's id keeps two
/// installations under one domain apart. Fails only for a domain so long that no id fits before it.
pub fn message_id(
    store_id: &[u8; 16],
    delivery: DeliveryId,
    revision: u32,
    domain: &MailDomain,
) -> Result<MessageId, Invalid> {
    let hash = Sha256::new()
        .chain_update(b"invoice-router message-id")
        .chain_update(store_id)
        .chain_update(delivery.invoice.0.to_be_bytes())
        .chain_update([delivery.kind.number()])
        .chain_update(revision.to_be_bytes())
        .finalize();
    let name = Digest::from_bytes(hash.into()).to_string();
    MessageId::parse(&format!("{}@{}", &name[..32], domain.as_str()))
}

/// Makes one mail. The same composition gives the same bytes.
pub fn compose(composition: &Composition<'_>) -> Result<Message, ComposeError> {
    let Composition {
        invoice,
        addressee,
        is_fallback,
        to,
        documents,
        message_id,
        date,
        brand,
        templates,
        default_language,
        message_bytes,
    } = *composition;
    if to.is_empty() {
        return Err(ComposeError::NoAddress);
    }
    let attachments = attachments(invoice.documents.as_slice(), documents)?;
    let sender = brand.name.as_ref().map_or(brand.from.as_str(), HeaderText::as_str);
    let rendered = templates.render(
        templates.choose(addressee.language.as_ref(), default_language),
        &Facts { invoice, contact: &addressee.contact, sender, is_fallback },
    )?;

    let to = recipients(&addressee.contact.name, to);
    let message = headed(brand, message_id, date, to, rendered.subject())
        .header("X-Invoice-Number", text_header(invoice.number.as_str()))
        .body(body(message_id, &rendered, attachments));
    Ok(finished(message, message_id, message_bytes)?)
}

/// A short mail that shows that the way to the relay works. Fails only for a sender's name that does not survive SMTP.
pub fn test_message(
    brand: &Brand,
    to: &EmailAddress,
    message_id: &MessageId,
    date: DateTime<Utc>,
) -> Result<Message, MessageFault> {
    let text = "This is a test mail of invoice-router.\r\n\r\nIf you can read it, the way to the relay works.\r\n";
    let subject = "Test mail of invoice-router";
    let message = headed(brand, message_id, date, mailbox(None, to), subject)
        .body(MimePart::new("text/plain", BodyPart::Text(Cow::from(text))));
    finished(message, message_id, TEST_MESSAGE_BYTES)
}

/// The headers that all mails have.
fn headed<'x>(
    Brand { name, from, reply_to }: &'x Brand,
    message_id: &'x MessageId,
    date: DateTime<Utc>,
    to: HeaderType<'x>,
    subject: &'x str,
) -> MessageBuilder<'x> {
    MessageBuilder::new()
        .message_id(message_id.as_str())
        .date(Date::new(date.timestamp()))
        .header("From", mailbox(name.as_ref(), from))
        .header("Reply-To", mailbox(reply_to.name.as_ref(), &reply_to.address))
        .header("To", to)
        .header("Subject", text_header(subject))
        .header("Auto-Submitted", Raw::new("auto-generated"))
}

fn finished(
    message: MessageBuilder<'_>,
    id: &MessageId,
    limit: usize,
) -> Result<Message, MessageFault> {
    let mut bytes = Vec::new();
    message.serialize(&mut bytes);
    Message::parse(bytes, id.clone(), limit)
}

fn body<'x>(
    message_id: &MessageId,
    rendered: &'x Rendered,
    attachments: Vec<MimePart<'x>>,
) -> MimePart<'x> {
    let boundary = boundary(message_id, rendered);
    let multipart = |subtype: &'static str, name: &str, parts: Vec<MimePart<'x>>| {
        MimePart::new(
            ContentType::new(subtype).attribute("boundary", format!("{boundary}{name}")),
            BodyPart::Multipart(parts),
        )
    };
    let words = vec![
        MimePart::new("text/plain", BodyPart::Text(Cow::from(rendered.text()))),
        MimePart::new("text/html", BodyPart::Text(Cow::from(rendered.html()))),
    ];
    let mut parts = vec![multipart("multipart/alternative", "words", words)];
    parts.extend(attachments);
    multipart("multipart/mixed", "mixed", parts)
}

/// A boundary that does not occur in the mail. It begins with `=_`, which neither quoted-printable nor
/// base64 can hold (RFC 2045, section 6.7), and a text without any encoding would have to hold its own
/// hash.
fn boundary(message_id: &MessageId, rendered: &Rendered) -> String {
    let hash = Sha256::new()
        .chain_update(message_id.as_str())
        .chain_update(rendered.text())
        .chain_update(rendered.html())
        .finalize();
    let name = Digest::from_bytes(hash.into()).to_string();
    format!("=_{}_", &name[..32])
}

fn attachments<'x>(
    expected: &'x [Document],
    given: &[&[u8]],
) -> Result<Vec<MimePart<'x>>, ComposeError> {
    if expected.len() != given.len() {
        return Err(ComposeError::DocumentCount { expected: expected.len(), given: given.len() });
    }
    expected
        .iter()
        .zip(given)
        .map(|(document, bytes)| {
            if Digest::of(bytes) != document.digest {
                return Err(ComposeError::DocumentDigest { file_name: document.file_name.clone() });
            }
            // With an encoding of its own the part is written as it is, whatever its type.
            Ok(MimePart::new(document.media_type.as_str(), BodyPart::Binary(base64(bytes).into()))
                .attachment(document.file_name.as_str())
                .transfer_encoding("base64"))
        })
        .collect()
}

/// Base64 in lines that end in CR LF.
fn base64(bytes: &[u8]) -> Vec<u8> {
    let encoded = STANDARD.encode(bytes);
    let lines = encoded.len() / BASE64_LINE_OCTETS + 1;
    let mut wrapped = Vec::with_capacity(encoded.len() + 2 * lines);
    for line in encoded.as_bytes().chunks(BASE64_LINE_OCTETS) {
        wrapped.extend_from_slice(line);
        wrapped.extend_from_slice(b"\r\n");
    }
    wrapped
}

/// The contact's name comes before its only address; several addresses are several people's, who share no name.
fn recipients<'x>(name: &'x HeaderText, to: &'x [EmailAddress]) -> HeaderType<'x> {
    if let [address] = to {
        return mailbox(Some(name), address);
    }
    let addresses =
        to.iter().map(|address| Address::new_address(None::<&str>, address.as_str())).collect();
    Address::new_list(addresses).into()
}

fn mailbox<'x>(name: Option<&'x HeaderText>, address: &'x EmailAddress) -> HeaderType<'x> {
    match name {
        Some(name) if may_be_misread(name.as_str()) => {
            Raw::new(format!("{} <{address}>", encoded_words(name.as_str()))).into()
        }
        Some(_) | None => {
            Address::new_address(name.map(HeaderText::as_str), address.as_str()).into()
        }
    }
}

/// `text` is one printable line.
fn text_header(text: &str) -> HeaderType<'_> {
    if may_be_misread(text) { Raw::new(encoded_words(text)).into() } else { Text::new(text).into() }
}

/// Whether a reader might decode what was meant literally, or make one blank of several where a line is folded.
fn may_be_misread(text: &str) -> bool {
    text.contains("=?") || text.contains("  ")
}

/// The text as encoded words (RFC 2047), to be folded between them.
fn encoded_words(text: &str) -> String {
    let mut words = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let at = rest.floor_char_boundary(ENCODED_WORD_OCTETS);
        let (word, after) = rest.split_at(at);
        words.push(format!("=?utf-8?B?{}?=", STANDARD.encode(word)));
        rest = after;
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoded_word_never_divides_a_character() {
        let words = encoded_words(&"€".repeat(50));
        for word in words.split(' ') {
            let payload =
                word.strip_prefix("=?utf-8?B?").and_then(|word| word.strip_suffix("?=")).unwrap();
            assert!(word.len() <= 75);
            assert!(String::from_utf8(STANDARD.decode(payload).unwrap()).is_ok());
        }
    }
}
