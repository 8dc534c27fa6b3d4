//! The stream between lettre and the relay.
//!
//! lettre writes through it unchanged and reads whole, well-formed replies from it, one at a time, so
//! that it never holds bytes that we do not know of. What the relay really said is noted here, and that
//! is what is judged. The same stream is written to directly for the message itself, and listened to
//! when nothing should come.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::replies::{BadReply, ReplyReader, Spoken};

/// Octets read from the relay at once.
const READ_OCTETS: usize = 4096;
/// Read by lettre as the greeting, which we have taken ourselves.
const GREETING: &[u8] = b"220 -\r\n";

/// A stream of octets to and from the relay.
pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// What carries the octets.
pub(super) enum Link {
    Plain(Box<dyn Socket>),
    Tls(Box<TlsStream<Box<dyn Socket>>>),
}

impl Link {
    fn socket(&mut self) -> Pin<&mut dyn Socket> {
        let socket: &mut dyn Socket = match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.as_mut(),
        };
        Pin::new(socket)
    }
}

/// A link, and what was read from it.
pub(super) struct Wire {
    link: Link,
    reader: ReplyReader,
    /// What lettre has yet to read of the last reply.
    for_lettre: VecDeque<u8>,
    /// The replies that lettre was given and nobody has judged yet.
    heard: VecDeque<Spoken>,
    answers: Answers,
}

/// How many answers lettre gets before its stream ends. It says QUIT after an answer to EHLO that it
/// does not like and waits for one more, which may never come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answers {
    One,
    None,
    All,
}

/// What was there when nothing should have been.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unasked {
    /// A whole reply.
    Reply(Spoken),
    /// A closed connection, or bytes that are no whole reply.
    Noise,
}

impl Wire {
    pub(super) fn new(link: Link) -> Self {
        Self {
            link,
            reader: ReplyReader::default(),
            for_lettre: VecDeque::new(),
            heard: VecDeque::new(),
            answers: Answers::One,
        }
    }

    /// The bare link, for TLS over it. `None` if the relay sent something that was not asked for, which
    /// would otherwise be read as if it had come encrypted (RFC 3207, section 6).
    pub(super) fn into_link(self) -> Option<Link> {
        (!self.reader.has_leftover()).then_some(self.link)
    }

    /// The next reply.
    pub(super) async fn hear(&mut self) -> io::Result<Spoken> {
        poll_fn(|cx| self.poll_reply(cx)).await
    }

    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Spoken>> {
        loop {
            if let Some(spoken) = self.reader.next_reply().map_err(no_reply)? {
                return Poll::Ready(Ok(spoken));
            }
            let mut octets = [0; READ_OCTETS];
            let mut buffer = ReadBuf::new(&mut octets);
            ready!(self.link.socket().poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            self.reader.push(buffer.filled());
        }
    }
}

fn no_reply(bad: BadReply) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, bad)
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.link.socket().poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link.socket().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link.socket().poll_shutdown(cx)
    }
}

/// A wire that lettre and we hold together. Only one of us uses it at a time; the socket is closed when
/// both have let go.
#[derive(Clone)]
pub(super) struct RelayStream {
    wire: Arc<Mutex<Wire>>,
    peer: SocketAddr,
}

impl RelayStream {
    /// `wire` after its greeting, for lettre, which expects one. It gets one answer, to EHLO; see
    /// [`Self::go_on`].
    pub(super) fn after_greeting(mut wire: Wire, peer: SocketAddr) -> Self {
        wire.for_lettre.extend(GREETING);
        Self { wire: Arc::new(Mutex::new(wire)), peer }
    }

    /// Both sides have said hello: from now on lettre gets every answer.
    pub(super) fn go_on(&self) {
        self.wire().answers = Answers::All;
    }

