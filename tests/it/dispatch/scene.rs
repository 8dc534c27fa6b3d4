//! An attempt that stands still at a chosen point, and those who come in between: the portal, the billing
//! system and an operator, by HTTP over the store that sending works with.

use std::sync::Arc;

use chrono::DateTime;
use invoice_router::domain::audit::{AttemptEnded, AuditEvent};
use invoice_router::domain::delivery::{AddressState, Outcome, Shown};
use invoice_router::domain::id::Digest;
use invoice_router::domain::invoice::Release;
use invoice_router::store::WholeInvoice;
use serde_json::{Value, json};

use super::house::{House, Running};
use super::relay::{Gate, Moment, Reaction};
use crate::figures::count;
use crate::interface::{Answer, Interfaces};

/// More than the kernel keeps for a reader that does not read, so that the writer is stopped half way.
const LARGE_DOCUMENT_BYTES: usize = 2_500_000;

/// Where the relay stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Point {
    /// It was told the recipient, and has not answered.
    Rcpt,
    /// It was told DATA, and has not answered.
    Data,
    /// It has a part of the message, and reads no further.
    Streaming,
    /// It has the message, and has not answered.
    FinalDot,
}

impl Point {
    pub(super) const ALL: [Self; 4] = [Self::Rcpt, Self::Data, Self::Streaming, Self::FinalDot];

    /// Whether the first byte of the message is out.
    pub(super) fn is_past_the_first_byte(self) -> bool {
        match self {
            Self::Rcpt | Self::Data => false,
            Self::Streaming | Self::FinalDot => true,
        }
    }

    fn is_at(self, moment: &Moment) -> bool {
        match self {
            Self::Rcpt => matches!(moment, Moment::Rcpt(_)),
            Self::Data => matches!(moment, Moment::Data),
            Self::Streaming => matches!(moment, Moment::Streaming(_)),
            Self::FinalDot => matches!(moment, Moment::FinalDot(_)),
        }
    }

    /// A document that has the relay stand at this point.
    fn document(self) -> Vec<u8> {
        match self {
            Self::Rcpt | Self::Data | Self::FinalDot => b"%PDF".to_vec(),
            Self::Streaming => vec![b'%'; LARGE_DOCUMENT_BYTES],
        }
    }
}

/// What the relay says to the final dot of the first message, once it is let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastWord {
    Yes,
    Later,
}

/// The account `K-1` and its invoice `R-1`, at whose first attempt the relay stands still.
pub(super) struct Scene {
    pub(super) house: House,
    pub(super) interfaces: Interfaces,
    pub(super) running: Running,
    pub(super) gate: Arc<Gate>,
}

impl Scene {
    /// An account with these addresses: the main contact's, and the selected billing contact's if any.
    pub(super) async fn at(
        point: Point,
        main: &[&str],
        billing: &[&str],
        last_word: LastWord,
    ) -> Self {
        let mut house = House::new().await;
        // So that whatever is due later has its turn after what was due before.
        house.settings.connections = 1;
        house.account("K-1", 1, main, billing).await;
        house.account("K-9", 1, &["other@muster.example"], &[]).await;
        let document = point.document();
        house.invoice_over(document, "K-1", "R-1", Release::Immediately).await;
        let gate = stand(&house, point, last_word);
        let interfaces = Interfaces::over(&house.store, &house.clock, &house.wake_up).await;
        let running = house.start();
        let scene = Self { house, interfaces, running, gate };
        scene.until_it_stands().await;
        scene
    }

    async fn until_it_stands(&self) {
        self.gate.reached().await;
        assert_eq!(self.whole().state, Shown::Sending);
        count("races", &[("attempts held still", 1)]);
    }

    /// Lets the relay go on, and stops it at the next attempt, which was asked for meanwhile or
    /// that has its turn after this one. The point was passed by the attempt under way.
    pub(super) async fn go_on_to_the_next(&mut self, point: Point) {
        let gate = stand(&self.house, point, LastWord::Yes);
        std::mem::replace(&mut self.gate, gate).open();
        self.until_it_stands().await;
    }

    /// Lets the relay go on.
    pub(super) fn go_on(&self) {
        self.gate.open();
    }

