//! What the world is made of, beside [`crate::sample`].

use std::sync::{Arc, OnceLock};

use invoice_router::domain::contact::Contact;
use invoice_router::domain::id::Group;
use invoice_router::domain::invoice::{Documents, Invoice};
use invoice_router::mail::template::Templates;
use invoice_router::store::Received;

use crate::events::Event;
use crate::sample::{self, digest, sender, webhook_id};

/// What is written here is well-formed; where it is not, the world ends.
#[expect(clippy::panic, reason = "a fault of the simulation's own, found at once")]
pub(crate) fn parsed<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

/// Compiled once for all worlds.
pub(crate) fn templates() -> Arc<Templates> {
    static TEMPLATES: OnceLock<Arc<Templates>> = OnceLock::new();
    Arc::clone(TEMPLATES.get_or_init(|| Arc::new(parsed(Templates::load(None)))))
}

/// One of few, so that invoices share them.
pub(crate) fn document(number: &str) -> Vec<u8> {
    let last = number.chars().next_back().unwrap_or_default();
    format!("%PDF {}", u32::from(last) % 3).into_bytes()
}

pub(crate) fn received(event: &Event) -> Received {
    Received {
        sender: sender("portal"),
        id: webhook_id(&event.id),
        body: digest(&event.body.to_be_bytes()),
        at: event.received_at,
    }
}

pub(crate) fn group(billing: bool) -> Group {
    sample::group(if billing { "billing" } else { "support" })
}

pub(crate) fn contact(addresses: &[String]) -> Contact {
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    sample::contact("Muster", &addresses)
}

/// An invoice that waits for its account's schedule.
pub(crate) fn invoice(account: &str, number: &str) -> Invoice {
    let document = sample::document(&document(number), "rechnung.pdf");
    Invoice {
        documents: parsed(Documents::parse(vec![document])),
        ..sample::invoice(account, number)
    }
}
