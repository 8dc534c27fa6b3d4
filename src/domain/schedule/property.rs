//! What must hold of every text that is taken for a schedule: crontab(5) read and evaluated a second time, day
//! by day, and the crate `croner`.

#![expect(clippy::unwrap_used, reason = "a panic is how a property tells that it does not hold")]

use chrono::{Datelike as _, NaiveDate, NaiveTime, Timelike as _};
use croner::parser::{CronParser, Seconds};

use super::*;

/// How many firings are compared.
const FIRINGS: usize = 5;
/// Where one begins that does not say so: a leap day, before clocks change in many zones.
const START: &str = "2028-02-29T23:59:59Z";
/// The crate `cron` knows no time before 1970, by the clock of whichever zone.
const FIRST_START: i64 = 86_400;

/// An expression; after a line break a time zone; after another the seconds since 1970 at which to begin.
pub(crate) fn schedules(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let mut lines = text.rsplitn(3, '\n').collect::<Vec<_>>();
    lines.reverse();
    let (expression, zone, start) = match lines[..] {
        [expression, zone, start] => (expression, zone, start),
        [expression, zone] => (expression, zone, ""),
        _ => (text, "", ""),
    };
    let zone: Tz = zone.parse().unwrap_or(Tz::UTC);
    let start = start
        .parse()
        .ok()
        .filter(|seconds| (FIRST_START..=4_102_444_800_i64).contains(seconds))
        .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
        .unwrap_or_else(|| START.parse().unwrap());

    let meaning = Meaning::read(expression);
    let fires = meaning.as_ref().is_some_and(Meaning::ever_fires);
    let parsed = Schedule::parse(expression, zone);
    assert_eq!(parsed.is_ok(), fires, "{expression:?}: {parsed:?}");
    let (Ok(schedule), Some(meaning)) = (parsed, meaning) else {
        return;
    };

    let ours = firings(&schedule, start);
    for (before, at) in std::iter::once(&start).chain(&ours).zip(&ours) {
        assert!(at > before, "{expression:?} in {zone} stands still at {at}");
        assert_eq!(schedule.last_before_or_at(*at, *before), Some(*at), "{expression:?} in {zone}");
        let just_before = *at - TimeDelta::milliseconds(1);
        assert_eq!(schedule.next_after(just_before), Some(*at), "{expression:?} in {zone}");
        assert_eq!(
            schedule.last_before_or_at(just_before, *before),
            None,
            "{expression:?} in {zone}"
        );
    }
    for at in &ours {
        let (gap, wall) = shown(zone, *at);
        assert!(
            meaning.fits(wall) || meaning.next_from(gap).is_some_and(|planned| planned < wall),
            "{expression:?} in {zone} at {at}"
        );
    }
    // Where the clock has not changed, or has changed back, nothing that is planned was left out in between.
    let is_shown_once = zone.from_local_datetime(&shown(zone, start).1).single().is_some();
    let begin = is_shown_once.then_some(&start);
    for (before, at) in
        begin.into_iter().chain(&ours).zip(ours.iter().skip(usize::from(!is_shown_once)))
    {
        let offset = |at: &DateTime<Utc>| zone.offset_from_utc_datetime(&at.naive_utc()).fix();
        if offset(before) == offset(at) {
            let (_, wall_before) = shown(zone, *before);
            let (gap, wall) = shown(zone, *at);
            let planned = meaning.next_after(wall_before);
            assert!(
                planned.is_some_and(|planned| planned == wall || (gap..wall).contains(&planned)),
                "{expression:?} in {zone}: {planned:?} was left out between {before} and {at}"
            );
        }
    }

    let in_utc = Schedule::parse(expression, Tz::UTC).unwrap();
    let ours = firings(&in_utc, start);
    let next = |at: &DateTime<Utc>| meaning.next_after(at.naive_utc()).map(|at| at.and_utc());
    let walked: Vec<_> = std::iter::successors(next(&start), next).take(FIRINGS).collect();
    assert_eq!(ours, walked, "{expression:?} after {start}");
    let theirs: Vec<_> = meaning.for_croner().iter_after(start).take(ours.len()).collect();
    assert_eq!(ours, theirs, "{expression:?} by croner after {start}");
}

fn firings(schedule: &Schedule, start: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let next = |at: &DateTime<Utc>| schedule.next_after(*at);
    std::iter::successors(next(&start), next).take(FIRINGS).collect()
}

/// What the clock shows at this instant; before that, the first time that it left out directly before, or the same
/// one if it did not.
fn shown(zone: Tz, at: DateTime<Utc>) -> (NaiveDateTime, NaiveDateTime) {
    let wall = |at: DateTime<Utc>| at.with_timezone(&zone).naive_local();
    let second = TimeDelta::seconds(1);
    (min(wall(at - second) + second, wall(at)), wall(at))
}

