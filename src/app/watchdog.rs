//! What runs beside the interfaces: the watch over the store, systemd's watchdog, and the census of selections that
//! today's groups would not allow.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::dispatch::Progress;
use crate::domain::account::BillingGroups;
use crate::store::{Accounts, Store};

use super::{StopError, blocking};
use crate::systemd::Notifier;

/// How often the store's health is checked.
const LOOK: Duration = Duration::from_secs(1);
/// A commit that takes longer, or a dispatcher that makes no progress for so long, is stuck.
const STUCK: Duration = Duration::from_secs(60);

/// The store and the dispatcher, as the watchdog sees them.
pub(super) struct Watched {
    pub(super) store: Arc<dyn Store>,
    pub(super) progress: Arc<Progress>,
    pub(super) notifier: Arc<Notifier>,
}

impl Watched {
    /// Feeds the watchdog while there is progress; ends with the store's failure if it has one.
    pub(super) async fn run(self, mut shutdown: watch::Receiver<bool>) -> Result<(), StopError> {
        let feed_every = self.notifier.watchdog_interval();
        let mut look = interval(feed_every.unwrap_or(LOOK).min(LOOK));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut fed = Instant::now();
        let mut beats = Beats::new(&self.progress);
        loop {
            tokio::select! {
                _ = shutdown.wait_for(|stop| *stop) => return Ok(()),
                _ = look.tick() => {}
            }
            let health = self.store.health();
            if let Some(failure) = health.failure {
                return Err(failure.into());
            }
            let dispatching = beats.silence(&self.progress);
            let committing = health.committing_for.unwrap_or_default();
            let stuck = committing > STUCK || dispatching > STUCK;
            if stuck {
                tracing::error!(
                    committing_ms = u64::try_from(committing.as_millis()).unwrap_or(u64::MAX),
                    dispatching_ms = u64::try_from(dispatching.as_millis()).unwrap_or(u64::MAX),
                    "no progress: the watchdog is not notified"
                );
            } else if feed_every.is_some_and(|every| fed.elapsed() >= every) {
                self.notifier.feed();
                fed = Instant::now();
            }
        }
    }
}

/// When each loop of the dispatcher was last seen to go round.
struct Beats {
    dispatcher: (u64, Instant),
    schedule_runner: (u64, Instant),
}

impl Beats {
    fn new(progress: &Progress) -> Self {
        let now = Instant::now();
        Self {
            dispatcher: (progress.dispatcher(), now),
            schedule_runner: (progress.schedule_runner(), now),
        }
    }

    /// How long the loop that is silent longest has been so.
    fn silence(&mut self, progress: &Progress) -> Duration {
        let now = Instant::now();
        for (beat, count) in [
            (&mut self.dispatcher, progress.dispatcher()),
            (&mut self.schedule_runner, progress.schedule_runner()),
        ] {
            if beat.0 != count {
                *beat = (count, now);
            }
        }
        now - self.dispatcher.1.min(self.schedule_runner.1)
    }
}

/// How often the selections are counted.
const CENSUS: Duration = Duration::from_secs(24 * 3600);
/// Accounts looked at in one go.
const CENSUS_PAGE: usize = 64;
/// A pause between two pages, so that counting a million accounts is not felt.
const CENSUS_PAUSE: Duration = Duration::from_millis(20);

/// Counts the selected sub-users whose group is not a configured billing group. They keep getting the
/// invoices, so that a typo cannot reroute mail, but operators should know.
pub(super) async fn census(
    store: Arc<dyn Store>,
    groups: BillingGroups,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), StopError> {
    let mut after = None;
    let mut outside = 0_u64;
    loop {
        let from = after.clone();
        let page = blocking(&store, move |store| store.accounts(from.as_ref(), CENSUS_PAGE)).await;
        let page = page.unwrap_or_else(|error| {
            tracing::warn!(
                error = error.in_full(),
                "counting the selected billing contacts failed; retrying in a day"
            );
            outside = 0;
            Accounts::default()
        });
        let selected = page.items.iter().filter_map(|view| view.account.billing_contact());
        let here = selected.filter(|(_, sub_user)| !groups.contains(&sub_user.group)).count();
        outside += u64::try_from(here).unwrap_or(u64::MAX);
        after = page.next;
        let pause = if after.is_some() {
            CENSUS_PAUSE
        } else {
            if outside > 0 {
                tracing::warn!(
                    count = outside,
                    "some selected billing contacts are not in one of the current billing.groups; they stay selected"
                );
            }
            outside = 0;
            CENSUS
        };
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}
