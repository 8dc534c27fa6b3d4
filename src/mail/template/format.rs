//! How a language writes dates and amounts: a table of its own, so that a translation needs no code.
//!
//! Amounts are put together from digits; nothing is rounded or passes through a float.

use chrono::{Datelike as _, NaiveDate};
use serde::Deserialize;

use crate::domain::money::Money;

/// Of a language; checked when it is read.
#[derive(Debug, Clone)]
pub(super) struct Formats {
    date: Vec<Piece<DateField>>,
    month_names: Vec<String>,
    amount: Vec<Piece<AmountField>>,
    decimal_mark: String,
    group_mark: String,
}

/// A pattern is literal text and fields in braces.
#[derive(Debug, Clone)]
enum Piece<F> {
    Literal(String),
    Field(F),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DateField {
    Day,
    Day2,
    Month,
    Month2,
    MonthName,
    Year,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AmountField {
    Amount,
    Currency,
}

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
        let date = pieces(raw.date.get_ref(), DATE_FIELDS)
            .map_err(|what| bad(Some(raw.date.span()), what))?;
        let amount = pieces(raw.amount.get_ref(), AMOUNT_FIELDS)
            .map_err(|what| bad(Some(raw.amount.span()), what))?;
        let needs_names =
            date.iter().any(|piece| matches!(piece, Piece::Field(DateField::MonthName)));
        if needs_names && raw.month_names.get_ref().len() != 12 {
            let what = "expected twelve names, since the date uses {month_name}".to_owned();
            return Err(bad(Some(raw.month_names.span()), what));
        }
        let amounts = amount
            .iter()
            .filter(|piece| matches!(piece, Piece::Field(AmountField::Amount)))
            .count();
        if amounts != 1 {
            let what = "expected {amount} once".to_owned();
            return Err(bad(Some(raw.amount.span()), what));
        }
        Ok(Self {
            date,
            month_names: raw.month_names.into_inner(),
            amount,
            decimal_mark: raw.decimal_mark,
            group_mark: raw.group_mark,
        })
    }

    /// A date as the language writes it.
    pub(super) fn date(&self, date: NaiveDate) -> String {
        fill(&self.date, |field| match field {
            DateField::Day => date.day().to_string(),
            DateField::Day2 => format!("{:02}", date.day()),
            DateField::Month => date.month().to_string(),
            DateField::Month2 => format!("{:02}", date.month()),
            DateField::MonthName => usize::try_from(date.month0())
                .ok()
                .and_then(|at| self.month_names.get(at))
                .cloned()
                .unwrap_or_default(),
            DateField::Year => format!("{:04}", date.year()),
        })
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
        fill(&self.amount, |field| match field {
            AmountField::Amount => number.clone(),
            AmountField::Currency => money.currency().code().to_owned(),
        })
    }
}

const DATE_FIELDS: &[(&str, DateField)] = &[
    ("day", DateField::Day),
    ("day2", DateField::Day2),
    ("month", DateField::Month),
    ("month2", DateField::Month2),
    ("month_name", DateField::MonthName),
    ("year", DateField::Year),
];

const AMOUNT_FIELDS: &[(&str, AmountField)] =
    &[("amount", AmountField::Amount), ("currency", AmountField::Currency)];

fn pieces<F: Copy>(pattern: &str, fields: &[(&str, F)]) -> Result<Vec<Piece<F>>, String> {
    let mut pieces = Vec::new();
    let mut rest = pattern;
    while let Some((literal, after)) = rest.split_once('{') {
        let field = after.split_once('}').and_then(|(name, after)| {
            let (_, field) = fields.iter().find(|(known, _)| *known == name)?;
            Some((*field, after))
        });
        let Some((field, after)) = field else {
            let names: Vec<String> = fields.iter().map(|(name, _)| format!("{{{name}}}")).collect();
            return Err(format!("expected only {} in braces", names.join(", ")));
        };
        pieces.push(Piece::Literal(literal.to_owned()));
        pieces.push(Piece::Field(field));
        rest = after;
    }
    pieces.push(Piece::Literal(rest.to_owned()));
    Ok(pieces)
}

fn fill<F: Copy>(pieces: &[Piece<F>], value: impl Fn(F) -> String) -> String {
    pieces
        .iter()
        .map(|piece| match piece {
            Piece::Literal(text) => text.clone(),
            Piece::Field(field) => value(*field),
        })
        .collect()
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
