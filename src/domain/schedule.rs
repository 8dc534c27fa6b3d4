//! When a named schedule fires: crontab(5) on wall-clock time, mapped to instants here.
//!
//! The `cron` crate counts Sunday as 1, wants seconds, takes day of month *and* day of week where
//! crontab takes either, and goes wrong where clocks change. So `crontab` translates the expression,
//! the crate evaluates it as if all the world were UTC, and this module maps each wall-clock time to
//! instants:
//! - a time that the clock leaves out fires at the first instant after the gap, once for all of them;
//! - a time that the clock repeats fires the first time, if its minutes and hours are fixed, and both
//!   times, if the schedule is an interval;
//! - what is returned lies strictly after (or before) what was asked for, so no run comes twice and
//!   none goes back.

mod crontab;

#[cfg(any(test, fuzzing))]
pub(crate) mod property;

use std::cmp::{max, min};
use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDateTime, Offset as _, TimeDelta, TimeZone as _, Utc};
use chrono_tz::{GapInfo, Tz};

use self::crontab::Crontab;
use super::Invalid;
use super::id::ScheduleName;

/// The configured schedules. `default` applies to an account whose schedule is not configured.
#[derive(Debug, Clone, Default)]
pub struct Schedules(BTreeMap<ScheduleName, Timetable>);

/// A configured schedule.
#[derive(Debug, Clone)]
pub struct Timetable {
    /// When it fires.
    pub schedule: Schedule,
    /// Whether what it missed while the daemon was down is made up for, by one run.
    pub catch_up: bool,
}

impl Schedules {
    /// Configures one, in place of the one of that name.
    pub fn insert(&mut self, name: ScheduleName, timetable: Timetable) {
        self.0.insert(name, timetable);
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&ScheduleName, &Timetable)> {
        self.0.iter()
    }

    /// Whether one is configured.
    #[must_use]
    pub fn contains(&self, name: &ScheduleName) -> bool {
        self.0.contains_key(name)
    }

    /// The timetable that an account's schedule goes by; none if not even `default` is configured.
    #[must_use]
    pub fn get_or_default(&self, name: &ScheduleName) -> Option<&Timetable> {
        self.0.get(name).or_else(|| self.0.get(&ScheduleName::default()))
    }

    /// When an account's schedule fires next after an instant.
    #[must_use]
    pub fn next_after(&self, name: &ScheduleName, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.get_or_default(name)?.schedule.next_after(after)
    }

    /// Those of the schedules that accounts name that fire with `name`: itself and, with `default`, all that
    /// are not configured.
    #[must_use]
    pub fn firing_with(&self, name: &ScheduleName, in_use: Vec<ScheduleName>) -> Vec<ScheduleName> {
        let is_default = *name == ScheduleName::default();
        let acts_as_default = |used: &ScheduleName| used != name && !self.contains(used);
        let others = in_use.into_iter().filter(|used| is_default && acts_as_default(used));
        // Itself last: once it has fired, all of them have.
        others.chain([name.clone()]).collect()
    }
}

impl FromIterator<(ScheduleName, Timetable)> for Schedules {
    fn from_iter<I: IntoIterator<Item = (ScheduleName, Timetable)>>(timetables: I) -> Self {
        Self(timetables.into_iter().collect())
    }
}

/// The instants at which a schedule fires, in whole seconds.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// Two where both day fields are restricted: it fires when either does.
    wall: Vec<cron::Schedule>,
    is_interval: bool,
    zone: Tz,
}

