//! Sequences of requests from a seed, about a world so small that they meet each other all the time.
//!
//! What is written follows from what the model has accepted so far, so that most of it is near to what is right:
//! the next version or the one in force, the content in force in other words, a number that is known.

mod bodies;
mod spoiling;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::model::accounts;
use crate::request::{Request, What};
use crate::script::Script;
use crate::setting::{Sender, beginning};
use crate::words;

const ACCOUNTS: [&str; 3] = ["K-1", "K/2 ä", "K-3"];
const SUB_USERS: [&str; 4] = ["u-1", "u-2", "u 3", "u-4"];
const NUMBERS: [&str; 3] = ["RE-1", "RE/2", "RE-3"];
/// File name, media type and bytes.
const DOCUMENTS: [(&str, &str, &[u8]); 3] = [
    ("eins.pdf", "application/pdf", b"%PDF-1.7 one"),
    ("zwei.pdf", "application/pdf", b"%PDF-1.7 two"),
    ("drei.xml", "text/xml", b"<xml/>"),
];
const LEAST: usize = 5;
const MOST: usize = 30;

/// The sequence of a seed.
pub(crate) fn write(seed: u64) -> Script {
    let mut author = Author {
        rng: fastrand::Rng::with_seed(seed),
        script: Script::default(),
        now: beginning(),
    };
    for _ in 0..author.rng.usize(LEAST..=MOST) {
        let request = author.next();
        author.script.add(request);
    }
    author.script
}

struct Author {
    rng: fastrand::Rng,
    /// So far.
    script: Script,
    now: DateTime<Utc>,
}

impl Author {
    fn next(&mut self) -> Request {
        let time = self.some_time();
        self.now += time;
        let mut request = match self.rng.u32(..100) {
            0..14 if !self.script.requests.is_empty() => self.repeated(),
            14..16 if !self.script.requests.is_empty() => self.under_a_known_id(),
            16..24 => self.document(),
            24..64 => self.account_event(),
            _ => self.invoice_event(),
        };
        request.at = self.now;
        match self.rng.u32(..100) {
            0 => request.sender = Sender::Stranger,
            1 => request.seconds_off = self.one_of(&[-301, -300, 300, 301]),
            2 | 3 => request.sender = self.one_of(&Sender::KNOWN),
            _ => {}
        }
        request
    }

    /// Often none, so that commits share an instant; at times so much that ids are forgotten.
    fn some_time(&mut self) -> TimeDelta {
        match self.rng.u32(..100) {
            0..30 => TimeDelta::zero(),
            30..60 => TimeDelta::milliseconds(self.rng.i64(1..5_000)),
            60..85 => TimeDelta::seconds(self.rng.i64(1..7_200)),
            85..95 => TimeDelta::hours(self.rng.i64(1..60)),
            _ => TimeDelta::hours(self.rng.i64(150..220)),
        }
    }

    /// Something sent before, whatever became of it: the same bytes under the same id.
    fn repeated(&mut self) -> Request {
        let at = self.rng.usize(..self.script.requests.len());
        // Most are repeated soon.
        let at = if self.rng.bool() {
            at.max(self.script.requests.len().saturating_sub(3))
        } else {
            at
        };
        let mut again = self.script.requests[at].clone();
        if self.rng.u32(..10) == 0 {
            again.id = self.new_id();
        }
        again
    }

    /// Other bytes under the id of something sent before.
    fn under_a_known_id(&mut self) -> Request {
        let at = self.rng.usize(..self.script.requests.len());
        let (id, sender) = (
            self.script.requests[at].id.clone(),
            self.script.requests[at].sender,
        );
        let mut other = if self.rng.bool() {
            self.account_event()
        } else {
            self.invoice_event()
        };
        other.id = id;
        if self.rng.u32(..4) > 0 {
            other.sender = sender;
        }
        other
    }

    fn document(&mut self) -> Request {
        let bytes = self.some_document().to_vec();
        let digits = words::digest(&bytes);
        let (digits, bytes) = match self.rng.u32(..20) {
            0 => (digits, Vec::new()),
            1 => (digits, self.some_document().to_vec()),
            2 => (digits.to_uppercase(), bytes),
            _ => (digits, bytes),
        };
        let sender = self.one_of(&[Sender::Billing, Sender::Both]);
        self.request(sender, What::Document { digits, bytes })
    }

