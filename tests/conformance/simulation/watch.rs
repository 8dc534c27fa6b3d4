//! What the relay sees, held against what must be so in that very moment.

use std::collections::BTreeSet;

use invoice_router::domain::id::{AccountId, InvoiceNumber};
use invoice_router::store::InvoiceView;
use tokio::time::Instant;

use crate::model::Model;
use crate::relay::Watch;
use crate::rules::account_of;

/// No world needs so many; see the limit of connections.
const MESSAGES_MAX: u64 = 100_000;

/// What held when a message began.
pub(crate) struct Beginning {
    to: String,
    fault: Option<String>,
    /// Invoices of which nothing may be sent.
    stopped: BTreeSet<String>,
}

impl Watch for Model {
    fn first_byte(&mut self, socket: u64, to: &str) {
        self.messages += 1;
        assert!(self.messages < MESSAGES_MAX, "it sends without end");
        let beginning = Beginning {
            to: to.to_owned(),
            fault: self.fault(to),
            stopped: self.stopped.clone(),
        };
        self.beginnings.insert(socket, beginning);
    }

    fn header(&mut self, socket: u64, to: &str, number: &str) {
        self.note(format!("{number} begins to {to}"));
        let Some(Beginning {
            to: begun,
            fault,
            stopped,
        }) = self.beginnings.remove(&socket)
        else {
            return self.wrong("a header without a beginning");
        };
        self.check(begun == to, "a header of another message");
        // Whoever asked for the change was told, if that came between the last look and the first byte.
        let is_named = self.named.get(number) == Some(&Instant::now());
        if let Some(fault) = fault.filter(|_| !is_named) {
            self.wrong(fault);
        }
        let profile = self
            .accounts
            .get(&account_of(to))
            .map(|account| &account.profile);
        let stands_in = profile.is_some_and(|profile| {
            profile.selected.is_some() && !profile.allows(to, false, &self.blamed)
        });
        self.fallbacks += u64::from(stands_in);
        self.check(
            !stopped.contains(number),
            format!("{number} begins though it is stopped"),
        );
        let Some(invoice) = self.invoices.get(number) else {
            return self.wrong(format!("{number} begins and is not known"));
        };
        let account = invoice.issue.account.clone();
        self.check(
            account == account_of(to),
            format!("{number} of {account} begins to {to}"),
        );
        let view = self.store.as_ref().and_then(|store| {
            let account = AccountId::parse(account).ok()?;
            store
                .invoice(&account, &InvoiceNumber::parse(number).ok()?)
                .ok()?
        });
        let intends = match view {
            Some(InvoiceView::Whole(whole)) => whole
                .intent
                .is_some_and(|intent| intent.address.as_str() == to),
            Some(InvoiceView::Tombstone { .. }) | None => false,
        };
        self.check(
            intends,
            format!("{number} begins to {to} without an intent"),
        );
    }

    fn rejected(&mut self, to: &str) {
        self.blamed.insert(to.to_owned());
    }
}

impl Model {
    /// Why no message may go to this address now.
    fn fault(&self, to: &str) -> Option<String> {
        let account = account_of(to);
        if self.all_paused || self.paused.contains(&account) {
            return Some(format!("a message to {to} although sending is paused"));
        }
        let Some(known) = self.accounts.get(&account) else {
            return Some(format!("a message to {to} of an unknown account"));
        };
        if known.profile.allows(to, self.falls_back, &self.blamed) {
            return None;
        }
        Some(format!(
            "a message to {to}, who is not the recipient of {:?}",
            known.profile
        ))
    }
}
