//! Invoices that are pending under their account, moved on as many at once as fit into a unit.

use chrono::{DateTime, Utc};

use super::keys::{self, Class, Key, Object};
use super::read;
use super::tx::{Records as _, Tx};
use super::write::{self, By, Placed};
use crate::domain::account::Account;
use crate::domain::audit::{Actor, AuditEvent};
use crate::domain::delivery::{Delivery, DeliveryId};
use crate::domain::id::Sequence;
use crate::store::Result;

/// How many invoices of an account one unit looks at.
const AT_ONCE: usize = 64;
/// No more is moved in a unit that has come to so many operations; one more invoice takes 5. What else a batch
/// holds is left to others.
const OPERATIONS: usize = 96;

/// What is pending under an account, or what is left of it.
pub(super) struct Pending<'a> {
    pub(super) account: &'a Account,
    /// In the order of their keys, so that a cursor leaves nothing behind.
    pub(super) classes: &'a [Class],
    /// The last invoice, each class by itself.
    pub(super) up_to: Sequence,
    /// The key after which it begins.
    pub(super) after: Option<Key>,
}

impl Pending<'_> {
    /// The first keys, one more than one unit looks at.
    fn first(&self, tx: &Tx<'_>) -> Result<Vec<Key>> {
        let mut found = Vec::new();
        for class in self.classes {
            let prefix = keys::pending_class(self.account.id(), *class);
            let behind = Sequence(self.up_to.0.saturating_add(1));
            let end = keys::pending(self.account.id(), *class, DeliveryId::of_invoice(behind));
            let from =
                self.after.as_ref().map_or_else(Vec::new, |after| [after, &[0][..]].concat());
            let left = AT_ONCE + 1 - found.len();
            if left > 0 {
                let key = |key: &[u8], _: &[u8]| Some(key.to_vec());
                found.extend(tx.scan_range(prefix.max(from).as_slice(), Some(&end), left, key)?);
            }
        }
        Ok(found)
    }
}

/// Moves what is pending, as much as fits into the unit. `moved` gives a delivery's new state and its audit event,
/// nothing if it stays pending. Returns the key that was looked at last, if more is left: an empty one if
/// it was none.
pub(super) fn advance(
    tx: &mut Tx<'_>,
    pending: &Pending<'_>,
    actor: &Actor,
    at: DateTime<Utc>,
    moved: impl Fn(&Tx<'_>, DeliveryId, &Delivery) -> Result<Option<(Delivery, AuditEvent)>>,
) -> Result<Option<Key>> {
    let by = By { actor, reason: None };
    let mut last = pending.after.clone();
    for (done, key) in pending.first(tx)?.into_iter().enumerate() {
        if done == AT_ONCE || tx.operations() >= OPERATIONS {
            return Ok(Some(last.unwrap_or_default()));
        }
        let id = keys::delivery_at_the_end(&key)
            .ok_or_else(|| read::damaged("of kind pending", "its key holds no delivery"))?;
        last = Some(key);
        let read = read::delivery(tx, id).and_then(|row| Ok((moved(tx, id, &row.delivery)?, row)));
        let read = read::unless_damaged(read, |error| {
            tracing::error!(delivery = %id, %error, "a pending invoice cannot be moved on and is skipped");
        })?;
        if let Some((Some((delivery, event)), row)) = read {
            let account = pending.account;
            let placed = Placed { id, account_id: account.id(), account: Some(account) };
            write::put_delivery(tx, &placed, Some(&row), delivery, at)?;
            write::tell(tx, Object::Invoice(id.invoice), at, &by, event);
        }
    }
    Ok(None)
}