    /// An event of the portal's about the account.
    pub(super) async fn portal(&self, kind: &str, version: u64, more: Value) -> Answer {
        let mut data = json!({"account": "K-1", "version": version});
        if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
            data.extend(more);
        }
        let event =
            json!({"type": kind, "timestamp": self.house.clock.now().to_rfc3339(), "data": data});
        let answer = self.interfaces.portal(&event).await;
        let in_flight = answer.body["in_flight"].as_array().map_or(0, Vec::len);
        count("races", &[("account changes", 1), ("invoices named in flight", in_flight)]);
        answer
    }

    /// The billing system takes the invoice back.
    pub(super) async fn withdraw(&self) -> Answer {
        let event = json!({"type": "invoice.withdrawn", "timestamp": self.house.clock.now().to_rfc3339(),
            "data": {"account": "K-1", "number": "R-1"}});
        count("races", &[("commands", 1)]);
        self.interfaces.billing(&event).await
    }

    /// An operator does something to the invoice.
    pub(super) async fn operator(&self, action: &str, body: Value) -> Answer {
        let path = format!("/v1/accounts/K-1/invoices/R-1/{action}");
        count("races", &[("commands", 1)]);
        self.interfaces.act(&path, body).await
    }

    pub(super) fn whole(&self) -> WholeInvoice {
        self.house.whole("K-1", "R-1")
    }

    pub(super) async fn until(&self, state: Shown) -> WholeInvoice {
        self.house.until("K-1", "R-1", state).await
    }

    /// Brings another account's invoice to its recipient, before which everything has had its turn that
    /// was due. Then ends; tells who was sent a first byte, and who accepted, of the account's contacts.
    pub(super) async fn end(self) -> (Vec<String>, Vec<String>) {
        self.house.invoice("K-9", "R-9", Release::Immediately).await;
        self.house.until("K-9", "R-9", Shown::Delivered).await;
        self.running.stop().await;
        let book = self.house.relay.book();
        let of_the_account = |to: &String| to != "other@muster.example";
        let begun = book.begun.into_iter().filter(of_the_account);
        let accepted = book.accepted.into_iter().map(|mail| mail.to);
        let (begun, accepted): (Vec<_>, Vec<_>) =
            (begun.collect(), accepted.filter(of_the_account).collect());
        count("races", &[("messages begun", begun.len()), ("messages accepted", accepted.len())]);
        (begun, accepted)
    }
}

/// Has the relay stand at a point, and say its last word to the first message.
pub(super) fn stand(house: &House, point: Point, last_word: LastWord) -> Arc<Gate> {
    let gate = Arc::new(Gate::default());
    let waits = Arc::clone(&gate);
    let (mut stands, mut first_message) = (true, true);
    house.relay.behave(move |moment| {
        let is_here = point.is_at(moment) && std::mem::take(&mut stands);
        let is_the_end =
            matches!(moment, Moment::FinalDot(_)) && std::mem::take(&mut first_message);
        let later = is_the_end && last_word == LastWord::Later;
        match (is_here, later) {
            (false, false) => Reaction::Yes,
            (true, false) => Reaction::Wait(Arc::clone(&waits)),
            (false, true) => Reaction::Say("451 4.7.1 come back later"),
            (true, true) => Reaction::WaitAndSay(Arc::clone(&waits), "451 4.7.1 come back later"),
        }
    });
    gate
}

/// What happened to an invoice after it was issued, without when and which bytes were sent.
pub(super) fn history(whole: &WholeInvoice) -> Vec<AuditEvent> {
    let events = whole.story.iter().skip(1).map(|entry| entry.event.clone());
    events
        .map(|event| match event {
            AuditEvent::AttemptEnded(attempt) => AuditEvent::AttemptEnded(Box::new(AttemptEnded {
                started_at: DateTime::UNIX_EPOCH,
                message_digest: Digest::from_bytes([0; 32]),
                message_bytes: 0,
                ..*attempt
            })),
            event => event,
        })
        .collect()
}

pub(super) fn address_states(whole: &WholeInvoice) -> Vec<(&str, AddressState)> {
    let addresses = whole.delivery.addresses.iter();
    addresses.map(|address| (address.address.as_str(), address.state)).collect()
}

pub(super) fn outcomes(whole: &WholeInvoice) -> Vec<Outcome> {
    let attempts = whole.attempts.iter();
    attempts.map(|attempt| attempt.outcome).collect()
}
