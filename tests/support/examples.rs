//! The events and documents of `config/examples/`, and who got mails that carry them.

// Tells clippy that helpers belong to tests as well.
#![cfg(test)]

use std::fs;
use std::path::PathBuf;

use invoice_router::cli::demo::sink::Received;
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

/// Who got what: each mail's recipient and invoice, sorted.
pub(crate) fn who_got_what(received: &[Received]) -> Vec<(String, String)> {
    let mut mails: Vec<(String, String)> = received
        .iter()
        .map(|one| {
            let [recipient] = &one.recipients[..] else { panic!("an address, a mail: {one:?}") };
            let text = fs::read_to_string(one.file.as_ref().unwrap()).unwrap();
            let number = text.lines().find_map(|line| line.strip_prefix("X-Invoice-Number: "));
            (recipient.clone(), number.unwrap().to_owned())
        })
        .collect();
    mails.sort();
    mails
}
