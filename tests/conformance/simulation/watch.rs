//! What the relay sees, held against what must be so in that very moment.

use std::collections::BTreeSet;

use tokio::time::Instant;

use crate::model::Model;
use crate::relay::Watch;
use crate::rules::{account_of, allows};

/// No world needs so many; see the limit of connections.
const MESSAGES_MAX: u64 = 5_000;

/// What held when a message began.
pub(crate) struct Beginning {
    to: String,
    fault: Option<String>,
    /// Invoices of which nothing may be sent.
    stopped: BTreeSet<String>,
}

impl Watch for Model {
    fn first_byte(&mut self, socket: u64, to: &str) {
        self.figures.count("mails begun");
        assert!(self.figures.get("mails begun") < MESSAGES_MAX, "it sends without end");
        let beginning =
            Beginning { to: to.to_owned(), fault: self.fault(to), stopped: self.stopped.clone() };
        self.beginnings.insert(socket, beginning);
    }

    fn header(&mut self, socket: u64, to: &str, number: &str) {
        self.note(format!("{number} begins to {to}"));
        let Some(Beginning { to: begun, fault, stopped }) = self.beginnings.remove(&socket) else {
            return self.wrong("a header without a beginning");
        };
        self.check(begun == to, "a header of another message");
        if let Some(fault) = fault {
            self.wrong(fault);
        }
        let stands_in = self.accounts.get(&account_of(to)).is_some_and(|account| {
            account.billing_contact().is_some() && !allows(account, to, false, &self.blamed)
        });
        self.figures.add("mails to a stand-in", u64::from(stands_in));
        self.check(!stopped.contains(number), format!("{number} begins though it is stopped"));
        let Some(mut invoice) = self.invoices.get(number).cloned() else {
            return self.wrong(format!("{number} begins and is not known"));
        };
        let account = invoice.issued.account.to_string();
        self.check(account == account_of(to), format!("{number} of {account} begins to {to}"));
        let Some(whole) = self.whole(number) else {
            return self.wrong(format!("{number} begins and is not stored"));
        };
        invoice.note_addresses(&whole);
        for fault in self.faults(&invoice, &whole, to, stands_in) {
            self.wrong(format!("{number} begins to {to}: {fault}"));
        }
        self.invoices.insert(number.to_owned(), invoice);
    }

    fn too_many_connections(&mut self) {
        self.wrong("more connections than are configured");
    }

    fn rejected(&mut self, to: &str) {
        self.note(format!("{to} is rejected"));
        self.blamed.insert(to.to_owned());
        self.rejections.push(Instant::now());
        self.check(
            self.recent_rejections() <= self.limits.rejections,
            "the brake on rejections should have held",
        );
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
        if allows(known, to, self.limits.falls_back, &self.blamed) {
            let wrong = self.wrong_mark(&account, to)?;
            return Some(format!("a message to {to}: {wrong}"));
        }
        Some(format!("a message to {to}, who is not the recipient of {:?}", known.profile()))
    }
}
