//! One connection to the relay, and what is said on it.
//!
//! lettre's connection speaks, on a stream of ours ([`stream`]), and never its transport or pool. MAIL,
//! RCPT, DATA, the message and the final dot are driven one by one, so that the stage reached is known
//! and not guessed, and only the exact code that a step needs counts.
//!
//! Invariants:
//! - Each step has its time-out. A step that did not end well, or whose future was dropped, leaves the
//!   connection closed unless the relay's answer shows that both sides are in step: the live part is
//!   taken out for each operation and put back only then.
//! - [`Stage::FinalDot`] begins with the first octet of the final dot. Before it the relay cannot have
//!   the message, and whatever the relay said before it is not taken for an answer to it.

mod body;
mod opening;
pub(super) mod replies;
mod session;
mod stream;

use crate::domain::address::EmailAddress;
use crate::domain::delivery::{Reply, Stage};

pub(super) use self::opening::Relay;
use self::session::{Live, Position};
use super::file::FileConnection;
use super::outcome::Failure;
use super::transport::Credentials;

/// One open way to hand over messages, one after the other.
#[derive(Debug)]
pub enum Connection {
    /// To a relay.
    Smtp(SmtpConnection),
    /// Into a directory.
    File(FileConnection),
}

impl Connection {
    /// Begins a message of `message_octets` from `from` to `to`: up to the relay's 354, one round trip
    /// where it offers PIPELINING. A transaction that failed before is reset first.
    pub async fn begin(
        &mut self,
        from: &EmailAddress,
        to: &EmailAddress,
        message_octets: u64,
    ) -> Result<(), Failure> {
        match self {
            Self::Smtp(connection) => connection.begin(from, to, message_octets).await,
            Self::File(connection) => connection.begin(from, to),
        }
    }

    /// Hands over the message that was begun. `Ok` only for 250 to the final dot: then it is the relay's.
    /// A last line without CRLF gets one.
    pub async fn finish(&mut self, message: &[u8]) -> Result<Reply, Failure> {
        match self {
            Self::Smtp(connection) => connection.finish(message).await,
            Self::File(connection) => connection.finish(message).await,
        }
    }

    /// Whether it can be used again. Once false it stays so, and the socket is closed.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        match self {
            Self::Smtp(connection) => connection.live.is_some(),
            Self::File(_) => true,
        }
    }

    /// Whether a connection that was idle is still there, so that one that the relay has closed, or
    /// said 421 on, is not blamed on the next invoice. Sends nothing.
    pub async fn is_alive(&mut self) -> bool {
        match self {
            Self::Smtp(connection) => connection.is_alive().await,
            Self::File(_) => true,
        }
    }

    /// Ends a transaction that failed or is given up before its 354; nothing to do between messages. After the 354 there is
    /// no way back, and the connection is closed.
    pub async fn reset(&mut self) -> Result<(), Failure> {
        match self {
            Self::Smtp(connection) => connection.reset().await,
            Self::File(connection) => {
                connection.reset();
                Ok(())
            }
        }
    }

    /// Says good-bye and closes; takes 2 seconds at most.
    pub async fn quit(self) {
        match self {
            Self::Smtp(connection) => connection.quit().await,
            Self::File(_) => {}
        }
    }
}

/// A connection to a relay that has answered EHLO and, with credentials, AUTH.
#[derive(Debug)]
pub struct SmtpConnection {
    /// Gone once the two sides may be out of step.
    live: Option<Box<Live>>,
}

impl SmtpConnection {
    /// Connects, up to EHLO and AUTH.
    pub(super) async fn open(
        relay: &Relay,
        credentials: Option<&Credentials>,
    ) -> Result<Self, Failure> {
        let stream = opening::open(relay).await?;
        let mut live = Box::new(Live::greet(stream, relay).await?);
        if let Some(credentials) = credentials {
            live.authenticate(credentials).await?;
        }
        Ok(Self { live: Some(live) })
    }

    async fn begin(
        &mut self,
        from: &EmailAddress,
        to: &EmailAddress,
        octets: u64,
    ) -> Result<(), Failure> {
        let mut live = self.take(Stage::Mail)?;
        let begun = live.begin(from, to, octets).await;
        self.put_back(live);
        begun
    }

    async fn finish(&mut self, message: &[u8]) -> Result<Reply, Failure> {
        let mut live = self.take(Stage::Data)?;
        let finished = live.finish(message).await;
        self.put_back(live);
        finished
    }

    async fn reset(&mut self) -> Result<(), Failure> {
        let mut live = self.take(Stage::Mail)?;
        let reset = live.reset().await;
        self.put_back(live);
        reset
    }

    async fn is_alive(&mut self) -> bool {
        match self.live.take() {
            Some(live) if live.is_quiet().await => {
                self.live = Some(live);
                true
            }
            Some(_) | None => false,
        }
    }

    async fn quit(self) {
        if let Some(live) = self.live {
            live.quit().await;
        }
    }

    fn take(&mut self, stage: Stage) -> Result<Box<Live>, Failure> {
        self.live
            .take()
            .ok_or_else(|| Failure::silence(stage, "the connection was lost before"))
    }

    fn put_back(&mut self, live: Box<Live>) {
        if live.position() != Position::Lost {
            self.live = Some(live);
        }
    }
}
