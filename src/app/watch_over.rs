//! What runs beside the interfaces: the watch over the store, systemd's watchdog, the sweep of what
//! retention no longer covers, and the census of selections that today's groups would not allow.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::clock::Clock;
use crate::dispatch::Progress;
use crate::domain::account::BillingGroups;
use crate::store::{Retention, Store, StoreError};

use super::StopError;
use crate::systemd::Notifier;

/// How often the store is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// A commit that takes longer, or a dispatcher that makes no progress for so long, is stuck.
const STUCK: Duration = Duration::from_secs(60);
/// How often retention is applied.
const SWEEP: Duration = Duration::from_secs(3600);
/// A pause between two parts of a sweep, so that it never stands in anybody's way.
const SWEEP_PAUSE: Duration = Duration::from_millis(200);

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
                    "no progress: the watchdog is not fed"
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
    feeder: (u64, Instant),
    release: (u64, Instant),
}

impl Beats {
    fn new(progress: &Progress) -> Self {
        let now = Instant::now();
        Self {
            feeder: (progress.feeder(), now),
            release: (progress.release(), now),
        }
    }

    /// How long the loop that is silent longest has been so.
    fn silence(&mut self, progress: &Progress) -> Duration {
        let now = Instant::now();
        for (beat, count) in [
            (&mut self.feeder, progress.feeder()),
            (&mut self.release, progress.release()),
        ] {
            if beat.0 != count {
                *beat = (count, now);
            }
        }
        now - self.feeder.1.min(self.release.1)
    }
}

/// A clock that stepped further than this is not believed for as long.
const CLOCK_TRUST: TimeDelta = TimeDelta::days(1);

/// Whether what looks old is old. After a step of over a day, against the time that really passed or
/// between the last sweep and the start, the clock has to go right for a day first.
#[derive(Debug)]
struct ClockWatch {
    since: (DateTime<Utc>, Instant),
    is_trusted: bool,
}

impl ClockWatch {
    fn new(now: DateTime<Utc>, at: Instant, last_sweep: Option<DateTime<Utc>>) -> Self {
        Self {
            since: (now, at),
            is_trusted: last_sweep.is_none_or(|last| (now - last).abs() <= CLOCK_TRUST),
        }
    }

    fn trusts(&mut self, now: DateTime<Utc>, at: Instant) -> bool {
        let (then, began) = self.since;
        let passed = TimeDelta::from_std(at - began).unwrap_or(TimeDelta::MAX);
        if (now - then - passed).abs() > CLOCK_TRUST {
            *self = Self {
                since: (now, at),
                is_trusted: false,
            };
        } else if passed >= CLOCK_TRUST {
            self.is_trusted = true;
        }
        self.is_trusted
    }
}

/// Applies retention now and then, while the clock can be trusted: what is removed does not come back.
pub(super) async fn sweep(
    store: Arc<dyn Store>,
    clock: Clock,
    retention: Retention,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), StopError> {
    let mut pause = SWEEP_PAUSE;
    let mut clock_watch = ClockWatch::new(clock.now(), Instant::now(), store.last_sweep()?);
    let mut trusted_before = true;
    loop {
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
        let now = clock.now();
        let is_trusted = clock_watch.trusts(now, Instant::now());
        if !is_trusted {
            if trusted_before {
                tracing::error!(
                    "the clock stepped by over a day, or the daemon was down for so long: \
                     nothing is removed before it has gone right for a day"
                );
            }
            trusted_before = false;
            pause = SWEEP;
            continue;
        }
        trusted_before = true;
        let swept = {
            let store = Arc::clone(&store);
            tokio::task::spawn_blocking(move || store.sweep(&retention, now)).await
        };
        pause = match swept {
            Ok(Ok(true)) => SWEEP_PAUSE,
            Ok(Ok(false)) => SWEEP,
            Ok(Err(error)) => {
                tracing::warn!(%error, "removing what is over failed; tried again later");
                SWEEP
            }
            Err(panicked) => {
                tracing::error!(error = %panicked, "removing what is over panicked");
                SWEEP
            }
        };
    }
}

/// How often the selections are counted.
const CENSUS: Duration = Duration::from_secs(24 * 3600);
/// Accounts looked at in one go.
const CENSUS_PAGE: usize = 64;
/// A pause between two pages, so that counting a million accounts is not felt.
const CENSUS_PAUSE: Duration = Duration::from_millis(20);

/// Counts the selected sub-users whose group is no billing group of today's configuration. They keep
/// getting the invoices, so that a typo cannot reroute mail, but somebody should know.
pub(super) async fn census(
    store: Arc<dyn Store>,
    groups: BillingGroups,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), StopError> {
    let mut after = None;
    let mut outside = 0_u64;
    loop {
        let page = {
            let (store, from) = (Arc::clone(&store), after.clone());
            tokio::task::spawn_blocking(move || store.accounts(from.as_ref(), CENSUS_PAGE)).await
        };
        let page = match page {
            Ok(page) => page,
            Err(panicked) => Err(StoreError::Failed {
                operation: "reading accounts",
                cause: panicked.to_string(),
            }),
        };
        let page = page.unwrap_or_else(|error| {
            tracing::warn!(%error, "counting the selected billing contacts failed; done again in a day");
            outside = 0;
            Vec::new()
        });
        let selected = page
            .iter()
            .filter_map(|view| view.account.billing_contact());
        let here = selected
            .filter(|(_, sub_user)| !groups.contains(&sub_user.group))
            .count();
        outside += u64::try_from(here).unwrap_or(u64::MAX);
        after = page.last().map(|view| view.account.id().clone());
        let pause = if after.is_some() {
            CENSUS_PAUSE
        } else {
            if outside > 0 {
                tracing::warn!(
                    count = outside,
                    "selected billing contacts are outside today's billing.groups; they keep their selection"
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

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn day(day: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(20_000 + day)
    }

    #[test]
    fn a_clock_that_goes_right_is_trusted() {
        let start = Instant::now();
        let mut watch = ClockWatch::new(day(1), start, Some(day(1) - TimeDelta::hours(20)));
        assert!(watch.trusts(day(1), start));
        assert!(watch.trusts(day(3), start + 48 * HOUR));
        assert!(ClockWatch::new(day(1), start, None).trusts(day(1), start));
    }

    #[test]
    fn after_a_step_the_clock_has_to_go_right_for_a_day() {
        let start = Instant::now();
        let mut watch = ClockWatch::new(day(1), start, Some(day(1)));
        assert!(watch.trusts(day(1), start));
        for (now, hours, expected) in [
            (day(400), 1, false),
            (day(400), 2, false),
            (day(1), 3, false),
            (day(1) + TimeDelta::hours(23), 26, false),
            (day(2), 27, true),
        ] {
            assert_eq!(watch.trusts(now, start + hours * HOUR), expected, "{hours}");
        }
    }

    #[test]
    fn a_clock_that_stepped_while_the_daemon_was_down_has_to_go_right_for_a_day() {
        let start = Instant::now();
        for last in [day(-400), day(400)] {
            let mut watch = ClockWatch::new(day(1), start, Some(last));
            assert!(!watch.trusts(day(1), start));
            assert!(watch.trusts(day(2), start + 24 * HOUR));
        }
    }
}
