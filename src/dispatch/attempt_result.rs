//! What the relay said to an attempt, and what it means for the record.

use crate::domain::delivery::{Attempt, Intent, Outcome, Reply, Stage, Verdict};
use crate::mail::outcome::Failure;

/// What came of an attempt.
pub(super) struct AttemptResult {
    pub(super) outcome: Result<Reply, Failure>,
    pub(super) verdict: Verdict,
}

impl From<Result<Reply, Failure>> for AttemptResult {
    fn from(outcome: Result<Reply, Failure>) -> Self {
        let verdict = match &outcome {
            Ok(_) => Verdict::Accepted,
            Err(failure) => failure.verdict(),
        };
        Self { outcome, verdict }
    }
}

impl AttemptResult {
    pub(super) fn stage(&self) -> Stage {
        self.outcome.as_ref().map_or_else(|failure| failure.stage, |_| Stage::FinalDot)
    }

    pub(super) fn reply(&self) -> Option<&Reply> {
        match &self.outcome {
            Ok(reply) => Some(reply),
            Err(failure) => failure.reply.as_ref(),
        }
    }

    /// What went wrong without a word of the relay's.
    pub(super) fn cause(&self) -> Option<&str> {
        let failure = self.outcome.as_ref().err()?;
        failure.reply.is_none().then_some(&failure.cause)
    }

    /// For the record; none if it does not count.
    pub(super) fn attempt(&self, intent: Intent) -> Option<Attempt> {
        let outcome = match self.verdict {
            Verdict::Accepted => Outcome::Accepted,
            Verdict::Deferred => Outcome::Deferred,
            Verdict::AddressRejected | Verdict::MessageRefused => Outcome::Rejected,
            Verdict::Uncertain => Outcome::Uncertain,
            Verdict::RelayFailed => return None,
        };
        Some(Attempt {
            intent,
            stage: self.stage(),
            reply: self.reply().cloned(),
            cause: self.cause().map(str::to_owned),
            outcome,
        })
    }
}
