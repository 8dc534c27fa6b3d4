//! What a failed step means.
//!
//! A failure is the stage that was reached, the relay's reply if there was one, and a cause in our own
//! words. The errors of the operating system and of TLS end here; neither their text nor a relay's
//! decides anything, and a cause carries no address and no secret.

use std::io;
use std::time::Duration;

use tokio_rustls::rustls;

use crate::domain::address::masked;
use crate::domain::delivery::{Heard, Reply, Stage, Verdict, classify};

use super::connection::replies::{BadReply, Spoken};
use super::transport::Connection;

/// Longest cause, in characters.
const CAUSE_CHARACTERS: usize = 200;

/// A step that did not go well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {cause}", stage.as_str())]
pub struct Failure {
    /// How far it got.
    pub stage: Stage,
    /// What the relay said there, if it said something.
    pub reply: Option<Reply>,
    /// What went wrong, for the log and the attempt's record; without address and secret.
    pub cause: String,
    blame: Blame,
}

/// A step that did not go well, and the connection if it can be used again.
#[derive(Debug)]
pub struct Failed {
    /// What went wrong.
    pub failure: Failure,
    /// `None`: it was closed.
    pub connection: Option<Connection>,
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self { failure, connection: None }
    }
}

/// What a failure is judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blame {
    /// The stage and the reply.
    Exchange,
    /// The message, which cannot be sent to this relay as it is.
    Message,
}

impl Failure {
    /// The relay said nothing that counts: a time-out, a closed connection, bytes that are no reply.
    pub fn silence(stage: Stage, cause: impl Into<String>) -> Self {
        Self { stage, reply: None, cause: cause.into(), blame: Blame::Exchange }
    }

    /// The relay said something else than what was needed to go on.
    #[must_use]
    pub fn refused(stage: Stage, reply: Reply) -> Self {
        Self {
            stage,
            cause: format!("the relay answered {}", reply.code),
            reply: Some(reply),
            blame: Blame::Exchange,
        }
    }

    /// The message cannot be sent as it is, whatever the relay would say.
    pub fn message(stage: Stage, cause: impl Into<String>) -> Self {
        Self { stage, reply: None, cause: cause.into(), blame: Blame::Message }
    }

    /// What it means for the invoice and its address.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self.blame {
            Blame::Message => Verdict::MessageRefused,
            Blame::Exchange => {
                let heard = self.reply.as_ref().map_or(Heard::Nothing, Heard::Reply);
                classify(self.stage, heard)
            }
        }
    }

    /// What went wrong and what the relay said to it, without addresses, for logs and operators.
    #[must_use]
    pub fn in_words(&self) -> String {
        match &self.reply {
            Some(reply) => {
                let said = reply.to_string();
                format!("{}: the relay answered {}", self.stage.as_str(), masked(&said))
            }
            None => self.to_string(),
        }
    }

    pub(super) fn spoken(stage: Stage, spoken: &Spoken) -> Self {
        Self::refused(stage, spoken.reply())
    }

    pub(super) fn timed_out(stage: Stage, limit: Duration) -> Self {
        Self::silence(stage, format!("no answer within {limit:?}"))
    }

    /// `error` is from the operating system, from rustls, or a [`BadReply`].
    pub(super) fn io(stage: Stage, error: &io::Error) -> Self {
        let cause = match error.get_ref() {
            Some(inner) if inner.is::<BadReply>() || inner.is::<rustls::Error>() => {
                inner.to_string()
            }
            Some(_) | None if error.kind() == io::ErrorKind::UnexpectedEof => {
                "the relay closed the connection".to_owned()
            }
            Some(_) | None => error.kind().to_string(),
        };
        Self::silence(stage, cause.chars().take(CAUSE_CHARACTERS).collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_cannot_be_sent_is_refused_whatever_the_stage() {
        assert_eq!(Failure::message(Stage::Mail, "too large").verdict(), Verdict::MessageRefused);
        assert_eq!(Failure::silence(Stage::FinalDot, "lost").verdict(), Verdict::Uncertain);
    }

    #[test]
    fn a_cause_repeats_no_words_of_the_relay() {
        let failure = Failure::refused(
            Stage::Rcpt,
            Reply { code: 550, enhanced: None, text: "<erika@muster.example> unknown".to_owned() },
        );
        assert_eq!(failure.to_string(), "rcpt: the relay answered 550");
    }
}