impl Schedule {
    /// Reads the five fields of crontab(5), or six with seconds first, or one of its `@` words, as
    /// wall-clock time of `zone`. An expression that never fires (30 February) is refused.
    pub fn parse(expression: &str, zone: Tz) -> Result<Self, Invalid> {
        let Crontab { expressions, is_interval } = Crontab::parse(expression)?;
        let wall = expressions
            .iter()
            .map(|translated| {
                cron::Schedule::try_from(translated.as_str())
                    .map_err(|_| Invalid::expected("a valid expression"))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let schedule = Self { wall, is_interval, zone };
        // What fires at all does so between this instant and the end of the century.
        let start = DateTime::from_timestamp(946_684_800, 0).unwrap_or_default();
        if schedule.wall_after(start.naive_utc()).is_none() {
            return Err(Invalid::expected("an expression with an existing date"));
        }
        Ok(schedule)
    }

    /// The first instant strictly after `after`; none beyond the year 2100.
    #[must_use]
    pub fn next_after(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let local = self.local(after);
        let ahead = self.walk_on(local, after);
        let repeated = self
            .repeated_range(after)
            .filter(|range| self.is_interval && after < range.back)
            .and_then(|range| {
                // The clock will go back: the times that it repeats come again before those ahead.
                let start = range.start.checked_sub_signed(TimeDelta::seconds(1))?;
                self.walk_on(start, range.back - TimeDelta::seconds(1))
            });
        match (ahead, repeated) {
            (Some(ahead), Some(repeated)) => Some(min(ahead, repeated)),
            (ahead, repeated) => ahead.or(repeated),
        }
    }

    /// The last instant that is after `since` and not after `now`: what was missed in between, however
    /// often. Takes no longer for a long absence than for a short one.
    #[must_use]
    pub fn last_before_or_at(
        &self,
        now: DateTime<Utc>,
        since: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        let local = self.local(now);
        let behind = self.walk_back(local, now);
        let repeated =
            self.repeated_range(now).filter(|range| now >= range.back).and_then(|range| {
                // The clock has gone back: the rest of the range was there already, the first time.
                let end = range.end.checked_sub_signed(TimeDelta::seconds(1))?;
                self.walk_back(end, range.back - TimeDelta::seconds(1))
            });
        max(behind, repeated).filter(|last| *last > since)
    }

    /// The first instant after `after` of a wall-clock time after `local`.
    fn walk_on(&self, local: NaiveDateTime, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut local = local;
        loop {
            local = self.wall_after(local)?;
            let (first, second) = self.instants(local);
            // Only within a repeated range are both past, so that this ends.
            if let Some(next) = [first, second].into_iter().flatten().find(|at| *at > after) {
                return Some(next);
            }
        }
    }

    /// The last instant not after `now` of a wall-clock time not after `local`.
    fn walk_back(&self, local: NaiveDateTime, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut local = local.checked_add_signed(TimeDelta::seconds(1))?;
        loop {
            local = self.wall_before(local)?;
            let (first, second) = self.instants(local);
            if let Some(last) = [second, first].into_iter().flatten().find(|at| *at <= now) {
                return Some(last);
            }
        }
    }

    /// The next wall-clock time of the expression, strictly after `local`.
    fn wall_after(&self, local: NaiveDateTime) -> Option<NaiveDateTime> {
        let next = |schedule: &cron::Schedule| schedule.after(&local.and_utc()).next();
        let next = self.wall.iter().filter_map(next).min();
        next.map(|next| next.naive_utc())
    }

    /// The wall-clock time of the expression strictly before `local`.
    fn wall_before(&self, local: NaiveDateTime) -> Option<NaiveDateTime> {
        // The crate takes whole seconds here: a fraction would make "before" include its second.
        let whole = local.and_utc().timestamp();
        let local = DateTime::from_timestamp(whole, 0)?;
        let last = |schedule: &cron::Schedule| schedule.after(&local).next_back();
        let last = self.wall.iter().filter_map(last).max();
        last.map(|last| last.naive_utc())
    }

    /// When a wall-clock time fires: once, or a second time if the clock repeats it and the schedule
    /// is an interval.
    fn instants(&self, local: NaiveDateTime) -> (Option<DateTime<Utc>>, Option<DateTime<Utc>>) {
        let at = self.zone.from_local_datetime(&local);
        match (at.earliest(), at.latest()) {
            (Some(a), Some(b)) if a != b => {
                let second = self.is_interval.then(|| max(a, b).to_utc());
                (Some(min(a, b).to_utc()), second)
            }
            (Some(at), _) | (None, Some(at)) => (Some(at.to_utc()), None),
            (None, None) => {
                let after_gap = GapInfo::new(&local, &self.zone).and_then(|gap| gap.end);
                (after_gap.map(|at| at.to_utc()), None)
            }
        }
    }

    fn local(&self, at: DateTime<Utc>) -> NaiveDateTime {
        at.with_timezone(&self.zone).naive_local()
    }

    /// The range of wall-clock times around `at` that the clock shows twice, if it does.
    fn repeated_range(&self, at: DateTime<Utc>) -> Option<Repeated> {
        let both = self.zone.from_local_datetime(&self.local(at));
        let (a, b) = (both.earliest()?.to_utc(), both.latest()?.to_utc());
        let (mut before, mut back) = (min(a, b), max(a, b));
        let old = self.offset(before);
        let new = self.offset(back);
        if old == new {
            return None;
        }
        // In between the clock goes back, once; `back` closes in on the first second of the new time.
        while back - before > TimeDelta::seconds(1) {
            let middle = before + (back - before) / 2;
            if self.offset(middle) == old {
                before = middle;
            } else {
                back = middle;
            }
        }
        let back = DateTime::from_timestamp(back.timestamp(), 0)?;
        Some(Repeated { start: back.naive_utc() + new, end: back.naive_utc() + old, back })
    }

    fn offset(&self, at: DateTime<Utc>) -> TimeDelta {
        let offset = self.zone.offset_from_utc_datetime(&at.naive_utc()).fix();
        TimeDelta::seconds(i64::from(offset.local_minus_utc()))
    }
}

/// Wall-clock times that the clock shows twice.
struct Repeated {
    /// The first of them.
    start: NaiveDateTime,
    /// The first one after them.
    end: NaiveDateTime,
    /// The instant at which the clock goes back from `end` to `start`.
    back: DateTime<Utc>,
}

#[cfg(test)]
mod tests;
