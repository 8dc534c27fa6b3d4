//! Purges what the retention policy no longer covers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{StopError, blocking};
use crate::clock::Clock;
use crate::domain::audit::Actor;
use crate::store::{PauseScope, Retention, Store};

/// How often retention is applied.
const SWEEP: Duration = Duration::from_secs(3600);
/// A pause between two parts of a purge, so that other work goes first.
const SWEEP_PAUSE: Duration = Duration::from_millis(200);
/// How often it is looked whether an operator lets it go on.
const LOOK: Duration = Duration::from_secs(60);
/// How often the log repeats that nothing is removed.
const REMINDER: Duration = Duration::from_secs(24 * 3600);
/// A clock that stepped further is not believed.
const STEP: TimeDelta = TimeDelta::days(1);

/// That the clock does not say what it was to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ClockStep {
    expected: DateTime<Utc>,
    found: DateTime<Utc>,
    /// It was the last process that noted what it said then.
    over_a_start: bool,
}

impl fmt::Display for ClockStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [expected, found] =
            [self.expected, self.found].map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true));
        if self.over_a_start {
            write!(
                f,
                "the clock stepped while the daemon was stopped: it shows {found}, and {expected} before"
            )
        } else {
            write!(f, "the clock stepped: it shows {found} instead of {expected}")
        }
    }
}

/// Compares the clock with the time that really passed, and at the start with what it said last. That the daemon
/// was down for over a day looks the same as a step.
#[derive(Debug)]
struct ClockWatch {
    /// When it was looked at first in this process, or first after a step.
    looked: Option<(DateTime<Utc>, Instant)>,
    /// What the last process noted.
    noted: Option<DateTime<Utc>>,
}

impl ClockWatch {
    fn new(noted: Option<DateTime<Utc>>) -> Self {
        let looked = None;
        Self { looked, noted }
    }

    /// Looks at the clock; tells of a step of over a day since the first look, so that many small ones count as one.
    fn look(&mut self, now: DateTime<Utc>, at: Instant) -> Option<ClockStep> {
        let expected = match self.looked {
            Some((then, began)) => {
                let passed = TimeDelta::from_std(at - began).unwrap_or(TimeDelta::MAX);
                then.checked_add_signed(passed)
            }
            None => self.noted,
        };
        let over_a_start = self.looked.is_none();
        let step = expected
            .filter(|expected| (now - expected).abs() > STEP)
            .map(|expected| ClockStep { expected, found: now, over_a_start });
        if step.is_some() || over_a_start {
            self.looked = Some((now, at));
        }
        step
    }
}

/// Applies retention now and then. What is removed does not come back: after a step of the clock of over a day it
/// is paused until an operator confirms that what looks old is old, by ending the pause.
pub(super) async fn run(
    store: Arc<dyn Store>,
    clock: Clock,
    retention: Retention,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), StopError> {
    let mut clock_watch = ClockWatch::new(blocking(&store, Store::clock_seen).await?);
    let mut note_is_due = Instant::now();
    let mut reminder_is_due = Instant::now();
    let mut pause = SWEEP_PAUSE;
    loop {
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
        let now = clock.now();
        if let Some(step) = clock_watch.look(now, Instant::now()) {
            let reason = step.to_string();
            tracing::error!("{reason}");
            store.pause(PauseScope::Removal, reason, Actor::Daemon, now).await?;
            note_is_due = Instant::now();
            reminder_is_due = Instant::now();
        }
        // After the pause, so that no end of the process comes between.
        if Instant::now() >= note_is_due {
            store.note_clock(now).await?;
            note_is_due = Instant::now() + SWEEP;
        }
        if let Some(paused) = blocking(&store, |store| store.paused(&PauseScope::Removal)).await? {
            if Instant::now() >= reminder_is_due {
                tracing::warn!(
                    since = %paused.since,
                    "retention removes nothing until `invoice-router resume --removal`"
                );
                reminder_is_due = Instant::now() + REMINDER;
            }
            pause = LOOK;
            continue;
        }
        reminder_is_due = Instant::now();
        let swept = blocking(&store, move |store| store.sweep(&retention, now)).await;
        pause = match swept {
            Ok(true) => SWEEP_PAUSE,
            Ok(false) => SWEEP,
            Err(error) => {
                tracing::warn!(
                    error = error.in_full(),
                    "removing expired records failed; retrying later"
                );
                SWEEP
            }
        };
    }
}

