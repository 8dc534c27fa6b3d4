//! The stream between lettre and the relay.
//!
//! lettre writes through it unchanged and reads whole, well-formed replies from it, one at a time, so
//! that it never holds bytes that we do not know of. What the relay really said is kept here, and that
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

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::replies::{BadReply, ReplyReader, Spoken};

/// Octets read from the relay at once.
const READ_OCTETS: usize = 4096;
/// Read by lettre as the greeting, which we have taken ourselves.
const GREETING: &[u8] = b"220 -\r\n";

/// What carries the octets, encrypted or not.
pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// A handle of the stream. lettre does not lend its own, so it holds one and we another; only one of us uses it at a
/// time. The socket is closed when both are dropped.
#[derive(Clone)]
pub(super) struct RelayStream {
    shared: Arc<Mutex<Shared>>,
    peer: SocketAddr,
    is_encrypted: bool,
}

/// The socket, and what was read from it.
struct Shared {
    socket: Box<dyn Socket>,
    reader: ReplyReader,
    /// What lettre has yet to read of the last reply.
    for_lettre: VecDeque<u8>,
    /// The replies that lettre was given and that have not been judged yet.
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

impl RelayStream {
    /// A stream over `socket`, whose other end is `peer`.
    pub(super) fn new(socket: Box<dyn Socket>, peer: SocketAddr, is_encrypted: bool) -> Self {
        let shared = Shared {
            socket,
            reader: ReplyReader::default(),
            for_lettre: VecDeque::new(),
            heard: VecDeque::new(),
            answers: Answers::One,
        };
        Self { shared: Arc::new(Mutex::new(shared)), peer, is_encrypted }
    }

    /// The bare socket, for TLS over it. `None` if the relay sent something that was not asked for, which
    /// would otherwise be read as if it had come encrypted (RFC 3207, section 6).
    pub(super) fn into_socket(self) -> Option<Box<dyn Socket>> {
        let shared = Arc::into_inner(self.shared)?.into_inner();
        (!shared.reader.has_leftover()).then_some(shared.socket)
    }

    /// The handle for lettre, once the relay has greeted: lettre expects that to come. It gets one answer, to EHLO;
    /// see [`Self::go_on`].
    pub(super) fn for_lettre(&self) -> Self {
        self.shared.lock().for_lettre.extend(GREETING);
        self.clone()
    }

    /// Both sides have said hello: from now on lettre gets every answer.
    pub(super) fn go_on(&self) {
        self.shared.lock().answers = Answers::All;
    }

    /// The relay's address.
    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Whether the socket is encrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// The oldest reply that lettre was given and that was not taken yet.
    pub(super) fn take_heard(&self) -> Option<Spoken> {
        self.shared.lock().heard.pop_front()
    }

    /// The next reply, past lettre.
    pub(super) async fn hear(&self) -> io::Result<Spoken> {
        poll_fn(|cx| self.shared.lock().poll_reply(cx)).await
    }

    /// What the relay has sent, without waiting for more, where it had nothing to say.
    pub(super) async fn unasked(&self) -> Option<Unasked> {
        // Lets the runtime look at its sockets, so that what has arrived is seen.
        tokio::task::yield_now().await;
        poll_fn(|cx| {
            let mut shared = self.shared.lock();
            if !shared.heard.is_empty() || !shared.for_lettre.is_empty() {
                return Poll::Ready(Some(Unasked::Noise));
            }
            Poll::Ready(match shared.poll_reply(cx) {
                Poll::Ready(Ok(spoken)) => Some(Unasked::Reply(spoken)),
                Poll::Ready(Err(_)) => Some(Unasked::Noise),
                Poll::Pending if shared.reader.has_leftover() => Some(Unasked::Noise),
                Poll::Pending => None,
            })
        })
        .await
    }
}

/// Says nothing of what goes through: credentials and invoices do.
impl fmt::Debug for RelayStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayStream").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Shared {
    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Spoken>> {
        loop {
            if let Some(spoken) = self.reader.next_reply().map_err(no_reply)? {
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

fn no_reply(bad: BadReply) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, bad)
}

impl AsyncRead for RelayStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut shared = self.shared.lock();
        if shared.for_lettre.is_empty() {
            let answers = match shared.answers {
                Answers::None => return Poll::Ready(Ok(())),
                Answers::One => Answers::None,
                Answers::All => Answers::All,
            };
            let heard = ready!(shared.poll_reply(cx));
            shared.answers = answers;
            let spoken = match heard {
                Ok(spoken) => spoken,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(Ok(()));
                }
                Err(error) => return Poll::Ready(Err(error)),
            };
            shared.for_lettre.extend(spoken.for_lettre());
            shared.heard.push_back(spoken);
        }
        let wanted = buffer.remaining().min(shared.for_lettre.len());
        let octets: Vec<u8> = shared.for_lettre.drain(..wanted).collect();
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
        Pin::new(&mut self.shared.lock().socket).poll_write(cx, octets)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.shared.lock().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.shared.lock().socket).poll_shutdown(cx)
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
        let socket = Box::new(TcpStream::from_std(socket).unwrap());
        let stream = RelayStream::new(socket, address, false);
        stream.go_on();
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
