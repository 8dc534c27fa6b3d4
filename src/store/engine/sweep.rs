//! The sweep: goes through documents and finished invoices, a page at each call, and removes what
//! retention no longer covers.

use std::fmt;

use chrono::{DateTime, NaiveDate, Utc};

use super::keys::{self, Key};
use super::{Engine, read, upkeep};
use crate::domain::id::Sequence;
use crate::store::{PauseScope, Result, Retention};

/// How far a sweep has come; in memory only.
#[derive(Debug, Default)]
pub(super) struct Swept {
    documents: Reached<Key>,
    files: Reached<NaiveDate>,
    invoices: Reached<Key>,
}

/// How far one part of a sweep has come.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
enum Reached<P> {
    #[default]
    Nothing,
    Place(P),
    TheEnd,
}

impl<P> From<Option<P>> for Reached<P> {
    fn from(next: Option<P>) -> Self {
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
        let unused = upkeep::before(now, retention.unused_documents);
        let finished = upkeep::before(now, retention.finished);
        self.sweep_part(|swept| &mut swept.documents, |at| self.sweep_documents(at, unused))?;
        self.sweep_part(|swept| &mut swept.files, |at| self.sweep_files(at, unused.date_naive()))?;
        // What a process that ended left half removed.
        for sequence in upkeep::half_purged(self.tree())? {
            self.purge_remains(sequence)?;
        }
        self.sweep_part(|swept| &mut swept.invoices, |at| self.sweep_invoices(at, finished, now))?;
        let mut swept = self.swept.lock();
        let Swept { documents, files, invoices } = &*swept;
        let is_over = !ids
            && *documents == Reached::TheEnd
            && *files == Reached::TheEnd
            && *invoices == Reached::TheEnd;
        if is_over {
            *swept = Swept::default();
        }
        Ok(!is_over)
    }

    /// Goes on with one part from where it is, unless that is the end.
    fn sweep_part<P: Clone>(
        &self,
        part: fn(&mut Swept) -> &mut Reached<P>,
        sweep: impl FnOnce(Option<&P>) -> Result<Reached<P>>,
    ) -> Result<()> {
        let reached = part(&mut self.swept.lock()).clone();
        let reached = match &reached {
            Reached::Nothing => sweep(None)?,
            Reached::Place(place) => sweep(Some(place))?,
            Reached::TheEnd => return Ok(()),
        };
        *part(&mut self.swept.lock()) = reached;
        Ok(())
    }

    fn sweep_documents(&self, after: Option<&Key>, before: DateTime<Utc>) -> Result<Reached<Key>> {
        let (unused, next) = upkeep::unused_documents(self.tree(), after, before)?;
        for digest in unused.iter().filter_map(|key| keys::digest_at_the_end(key)) {
            // An upload of the same bytes waits until record and file are gone, and keeps both anew.
            let _lock = self.documents.lock(digest);
            let removed = self.remove_now(move |tx| upkeep::remove_document(tx, &digest, before));
            if let Some(row) = unless_damaged(format_args!("document {digest}"), removed)?.flatten()
            {
                self.documents.remove(&digest, row.day)?;
            }
        }
        Ok(next.into())
    }

    /// Removes the files of days before `day` that no record names, a day at each call: what an upload, or
    /// a removal, that was cut off left behind.
    fn sweep_files(&self, after: Option<&NaiveDate>, day: NaiveDate) -> Result<Reached<NaiveDate>> {
        let mut days = self.documents.days()?.into_iter();
        let Some(day) = days.find(|one| *one < day && after.is_none_or(|after| one > after)) else {
            return Ok(Reached::TheEnd);
        };
        for digest in self.documents.of_day(day)? {
            let is_named = || upkeep::is_named(self.tree(), &digest, day);
            if is_named()? {
                continue;
            }
            // An upload of the same bytes may be about to commit its record.
            let _lock = self.documents.lock(digest);
            if self.is_removal_paused()? {
                return Ok(after.map_or(Reached::Nothing, |after| Reached::Place(*after)));
            }
            if !is_named()? {
                self.documents.remove(&digest, day)?;
            }
        }
        Ok(Reached::Place(day))
    }

    fn sweep_invoices(
        &self,
        after: Option<&Key>,
        before: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Reached<Key>> {
        let (finished, next) = upkeep::finished(self.tree(), after, before)?;
        for id in finished.iter().filter_map(|key| keys::delivery_at_the_end(key)) {
            let sequence = id.invoice;
            let purged = self.remove_now(move |tx| upkeep::purge(tx, sequence, before, now));
            if unless_damaged(format_args!("invoice {sequence}"), purged)? == Some(true) {
                self.purge_remains(sequence)?;
            }
        }
        Ok(next.into())
    }

    fn purge_remains(&self, sequence: Sequence) -> Result<()> {
        while self.remove_now(move |tx| upkeep::purge_remains(tx, sequence))? {}
        Ok(())
    }

    fn is_removal_paused(&self) -> Result<bool> {
        Ok(read::pause(self.tree(), &PauseScope::Removal)?.is_some())
    }
}

/// What a removal came to. One that met a damaged record removed nothing.
fn unless_damaged<T>(what: fmt::Arguments<'_>, removal: Result<T>) -> Result<Option<T>> {
    read::unless_damaged(removal, |error| {
        tracing::error!(%what, %error, "a damaged record cannot be purged and is skipped");
    })
}