/// The values of second, minute, hour, day of month, month and day of week, each a bit.
struct Meaning {
    fields: [u64; 6],
    /// Whether one of the days suffices.
    either: bool,
}

/// First and last value of each field.
const RANGES: [(usize, usize); 6] = [(0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 7)];
const MONTHS: &str = "janfebmaraprmayjunjulaugsepoctnovdec";
const WEEKDAYS: &str = "sunmontuewedthufrisatsun";

impl Meaning {
    /// `None` for what crontab(5) does not know.
    fn read(expression: &str) -> Option<Self> {
        let text = expression.trim_matches([' ', '\t']);
        let text = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        let mut written: Vec<&str> =
            text.split([' ', '\t']).filter(|field| !field.is_empty()).collect();
        if written.len() == 5 {
            written.insert(0, "0");
        }
        if written.len() != 6 {
            return None;
        }
        let mut fields = [0; 6];
        for (at, text) in written.iter().enumerate() {
            for item in text.split(',') {
                fields[at] |= item_values(item, at)?;
            }
        }
        // 7 is Sunday, too.
        fields[5] = fields[5] & 0x7F | fields[5] >> 7;
        Some(Self { fields, either: !written[3].starts_with('*') && !written[5].starts_with('*') })
    }

    fn has(&self, field: usize, value: u32) -> bool {
        self.fields[field] >> value & 1 == 1
    }

    fn fits_day(&self, day: NaiveDate) -> bool {
        let of_month = self.has(3, day.day());
        let of_week = self.has(5, day.weekday().num_days_from_sunday());
        let either = self.either && (of_month || of_week);
        self.has(4, day.month()) && (either || of_month && of_week)
    }

    fn fits(&self, at: NaiveDateTime) -> bool {
        self.fits_day(at.date())
            && self.has(0, at.second())
            && self.has(1, at.minute())
            && self.has(2, at.hour())
    }

    /// The first time of day that fits, from `least` on.
    fn time_from(&self, least: NaiveTime) -> Option<NaiveTime> {
        let second = least.num_seconds_from_midnight();
        let hours = (second / 3600..24).filter(|hour| self.has(2, *hour));
        let times = hours.flat_map(|hour| {
            (0..60).filter(|minute| self.has(1, *minute)).filter_map(move |minute| {
                let second =
                    (0..60).find(|s| self.has(0, *s) && hour * 3600 + minute * 60 + s >= second)?;
                NaiveTime::from_hms_opt(hour, minute, second)
            })
        });
        times.min()
    }

    /// The first time from `first` on that fits.
    fn next_from(&self, first: NaiveDateTime) -> Option<NaiveDateTime> {
        self.next_after(first - TimeDelta::seconds(1))
    }

    /// The first time after `after` that fits, up to the year 2100, where ours end, too.
    fn next_after(&self, after: NaiveDateTime) -> Option<NaiveDateTime> {
        let from = after + TimeDelta::seconds(1);
        if self.fits_day(from.date())
            && let Some(time) = self.time_from(from.time())
        {
            return (from.year() <= 2100).then(|| from.date().and_time(time));
        }
        let day = from
            .date()
            .iter_days()
            .skip(1)
            .take_while(|day| day.year() <= 2100)
            .find(|day| self.fits_day(*day))?;
        Some(day.and_time(self.time_from(NaiveTime::MIN)?))
    }

    fn ever_fires(&self) -> bool {
        let start = NaiveDate::from_ymd_opt(2000, 1, 1).unwrap();
        self.next_after(start.and_time(NaiveTime::MIN)).is_some()
    }

    /// In plain lists for croner, which takes a list of all values for `*`. By itself it takes one of two
    /// restricted days for enough, so it has to be told where that is not meant.
    fn for_croner(&self) -> croner::Cron {
        let is_all = |at: usize| {
            let (lowest, highest) = if at == 5 { (0, 6) } else { RANGES[at] };
            (lowest..=highest).all(|value| self.fields[at] >> value & 1 == 1)
        };
        let is_every_day = self.either && (is_all(3) || is_all(5));
        let field = |at: usize| {
            if is_all(at) || is_every_day && (at == 3 || at == 5) {
                return "*".to_owned();
            }
            let values = (0..64).filter(|value| self.fields[at] >> value & 1 == 1);
            values.map(|value| value.to_string()).collect::<Vec<_>>().join(",")
        };
        CronParser::builder()
            .seconds(Seconds::Required)
            .dom_and_dow(!self.either)
            .build()
            .parse(&[0, 1, 2, 3, 4, 5].map(field).join(" "))
            .unwrap()
    }
}

