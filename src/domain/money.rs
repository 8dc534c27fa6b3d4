//! Money: integer minor units and a currency. No floats, no rounding.

#[cfg(any(test, fuzzing))]
pub(crate) mod property;

use std::fmt;

use super::Invalid;

/// Most digits before the decimal point.
const INTEGER_DIGITS: usize = 15;

/// A currency of ISO 4217 that has minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Currency {
    code: iso_currency::Currency,
    exponent: u16,
}

impl Currency {
    /// A three-letter code in capitals. Codes without minor units (gold, testing) are refused.
    pub fn parse(raw: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::expected("a currency code of ISO 4217 such as EUR");
        let code = iso_currency::Currency::from_code(raw).ok_or_else(invalid)?;
        let exponent = code.exponent().ok_or_else(invalid)?;
        Ok(Self { code, exponent })
    }

    /// The three letters.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.code.code()
    }

    /// How many decimals an amount has.
    #[must_use]
    pub fn exponent(self) -> usize {
        usize::from(self.exponent)
    }
}

/// An amount of a currency, in its minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Money {
    minor: i128,
    currency: Currency,
}

impl Money {
    /// Reads `^-?(0|[1-9][0-9]{0,14})(\.[0-9]+)?$` with at most the currency's decimals.
    pub fn parse(amount: &str, currency: Currency) -> Result<Self, Invalid> {
        let invalid = || {
            Invalid::expected("a decimal number such as \"119.00\", with a point and no grouping")
        };
        let (negative, digits) = match amount.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, amount),
        };
        let (integer, fraction) = match digits.split_once('.') {
            Some((_, "")) => return Err(invalid()),
            Some((integer, fraction)) => (integer, fraction),
            None => (digits, ""),
        };
        let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if !(1..=INTEGER_DIGITS).contains(&integer.len())
            || !is_number(integer)
            || !is_number(fraction)
            || (integer.len() > 1 && integer.starts_with('0'))
        {
            return Err(invalid());
        }
        if fraction.len() > currency.exponent() {
            return Err(Invalid::expected(format!(
                "at most {} decimals, as {} has",
                currency.exponent(),
                currency.code()
            )));
        }
        let padded = format!("{integer}{fraction:0<width$}", width = currency.exponent());
        let minor: i128 = padded.parse().map_err(|_| invalid())?;
        Ok(Self { minor: if negative { -minor } else { minor }, currency })
    }

    /// An amount read back from where it was stored.
    #[must_use]
    pub fn from_minor(minor: i128, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// The amount in minor units.
    #[must_use]
    pub fn minor(self) -> i128 {
        self.minor
    }

    /// Its currency.
    #[must_use]
    pub fn currency(self) -> Currency {
        self.currency
    }

    /// Whether it is less than nothing, as on a credit note.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.minor < 0
    }

    /// The digits before and after the decimal point, without a sign.
    #[must_use]
    pub fn digits(self) -> (String, String) {
        let exponent = self.currency.exponent();
        let padded = format!("{:0>width$}", self.minor.unsigned_abs(), width = exponent + 1);
        let (integer, fraction) = padded.split_at(padded.len() - exponent);
        (integer.to_owned(), fraction.to_owned())
    }

    /// The amount as it goes over the wire, with all decimals of its currency.
    #[must_use]
    pub fn amount(self) -> String {
        let (integer, fraction) = self.digits();
        let sign = if self.is_negative() { "-" } else { "" };
        let point = if fraction.is_empty() { "" } else { "." };
        format!("{sign}{integer}{point}{fraction}")
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount(), self.currency.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(amount: &str, code: &str) -> Result<Money, Invalid> {
        Money::parse(amount, Currency::parse(code).unwrap())
    }

    #[test]
    fn an_amount_has_the_decimals_of_its_currency() {
        assert_eq!(money("119", "EUR").unwrap().amount(), "119.00");
        assert_eq!(money("-0.5", "EUR").unwrap().minor(), -50);
        assert_eq!(money("1000", "JPY").unwrap().amount(), "1000");
        assert_eq!(money("0.005", "KWD").unwrap().minor(), 5);
        assert_eq!(money("999999999999999.9999", "CLF").unwrap().amount(), "999999999999999.9999");
    }

    #[test]
    fn an_amount_that_could_be_misread_is_refused() {
        for raw in [
            "",
            "-",
            "1.234,56",
            "1,234.56",
            "NaN",
            "inf",
            "1e3",
            "+1",
            " 1",
            "1 ",
            "01",
            "1.",
            ".5",
            "--1",
            "1.2.3",
            "0x1",
            "١",
            "1234567890123456",
        ] {
            assert!(money(raw, "EUR").is_err(), "{raw}");
        }
        assert!(money("1.005", "EUR").is_err());
        assert!(money("1.0", "JPY").is_err());
    }

    #[test]
    fn a_currency_without_minor_units_is_refused() {
        for code in ["XAU", "XXX", "eur", "EURO", ""] {
            assert!(Currency::parse(code).is_err(), "{code}");
        }
    }
}
