//! The events and documents of `config/examples/`, and what is read of a mail that carries them.

// Tells clippy that helpers belong to tests as well.
#![cfg(test)]

use std::fs;
use std::path::PathBuf;

use invoice_router::cli::demo::sink::Received;
use mail_parser::{MessageParser, MimeHeaders as _};
use serde_json::Value;

use crate::daemon::Daemon;

fn directory() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/config/examples"))
}

/// Every event, in order.
pub(crate) fn events() -> Vec<(String, Value)> {
    let mut events: Vec<(String, Value)> = fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let event = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
            (name, event)
        })
        .collect();
    events.sort_by(|(one, _), (other, _)| one.cmp(other));
    events
}

/// The event whose file's name begins with this number.
pub(crate) fn event(number: usize) -> Value {
    let (name, event) = events().swap_remove(number - 1);
    assert!(name.starts_with(&format!("{number:02}-")), "{name}");
    event
}

/// A document of an example.
pub(crate) fn document(name: &str) -> Vec<u8> {
    fs::read(directory().join("documents").join(name)).unwrap()
}

/// Pushes these events, each of which must be applied, their documents before them.
pub(crate) async fn push_all(daemon: &mut Daemon, numbers: impl IntoIterator<Item = usize>) {
    for number in numbers {
        push(daemon, &event(number)).await;
    }
}

/// Pushes an event, which must be applied, its documents before it; returns the answer.
pub(crate) async fn push(daemon: &mut Daemon, event: &Value) -> Value {
    for attached in event["data"]["documents"].as_array().into_iter().flatten() {
        if attached["sha256"].is_string() {
            let bytes = document(attached["file_name"].as_str().unwrap());
            let answer = daemon.upload(&bytes).await;
            assert!([200, 201].contains(&answer.status), "{}", answer.body);
        }
    }
    let answer = daemon.push(event).await.expect(200);
    assert_eq!(answer["result"], "applied", "{answer}");
    answer
}

/// A mail, as the recipient's program reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mail {
    pub(crate) recipients: Vec<String>,
    pub(crate) number: String,
    pub(crate) subject: String,
    pub(crate) message_id: String,
    pub(crate) text: String,
    /// Name, media type and content.
    pub(crate) attachments: Vec<(String, String, Vec<u8>)>,
}

impl Mail {
    pub(crate) fn read(received: &Received) -> Self {
        let bytes = fs::read(received.file.as_ref().unwrap()).unwrap();
        let message = MessageParser::default().parse(&bytes).unwrap();
        let attachments = message.attachments().map(|part| {
            let media_type = part.content_type().unwrap();
            (
                part.attachment_name().unwrap().to_owned(),
                format!("{}/{}", media_type.ctype(), media_type.subtype().unwrap()),
                part.contents().to_owned(),
            )
        });
        Self {
            recipients: received.recipients.clone(),
            number: message
                .header("X-Invoice-Number")
                .and_then(|value| value.as_text())
                .unwrap()
                .to_owned(),
            subject: message.subject().unwrap().to_owned(),
            message_id: message.message_id().unwrap().to_owned(),
            text: message.body_text(0).unwrap().into_owned(),
            attachments: attachments.collect(),
        }
    }
}

/// Who got what: each mail's recipient and invoice, sorted.
pub(crate) fn who_got_what(received: &[Received]) -> Vec<(String, String)> {
    let mut mails: Vec<(String, String)> = received
        .iter()
        .map(|one| {
            let mail = Mail::read(one);
            assert_eq!(mail.recipients.len(), 1, "an address, a mail");
            (mail.recipients[0].clone(), mail.number)
        })
        .collect();
    mails.sort();
    mails
}