/// `*`, a value, a range, each but the value perhaps with a step.
fn item_values(item: &str, field: usize) -> Option<u64> {
    let (lowest, highest) = RANGES[field];
    let (range, step) = match item.split_once('/') {
        Some((range, step)) => (range, number(step).filter(|step| *step > 0)?),
        None => (item, 1),
    };
    let (first, last) = if range == "*" {
        (lowest, highest)
    } else if let Some((first, last)) = range.split_once('-') {
        let first = value(first, field, lowest)?;
        (first, value(last, field, first)?)
    } else if item == range {
        let only = value(range, field, lowest)?;
        (only, only)
    } else {
        return None;
    };
    if first > last {
        return None;
    }
    Some((first..=last).step_by(step).fold(0, |values, value| values | 1 << value))
}

/// A number, or a name where it first stands from `least` on.
fn value(text: &str, field: usize, least: usize) -> Option<usize> {
    let (lowest, highest) = RANGES[field];
    let names = match field {
        4 => MONTHS,
        5 => WEEKDAYS,
        _ => "",
    };
    match number(text) {
        Some(number) => (lowest..=highest).contains(&number).then_some(number),
        None => (least..=highest).find(|value| {
            let at = (value - lowest) * 3;
            names.get(at..at + 3).is_some_and(|name| name.eq_ignore_ascii_case(text))
        }),
    }
}

fn number(text: &str) -> Option<usize> {
    match text.as_bytes() {
        [digit @ b'0'..=b'9'] => Some(usize::from(digit - b'0')),
        [tens @ b'0'..=b'9', digit @ b'0'..=b'9'] => {
            Some(usize::from((tens - b'0') * 10 + digit - b'0'))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn item(values: &'static str) -> impl Strategy<Value = String> {
        prop_oneof![
            3 => Just("*".to_owned()),
            3 => values,
            2 => (values, values).prop_map(|(first, last)| format!("{first}-{last}")),
            1 => "[1-9]|[1-7][0-9]".prop_map(|step| format!("*/{step}")),
            1 => (values, values, "[0-9]{1,2}").prop_map(|(first, last, step)| format!("{first}-{last}/{step}")),
        ]
    }

    fn field(values: &'static str) -> impl Strategy<Value = String> {
        prop::collection::vec(item(values), 1..4).prop_map(|items| items.join(","))
    }

    fn expression() -> impl Strategy<Value = String> {
        let fields = (
            prop::option::of(field("[0-9]|[1-5][0-9]")),
            field("[0-9]|[1-5][0-9]|60"),
            field("[0-9]|1[0-9]|2[0-4]"),
            field("[1-9]|[12][0-9]|3[0-2]"),
            field("[1-9]|1[0-2]|feb|Apr|DEC"),
            field("[0-7]|sun|Fri|SAT"),
        );
        let fields = fields.prop_map(|(second, minute, hour, day, month, weekday)| {
            let second = second.map_or_else(String::new, |second| format!("{second} "));
            format!("{second}{minute} {hour} {day} {month} {weekday}")
        });
        prop_oneof![9 => fields, 1 => "@[a-z]{4,9}|@(yearly|weekly|daily|hourly|reboot)"]
    }

    /// A zone and when to begin in it: at any time, or where its clock is about to change.
    fn beginning() -> impl Strategy<Value = (Tz, i64)> {
        let zone = prop::sample::select(chrono_tz::TZ_VARIANTS.to_vec());
        let changing = prop::sample::select(vec![
            (Tz::Europe__Berlin, 1_774_743_000),
            (Tz::Europe__Berlin, 1_792_883_400),
            (Tz::Australia__Lord_Howe, 1_791_039_600),
            (Tz::Australia__Lord_Howe, 1_775_312_400),
            (Tz::Pacific__Apia, 1_325_235_600),
            (Tz::America__St_Johns, 1_772_946_000),
        ]);
        prop_oneof![2 => (zone, FIRST_START..4_102_444_800), 1 => changing]
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_schedule_by_the_rules_or_none(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            schedules(&bytes);
        }

        #[test]
        fn what_looks_like_a_schedule_fires_by_the_rules(
            expression in expression(),
            (zone, start) in beginning(),
            at in any::<prop::sample::Index>(),
            other in "[-*/,0-9a-z \t@]",
        ) {
            schedules(format!("{expression}\n{zone}\n{start}").as_bytes());
            let at = at.index(expression.len());
            let torn = format!("{}{other}{}", &expression[..at], &expression[at + 1..]);
            schedules(format!("{torn}\n{zone}\n{start}").as_bytes());
        }
    }
}
