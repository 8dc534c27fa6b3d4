//! crontab(5) expressions, and their translation into what the `cron` crate reads.
//!
//! Every field is read into the set of its values here and handed over as a plain list of numbers, so
//! that nothing depends on how the crate reads names, steps and Sundays.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use crate::domain::Invalid;

/// An expression, translated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Crontab {
    /// In the syntax of the `cron` crate; it fires when any of them does.
    pub(super) expressions: Vec<String>,
    /// Whether it goes on through the hours, with `*` or a step in its seconds, minutes or hours; such
    /// a schedule fires in both of two repeated hours.
    pub(super) is_interval: bool,
}

/// The values that a field may have, with their names.
struct FieldUnit {
    what: &'static str,
    values: RangeInclusive<u32>,
    /// Of the first value and those after it.
    names: &'static [&'static str],
}

const SECOND: FieldUnit = FieldUnit { what: "second", values: 0..=59, names: &[] };
const MINUTE: FieldUnit = FieldUnit { what: "minute", values: 0..=59, names: &[] };
const HOUR: FieldUnit = FieldUnit { what: "hour", values: 0..=23, names: &[] };
const DAY_OF_MONTH: FieldUnit = FieldUnit { what: "day of month", values: 1..=31, names: &[] };
const MONTH: FieldUnit = FieldUnit {
    what: "month",
    values: 1..=12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
/// 7 is Sunday too, and so is the name at the end of a range.
const DAY_OF_WEEK: FieldUnit = FieldUnit {
    what: "day of week",
    values: 0..=7,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun"],
};

impl Crontab {
    /// Reads the expression.
    pub(super) fn parse(expression: &str) -> Result<Self, Invalid> {
        let trimmed = expression.trim_matches([' ', '\t']);
        let expression = if trimmed.starts_with('@') { spelled_out(trimmed)? } else { trimmed };
        let fields: Vec<&str> =
            expression.split([' ', '\t']).filter(|field| !field.is_empty()).collect();
        let (&second, rest) = match fields.len() {
            5 => (&"0", &fields[..]),
            _ => fields.split_first().unwrap_or((&"", &[])),
        };
        let &[minute, hour, day_of_month, month, day_of_week] = rest else {
            return Err(Invalid::expected(
                "the five fields of crontab(5), or six with seconds first",
            ));
        };
        let time = [
            SECOND.list(&SECOND.parse(second)?),
            MINUTE.list(&MINUTE.parse(minute)?),
            HOUR.list(&HOUR.parse(hour)?),
        ]
        .join(" ");
        let days = DAY_OF_MONTH.list(&DAY_OF_MONTH.parse(day_of_month)?);
        let months = MONTH.list(&MONTH.parse(month)?);
        let weekdays = weekday_list(&DAY_OF_WEEK.parse(day_of_week)?);
        // Restricted, by crontab(5), is what doesn't start with "*". If only one of both is, or
        // neither, each has to fit; that holds for "*/2" as well.
        let is_either = !day_of_month.starts_with('*') && !day_of_week.starts_with('*');
        let expressions = if is_either {
            vec![format!("{time} {days} {months} *"), format!("{time} * {months} {weekdays}")]
        } else {
            vec![format!("{time} {days} {months} {weekdays}")]
        };
        Ok(Self {
            expressions,
            is_interval: [second, minute, hour].iter().any(|field| field.contains(['*', '/'])),
        })
    }
}

/// The fields behind an `@` word of crontab(5).
fn spelled_out(word: &str) -> Result<&'static str, Invalid> {
    match word {
        "@yearly" | "@annually" => Ok("0 0 1 1 *"),
        "@monthly" => Ok("0 0 1 * *"),
        "@weekly" => Ok("0 0 * * 0"),
        "@daily" | "@midnight" => Ok("0 0 * * *"),
        "@hourly" => Ok("0 * * * *"),
        _ => Err(Invalid::expected(
            "@yearly, @annually, @monthly, @weekly, @daily, @midnight or @hourly (and no @reboot: \
             catch_up makes up for a missed run)",
        )),
    }
}

impl FieldUnit {
    /// The values of a field: a list of `*`, values and ranges, all but single values perhaps with a
    /// step.
    fn parse(&self, field: &str) -> Result<BTreeSet<u32>, Invalid> {
        let mut values = BTreeSet::new();
        for item in field.split(',') {
            values.extend(self.item(item).ok_or_else(|| self.invalid(field))?);
        }
        Ok(values)
    }

