//! From schedules to runs: when a schedule fires, the store makes due what is waiting.
//!
//! A run's key is the scheduled instant, and the store opens each only once, so neither a restart nor a
//! clock that is put right by moments repeats one. What was missed while the daemon was down is made up for by one
//! run, where the schedule says so. The clock may jump at any time: the loop sleeps for a moment only and
//! asks again which instants have passed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::sleep;
use tracing::{info, warn};

use super::{DispatchError, Shared, can_be_repeated, stopped};
use crate::domain::audit::Actor;
use crate::domain::id::ScheduleName;
use crate::domain::schedule::Schedules;
use crate::store::{Run, RunScope, Store, StoreError};

/// If the clock moved back by more than this, the last run's time is reset to now, so that no schedule waits until the
/// clock has caught up; an extra run is harmless. After a shorter step, as time synchronisation makes them, the store
/// refuses a run that it has seen.
const STEP_BACK: TimeDelta = TimeDelta::minutes(1);
/// The shortest sleep, so that an instant that does not pass is not asked for without end.
const SLEEP_MIN: Duration = Duration::from_millis(5);

/// Opens the runs.
pub(super) struct ScheduleRunner {
    shared: Arc<Shared>,
    plan: FirePlan,
    warned: BTreeSet<ScheduleName>,
}

impl ScheduleRunner {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let plan = FirePlan { schedules: shared.schedules.clone(), since: BTreeMap::new() };
        Self { shared, plan, warned: BTreeSet::new() }
    }

    /// Goes round until the daemon stops.
    pub(super) async fn run(mut self) -> Result<(), DispatchError> {
        let stopping = self.shared.stopping.clone();
        while !*stopping.borrow() {
            self.shared.progress.schedule_runner.fetch_add(1, Ordering::Relaxed);
            match self.look().await {
                Ok(()) => {}
                Err(failure) if can_be_repeated(&failure) => {
                    warn!("cannot start a run yet: {failure}");
                }
                Err(failure) => return Err(failure.into()),
            }
            let tick = self.shared.settings.tick;
            let wait = self
                .plan
                .next_in(self.shared.clock.now())
                .unwrap_or(tick)
                .clamp(SLEEP_MIN.min(tick), tick);
            tokio::select! {
                biased;
                () = sleep(wait) => {}
                () = stopped(stopping.clone()) => {}
            }
        }
        Ok(())
    }

    async fn look(&mut self) -> Result<(), StoreError> {
        let now = self.shared.clock.now();
        // Asked of the store: an operator may have opened one under a clock that the plan never saw.
        let runs = self.shared.read(Store::runs).await?;
        self.note_far_ahead(&runs, now).await?;
        for name in self.plan.learn(&runs, now) {
            self.shared.store.note_schedule(name.clone(), now).await?;
            self.plan.since.insert(name, now);
        }
        for (name, instant) in self.plan.fired(now) {
            for firing in self.firing_with(&name).await? {
                self.open(&firing, instant).await?;
            }
            // Only now, so that what was refused for the moment is asked for again.
            self.plan.since.insert(name, instant);
        }
        Ok(())
    }

    /// Runs under a wrong clock count as now: also those of schedules that are not configured, which have
    /// no time of their own in the plan.
    async fn note_far_ahead(&self, runs: &[Run], now: DateTime<Utc>) -> Result<(), StoreError> {
        for run in runs {
            if let RunScope::Schedule(name) = &run.scope
                && run.instant > now + STEP_BACK
            {
                warn!(
                    schedule = %name, last = %run.instant,
                    "its last run is ahead of the clock: it is reset to the current time"
                );
                // What fired since, as far as the plan knows, is not lost by it.
                let dealt_with = self.plan.since.get(name).map_or(now, |since| now.min(*since));
                self.shared.store.note_schedule(name.clone(), dealt_with).await?;
            }
        }
        Ok(())
    }

    /// What fires with a schedule, itself at last: by that the next start knows that this instant is done with.
    async fn firing_with(&mut self, name: &ScheduleName) -> Result<Vec<ScheduleName>, StoreError> {
        let in_use = self.shared.read(Store::schedules_in_use).await?;
        let firing = self.plan.schedules.firing_with(name, in_use);
        for unknown in firing.iter().filter(|firing| *firing != name) {
            if self.warned.insert(unknown.clone()) {
                warn!(schedule = %unknown, "accounts name a schedule that is not configured: \"default\" applies");
            }
        }
        Ok(firing)
    }

    async fn open(&self, name: &ScheduleName, instant: DateTime<Utc>) -> Result<(), StoreError> {
        let scope = RunScope::Schedule(name.clone());
        let now = self.shared.clock.now();
        if self.shared.store.release(scope, instant, Actor::schedule(name), None, now).await? {
            info!(schedule = %name, %instant, "released the waiting invoices");
            self.shared.wake_up.notify_one();
        }
        Ok(())
    }
}

/// Which instants have passed, without a clock of its own.
#[derive(Debug)]
struct FirePlan {
    schedules: Schedules,
    /// Instants up to here have been dealt with.
    since: BTreeMap<ScheduleName, DateTime<Utc>>,
}

