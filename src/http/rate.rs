//! How many requests a second each sender may bring.
//!
//! A bucket of one second's worth, refilled steadily. A request needs one token to be admitted; what it
//! turns out to cost beyond that, each further line of a batch, is charged afterwards and may leave a debt
//! that has to be refilled first. So a batch larger than the bucket gets through, and the mean holds.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::problem::{Code, Problem};
use crate::domain::id::SenderName;

/// The rates of all senders.
#[derive(Debug)]
pub(super) struct Rates {
    per_second: f64,
    buckets: Mutex<BTreeMap<SenderName, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Rates {
    /// So many requests a second for each sender.
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_second: f64::from(per_second), buckets: Mutex::default() }
    }

    /// Admits a request of this sender, or says when to come again.
    pub(super) fn admit(&self, sender: &SenderName) -> Result<(), Problem> {
        self.with_bucket(sender, |bucket| {
            if bucket.tokens >= 1.0 {
                bucket.tokens -= 1.0;
                return Ok(());
            }
            let wait = Duration::from_secs_f64((1.0 - bucket.tokens) / self.per_second);
            let mut problem = Problem::new(
                Code::TooManyRequests,
                format!("this sender may send {} requests per second", self.per_second),
            );
            // Whole seconds; none would be an invitation to come again at once.
            let seconds = wait.as_millis().div_ceil(1000).max(1);
            problem.retry_after_seconds = u32::try_from(seconds).ok();
            Err(problem)
        })
    }

    /// Charges what an admitted request costs beyond one.
    pub(super) fn charge(&self, sender: &SenderName, more: u32) {
        self.with_bucket(sender, |bucket| bucket.tokens -= f64::from(more));
    }

    fn with_bucket<T>(&self, sender: &SenderName, work: impl FnOnce(&mut Bucket) -> T) -> T {
        let mut buckets = self.buckets.lock();
        let now = Instant::now();
        let full = Bucket { tokens: self.per_second, at: now };
        let bucket = buckets.entry(sender.clone()).or_insert(full);
        let gained = (now - bucket.at).as_secs_f64() * self.per_second;
        bucket.tokens = self.per_second.min(bucket.tokens + gained);
        bucket.at = now;
        work(bucket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    fn name(name: &str) -> SenderName {
        SenderName::parse(name).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_has_one_seconds_worth_at_once_and_then_its_rate() {
        let rates = Rates::new(10);
        let admitted = |rates: &Rates| {
            let admitted = std::iter::from_fn(|| rates.admit(&name("portal")).ok());
            admitted.take(1000).count()
        };
        assert_eq!(admitted(&rates), 10);
        rates.admit(&name("billing")).unwrap();
        advance(Duration::from_millis(500)).await;
        assert_eq!(admitted(&rates), 5);
        advance(Duration::from_secs(3600)).await;
        assert_eq!(admitted(&rates), 10, "nobody saves up");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_too_fast_is_asked_to_wait_for_a_second_at_least() {
        let rates = Rates::new(2_000);
        rates.charge(&name("portal"), 2_000);
        let problem = rates.admit(&name("portal")).unwrap_err();
        assert_eq!(problem.retry_after_seconds, Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_beyond_the_rate_is_taken_and_paid_for_afterwards() {
        let rates = Rates::new(10);
        rates.admit(&name("portal")).unwrap();
        rates.charge(&name("portal"), 99);
        let problem = rates.admit(&name("portal")).unwrap_err();
        assert_eq!(problem.code, Code::TooManyRequests);
        // 90 are owed, and one is needed.
        assert_eq!(problem.retry_after_seconds, Some(10));
        advance(Duration::from_secs(9)).await;
        assert!(rates.admit(&name("portal")).is_err());
        advance(Duration::from_millis(100)).await;
        rates.admit(&name("portal")).unwrap();
    }
}