    fn account_event(&mut self) -> Request {
        let id = self.some_account();
        let known = accounts::account(&self.script.history, id).cloned();
        let kind = match self.rng.u32(..100) {
            0..46 => "account.updated",
            46..52 => "account.closed",
            52..72 => "sub_user.saved",
            72..82 => "sub_user.removed",
            _ => "billing_contact.selected",
        };
        // Most of what comes before an account is the account.
        let kind = if known.is_none() && self.rng.u32(..8) > 0 {
            "account.updated"
        } else {
            kind
        };
        let mut data = self.change(kind, known.as_ref());
        let version = self.some_version(known.as_ref().map_or(0, |account| account.version));
        data["account"] = json!(id);
        data["version"] = json!(version);
        let timestamp = self.some_timestamp(known.map(|account| account.timestamp));
        let event = json!({"type": kind, "timestamp": timestamp, "data": data});
        let sender = self.one_of(&[Sender::Portal, Sender::Portal, Sender::Both]);
        self.event(sender, event)
    }

    fn some_version(&mut self, in_force: u64) -> u64 {
        match self.rng.u32(..100) {
            0..58 => in_force + 1,
            58..72 => in_force.max(1),
            72..84 => in_force.saturating_sub(1).max(1),
            84..88 => 1,
            88..97 => in_force + self.rng.u64(2..4),
            97 | 98 => in_force + 1_000,
            _ => (1 << 53) - 1,
        }
        .min((1 << 53) - 1)
    }

    /// Before, at or after the one in force, by a little or a lot; with any offset.
    fn some_timestamp(&mut self, in_force: Option<DateTime<Utc>>) -> String {
        let near = in_force.unwrap_or(self.now);
        let at = match self.rng.u32(..10) {
            0..4 => self.now,
            4 | 5 => near,
            6 => near - TimeDelta::milliseconds(1),
            7 => near + TimeDelta::milliseconds(1),
            8 => near - TimeDelta::hours(self.rng.i64(1..100)),
            _ => self.now - TimeDelta::seconds(self.rng.i64(1..100)),
        };
        match self.rng.u32(..3) {
            0 => format!("{}", at.format("%Y-%m-%dT%H:%M:%S%.3fZ")),
            1 => (at + TimeDelta::hours(1))
                .format("%Y-%m-%dT%H:%M:%S%.3f+01:00")
                .to_string(),
            _ => (at - TimeDelta::minutes(210))
                .format("%Y-%m-%dT%H:%M:%S%.6f-03:30")
                .to_string(),
        }
    }

    fn invoice_event(&mut self) -> Request {
        let account = self.some_account();
        let number = self.one_of(&NUMBERS);
        let (kind, data) = if self.rng.u32(..6) == 0 {
            (
                "invoice.withdrawn",
                json!({"account": account, "number": number}),
            )
        } else {
            ("invoice.issued", self.invoice(account, number))
        };
        let timestamp = self.some_timestamp(None);
        let event = json!({"type": kind, "timestamp": timestamp, "data": data});
        let sender = self.one_of(&[Sender::Billing, Sender::Billing, Sender::Both]);
        self.event(sender, event)
    }

    /// An event, one of ten with something wrong about it.
    fn event(&mut self, sender: Sender, mut event: Value) -> Request {
        if self.rng.u32(..10) == 0 {
            for _ in 0..self.one_of(&[1, 1, 2, 3]) {
                self.spoil(&mut event);
            }
        }
        let mut body = event.to_string().into_bytes();
        if self.rng.u32(..50) == 0 {
            self.spoil_bytes(&mut body);
        }
        self.request(sender, What::Event(body))
    }

    fn request(&mut self, sender: Sender, what: What) -> Request {
        Request {
            at: self.now,
            sender,
            id: self.new_id(),
            seconds_off: 0,
            what,
        }
    }

    fn new_id(&mut self) -> String {
        format!("evt_{}", self.script.requests.len())
    }

    /// The first of them most of the time, so that much happens to it.
    fn some_account(&mut self) -> &'static str {
        let most = self.one_of(&[1, 1, 1, 2, 3]);
        self.one_of(&ACCOUNTS[..most])
    }

    fn some_document(&mut self) -> &'static [u8] {
        let (_, _, bytes) = self.one_of(&DOCUMENTS);
        bytes
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.rng.usize(..choices.len())]
    }
}