    /// The relay's address.
    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Whether the link is encrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self.wire().link, Link::Tls(_))
    }

    /// The oldest reply that lettre was given and that was not taken yet.
    pub(super) fn take_heard(&self) -> Option<Spoken> {
        self.wire().heard.pop_front()
    }

    /// The next reply, past lettre.
    pub(super) async fn hear(&self) -> io::Result<Spoken> {
        poll_fn(|cx| self.wire().poll_reply(cx)).await
    }

    /// What the relay has sent, without waiting for more, where it had nothing to say.
    pub(super) async fn unasked(&self) -> Option<Unasked> {
        // Lets the runtime look at its sockets, so that what has arrived is seen.
        tokio::task::yield_now().await;
        poll_fn(|cx| {
            let mut wire = self.wire();
            if !wire.heard.is_empty() || !wire.for_lettre.is_empty() {
                return Poll::Ready(Some(Unasked::Noise));
            }
            Poll::Ready(match wire.poll_reply(cx) {
                Poll::Ready(Ok(spoken)) => Some(Unasked::Reply(spoken)),
                Poll::Ready(Err(_)) => Some(Unasked::Noise),
                Poll::Pending if wire.reader.has_leftover() => Some(Unasked::Noise),
                Poll::Pending => None,
            })
        })
        .await
    }

    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock()
    }
}

/// Says nothing of what goes through: credentials and invoices do.
impl fmt::Debug for RelayStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayStream").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl AsyncRead for RelayStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut wire = self.wire();
        if wire.for_lettre.is_empty() {
            let answers = match wire.answers {
                Answers::None => return Poll::Ready(Ok(())),
                Answers::One => Answers::None,
                Answers::All => Answers::All,
            };
            let heard = ready!(wire.poll_reply(cx));
            wire.answers = answers;
            let spoken = match heard {
                Ok(spoken) => spoken,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(Ok(()));
                }
                Err(error) => return Poll::Ready(Err(error)),
            };
            wire.for_lettre.extend(spoken.for_lettre());
            wire.heard.push_back(spoken);
        }
        let wanted = buffer.remaining().min(wire.for_lettre.len());
        let octets: Vec<u8> = wire.for_lettre.drain(..wanted).collect();
        buffer.put_slice(&octets);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for RelayStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.wire()).poll_write(cx, octets)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.wire()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.wire()).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{Ipv4Addr, TcpListener};

    use tokio::net::TcpStream;

    use super::*;

    /// A stream after EHLO, and the relay's end of it, which does not depend on the runtime.
    fn stream() -> (RelayStream, std::net::TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let socket = std::net::TcpStream::connect(address).unwrap();
        socket.set_nonblocking(true).unwrap();
        let (relay, _) = listener.accept().unwrap();
        let mut wire = Wire::new(Link::Plain(Box::new(TcpStream::from_std(socket).unwrap())));
        wire.answers = Answers::All;
        let stream = RelayStream { wire: Arc::new(Mutex::new(wire)), peer: address };
        (stream, relay)
    }

    #[tokio::test]
    async fn what_has_arrived_is_seen_though_the_runtime_has_not_looked_yet() {
        let (stream, mut relay) = stream();
        assert_eq!(stream.unasked().await, None);
        relay.write_all(b"421 4.4.2 bye\r\n").unwrap();
        let Some(Unasked::Reply(spoken)) = stream.unasked().await else {
            panic!("the 421 is there");
        };
        assert_eq!(spoken.code, 421);
        assert_eq!(stream.unasked().await, None);
        drop(relay);
        assert_eq!(stream.unasked().await, Some(Unasked::Noise));
    }

    #[tokio::test]
    async fn a_part_of_a_reply_is_noise() {
        let (stream, mut relay) = stream();
        assert_eq!(stream.unasked().await, None);
        relay.write_all(b"421-4.4.2 bye\r\n").unwrap();
        assert_eq!(stream.unasked().await, Some(Unasked::Noise));
    }

    #[tokio::test]
    async fn lettre_is_given_one_reply_at_a_time_so_that_it_keeps_none() {
        use tokio::io::AsyncReadExt as _;

        let (mut stream, mut relay) = stream();
        relay.write_all(b"250 a\r\n550 b\n").unwrap();
        let mut read = [0; 100];
        let count = stream.read(&mut read).await.unwrap();
        assert_eq!(&read[..count], b"250 A\r\n");
        let heard = stream.take_heard().unwrap();
        assert_eq!((heard.code, stream.take_heard()), (250, None));
        let count = stream.read(&mut read).await.unwrap();
        assert_eq!(&read[..count], b"550 b\r\n");
        assert_eq!(stream.take_heard().unwrap().code, 550);
    }
}
