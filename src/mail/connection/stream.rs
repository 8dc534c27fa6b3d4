//! The stream to the relay: commands go out, whole, well-formed replies come back, each within its time-out.
//!
//! On a time-out the step is dropped midway, perhaps in the middle of a command or reply: the caller gives
//! up the stream.

use std::fmt::{self, Display};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::timeout;

use super::replies::{ReplyReader, Spoken};
use crate::config::SmtpTimeouts;
use crate::domain::delivery::Stage;
use crate::mail::outcome::Failure;

/// Octets read from the relay at once.
const READ_OCTETS: usize = 4096;

/// What carries the octets, encrypted or not.
pub trait Socket: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Socket for T {}

/// The socket, and what was read from it.
pub(super) struct RelayStream {
    socket: Box<dyn Socket>,
    reader: ReplyReader,
    peer: SocketAddr,
    is_encrypted: bool,
    timeouts: SmtpTimeouts,
}

impl RelayStream {
    /// A stream over `socket`, whose other end is `peer`.
    pub(super) fn new(
        socket: Box<dyn Socket>,
        peer: SocketAddr,
        is_encrypted: bool,
        timeouts: SmtpTimeouts,
    ) -> Self {
        Self { socket, reader: ReplyReader::default(), peer, is_encrypted, timeouts }
    }

    /// The bare socket, for TLS over it. `None` if the relay sent something that was not asked for, which
    /// would otherwise be read as if it had come encrypted (RFC 3207, section 6).
    pub(super) fn into_socket(self) -> Option<Box<dyn Socket>> {
        (!self.reader.has_leftover()).then_some(self.socket)
    }

    /// The relay's address.
    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Whether the socket is encrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// Writes and flushes.
    pub(super) async fn say(&mut self, stage: Stage, octets: &[u8]) -> Result<(), Failure> {
        within(stage, self.timeouts, self.write(octets)).await
    }

    /// The next reply.
    pub(super) async fn hear(&mut self, stage: Stage) -> Result<Spoken, Failure> {
        within(stage, self.timeouts, self.read()).await
    }

    /// Sends a command, with its line end, and reads the reply to it.
    pub(super) async fn ask(
        &mut self,
        stage: Stage,
        command: impl Display,
    ) -> Result<Spoken, Failure> {
        let (command, timeouts) = (command.to_string(), self.timeouts);
        let asked = async {
            self.write(command.as_bytes()).await?;
            self.read().await
        };
        within(stage, timeouts, asked).await
    }

    /// Fails if the relay has said something, or hung up, where it had nothing to say: that must not be taken for
    /// the answer to what comes next. Does not wait for more.
    pub(super) async fn nothing_unasked(&mut self, stage: Stage) -> Result<(), Failure> {
        // Lets the runtime look at its sockets, so that what has arrived is seen.
        tokio::task::yield_now().await;
        let heard = poll_fn(|cx| Poll::Ready(self.poll_reply(cx))).await;
        match heard {
            Poll::Ready(Ok(spoken)) => Err(Failure::spoken(stage, &spoken)),
            Poll::Pending if !self.reader.has_leftover() => Ok(()),
            Poll::Ready(Err(_)) | Poll::Pending => Err(Failure::silence(
                stage,
                "the relay closed the connection or sent an unexpected reply",
            )),
        }
    }

    /// Says that nothing more is said.
    pub(super) async fn shutdown(&mut self) {
        // A relay that is gone has closed it itself.
        let _ = self.socket.shutdown().await;
    }

    async fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.socket.write_all(octets).await?;
        self.socket.flush().await
    }

    async fn read(&mut self) -> io::Result<Spoken> {
        poll_fn(|cx| self.poll_reply(cx)).await
    }

    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Spoken>> {
        loop {
            let bad = |bad| io::Error::new(io::ErrorKind::InvalidData, bad);
            if let Some(spoken) = self.reader.next_reply().map_err(bad)? {
                return Poll::Ready(Ok(spoken));
            }
            let mut octets = [0; READ_OCTETS];
            let mut buffer = ReadBuf::new(&mut octets);
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            self.reader.push(buffer.filled());
        }
    }
}

/// Shows nothing of what passes through: credentials and invoices do.
impl fmt::Debug for RelayStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayStream").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// `step`, within the time-out of its stage.
pub(super) async fn within<T>(
    stage: Stage,
    timeouts: SmtpTimeouts,
    step: impl Future<Output = io::Result<T>>,
) -> Result<T, Failure> {
    let limit = timeouts.of(stage);
    timeout(limit, step)
        .await
        .map_err(|_| Failure::timed_out(stage, limit))?
        .map_err(|error| Failure::io(stage, &error))
}
