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
use crate::store::{ClockNote, Retention, Store, StoreError};

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
/// between two looks that a restart lay between, the clock has to go right for a day first. That the daemon was
/// down for so long cannot be told from a step, and costs that day too.
#[derive(Debug)]
struct ClockWatch {
    /// When it was looked at last in this process.
    looked: Option<(DateTime<Utc>, Instant)>,
    right_since: DateTime<Utc>,
    /// What the last process noted.
    noted: Option<DateTime<Utc>>,
}

impl ClockWatch {
    fn new(note: Option<ClockNote>) -> Self {
        Self {
            looked: None,
            // Of a new store nothing is old.
            right_since: note.map_or(DateTime::<Utc>::MIN_UTC, |note| note.right_since),
            noted: note.map(|note| note.seen),
        }
    }

    /// Looks at the clock; returns what is to be noted of it.
    fn look(&mut self, now: DateTime<Utc>, at: Instant) -> ClockNote {
        let expected = match self.looked {
            Some((then, began)) => {
                let passed = TimeDelta::from_std(at - began).unwrap_or(TimeDelta::MAX);
                then.checked_add_signed(passed)
            }
            None => self.noted,
        };
        let stepped = expected.is_some_and(|expected| (now - expected).abs() > CLOCK_TRUST);
        if stepped || self.right_since > now {
            self.right_since = now;
        }
        // From the first look on, so that many small steps count as one.
        if stepped || self.looked.is_none() {
            self.looked = Some((now, at));
        }
        ClockNote {
            seen: now,
            right_since: self.right_since,
        }
    }

    fn is_trusted(note: ClockNote) -> bool {
        note.seen.signed_duration_since(note.right_since) >= CLOCK_TRUST
    }
}

/// Applies retention now and then, while the clock can be trusted: what is removed does not come back.
pub(super) async fn sweep(
    store: Arc<dyn Store>,
    clock: Clock,
    retention: Retention,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), StopError> {
    let mut clock_watch = ClockWatch::new(store.clock_note()?);
    let mut note_is_due = Instant::now();
    let mut trusted_before = true;
    let mut pause = SWEEP_PAUSE;
    loop {
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
        let now = clock.now();
        let note = clock_watch.look(now, Instant::now());
        if Instant::now() >= note_is_due {
            store.note_clock(note).await?;
            note_is_due = Instant::now() + SWEEP;
        }
        let is_trusted = ClockWatch::is_trusted(note);
        if !is_trusted && trusted_before {
            tracing::error!(
                "the clock stepped by over a day, or the daemon was down for so long: \
                 nothing is removed before it has gone right for a day"
            );
        }
        trusted_before = is_trusted;
        if !is_trusted {
            pause = SWEEP;
            continue;
        }
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

    struct Watched {
        watch: ClockWatch,
        start: Instant,
    }

    impl Watched {
        fn new(note: Option<ClockNote>) -> Self {
            Self {
                watch: ClockWatch::new(note),
                start: Instant::now(),
            }
        }

        /// Whether the clock is trusted so many hours after the start.
        fn trusts(&mut self, now: DateTime<Utc>, hours: u32) -> bool {
            ClockWatch::is_trusted(self.watch.look(now, self.start + hours * HOUR))
        }
    }

    fn noted(seen: DateTime<Utc>) -> ClockNote {
        let right_since = seen - TimeDelta::days(9);
        ClockNote { seen, right_since }
    }

    #[test]
    fn a_clock_that_goes_right_is_trusted() {
        assert!(Watched::new(None).trusts(day(1), 0));
        let mut watched = Watched::new(Some(noted(day(1) - TimeDelta::hours(20))));
        assert!(watched.trusts(day(1), 0));
        assert!(watched.trusts(day(3), 48));
    }

    #[test]
    fn after_a_step_the_clock_has_to_go_right_for_a_day() {
        let mut watched = Watched::new(Some(noted(day(1))));
        assert!(watched.trusts(day(1), 0));
        for (now, hours, expected) in [
            (day(400), 1, false),
            (day(400), 2, false),
            (day(1), 3, false),
            (day(1) + TimeDelta::hours(23), 26, false),
            (day(2), 27, true),
        ] {
            assert_eq!(watched.trusts(now, hours), expected, "{hours}");
        }
    }

    #[test]
    fn a_clock_that_stepped_while_the_daemon_was_down_has_to_go_right_for_a_day() {
        for last in [day(-400), day(400)] {
            let mut watched = Watched::new(Some(noted(last)));
            assert!(!watched.trusts(day(1), 0));
            assert!(watched.trusts(day(2), 24));
        }
    }

    #[test]
    fn the_day_counts_over_restarts() {
        let mut watched = Watched::new(Some(noted(day(1))));
        let mut note = watched.watch.look(day(4), Instant::now());
        for hours in [22, 44] {
            assert!(!ClockWatch::is_trusted(note), "{hours}");
            let now = day(4) + TimeDelta::hours(hours);
            note = Watched::new(Some(note)).watch.look(now, Instant::now());
        }
        assert!(ClockWatch::is_trusted(note));
    }
}
