//! When a failed attempt is repeated, and when no more.

use std::time::Duration;

/// Fewest attempts at an address before it may be given up.
pub const GIVE_UP_ATTEMPTS: u32 = 12;
/// How many uncertain attempts at an address lead to a hold.
pub const UNCERTAIN_MAX: u32 = 3;
/// For how long a rejected address counts for the brake on rejections.
pub const REJECTIONS_WINDOW: Duration = Duration::from_secs(600);

/// Exponential backoff with full jitter between its two bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The shortest delay.
    pub first: Duration,
    /// The longest delay.
    pub max: Duration,
    /// An address is given up once the delays waited for it add up to this, and it had
    /// [`GIVE_UP_ATTEMPTS`]. Time in which nothing was tried (relay down, paused) does not count.
    pub give_up_after: Duration,
}

impl Backoff {
    /// The delay after failure number `failures` (from 1). `jitter` is uniform in 0..1; the delay is
    /// uniform between `first` and a bound that doubles with each failure up to `max`.
    #[must_use]
    pub fn delay(&self, failures: u32, jitter: f64) -> Duration {
        let doubled = 2_u32.checked_pow(failures).and_then(|factor| self.first.checked_mul(factor));
        let bound = doubled.unwrap_or(self.max).min(self.max).max(self.first);
        let spread = bound.saturating_sub(self.first);
        self.first + spread.mul_f64(jitter.clamp(0.0, 1.0))
    }

    /// Whether an address with so many failures and delays is given up.
    #[must_use]
    pub fn gives_up(&self, failures: u32, waited: Duration) -> bool {
        failures >= GIVE_UP_ATTEMPTS && waited >= self.give_up_after
    }
}

/// What happens after an attempt of unknown outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterUncertain {
    /// It is repeated under the same Message-ID: a second copy rather than none.
    Resend,
    /// The invoice is held for an operator.
    Hold,
}

/// How deliveries are retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Delays and their end.
    pub backoff: Backoff,
    /// After an attempt of unknown outcome.
    pub after_uncertain: AfterUncertain,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_delay_stays_between_its_bounds(failures in 1_u32..200, jitter in 0.0..1.0_f64) {
            let backoff = Backoff { first: Duration::from_secs(300), max: Duration::from_secs(14_400), give_up_after: Duration::ZERO };
            let delay = backoff.delay(failures, jitter);
            prop_assert!(backoff.first <= delay && delay <= backoff.max);
        }
    }

    #[test]
    fn an_address_is_given_up_after_the_time_and_twelve_attempts() {
        let backoff = Backoff {
            first: Duration::from_secs(1),
            max: Duration::from_secs(2),
            give_up_after: Duration::from_secs(60),
        };
        assert!(!backoff.gives_up(11, Duration::from_secs(100)));
        assert!(!backoff.gives_up(12, Duration::from_secs(59)));
        assert!(backoff.gives_up(12, Duration::from_secs(60)));
    }
}
