//! What a message must have behind it when it begins, beyond the right recipient.

use chrono::{DateTime, TimeDelta, Utc};
use invoice_router::domain::account::Account;
use invoice_router::domain::delivery::{Attempt, Outcome};
use invoice_router::domain::id::{ScheduleName, Version};
use invoice_router::domain::invoice::Release;
use invoice_router::domain::retry::{AfterUncertain, REJECTIONS_WINDOW, UNCERTAIN_MAX};
use invoice_router::store::WholeInvoice;
use tokio::time::Instant;

use crate::model::{Invoice, Model, Ordered, uncertain};
use crate::rules::selected_addresses;

/// A run includes what comes until it is opened, so long after its instant at most.
const OPENING: TimeDelta = TimeDelta::seconds(5);
/// A failed attempt is not repeated earlier.
const FIRST_DELAY: TimeDelta = TimeDelta::seconds(60);

impl Model {
    /// What speaks against a message of this invoice to `to`, which begins now, as a stand-in or not.
    pub(crate) fn faults(
        &self,
        invoice: &Invoice,
        whole: &WholeInvoice,
        to: &str,
        stands_in: bool,
    ) -> Vec<&'static str> {
        let revision = whole.delivery.revision;
        let of_now: Vec<&Attempt> =
            whole.attempts.iter().filter(|attempt| attempt.intent.revision == revision).collect();
        let of_the_address = || {
            let is_to = |attempt: &&&Attempt| attempt.intent.address.as_str() == to;
            of_now.iter().filter(is_to)
        };
        let mut faults = Vec::new();
        let mut check = |holds: bool, what| {
            if !holds {
                faults.push(what);
            }
        };

        let intent = whole.intent.as_ref();
        check(intent.is_some_and(|intent| intent.address.as_str() == to), "there is no intent");
        let known = self.accounts.get(invoice.issued.account.as_str());
        let version = known.map_or(Version::UNKNOWN, Account::version);
        check(
            invoice.issued.min_account_version.is_none_or(|least| version >= least),
            "the account is older than it asks for",
        );
        let is_last = |last| Some(last) == intent;
        check(
            invoice.last_intent.as_ref().is_none_or(is_last),
            "it was to stop after the attempt before",
        );
        check(
            !of_the_address().any(|attempt| attempt.outcome == Outcome::Accepted),
            "the address has it",
        );
        let is_accepted = of_now.iter().any(|attempt| attempt.outcome == Outcome::Accepted);
        let (of, addresses) = &invoice.addresses;
        check(
            !is_accepted || *of == revision && addresses.contains(to),
            "the address was added after another had accepted",
        );
        self.check_uncertain(invoice, whole, to, stands_in, &mut check);
        check(
            self.is_its_time(invoice, whole, version, of_the_address().next_back()),
            "it is not its time",
        );
        check(
            self.recent_rejections() <= self.limits.rejections,
            "the brake should have stopped it",
        );
        faults
    }

    /// How many rejections count for the brake.
    pub(crate) fn recent_rejections(&self) -> usize {
        let recent = |at: &&Instant| at.elapsed() < REJECTIONS_WINDOW;
        self.rejections.iter().filter(recent).count()
    }

    fn check_uncertain(
        &self,
        invoice: &Invoice,
        whole: &WholeInvoice,
        to: &str,
        stands_in: bool,
        check: &mut impl FnMut(bool, &'static str),
    ) {
        // Whatever an operator let go on, he knew of.
        let mut uncertain = uncertain(whole);
        uncertain.retain(|address, count| invoice.uncertain_at_release.get(address) != Some(count));
        check(
            uncertain.is_empty() || self.limits.after_uncertain == AfterUncertain::Resend,
            "it was to be held after an attempt of unknown outcome",
        );
        let most = usize::try_from(UNCERTAIN_MAX).unwrap_or(usize::MAX);
        check(
            uncertain.get(to).is_none_or(|count| *count < most),
            "it was to be held after three attempts of unknown outcome",
        );
        let known = self.accounts.get(invoice.issued.account.as_str());
        let contact = known.and_then(|account| selected_addresses(account.profile()));
        let may_have_it = contact
            .is_some_and(|contact| contact.iter().any(|one| uncertain.contains_key(one.as_str())));
        check(!may_have_it || !stands_in, "somebody stands in for a contact who may have it");
    }

    /// Whether its schedule has fired since it waits, and the delay after the last attempt is over. Cannot be
    /// told once the clock has jumped or an operator meddled with it.
    fn is_its_time(
        &self,
        invoice: &Invoice,
        whole: &WholeInvoice,
        version: Version,
        last: Option<&&Attempt>,
    ) -> bool {
        if self.jumped || invoice.was(Ordered::Release) {
            return true;
        }
        let now = self.clock.now();
        match last {
            // What was rejected has no delay: whoever lets the addresses count as good again wants it sent.
            Some(last) if last.outcome == Outcome::Rejected => true,
            // With another account, a withheld invoice is due at once.
            Some(last) => {
                last.intent.account_version != version
                    || now - last.intent.started_at >= FIRST_DELAY
            }
            None if self.dispatched
                || invoice.issued.release == Release::Immediately
                || !whole.attempts.is_empty() =>
            {
                true
            }
            None => {
                let known = self.accounts.get(invoice.issued.account.as_str());
                let schedule = known.map(Account::schedule);
                let kept_since = self.schedule_since.get(invoice.issued.account.as_str());
                match invoice.waits {
                    Some(since) if kept_since.is_some_and(|kept| *kept <= since) => {
                        has_fired(schedule.as_ref().map(ScheduleName::as_str), since - OPENING, now)
                    }
                    Some(_) | None => true,
                }
            }
        }
    }
}

/// Whether a schedule fired in between: one of each ten minutes, or of each hour, in any time zone here.
fn has_fired(schedule: Option<&str>, since: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    let seconds = match schedule {
        Some("night") => return true,
        Some("hourly") => 3_600,
        Some(_) | None => 600,
    };
    now.timestamp() / seconds > since.timestamp() / seconds
}