#[cfg(test)]
mod tests {

    use super::super::build;
    use super::*;
    use crate::config::Config;
    use crate::domain::id::Digest;
    use crate::store::{DocumentAnswer, Memory};

    const HOUR: Duration = Duration::from_secs(3600);

    fn day(day: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(20_000 + day)
    }

    #[test]
    fn steps_are_seen_while_it_runs_and_over_a_start() {
        let start = Instant::now();
        for (noted, looks) in [
            // Nothing was noted; many hours pass.
            (None, vec![(day(1), 0, false), (day(3), 48, false)]),
            // Down for a few hours; for a day and more; a clock that had been ahead.
            (Some(day(1) - TimeDelta::hours(20)), vec![(day(1), 0, false)]),
            (Some(day(-1)), vec![(day(1), 0, true), (day(2), 24, false)]),
            (Some(day(400)), vec![(day(1), 0, true), (day(1), 1, false)]),
            // A year ahead and back again.
            (
                None,
                vec![
                    (day(1), 0, false),
                    (day(366), 1, true),
                    (day(366), 2, false),
                    (day(1), 3, true),
                ],
            ),
            // Small ones.
            (
                None,
                vec![
                    (day(1), 0, false),
                    (day(1) + TimeDelta::hours(21), 1, false),
                    (day(1) + TimeDelta::hours(42), 2, true),
                ],
            ),
        ] {
            let mut clock_watch = ClockWatch::new(noted);
            for (now, hours, expected) in looks {
                let step = clock_watch.look(now, start + hours * HOUR);
                assert_eq!(step.is_some(), expected, "{noted:?} {now} {hours}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_step_nothing_is_removed_until_an_operator_resumes_it() {
        let directory = tempfile::tempdir().unwrap();
        let config = Config::load(None).unwrap();
        let memory = Memory::new(directory.path()).unwrap();
        let store = memory.open(build::rules(&config)).unwrap();
        let clock = Clock::of_the_runtime(day(0));
        let put = async |content: &'static [u8]| {
            let digest = Digest::of(content);
            let put = store.put_document(digest, content, clock.now());
            assert_eq!(put.await, Ok(DocumentAnswer::Stored));
            digest
        };
        let is_kept = |digest| store.document(&digest).unwrap().is_some();
        let (stop, stopping) = watch::channel(false);
        let retention = build::retention(&config);
        let running = tokio::spawn(run(Arc::clone(&store), clock.clone(), retention, stopping));

        let unused = put(b"first").await;
        tokio::time::sleep(8 * 24 * HOUR).await;
        assert!(!is_kept(unused), "the clock goes right");

        let unused = put(b"second").await;
        clock.set(day(400));
        tokio::time::sleep(30 * 24 * HOUR).await;
        assert!(is_kept(unused));
        let paused = store.paused(&PauseScope::Removal).unwrap().unwrap();
        assert_eq!(
            paused.reason,
            "the clock stepped: it shows 2025-11-08T00:00:00Z instead of 2024-10-12T00:00:00Z"
        );

        let operator = Actor::Operator("erika".to_owned());
        let resumed = store.resume(PauseScope::Removal, None, operator, clock.now());
        assert_eq!(resumed.await, Ok(true));
        tokio::time::sleep(2 * HOUR).await;
        assert!(!is_kept(unused));
        stop.send(true).unwrap();
        running.await.unwrap().unwrap();
    }
}
