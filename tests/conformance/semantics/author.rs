//! Sequences of requests from a seed, about a world so small that they meet each other all the time.
//!
//! What is written follows from what the model has accepted so far, so that most of it is near to what is right:
//! the next version or the current one, the current content in other words, a number that is known.

mod bodies;
mod spoiling;
mod writing;

pub(crate) use self::spoiling::collect;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::model::{self, accounts};
use crate::request::{Request, What};
use crate::script::Script;
use crate::setting::{Sender, beginning};
use crate::words;

pub(crate) const ACCOUNTS: [&str; 3] = ["K-1", "K/2 ä", "K-3"];
const SUB_USERS: [&str; 4] = ["u-1", "u-2", "u 3", "u-4"];
pub(crate) const NUMBERS: [&str; 3] = ["RE-1", "RE/2", "RE-3"];
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
    let mut author =
        Author { rng: fastrand::Rng::with_seed(seed), script: Script::default(), now: beginning() };
    if author.rng.u32(..200) == 0 {
        author.park_many();
    }
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
            14..17 if !self.script.requests.is_empty() => self.under_a_known_id(),
            17..20 => self.batch(),
            20..27 => self.document(),
            27..65 => self.some_account_event(),
            _ => self.some_invoice_event(),
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
        let at =
            if self.rng.bool() { at.max(self.script.requests.len().saturating_sub(3)) } else { at };
        let mut again = self.script.requests[at].clone();
        if self.rng.u32(..10) == 0 {
            again.id = self.new_id();
        }
        again
    }

    /// Other bytes under the id of something sent before, at times only just others.
    fn under_a_known_id(&mut self) -> Request {
        let at = self.rng.usize(..self.script.requests.len());
        let known = self.script.requests[at].clone();
        let what = match known.what {
            What::Event(mut body) if self.rng.u32(..3) == 0 => {
                let blank = self.one_of(&[" ", "\n", "\r\n\t"]);
                body.extend_from_slice(blank.as_bytes());
                Some(What::Event(body))
            }
            What::Batch(body) if self.rng.u32(..4) > 0 => Some(self.other_lines(&body)),
            What::Event(_) | What::Batch(_) | What::Document { .. } => None,
        };
        let mut other = match what {
            Some(what) => self.request(known.sender, what),
            None if self.rng.bool() => self.some_account_event(),
            None => self.some_invoice_event(),
        };
        other.id = known.id;
        if self.rng.u32(..4) > 0 {
            other.sender = known.sender;
        }
        other
    }

    /// A few account events, one a line, among what is none; at times nothing at all. They follow one another as those
    /// that are sent by themselves do.
    fn batch(&mut self) -> Request {
        let sender = self.one_of(&[Sender::Portal, Sender::Portal, Sender::Both]);
        let id = self.new_id();
        let known = self.script.history.len();
        let mut lines = Vec::new();
        for n in 0..self.one_of(&[0, 1, 2, 3, 3, 4, 4, 5, 5]) {
            let line = self.line();
            let mut alone = self.request(sender, What::Batch(line.clone()));
            alone.id = format!("{id}_{n}");
            let answer = model::answer(&self.script.history, &alone);
            model::grow(&mut self.script.history, self.now, &answer);
            lines.push(line);
        }
        self.script.history.truncate(known);
        if self.rng.bool() {
            lines.push(Vec::new());
        }
        let end: &[u8] = self.one_of(&[b"\n", b"\n", b"\r\n"]);
        self.request(sender, What::Batch(lines.join(end)))
    }

    fn line(&mut self) -> Vec<u8> {
        let (_, event) = match self.rng.u32(..16) {
            0 => return self.one_of(&["", " ", "\r", "\t \r"]).into(),
            1 => self.invoice_event(),
            _ => self.account_event(),
        };
        self.body(event, true)
    }

    /// A batch that differs in one line, or has one more or one less.
    fn other_lines(&mut self, body: &[u8]) -> What {
        let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::to_vec);
        let mut lines: Vec<Vec<u8>> = lines.collect();
        let at = self.rng.usize(..lines.len());
        match self.rng.u32(..4) {
            0 => drop(lines.remove(at)),
            1 => lines.push(self.line()),
            _ => lines[at] = self.line(),
        }
        What::Batch(lines.join(&b'\n'))
    }

    /// So many invoices of an account that is not known yet that they cannot be freed in one go, and the account.
    fn park_many(&mut self) {
        let account = ACCOUNTS[0];
        for n in 0..self.rng.usize(20..=70) {
            let mut data = self.new_invoice(account, &format!("P-{n}"));
            let mut document = json!({"file_name": "eins.pdf", "media_type": "application/pdf"});
            document["content_base64"] = json!("JVBERg==");
            data["documents"] = json!([document]);
            let timestamp = self.some_timestamp(None);
            let event = json!({"type": "invoice.issued", "timestamp": timestamp, "data": data});
            let body = event.to_string().into_bytes();
            let request = self.request(Sender::Billing, What::Event(body));
            self.script.add(request);
            self.now += TimeDelta::milliseconds(self.rng.i64(0..10));
        }
        let mut data = self.profile();
        data["account"] = json!(account);
        data["version"] = json!(self.rng.u64(1..3));
        let timestamp = self.some_timestamp(None);
        let event = json!({"type": "account.updated", "timestamp": timestamp, "data": data});
        let body = event.to_string().into_bytes();
        let request = self.request(Sender::Portal, What::Event(body));
        self.script.add(request);
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

    fn some_account_event(&mut self) -> Request {
        let (sender, event) = self.account_event();
        self.event(sender, event)
    }

    fn some_invoice_event(&mut self) -> Request {
        let (sender, event) = self.invoice_event();
        self.event(sender, event)
    }

    fn account_event(&mut self) -> (Sender, Value) {
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
        let kind = if known.is_none() && self.rng.u32(..8) > 0 { "account.updated" } else { kind };
        let mut data = self.change(kind, known.as_ref());
        let version = self.some_version(known.as_ref().map_or(0, |account| account.version));
        data["account"] = json!(id);
        data["version"] = json!(version);
        let timestamp = self.some_timestamp(known.map(|account| account.timestamp));
        let event = json!({"type": kind, "timestamp": timestamp, "data": data});
        let sender = self.one_of(&[Sender::Portal, Sender::Portal, Sender::Both]);
        (sender, event)
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

    /// Before, at or after the current one, by a little or a lot; with any offset.
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
        match self.rng.u32(..12) {
            0 => at.format("%Y-%m-%dt%H:%M:%S%.3fz").to_string(),
            1..4 => at.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
            4..8 => (at + TimeDelta::hours(1)).format("%Y-%m-%dT%H:%M:%S%.3f+01:00").to_string(),
            _ => (at - TimeDelta::minutes(210)).format("%Y-%m-%dT%H:%M:%S%.6f-03:30").to_string(),
        }
    }

    fn invoice_event(&mut self) -> (Sender, Value) {
        let account = self.some_account();
        let number = self.one_of(&NUMBERS);
        let (kind, data) = if self.rng.u32(..6) == 0 {
            ("invoice.withdrawn", json!({"account": account, "number": number}))
        } else {
            ("invoice.issued", self.invoice(account, number))
        };
        let timestamp = self.some_timestamp(None);
        let event = json!({"type": kind, "timestamp": timestamp, "data": data});
        let sender = self.one_of(&[Sender::Billing, Sender::Billing, Sender::Both]);
        (sender, event)
    }

    fn event(&mut self, sender: Sender, event: Value) -> Request {
        let body = self.body(event, false);
        self.request(sender, What::Event(body))
    }

    /// What an event is sent as, one of ten with something wrong about it.
    fn body(&mut self, mut event: Value, on_one_line: bool) -> Vec<u8> {
        if self.rng.u32(..10) == 0 {
            for _ in 0..self.one_of(&[1, 1, 2, 3]) {
                self.spoil(&mut event);
            }
        }
        let mut body = self.written(&event, on_one_line);
        if self.rng.u32(..50) == 0 {
            self.spoil_bytes(&mut body);
        }
        body
    }

    fn request(&mut self, sender: Sender, what: What) -> Request {
        Request { at: self.now, sender, id: self.new_id(), seconds_off: 0, what }
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
