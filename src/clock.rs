//! The only place that reads the wall clock.
//!
//! Instants are UTC in whole milliseconds, which is what the store keeps, so that a value read back
//! equals the one written. The other clocks let tests stop at a chosen instant and move it, or go with the
//! runtime's time, which may be paused.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

/// Tells the time.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    Manual(Arc<AtomicI64>),
    Runtime { began: Instant, ahead: Arc<AtomicI64> },
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stays at `at` until [`Clock::set`] moves it; its clones move with it.
    #[must_use]
    pub fn manual(at: DateTime<Utc>) -> Self {
        Self(Source::Manual(Arc::new(AtomicI64::new(at.timestamp_millis()))))
    }

    /// A clock at `at` that goes on with tokio's, and is moved by [`Clock::set`]; its clones with it.
    #[must_use]
    pub fn of_the_runtime(at: DateTime<Utc>) -> Self {
        Self(Source::Runtime {
            began: Instant::now(),
            ahead: Arc::new(AtomicI64::new(at.timestamp_millis())),
        })
    }

    /// Now, in whole milliseconds.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        let millis = match &self.0 {
            Source::System => system_millis(),
            Source::Manual(at) => at.load(Ordering::SeqCst),
            Source::Runtime { began, ahead } => ahead.load(Ordering::SeqCst) + millis_since(*began),
        };
        DateTime::from_timestamp_millis(millis).unwrap_or(DateTime::UNIX_EPOCH)
    }

    /// Moves a clock, forwards or backwards; the system's is left alone.
    pub fn set(&self, to: DateTime<Utc>) {
        match &self.0 {
            Source::System => {}
            Source::Manual(at) => at.store(to.timestamp_millis(), Ordering::SeqCst),
            Source::Runtime { began, ahead } => {
                ahead.store(to.timestamp_millis() - millis_since(*began), Ordering::SeqCst);
            }
        }
    }
}

fn millis_since(began: Instant) -> i64 {
    i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "the one place")]
fn system_millis() -> i64 {
    match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => {
            i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis)
        }
    }
}
