//! Schedules over changes of the clock, against a walk through time, minute by minute, that shares no code with what
//! it checks. Elsewhere `property` holds them against the crate `croner`.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use chrono::{Datelike as _, Timelike as _};
use proptest::prelude::*;

use super::*;

/// Whole-hour and half-hour changes, at night and at midnight, in both hemispheres, around Ramadan,
/// and none at all.
const ZONES: [Tz; 9] = [
    Tz::Europe__Berlin,
    Tz::Europe__Dublin,
    Tz::America__New_York,
    Tz::America__Santiago,
    Tz::America__Havana,
    Tz::Australia__Lord_Howe,
    Tz::Africa__Casablanca,
    Tz::Asia__Beirut,
    Tz::Asia__Kolkata,
];

const HOUR: TimeDelta = TimeDelta::hours(1);

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// The first so many instants after `after`, as the zone's clock shows them, with its offset.
fn shown(expression: &str, zone: Tz, after: &str, count: usize) -> Vec<String> {
    let schedule = Schedule::parse(expression, zone).unwrap();
    let next = |at: &DateTime<Utc>| schedule.next_after(*at);
    std::iter::successors(next(&utc(after)), next)
        .take(count)
        .map(|at| {
            let local = at.with_timezone(&zone);
            local.format("%a %d %H:%M:%S %z").to_string()
        })
        .collect()
}

#[test]
fn a_time_that_the_clock_leaves_out_runs_directly_after_the_gap() {
    assert_eq!(
        shown("30 2 * * *", Tz::Europe__Berlin, "2026-03-28T00:00:00Z", 3),
        ["Sat 28 02:30:00 +0100", "Sun 29 03:00:00 +0200", "Mon 30 02:30:00 +0200"]
    );
    assert_eq!(
        shown("*/20 2,3 * * *", Tz::Europe__Berlin, "2026-03-29T00:00:00Z", 2),
        ["Sun 29 03:00:00 +0200", "Sun 29 03:20:00 +0200"]
    );
    assert_eq!(
        shown("0 0 * * *", Tz::America__Santiago, "2026-09-05T05:00:00Z", 2),
        ["Sun 06 01:00:00 -0300", "Mon 07 00:00:00 -0300"]
    );
}

#[test]
fn a_fixed_time_that_the_clock_repeats_runs_once() {
    for expression in ["30 2 * * *", "30 2 25 10 *", "15 30 2 * * 7"] {
        let runs = shown(expression, Tz::Europe__Berlin, "2026-10-24T12:00:00Z", 2);
        assert!(runs[0].starts_with("Sun 25 02:30:") && runs[0].ends_with("+0200"), "{runs:?}");
        assert!(!runs[1].starts_with("Sun 25"), "{runs:?}");
    }
}

#[test]
fn an_interval_runs_through_both_repeated_hours() {
    assert_eq!(
        shown("*/30 2 * * *", Tz::Europe__Berlin, "2026-10-24T23:00:00Z", 5),
        [
            "Sun 25 02:00:00 +0200",
            "Sun 25 02:30:00 +0200",
            "Sun 25 02:00:00 +0100",
            "Sun 25 02:30:00 +0100",
            "Mon 26 02:00:00 +0100"
        ]
    );
    assert_eq!(
        shown("45 * * * *", Tz::Australia__Lord_Howe, "2026-04-04T14:00:00Z", 3),
        ["Sun 05 01:45:00 +1100", "Sun 05 01:45:00 +1030", "Sun 05 02:45:00 +1030"]
    );
}

#[test]
fn either_day_field_fits_where_both_are_restricted() {
    assert_eq!(
        shown("0 8 13 * 5", Tz::UTC, "2026-11-01T00:00:00Z", 4),
        [
            "Fri 06 08:00:00 +0000",
            "Fri 13 08:00:00 +0000",
            "Fri 20 08:00:00 +0000",
            "Fri 27 08:00:00 +0000"
        ]
    );
}

#[test]
fn a_day_that_no_year_has_is_refused_and_the_leap_day_is_not() {
    for expression in ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 30 2 */2"] {
        let invalid = Schedule::parse(expression, Tz::UTC).unwrap_err();
        assert_eq!(invalid.expectation(), "an expression with an existing date");
    }
    let leap_day = Schedule::parse("0 0 29 2 *", Tz::UTC).unwrap();
    assert_eq!(leap_day.next_after(utc("2096-03-01T00:00:00Z")), None, "2100 is none");
    assert_eq!(leap_day.next_after(utc("2026-11-23T00:00:00Z")), Some(utc("2028-02-29T00:00:00Z")));
}

