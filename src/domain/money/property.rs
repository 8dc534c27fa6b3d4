//! What must hold of every text that is taken for an amount, by the pattern read digit by digit.

use super::{Currency, Money};

/// A currency's code, a blank and an amount, such as `EUR 119.00`.
pub(crate) fn amounts(text: &[u8]) {
    let Some((code, amount)) = std::str::from_utf8(text).ok().and_then(|text| text.split_once(' '))
    else {
        return;
    };
    let Ok(currency) = Currency::parse(code) else {
        return;
    };
    assert!(
        code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase()),
        "{code:?} is a code"
    );
    assert_eq!(currency.code(), code);
    let decimals = currency.exponent();
    if let Some((_, known)) = KNOWN.iter().find(|(known, _)| *known == code) {
        assert_eq!(decimals, *known, "{code}");
    }

    let parsed = Money::parse(amount, currency).ok();
    let minor = minor_units(amount.as_bytes(), decimals);
    assert_eq!(parsed.map(Money::minor), minor, "{code} {amount:?}");
    let Some(money) = parsed else {
        return;
    };

    assert_eq!(money, Money::from_minor(money.minor(), currency));
    assert_eq!(money.is_negative(), money.minor() < 0);
    let written = money.amount();
    assert_eq!(Money::parse(&written, currency), Ok(money), "{written:?} read again");
    let (_, fraction) = written.split_once('.').unwrap_or((&written, ""));
    assert_eq!(fraction.len(), decimals, "{written:?} has all its decimals");
    assert_eq!(money.to_string(), format!("{written} {code}"));
    let (integer, fraction) = money.digits();
    assert_eq!(written.replace(['-', '.'], ""), integer + &fraction);
}

/// Decimals by ISO 4217, of some.
const KNOWN: [(&str, usize); 6] =
    [("EUR", 2), ("CHF", 2), ("USD", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4)];

/// The minor units of `^-?(0|[1-9][0-9]{0,14})(\.[0-9]+)?$` with at most so many decimals.
fn minor_units(amount: &[u8], decimals: usize) -> Option<i128> {
    let (sign, digits) = match amount {
        [b'-', digits @ ..] => (-1, digits),
        digits => (1, digits),
    };
    let mut minor = 0_i128;
    let (mut before, mut after) = (0, None);
    for byte in digits {
        match (byte, after) {
            (b'.', None) if before > 0 => after = Some(0),
            (b'0'..=b'9', Some(count)) => after = Some(count + 1),
            // Nothing follows a leading nought but the point.
            (b'0'..=b'9', None) if digits[0] != b'0' || before == 0 => before += 1,
            _ => return None,
        }
        if before > 15 || after.is_some_and(|count| count > decimals) {
            return None;
        }
        if *byte != b'.' {
            minor = minor * 10 + i128::from(byte - b'0');
        }
    }
    if before == 0 || after == Some(0) {
        return None;
    }
    for _ in after.unwrap_or(0)..decimals {
        minor *= 10;
    }
    Some(sign * minor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_an_amount_by_the_pattern_or_none(bytes in prop::collection::vec(any::<u8>(), 0..24)) {
            amounts(&bytes);
            amounts(&[b"EUR ", bytes.as_slice()].concat());
        }

        #[test]
        fn what_looks_like_an_amount_is_one_by_the_pattern_or_none(
            code in "EUR|JPY|KWD|CLF|XAU|[A-Z]{3}",
            amount in "-?(0|[1-9][0-9]{0,16})(\\.[0-9]{0,5})?",
            at in any::<prop::sample::Index>(),
            other in "[-+.,0-9eE ]",
        ) {
            amounts(format!("{code} {amount}").as_bytes());
            let at = at.index(amount.len());
            amounts(format!("{code} {}{other}{}", &amount[..at], &amount[at + 1..]).as_bytes());
        }
    }
}
