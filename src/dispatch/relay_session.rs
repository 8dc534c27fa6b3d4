//! What a worker sends with: a connection to the relay, opened when it is needed, kept while it is good.
//!
//! Whether there is a connection that can be used is said here and nowhere below: a step takes the connection and
//! gives it back only if both sides are in step. A kept connection that the relay has closed meanwhile is replaced
//! without blame: relays close idle ones, and end those that brought them enough messages with a 421 to MAIL.

use crate::domain::address::EmailAddress;
use crate::domain::delivery::{Reply, Stage, Verdict};
use crate::mail::message::Message;
use crate::mail::outcome::{Failed, Failure};
use crate::mail::transport::{BegunMessage, Connection, Transport};

/// At most one connection.
#[derive(Debug)]
pub(super) struct RelaySession {
    connection: Option<Connection>,
    /// Whether it was used before: the relay may close it at any time.
    is_kept: bool,
}

impl RelaySession {
    /// A session with a connection that was kept, or with none yet.
    pub(super) fn new(kept: Option<Connection>) -> Self {
        Self { is_kept: kept.is_some(), connection: kept }
    }

    /// Sees to it that there is a connection.
    pub(super) async fn open(&mut self, transport: &Transport) -> Result<(), Failure> {
        if let Some(connection) = self.connection.take()
            && let Some(connection) = connection.if_alive().await
        {
            self.connection = Some(connection);
            return Ok(());
        }
        self.connection = Some(transport.connect().await?);
        self.is_kept = false;
        Ok(())
    }

    /// Begins a message, up to the relay's 354; once more on a new connection if a kept one failed before
    /// the recipient was named.
    pub(super) async fn begin(
        &mut self,
        transport: &Transport,
        from: &EmailAddress,
        to: &EmailAddress,
        message_octets: u64,
    ) -> Result<BegunMessage, Failure> {
        let was_kept = self.is_kept;
        match self.begin_once(from, to, message_octets).await {
            Err(failure) if was_kept && is_the_end_of_a_connection(&failure) => {
                self.open(transport).await?;
                self.begin_once(from, to, message_octets).await
            }
            begun => begun,
        }
    }

    /// Hands over the message that was begun.
    pub(super) async fn finish(
        &mut self,
        begun: BegunMessage,
        message: &Message,
    ) -> Result<Reply, Failure> {
        match begun.finish(message).await {
            Ok((reply, connection)) => {
                self.connection = Some(connection);
                Ok(reply)
            }
            Err(failed) => Err(self.take_back(failed)),
        }
    }

    /// The connection, if it can be used again.
    pub(super) fn take_connection(&mut self) -> Option<Connection> {
        self.connection.take()
    }

    async fn begin_once(
        &mut self,
        from: &EmailAddress,
        to: &EmailAddress,
        message_octets: u64,
    ) -> Result<BegunMessage, Failure> {
        let Some(connection) = self.connection.take() else {
            return Err(Failure::silence(Stage::Mail, "there is no connection"));
        };
        // The relay will have served it by then, and may have enough of it after a refusal, too.
        self.is_kept = true;
        let begun = connection.begin(from, to, message_octets).await;
        begun.map_err(|failed| self.take_back(failed))
    }

    fn take_back(&mut self, failed: Failed) -> Failure {
        self.connection = failed.connection;
        failed.failure
    }
}

/// The relay hung up, or said 421, in answer to MAIL.
fn is_the_end_of_a_connection(failure: &Failure) -> bool {
    failure.verdict() == Verdict::RelayFailed
        && failure.stage == Stage::Mail
        && failure.reply.as_ref().is_none_or(|reply| reply.code == 421)
}
