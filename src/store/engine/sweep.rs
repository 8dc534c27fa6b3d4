//! The sweep: goes through documents and finished invoices, a page at each call, and removes what
//! retention no longer covers.

use std::fmt;

use chrono::{DateTime, NaiveDate, Utc};
use parking_lot::MutexGuard;

use super::{Engine, read, upkeep};
use crate::domain::delivery::DeliveryId;
use crate::domain::id::{Digest, Sequence};
use crate::store::{PauseScope, Result, Retention, StoreError};

/// How far a sweep has come; in memory only.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Swept {
    documents: Reached<Digest>,
    files: Reached<NaiveDate>,
    invoices: Reached<DeliveryId>,
}

/// How far one part of a sweep has come.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Reached<P> {
    #[default]
    Nothing,
    Place(P),
    TheEnd,
}

impl<P: Copy> Reached<P> {
    fn place(self) -> Option<P> {
        match self {
            Self::Place(place) => Some(place),
            Self::Nothing | Self::TheEnd => None,
        }
    }

    fn after(next: Option<P>) -> Self {
        next.map_or(Self::TheEnd, Self::Place)
    }
}

impl Engine {
    /// Goes on with the sweep; says whether more is left of it.
    pub(super) fn sweep_on(&self, retention: &Retention, now: DateTime<Utc>) -> Result<bool> {
        if self.is_removal_paused()? {
            return Ok(false);
        }
        let ids = self.remove_now(move |tx| upkeep::forget(tx, now))?;
        let unused_before = upkeep::before(now, retention.unused_documents);
        self.sweep_documents(unused_before)?;
        self.sweep_files(unused_before.date_naive())?;
        self.sweep_invoices(upkeep::before(now, retention.finished), now)?;
        let mut swept = self.swept();
        let is_over = !ids
            && swept.documents == Reached::TheEnd
            && swept.files == Reached::TheEnd
            && swept.invoices == Reached::TheEnd;
        if is_over {
            *swept = Swept::default();
        }
        Ok(!is_over)
    }

    fn sweep_documents(&self, before: DateTime<Utc>) -> Result<()> {
        let reached = self.swept().documents;
        if reached == Reached::TheEnd {
            return Ok(());
        }
        let (unused, next) = upkeep::unused_documents(self.tree(), reached.place(), before)?;
        for digest in unused {
            // An upload of the same bytes waits until record and file are gone, and keeps both anew.
            let _lock = self.documents.lock(digest);
            let removed = self.remove_now(move |tx| upkeep::remove_document(tx, &digest, before));
            if let Some(row) = unless_damaged(format_args!("document {digest}"), removed)?.flatten()
            {
                self.documents.remove(&digest, row.day)?;
            }
        }
        self.swept().documents = Reached::after(next);
        Ok(())
    }

    /// Removes the files of days before `day` that no record names, a day at each call: what an upload, or
    /// a removal, that was cut off left behind.
    fn sweep_files(&self, day: NaiveDate) -> Result<()> {
        let reached = self.swept().files;
        if reached == Reached::TheEnd {
            return Ok(());
        }
        let days = self.documents.days()?;
        let next = days
            .into_iter()
            .find(|one| *one < day && reached.place().is_none_or(|reached| *one > reached));
        if let Some(day) = next {
            for digest in self.documents.of_day(day)? {
                let is_named = || upkeep::is_named(self.tree(), &digest, day);
                if is_named()? {
                    continue;
                }
                // An upload of the same bytes may be about to commit its record.
                let _lock = self.documents.lock(digest);
                if self.is_removal_paused()? {
                    return Ok(());
                }
                if !is_named()? {
                    self.documents.remove(&digest, day)?;
                }
            }
        }
        self.swept().files = Reached::after(next);
        Ok(())
    }

    fn sweep_invoices(&self, before: DateTime<Utc>, now: DateTime<Utc>) -> Result<()> {
        // What a process that ended left half removed.
        for sequence in upkeep::half_buried(self.tree())? {
            self.bury_remains(sequence)?;
        }
        let reached = self.swept().invoices;
        if reached == Reached::TheEnd {
            return Ok(());
        }
        let (finished, next) = upkeep::finished(self.tree(), reached.place(), before)?;
        for DeliveryId { invoice: sequence, .. } in finished {
            let buried = self.remove_now(move |tx| upkeep::bury(tx, sequence, before, now));
            if unless_damaged(format_args!("invoice {sequence}"), buried)? == Some(true) {
                self.bury_remains(sequence)?;
            }
        }
        self.swept().invoices = Reached::after(next);
        Ok(())
    }

    fn bury_remains(&self, sequence: Sequence) -> Result<()> {
        while self.remove_now(move |tx| upkeep::bury_remains(tx, sequence))? {}
        Ok(())
    }

    fn is_removal_paused(&self) -> Result<bool> {
        let pause = read::pause(self.tree(), &PauseScope::Removal)?;
        Ok(pause.is_some())
    }

    fn swept(&self) -> MutexGuard<'_, Swept> {
        self.swept.lock()
    }
}

/// What a removal came to. One that met a damaged record removed nothing, and must not stand in the way of
/// the others for ever.
fn unless_damaged<T>(what: fmt::Arguments<'_>, removal: Result<T>) -> Result<Option<T>> {
    match removal {
        Ok(removed) => Ok(Some(removed)),
        Err(error @ StoreError::Damaged { .. }) => {
            tracing::error!(%what, %error, "what cannot be removed is left out of the sweep");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
