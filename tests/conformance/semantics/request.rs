//! What is sent to the webhook.

use std::fmt;

use chrono::{DateTime, Utc};

use crate::setting::Sender;

/// One request, whole, so that a sequence of them can be sent again without some.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// What the daemon's clock says when it comes.
    pub(crate) at: DateTime<Utc>,
    pub(crate) sender: Sender,
    /// `webhook-id`
    pub(crate) id: String,
    /// How far `webhook-timestamp` is from now.
    pub(crate) seconds_off: i64,
    pub(crate) what: What,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum What {
    /// `POST /v1/events`
    Event(Vec<u8>),
    /// The same, as `application/x-ndjson`.
    Batch(Vec<u8>),
    /// `PUT /v1/documents/{sha256}`
    Document { digits: String, bytes: Vec<u8> },
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, sender, id, seconds_off, what } = self;
        write!(f, "{at:?} {} {id}", sender.name())?;
        if *seconds_off != 0 {
            write!(f, " signed {seconds_off} s off")?;
        }
        match what {
            What::Event(body) if body.contains(&b'\n') => {
                write!(f, " {:?}", String::from_utf8_lossy(body))
            }
            What::Event(body) => write!(f, " {}", String::from_utf8_lossy(body)),
            What::Batch(body) => write!(f, " lines {:?}", String::from_utf8_lossy(body)),
            What::Document { digits, bytes } => {
                write!(f, " document {digits}: {:?}", String::from_utf8_lossy(bytes))
            }
        }
    }
}
