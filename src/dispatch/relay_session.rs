//! A worker's connection to the relay: opened when it is needed, kept while it is good.
//!
//! A kept connection that the relay has closed meanwhile is replaced without blaming anybody: relays
//! close idle ones, and end those that brought them enough messages with a 421 to MAIL.

use crate::domain::address::EmailAddress;
use crate::domain::delivery::{Reply, Stage, Verdict};
use crate::mail::message::Message;
use crate::mail::outcome::Failure;
use crate::mail::transport::{Connection, Transport};

/// At most one connection.
#[derive(Debug, Default)]
pub(super) struct RelaySession {
    connection: Option<Connection>,
    /// Whether the relay may have had enough of it.
    is_kept: bool,
}

impl RelaySession {
    /// A session with a connection that was kept, or with none yet.
    pub(super) fn new(kept: Option<Connection>) -> Self {
        Self { is_kept: kept.is_some(), connection: kept }
    }

    /// Sees to it that there is a connection.
    pub(super) async fn open(&mut self, transport: &Transport) -> Result<(), Failure> {
        if let Some(connection) = &mut self.connection
            && connection.is_alive().await
        {
            return Ok(());
        }
        self.close();
        self.connection = Some(transport.connect().await?);
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
    ) -> Result<(), Failure> {
        let was_kept = self.is_kept;
        let begun = self.begin_once(from, to, message_octets).await;
        // The relay has served it by now, and may have enough of it after a refusal, too.
        self.is_kept = true;
        match begun {
            Err(failure) if was_kept && is_the_end_of_a_connection(&failure) => {
                self.close();
                self.open(transport).await?;
                let begun = self.begin_once(from, to, message_octets).await;
                self.is_kept = true;
                begun
            }
            begun => begun,
        }
    }

    /// Hands over the message that was begun.
    pub(super) async fn finish(&mut self, message: &Message) -> Result<Reply, Failure> {
        let Some(connection) = &mut self.connection else {
            return Err(Failure::silence(Stage::Data, "no message was begun"));
        };
        connection.finish(message).await
    }

    /// Closes the connection; a message that was begun is not handed over.
    pub(super) fn close(&mut self) {
        self.connection = None;
        self.is_kept = false;
    }

    /// The connection, if it can be used again.
    pub(super) fn into_usable(self) -> Option<Connection> {
        self.connection.filter(Connection::is_usable)
    }

    async fn begin_once(
        &mut self,
        from: &EmailAddress,
        to: &EmailAddress,
        message_octets: u64,
    ) -> Result<(), Failure> {
        match &mut self.connection {
            Some(connection) => connection.begin(from, to, message_octets).await,
            None => Err(Failure::silence(Stage::Mail, "there is no connection")),
        }
    }
}

/// The relay hung up, or said 421, in answer to MAIL.
fn is_the_end_of_a_connection(failure: &Failure) -> bool {
    failure.verdict() == Verdict::RelayFailed
        && failure.stage == Stage::Mail
        && failure.reply.as_ref().is_none_or(|reply| reply.code == 421)
}