#[test]
fn fractions_of_a_second_neither_lose_nor_repeat_a_run() {
    let schedule = Schedule::parse("* * * * * *", Tz::UTC).unwrap();
    let eight = utc("2026-11-23T08:00:00Z");
    let just_before = eight - TimeDelta::milliseconds(1);
    let just_after = eight + TimeDelta::milliseconds(1);

    assert_eq!(schedule.next_after(just_before), Some(eight));
    assert_eq!(schedule.next_after(just_after), Some(eight + TimeDelta::seconds(1)));
    assert_eq!(schedule.last_before_or_at(just_after, just_before), Some(eight));
    assert_eq!(schedule.last_before_or_at(eight, just_before), Some(eight));
    assert_eq!(schedule.last_before_or_at(just_before, just_before), None);
}

#[test]
fn a_schedule_that_nobody_configured_acts_as_default() {
    let name = |raw: &str| ScheduleName::parse(raw).unwrap();
    let timetable =
        |cron| Timetable { schedule: Schedule::parse(cron, Tz::UTC).unwrap(), catch_up: true };
    let default = ScheduleName::default();
    let schedules = Schedules::from_iter([
        (default.clone(), timetable("0 8 * * *")),
        (name("weekly"), timetable("0 9 * * 1")),
    ]);
    let after = utc("2026-11-23T08:30:00Z");
    for (used, next) in [
        (default.clone(), "2026-11-24T08:00:00Z"),
        (name("weekly"), "2026-11-23T09:00:00Z"),
        (name("typo"), "2026-11-24T08:00:00Z"),
    ] {
        assert_eq!(schedules.next_after(&used, after), Some(utc(next)), "{used}");
    }
    let in_use = || vec![name("a typo"), default.clone(), name("typo"), name("weekly")];
    let with_default = [name("a typo"), name("typo"), default.clone()];
    assert_eq!(schedules.firing_with(&default, in_use()), with_default);
    assert_eq!(schedules.firing_with(&name("weekly"), in_use()), [name("weekly")]);
    assert_eq!(schedules.firing_with(&default, Vec::new()), std::slice::from_ref(&default));
}

#[test]
fn only_the_last_of_many_missed_runs_is_told() {
    let schedule = Schedule::parse("* * * * * *", Tz::Europe__Berlin).unwrap();
    let now = utc("2026-10-25T00:59:59.5Z");

    let missed = schedule.last_before_or_at(now, utc("1990-01-01T00:00:00Z"));

    assert_eq!(missed, Some(utc("2026-10-25T00:59:59Z")));
    let daily = Schedule::parse("0 8 * * *", Tz::Europe__Berlin).unwrap();
    let since = utc("2026-11-23T07:00:00Z");
    assert_eq!(daily.last_before_or_at(since + HOUR * 23, since), None);
    assert_eq!(daily.last_before_or_at(since + HOUR * 24, since), Some(since + HOUR * 24));
}

/// What an expression means, by its values.
#[derive(Debug, Clone)]
struct Meaning {
    minutes: BTreeSet<u32>,
    hours: BTreeSet<u32>,
    weekdays: BTreeSet<u32>,
    is_interval: bool,
}

/// A stretch of time around one change of a zone's clock (or around none), minute by minute.
struct Stretch {
    zone: Tz,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
    /// Each minute with the wall clock's time at it.
    minutes: Vec<(DateTime<Utc>, NaiveDateTime)>,
}

impl Stretch {
    fn around(zone: Tz, change: DateTime<Utc>) -> Self {
        let (start, end) = (change - HOUR * 30, change + HOUR * 30);
        let minute = |at: &DateTime<Utc>| Some(*at + TimeDelta::minutes(1));
        let minutes = std::iter::successors(Some(start), minute)
            .take_while(|at| *at <= end)
            .map(|at| (at, at.with_timezone(&zone).naive_local()))
            .collect();
        Self { zone, start, end, minutes }
    }

    /// Every instant of the stretch but its first at which an expression of this meaning fires.
    fn walk(&self, meaning: &Meaning) -> Vec<DateTime<Utc>> {
        let fits = |wall: NaiveDateTime| {
            meaning.minutes.contains(&wall.minute())
                && meaning.hours.contains(&wall.hour())
                && meaning.weekdays.contains(&wall.weekday().num_days_from_sunday())
        };
        let mut fired = Vec::new();
        let mut newest = self.minutes[0].1;
        for (at, wall) in &self.minutes[1..] {
            let is_repeated = *wall <= newest;
            let fits_in_gap = || {
                let left_out = (*wall - newest).num_minutes();
                (1..left_out).any(|ahead| fits(newest + TimeDelta::minutes(ahead)))
            };
            if fits(*wall) && (meaning.is_interval || !is_repeated) || fits_in_gap() {
                fired.push(*at);
            }
            newest = newest.max(*wall);
        }
        fired
    }

