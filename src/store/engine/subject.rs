//! A delivery with what it hangs on: read, moved by the domain's table, and written back.

use chrono::{DateTime, Utc};

use super::keys::{self, Object};
use super::read;
use super::tx::{Records as _, Tree, Tx};
use super::write::{self, By, Placed};
use crate::domain::account::Account;
use crate::domain::audit::AuditEvent;
use crate::domain::delivery::{Delivery, DeliveryId, Event, Step, step};
use crate::domain::id::Version;
use crate::domain::invoice::Invoice;
use crate::store::record::DeliveryRow;
use crate::store::{ExpectedVersion, Result};

pub(super) struct Subject {
    pub(super) id: DeliveryId,
    pub(super) invoice: Invoice,
    pub(super) row: DeliveryRow,
    pub(super) account: Option<Account>,
}

impl Subject {
    /// The account is read before the delivery: if it changes meanwhile, its version no longer fits at the intent.
    pub(super) fn read(tree: &dyn Tree, id: DeliveryId) -> Result<Self> {
        let invoice = read::invoice(tree, id.invoice)?.invoice;
        let account = read::account(tree, &invoice.account)?;
        let row = read::delivery(tree, id)?;
        Ok(Self { id, invoice, row, account })
    }

    /// The delivery, unless it or its account moved since it was seen.
    pub(super) fn unmoved(
        tx: &Tx<'_>,
        id: DeliveryId,
        seen: ExpectedVersion,
    ) -> Result<Option<Self>> {
        if !tx.is_there(&keys::delivery(id))? {
            return Ok(None);
        }
        let subject = Self::read(tx, id)?;
        Ok((subject.account.is_some() && subject.seen() == seen).then_some(subject))
    }

    /// What is to be handed back, to show that it did not move.
    pub(super) fn seen(&self) -> ExpectedVersion {
        let account = self.account.as_ref();
        ExpectedVersion {
            stamp: self.row.stamp,
            account_version: account.map_or(Version::UNKNOWN, Account::version),
            account_changed_at: account.map(Account::changed_at),
        }
    }

    /// What an event makes of the delivery.
    pub(super) fn step(
        &self,
        tx: &Tx<'_>,
        event: &Event<'_>,
        at: DateTime<Utc>,
        jitter: f64,
    ) -> Step {
        step(&self.row.delivery, event, at, &tx.rules().policy, jitter)
    }

    /// Writes what has become of the delivery.
    pub(super) fn put(
        &self,
        tx: &mut Tx<'_>,
        delivery: Delivery,
        at: DateTime<Utc>,
    ) -> Result<DeliveryRow> {
        let account = self.account.as_ref();
        let placed = Placed { id: self.id, account_id: &self.invoice.account, account };
        write::put_delivery(tx, &placed, Some(&self.row), delivery, at)
    }

    /// Adds to the invoice's history.
    pub(super) fn tell(&self, tx: &mut Tx<'_>, at: DateTime<Utc>, by: &By<'_>, event: AuditEvent) {
        write::tell(tx, Object::Invoice(self.id.invoice), at, by, event);
    }
}
