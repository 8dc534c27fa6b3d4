//! How a language writes dates and amounts: a table of its own, so that a translation needs no code.
//!
//! Amounts are put together from digits; nothing is rounded or passes through a float.

use chrono::{Datelike as _, NaiveDate};
use serde::Deserialize;

use crate::domain::money::Money;

/// Of a language; checked when it is read. A pattern is text with names in braces.
#[derive(Debug, Clone)]
pub(super) struct Formats {
    date: String,
    month_names: Vec<String>,
    amount: String,
    decimal_mark: String,
    group_mark: String,
}

/// The names that a date and an amount may have in braces.
const DATE_FIELDS: [&str; 6] = ["day", "day2", "month", "month2", "month_name", "year"];
const AMOUNT_FIELDS: [&str; 2] = ["amount", "currency"];

/// `formats.toml` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    date: toml::Spanned<String>,
    month_names: toml::Spanned<Vec<String>>,
    amount: toml::Spanned<String>,
    decimal_mark: String,
    group_mark: String,
}

/// What is wrong with a `formats.toml`, and in which line, from 1.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadFormats {
    pub(super) line: Option<usize>,
    pub(super) what: String,
}

impl Formats {
    /// Reads a `formats.toml`.
    pub(super) fn parse(source: &str) -> Result<Self, BadFormats> {
        let bad = |span: Option<std::ops::Range<usize>>, what: String| BadFormats {
            line: span.and_then(|span| line_of(source, span.start)),
            what,
        };
        let raw: Raw = toml::from_str(source)
            .map_err(|error| bad(error.span(), error.message().to_owned()))?;
        let date_names = names(raw.date.get_ref(), &DATE_FIELDS)
            .map_err(|what| bad(Some(raw.date.span()), what))?;
        let amount_names = names(raw.amount.get_ref(), &AMOUNT_FIELDS)
            .map_err(|what| bad(Some(raw.amount.span()), what))?;
        if date_names.contains(&"month_name") && raw.month_names.get_ref().len() != 12 {
            let what = "expected twelve names, since the date uses {month_name}".to_owned();
            return Err(bad(Some(raw.month_names.span()), what));
        }
        if amount_names.iter().filter(|name| **name == "amount").count() != 1 {
            let what = "expected {amount} once".to_owned();
            return Err(bad(Some(raw.amount.span()), what));
        }
        Ok(Self {
            date: raw.date.into_inner(),
            month_names: raw.month_names.into_inner(),
            amount: raw.amount.into_inner(),
            decimal_mark: raw.decimal_mark,
            group_mark: raw.group_mark,
        })
    }

    /// A date as the language writes it.
    pub(super) fn date(&self, date: NaiveDate) -> String {
        let month_name = self.month_names.iter().zip(1..).find(|(_, month)| *month == date.month());
        let values = [
            date.day().to_string(),
            format!("{:02}", date.day()),
            date.month().to_string(),
            format!("{:02}", date.month()),
            month_name.map(|(name, _)| name.clone()).unwrap_or_default(),
            format!("{:04}", date.year()),
        ];
        fill(&self.date, &DATE_FIELDS, &values)
    }

    /// An amount as the language writes it, with all decimals of its currency.
    pub(super) fn amount(&self, money: Money) -> String {
        let (integer, fraction) = money.digits();
        let mut number = String::new();
        if money.is_negative() {
            number.push('-');
        }
        for (at, digit) in integer.chars().enumerate() {
            if at > 0 && (integer.len() - at).is_multiple_of(3) {
                number.push_str(&self.group_mark);
            }
            number.push(digit);
        }
        if !fraction.is_empty() {
            number.push_str(&self.decimal_mark);
            number.push_str(&fraction);
        }
        fill(&self.amount, &AMOUNT_FIELDS, &[number, money.currency().code().to_owned()])
    }
}

/// The names in a pattern's braces.
fn names<'a>(pattern: &'a str, known: &[&str]) -> Result<Vec<&'a str>, String> {
    let after_braces = pattern.split('{').skip(1);
    let names = after_braces.map(|rest| rest.split_once('}').map(|(name, _)| name));
    let names: Option<Vec<&str>> =
        names.map(|name| name.filter(|name| known.contains(name))).collect();
    let all = || known.iter().map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join(", ");
    names.ok_or_else(|| format!("expected only {} in braces", all()))
}

/// The pattern, each of its names replaced by its value; values are not read again.
fn fill(pattern: &str, names: &[&str], values: &[String]) -> String {
    let mut parts = pattern.split('{');
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').unwrap_or((part, ""));
        let value = names.iter().zip(values).find(|(known, _)| **known == name);
        filled.extend(value.map(|(_, value)| value.as_str()));
        filled.push_str(rest);
    }
    filled
}

/// The line, from 1, of the byte `at`.
fn line_of(source: &str, at: usize) -> Option<usize> {
    source.get(..at).map(|before| before.matches('\n').count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::Currency;

    fn shipped(language: &str) -> Formats {
        let source = match language {
            "de" => include_str!("../../../config/templates/de/formats.toml"),
            _ => include_str!("../../../config/templates/en/formats.toml"),
        };
        Formats::parse(source).unwrap()
    }

    fn written(language: &str, amount: &str, currency: &str) -> String {
        let currency = Currency::parse(currency).unwrap();
        shipped(language).amount(Money::parse(amount, currency).unwrap())
    }

    #[test]
    fn an_amount_is_grouped_and_keeps_every_decimal_of_its_currency() {
        assert_eq!(written("de", "1234.56", "EUR"), "1.234,56 EUR");
        assert_eq!(written("en", "1234.56", "EUR"), "EUR 1,234.56");
        assert_eq!(written("de", "-119", "EUR"), "-119,00 EUR");
        assert_eq!(written("en", "-1000000.01", "USD"), "USD -1,000,000.01");
        assert_eq!(written("de", "0.05", "EUR"), "0,05 EUR");
        assert_eq!(written("de", "123456", "JPY"), "123.456 JPY");
        assert_eq!(written("en", "999.1234", "CLF"), "CLF 999.1234");
    }

    #[test]
    fn a_date_is_written_as_its_language_does() {
        let date = NaiveDate::from_ymd_opt(2026, 3, 1).unwrap();
        assert_eq!(shipped("de").date(date), "01.03.2026");
        assert_eq!(shipped("en").date(date), "1 March 2026");
    }

    #[test]
    fn a_wrong_pattern_is_named_with_its_line() {
        let source = |date: &str, names: &str, amount: &str| {
            format!(
                "date = {date:?}\nmonth_names = {names}\namount = {amount:?}\ndecimal_mark = \",\"\ngroup_mark = \"\"\n"
            )
        };
        let line = |source: &str| Formats::parse(source).map(|_| ()).unwrap_err().line;
        assert_eq!(line(&source("{dya}", "[]", "{amount}")), Some(1));
        assert_eq!(line(&source("{day", "[]", "{amount}")), Some(1));
        assert_eq!(line(&source("{month_name}", "[\"x\"]", "{amount}")), Some(2));
        assert_eq!(line(&source("{day}", "[]", "{currency}")), Some(3));
        assert_eq!(line("date = 1\n"), Some(1));
        assert!(Formats::parse("").is_err());
    }
}