    fn evaluate(&self, schedule: &Schedule) -> Vec<DateTime<Utc>> {
        let next = |at: &DateTime<Utc>| schedule.next_after(*at);
        std::iter::successors(next(&self.start), next).take_while(|at| *at <= self.end).collect()
    }
}

/// Around every change of each zone's clock in ten years; around new year where there is none.
static STRETCHES: LazyLock<Vec<Stretch>> = LazyLock::new(|| {
    let start = utc("2020-01-01T00:00:00Z");
    ZONES
        .iter()
        .flat_map(|&zone| {
            let offset = move |at: DateTime<Utc>| at.with_timezone(&zone).offset().fix();
            let differs = move |at: &DateTime<Utc>, step| offset(*at) != offset(*at - step);
            let half_hour = TimeDelta::minutes(30);
            // All of these zones change on a half hour of UTC, and never twice in half a day.
            let changes: Vec<DateTime<Utc>> = (1..10 * 366 * 2)
                .map(|half_days| start + HOUR * 12 * half_days)
                .filter(|at| differs(at, HOUR * 12))
                .flat_map(|at| (0..24).map(move |back| at - half_hour * back))
                .filter(|at| differs(at, half_hour))
                .collect();
            let around = if changes.is_empty() { vec![start] } else { changes };
            around.into_iter().map(move |change| Stretch::around(zone, change))
        })
        .collect()
});

fn check(stretch: &Stretch, expression: &str, meaning: &Meaning) {
    let schedule = Schedule::parse(expression, stretch.zone).unwrap();
    let fired = stretch.walk(meaning);
    let context = |at| format!("{expression} in {} at {at}", stretch.zone);

    assert_eq!(stretch.evaluate(&schedule), fired, "{}", context(stretch.start));

    // From any instant around the change, not only from one run to the next.
    for (at, _) in stretch.minutes[27 * 60..33 * 60].iter().step_by(7) {
        let (past, coming) = fired.split_at(fired.partition_point(|run| run <= at));
        let last = schedule.last_before_or_at(*at, stretch.start);
        assert_eq!(last.as_ref(), past.last(), "{}", context(*at));
        let next = schedule.next_after(*at).filter(|next| *next <= stretch.end);
        assert_eq!(next.as_ref(), coming.first(), "{}", context(*at));
    }
}

fn meaning(minutes: &[u32], hours: &[u32], is_interval: bool) -> Meaning {
    let all = |values: &[u32], most: u32| match values {
        [] => (0..most).collect(),
        some => some.iter().copied().collect(),
    };
    Meaning {
        minutes: all(minutes, 60),
        hours: all(hours, 24),
        weekdays: (0..7).collect(),
        is_interval,
    }
}

#[test]
fn over_every_change_of_ten_years_a_schedule_fires_as_a_walk_through_time_says() {
    assert!(STRETCHES.len() > 120, "{}", STRETCHES.len());
    for stretch in STRETCHES.iter() {
        for (expression, meaning) in [
            ("30 2 * * *", meaning(&[30], &[2], false)),
            ("0 0 * * *", meaning(&[0], &[0], false)),
            ("15,45 0-3 * * *", meaning(&[15, 45], &[0, 1, 2, 3], false)),
            ("*/20 1,2 * * *", meaning(&[0, 20, 40], &[1, 2], true)),
            ("5 * * * *", meaning(&[5], &[], true)),
        ] {
            check(stretch, expression, &meaning);
        }
    }
}

/// A field as it may be written, with its values.
fn field(first: u32, last: u32) -> impl Strategy<Value = (String, BTreeSet<u32>, bool)> {
    let value = first..=last;
    let values = prop::collection::btree_set(value.clone(), 1..4).prop_map(|values| {
        let text: Vec<String> = values.iter().map(ToString::to_string).collect();
        (text.join(","), values, false)
    });
    let range = (value.clone(), value).prop_map(|(a, b)| {
        let (a, b) = (a.min(b), a.max(b));
        (format!("{a}-{b}"), (a..=b).collect(), false)
    });
    let step = (1..=last).prop_map(move |step| {
        let values = (first..=last).filter(|value| (value - first).is_multiple_of(step));
        (format!("*/{step}"), values.collect(), true)
    });
    prop_oneof![values, range, step]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_schedule_over_any_change_fires_as_a_walk_through_time_says(
        stretch in 0..STRETCHES.len(),
        (minute, minutes, every_minute) in field(0, 59),
        (hour, hours, every_hour) in field(0, 23),
        (weekday, weekdays, _) in field(0, 6),
    ) {
        let meaning = Meaning { minutes, hours, weekdays, is_interval: every_minute || every_hour };
        check(&STRETCHES[stretch], &format!("{minute} {hour} * * {weekday}"), &meaning);
    }
}