    fn item(&self, item: &str) -> Option<impl Iterator<Item = u32>> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(number(step)?)),
            None => (item, None),
        };
        let range = match range.split_once('-') {
            Some((first, last)) => {
                let first = self.value(first, *self.values.start())?;
                first..=self.value(last, first)?
            }
            None if range == "*" => self.values.clone(),
            None if step.is_none() => {
                let value = self.value(range, *self.values.start())?;
                value..=value
            }
            None => return None,
        };
        let step = usize::try_from(step.unwrap_or(1)).ok()?;
        (!range.is_empty() && step > 0).then(|| range.step_by(step))
    }

    /// A value from `least` on, as number or name.
    fn value(&self, text: &str, least: u32) -> Option<u32> {
        let is_named = |value: &u32| {
            let at = usize::try_from(value - self.values.start()).unwrap_or(usize::MAX);
            self.names.get(at).is_some_and(|name| name.eq_ignore_ascii_case(text))
        };
        number(text)
            .filter(|value| self.values.contains(value))
            .or_else(|| (least..=*self.values.end()).find(is_named))
    }

    /// The values in the syntax of the `cron` crate.
    fn list(&self, values: &BTreeSet<u32>) -> String {
        let is_all = self.values.clone().all(|value| values.contains(&value));
        if is_all { "*".to_owned() } else { list(values) }
    }

    fn invalid(&self, field: &str) -> Invalid {
        let (first, last) = (self.values.start(), self.values.end());
        let names = match self.names {
            [name, ..] => format!(" or a name such as {name}"),
            [] => String::new(),
        };
        Invalid::expected(format!(
            "a {} from {first} to {last}{names}, *, ranges with or without a step, or a list of \
             these, instead of {field:?}",
            self.what
        ))
    }
}

/// The days of the week as the `cron` crate counts them, Sunday being 1.
fn weekday_list(days: &BTreeSet<u32>) -> String {
    let days: BTreeSet<u32> = days.iter().map(|day| day % 7 + 1).collect();
    if days.len() == 7 { "*".to_owned() } else { list(&days) }
}

fn list(values: &BTreeSet<u32>) -> String {
    let values: Vec<String> = values.iter().map(ToString::to_string).collect();
    values.join(",")
}

/// A number without sign, of at most two digits, as all are.
fn number(text: &str) -> Option<u32> {
    let is_number = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expressions(expression: &str) -> Vec<String> {
        Crontab::parse(expression).unwrap().expressions
    }

    #[test]
    fn five_fields_get_a_second_and_sunday_becomes_one() {
        for (expression, translated) in [
            ("0 8 * * *", "0 0 8 * * *"),
            ("  0\t8  *   * * ", "0 0 8 * * *"),
            ("15 0 8 * * *", "15 0 8 * * *"),
            ("0 8 * * 0", "0 0 8 * * 1"),
            ("0 8 * * 7", "0 0 8 * * 1"),
            ("0 8 * * 0-7", "0 0 8 * * *"),
            ("0 8 * * 5-7", "0 0 8 * * 1,6,7"),
            ("0 8 * * Fri-SUN", "0 0 8 * * 1,6,7"),
            ("0 8 * * sun-sun", "0 0 8 * * 1"),
            ("0 8 * * sun-tue,sat", "0 0 8 * * 1,2,3,7"),
            ("0 8 * jan,mar-may *", "0 0 8 * 1,3,4,5 *"),
            ("*/20 9-17/4 * * *", "0 0,20,40 9,13,17 * * *"),
            ("*/1 * * * *", "0 * * * * *"),
            ("5-59/60 0 1 * *", "0 5 0 1 * *"),
            ("@weekly", "0 0 0 * * 1"),
            ("@annually", "0 0 0 1 1 *"),
        ] {
            assert_eq!(expressions(expression), [translated], "{expression}");
        }
    }

    #[test]
    fn of_two_restricted_day_fields_either_fits() {
        assert_eq!(expressions("0 8 13 * 5"), ["0 0 8 13 * *", "0 0 8 * * 6"]);
        assert_eq!(expressions("0 8 */2 * 5"), [format!("0 0 8 {ODD} * 6")]);
        assert_eq!(expressions("0 8 13 * */3"), ["0 0 8 13 * 1,4,7"]);
    }

    const ODD: &str = "1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31";

    #[test]
    fn an_interval_has_a_star_or_a_step_in_its_time_of_day() {
        for (expression, is_interval) in [
            ("0 8 * * *", false),
            ("0,30 8-17 */2 * *", false),
            ("0 * * * *", true),
            ("*/15 2 * * *", true),
            ("0-59/15 2 * * *", true),
            ("* 0 8 * * *", true),
            ("@hourly", true),
            ("@daily", false),
        ] {
            let crontab = Crontab::parse(expression).unwrap();
            assert_eq!(crontab.is_interval, is_interval, "{expression}");
        }
    }

    #[test]
    fn what_crontab_does_not_know_is_refused() {
        for expression in [
            "",
            "* * * *",
            "0 0 0 * * * 2026",
            "60 * * * *",
            "-1 * * * *",
            "+1 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * 32 * *",
            "* * * 0 *",
            "* * * 13 *",
            "* * * * 8",
            "*/0 * * * *",
            "5/10 * * * *",
            "5- * * * *",
            "10-5 * * * *",
            "* 22-2 * * *",
            "* * * dec-jan *",
            "* * * * fri-mon",
            "1,,2 * * * *",
            "1,2, * * * *",
            "* * * january *",
            "* * L * *",
            "* * ? * *",
            "* * * * 5#2",
            "@reboot",
            "@Daily",
            "@daily 5",
            "0 8 * * *\n",
            "0 8 * * *;",
            "٣ 8 * * *",
        ] {
            assert!(Crontab::parse(expression).is_err(), "{expression:?}");
        }
        assert_eq!(
            Crontab::parse("61 * * * *").unwrap_err().expectation(),
            "a minute from 0 to 59, *, ranges with or without a step, or a list of these, \
             instead of \"61\""
        );
    }
}