impl FirePlan {
    /// Takes the last run of each schedule that has no time yet. Returns those that never had a run.
    fn learn(&mut self, runs: &[Run], now: DateTime<Utc>) -> Vec<ScheduleName> {
        let mut first_seen = Vec::new();
        for (name, timetable) in self.schedules.iter() {
            if self.since.contains_key(name) {
                continue;
            }
            let scope = RunScope::Schedule(name.clone());
            match runs.iter().find(|run| run.scope == scope).map(|run| run.instant) {
                Some(last) => {
                    let since = if timetable.catch_up { last } else { last.max(now) };
                    self.since.insert(name.clone(), since);
                }
                None => first_seen.push(name.clone()),
            }
        }
        first_seen
    }

    /// The last instant of each schedule that has passed and was not dealt with.
    fn fired(&mut self, now: DateTime<Utc>) -> Vec<(ScheduleName, DateTime<Utc>)> {
        let mut fired = Vec::new();
        for (name, timetable) in self.schedules.iter() {
            let Some(since) = self.since.get_mut(name) else {
                continue;
            };
            // The clock was put back, or was ahead at the last run: that counts as now.
            *since = (*since).min(now);
            if let Some(instant) = timetable.schedule.last_before_or_at(now, *since) {
                fired.push((name.clone(), instant));
            }
        }
        fired
    }

    /// How long until the next instant.
    fn next_in(&self, now: DateTime<Utc>) -> Option<Duration> {
        self.schedules
            .iter()
            .filter_map(|(_, timetable)| timetable.schedule.next_after(now))
            .min()
            .and_then(|instant| (instant - now).to_std().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::Sequence;
    use crate::domain::schedule::{Schedule, Timetable};

    fn at(raw: &str) -> DateTime<Utc> {
        format!("2026-11-{raw}:00Z").parse().unwrap()
    }

    fn name() -> ScheduleName {
        ScheduleName::default()
    }

    /// Fires at 8:00 UTC each day.
    fn plan(catch_up: bool) -> FirePlan {
        let schedule = Schedule::parse("0 8 * * *", chrono_tz::UTC).unwrap();
        FirePlan {
            schedules: Schedules::from_iter([(name(), Timetable { schedule, catch_up })]),
            since: BTreeMap::new(),
        }
    }

    fn last_run(instant: DateTime<Utc>) -> Vec<Run> {
        vec![Run {
            scope: RunScope::Schedule(name()),
            instant,
            at: instant,
            opened_by: Actor::Daemon,
            high_water: Sequence(1),
            cursor: None,
            open: false,
        }]
    }

    #[test]
    fn what_was_missed_while_down_is_made_up_for_by_one_run() {
        let mut plan = plan(true);
        let now = at("23T09:00");
        assert!(plan.learn(&last_run(at("20T08:00")), now).is_empty());
        assert_eq!(plan.fired(now), [(name(), at("23T08:00"))]);
        plan.since.insert(name(), at("23T08:00"));
        assert_eq!(plan.fired(now), []);
    }

    #[test]
    fn what_was_missed_is_left_alone_where_the_schedule_says_so() {
        let mut plan = plan(false);
        let now = at("23T09:00");
        plan.learn(&last_run(at("20T08:00")), now);
        assert_eq!(plan.fired(now), []);
        assert_eq!(plan.fired(at("24T08:00")), [(name(), at("24T08:00"))]);
    }

    #[test]
    fn a_schedule_seen_for_the_first_time_has_missed_nothing() {
        let mut plan = plan(true);
        let now = at("23T09:00");
        assert_eq!(plan.learn(&[], now), [name()]);
        assert_eq!(plan.fired(now), [], "not before that is noted");
        plan.since.insert(name(), now);
        assert_eq!(plan.fired(now), []);
        assert_eq!(plan.fired(at("24T08:01")), [(name(), at("24T08:00"))]);
    }

    #[test]
    fn a_last_run_later_than_now_counts_as_now() {
        let mut plan = plan(true);
        let now = at("23T07:00");
        plan.learn(&last_run(at("30T08:00")), now);
        assert_eq!(plan.fired(now), []);
        assert_eq!(plan.fired(at("23T08:00")), [(name(), at("23T08:00"))]);
    }

    #[test]
    fn a_clock_that_jumps_ahead_fires_once() {
        let mut plan = plan(true);
        plan.since.insert(name(), at("20T08:00"));
        assert_eq!(plan.fired(at("29T10:00")), [(name(), at("29T08:00"))]);
        plan.since.insert(name(), at("29T08:00"));
        assert_eq!(plan.fired(at("29T10:00")), []);
    }

    #[test]
    fn the_next_instant_is_always_ahead() {
        let plan = plan(true);
        assert_eq!(plan.next_in(at("23T08:00")), Some(Duration::from_secs(86_400)));
        assert_eq!(plan.next_in(at("23T07:59")), Some(Duration::from_secs(60)));
    }
}
