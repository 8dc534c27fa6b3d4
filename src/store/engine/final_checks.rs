//! Which intents certainly have their final check of the account still ahead of them.
//!
//! An intent is committed while the relay is taken up to its 354; its message goes out only if the final
//! check, directly before the first byte, finds the recipient unchanged. The answer to a change names what
//! was past that check. Kept here is the other side: intents of this process whose check is to come. What is
//! not known here, such as all that the last process left, counts as past it, so an answer may name too
//! much and never too little.
//!
//! A check reads the account and leaves the set under one lock; the answer to a change asks under that lock
//! once the change can be read. Whichever comes first: either the check is done, and its intent is gone from
//! here and named, or it is still to come, and reads the change.

use std::collections::BTreeSet;

use parking_lot::{Mutex, MutexGuard};

use crate::domain::delivery::DeliveryId;
use crate::store::Result;

#[derive(Debug, Default)]
pub(super) struct PendingFinalChecks(Mutex<BTreeSet<DeliveryId>>);

impl PendingFinalChecks {
    /// An intent is about to be durable, so that its check is to come.
    pub(super) fn expect(&self, delivery: DeliveryId) {
        self.ahead().insert(delivery);
    }

    /// The check: `unchanged` reads whether the message may go out.
    pub(super) fn take(
        &self,
        delivery: DeliveryId,
        unchanged: impl FnOnce() -> Result<bool>,
    ) -> Result<bool> {
        let mut ahead = self.ahead();
        let may_go_out = unchanged()?;
        if may_go_out {
            ahead.remove(&delivery);
        }
        Ok(may_go_out)
    }

    /// The attempt is settled.
    pub(super) fn forget(&self, delivery: DeliveryId) {
        self.ahead().remove(&delivery);
    }

    /// Whether the check is still to come.
    pub(super) fn is_ahead(&self, delivery: DeliveryId) -> bool {
        self.ahead().contains(&delivery)
    }

    fn ahead(&self) -> MutexGuard<'_, BTreeSet<DeliveryId>> {
        self.0.lock()
    }
}
