//! One connection to the relay, and what is said on it, command by command.
//!
//! lettre's connection speaks, on a stream of ours (`connection/stream.rs`), and never its transport or pool. MAIL,
//! RCPT, DATA, the message and the final dot are driven one by one, so that the stage reached is known
//! and not guessed, and only the exact code that a step needs counts.
//!
//! Invariants:
//! - Each step has its time-out. A step that did not end well, or whose future was dropped, leaves the
//!   connection closed unless the relay's answer shows that both sides are in step: each step takes the
//!   connection, and gives it back only then.
//! - [`Stage::FinalDot`] begins with the first octet of the final dot. Before it the relay cannot have
//!   the message, and whatever the relay said before it is not taken for an answer to it.

mod body;
mod opening;
pub(crate) mod replies;
mod stream;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use lettre::transport::smtp;
use lettre::transport::smtp::authentication::DEFAULT_MECHANISMS;
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::extension::ClientId;
use secrecy::ExposeSecret as _;
use tokio::io::AsyncWriteExt as _;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::domain::address::EmailAddress;
use crate::domain::delivery::{Reply, Stage};

use self::body::Blocks;
pub use self::opening::Dial;
pub(super) use self::opening::Relay;
use self::replies::Spoken;
pub use self::stream::Socket;
use self::stream::{RelayStream, Unasked};
use super::message::Message;
use super::outcome::{Failed, Failure};
use super::settings::Credentials;
use crate::config::SmtpTimeouts;

/// How long a relay that cut the body short may take to say why, and one that is left to say good-bye.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A connection to a relay that has answered EHLO and, with credentials, AUTH. An existing one can be used: each step
/// takes it and gives it back only while both sides are in step.
pub struct SmtpConnection {
    client: AsyncSmtpConnection,
    stream: RelayStream,
    offers: Offers,
    timeouts: SmtpTimeouts,
    /// Whether a transaction failed, which RSET is to end before the next begins.
    needs_reset: bool,
}

/// A message that the relay waits for: it has said 354. There is no way back but to close the connection, which is
/// what dropping it does.
#[derive(Debug)]
pub struct SmtpMessage(Box<SmtpConnection>);

/// What the relay offers in its answer to EHLO, as far as lettre does not know of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Offers {
    /// RFC 2920.
    pipelining: bool,
    /// RFC 1870.
    size: bool,
    /// Octets of the largest message it takes, if it says so.
    size_octets: Option<u64>,
}

impl Offers {
    fn read(ehlo: &Spoken) -> Self {
        let mut offers = Self::default();
        for line in ehlo.lines.iter().skip(1) {
            let mut words = line.split_ascii_whitespace();
            let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
            match keyword.as_str() {
                "PIPELINING" => offers.pipelining = true,
                "SIZE" => {
                    offers.size = true;
                    // 0 stands for no limit (RFC 1870, section 4).
                    offers.size_octets = words
                        .next()
                        .and_then(|octets| octets.parse().ok())
                        .filter(|&octets| octets > 0);
                }
                _ => {}
            }
        }
        offers
    }
}

impl fmt::Debug for SmtpConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpConnection")
            .field("stream", &self.stream)
            .field("offers", &self.offers)
            .field("needs_reset", &self.needs_reset)
            .finish_non_exhaustive()
    }
}

impl SmtpConnection {
    /// Connects, up to EHLO and AUTH.
    pub(super) async fn open(
        relay: &Relay,
        credentials: Option<&Credentials>,
    ) -> Result<Box<Self>, Failure> {
        let stream = opening::open(relay).await?;
        let mut connection = Box::new(Self::greet(stream, relay).await?);
        if let Some(credentials) = credentials {
            connection.authenticate(credentials).await?;
        }
        Ok(connection)
    }

    /// EHLO, on a stream whose greeting was taken.
    async fn greet(stream: RelayStream, relay: &Relay) -> Result<Self, Failure> {
        let hello_name = ClientId::Domain(relay.helo_name.clone());
        let hello =
            AsyncSmtpConnection::connect_with_transport(Box::new(stream.for_lettre()), &hello_name);
        let limit = relay.timeouts.ehlo;
        let outcome = timeout(limit, hello).await;
        let heard = stream.take_heard();
        if let Some(spoken) = &heard {
            expect(Stage::Ehlo, spoken, &[250])?;
        }
        let client = outcome
            .map_err(|_| Failure::timed_out(Stage::Ehlo, limit))?
            .map_err(|error| Failure::lettre(Stage::Ehlo, &error))?;
        stream.go_on();
        Ok(Self {
            client,
            offers: heard.as_ref().map(Offers::read).unwrap_or_default(),
            stream,
            timeouts: relay.timeouts,
            needs_reset: false,
        })
    }

    /// AUTH PLAIN or LOGIN, whichever the relay offers; never in clear over a network.
    async fn authenticate(&mut self, credentials: &Credentials) -> Result<(), Failure> {
        let is_local = self.stream.peer().ip().to_canonical().is_loopback();
        if !self.stream.is_encrypted() && !is_local {
            return Err(Failure::silence(
                Stage::Auth,
                "the credentials were not sent: the connection is not encrypted",
            ));
        }
        let is_offered = self.client.server_info().get_auth_mechanism(DEFAULT_MECHANISMS).is_some();
        if !is_offered {
            return Err(Failure::silence(
                Stage::Auth,
                "the relay offers neither AUTH PLAIN nor AUTH LOGIN",
            ));
        }
        let credentials = smtp::authentication::Credentials::new(
            credentials.username.clone(),
            credentials.password.expose_secret().to_owned(),
        );
        let limit = self.timeouts.auth;
        let exchange = self.client.auth(DEFAULT_MECHANISMS, &credentials);
        let outcome =
            timeout(limit, exchange).await.map_err(|_| Failure::timed_out(Stage::Auth, limit))?;
        let mut last = None;
        while let Some(spoken) = self.stream.take_heard() {
            last = Some(spoken);
        }
        match (last, outcome) {
            // A challenge that was not answered is no refusal.
            (Some(spoken), Err(error)) if spoken.code == 334 => {
                Err(Failure::lettre(Stage::Auth, &error))
            }
            (Some(spoken), Ok(_) | Err(_)) => expect(Stage::Auth, &spoken, &[235]),
            (None, Err(error)) => Err(Failure::lettre(Stage::Auth, &error)),
            (None, Ok(_)) => Err(Failure::silence(Stage::Auth, "no answer")),
        }
    }

    /// Up to the relay's 354.
    pub(super) async fn begin(
        mut self: Box<Self>,
        from: &EmailAddress,
        to: &EmailAddress,
        octets: u64,
    ) -> Result<SmtpMessage, Failed<Box<Self>>> {
        if self.needs_reset {
            let answer = self.ask(Stage::Mail, "RSET\r\n").await?;
            expect(Stage::Mail, &answer, &[250])?;
            self.needs_reset = false;
        }
        if let Some(limit) = self.offers.size_octets.filter(|&limit| octets > limit) {
            let cause =
                format!("the message has {octets} octets, the relay accepts at most {limit}");
            let failure = Failure::message(Stage::Mail, cause);
            return Err(Failed { failure, connection: Some(self) });
        }
        self.nothing_unasked(Stage::Mail).await?;
        let mail = if self.offers.size {
            format!("MAIL FROM:<{from}> SIZE={octets}\r\n")
        } else {
            format!("MAIL FROM:<{from}>\r\n")
        };
        let rcpt = format!("RCPT TO:<{to}>\r\n");
        if self.offers.pipelining {
            self.begin_at_once(&format!("{mail}{rcpt}DATA\r\n")).await
        } else {
            self.begin_in_turn(&mail, &rcpt).await
        }
    }

    async fn begin_in_turn(
        mut self: Box<Self>,
        mail: &str,
        rcpt: &str,
    ) -> Result<SmtpMessage, Failed<Box<Self>>> {
        for (stage, command, codes) in [
            (Stage::Mail, mail, [250].as_slice()),
            (Stage::Rcpt, rcpt, &[250, 251]),
            (Stage::Data, "DATA\r\n", &[354]),
        ] {
            let answer = self.ask(stage, command).await?;
            if let Err(failure) = expect(stage, &answer, codes) {
                return Err(self.failed(failure, is_refusal(answer.code)));
            }
        }
        Ok(SmtpMessage(self))
    }

    /// One write and three replies (RFC 2920). All three are read before the first refusal is returned, so
    /// that both sides stay in step.
    async fn begin_at_once(
        mut self: Box<Self>,
        commands: &str,
    ) -> Result<SmtpMessage, Failed<Box<Self>>> {
        let mail = self.ask(Stage::Mail, commands).await?;
        if mail.code == 421 {
            return Err(Failure::spoken(Stage::Mail, &mail).into());
        }
        let rcpt = self.hear(Stage::Rcpt).await;
        let data = match &rcpt {
            // It hangs up after that, or at least says nothing more.
            Ok(rcpt) if rcpt.code == 421 => Err(Failure::spoken(Stage::Rcpt, rcpt)),
            Ok(_) => self.hear(Stage::Data).await,
            Err(failure) => Err(failure.clone()),
        };
        let begun = expect(Stage::Mail, &mail, &[250])
            .and_then(|()| expect(Stage::Rcpt, rcpt.as_ref().map_err(Clone::clone)?, &[250, 251]))
            .and_then(|()| expect(Stage::Data, data.as_ref().map_err(Clone::clone)?, &[354]));
        let Err(failure) = begun else {
            return Ok(SmtpMessage(self));
        };
        // A 354 without a recipient cannot be taken back: only closing says for sure that nothing follows.
        let is_in_step = failure.reply.as_ref().is_some_and(|reply| is_refusal(reply.code))
            && data.is_ok_and(|data| is_refusal(data.code));
        Err(self.failed(failure, is_in_step))
    }

    /// Writes and flushes a part of the body. A relay that does not take it may have said why.
    async fn write_block(&mut self, block: &[u8]) -> Result<(), Failure> {
        let limit = self.timeouts.body;
        let written = timeout(limit, async {
            self.stream.write_all(block).await?;
            self.stream.flush().await
        });
        let failure = match written.await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => Failure::io(Stage::Body, &error),
            Err(_) => Failure::timed_out(Stage::Body, limit),
        };
        match timeout(LAST_WORDS.min(limit), self.stream.hear()).await {
            Ok(Ok(spoken)) => Err(Failure::spoken(Stage::Body, &spoken)),
            Ok(Err(_)) | Err(_) => Err(failure),
        }
    }

    /// Whether the relay has said nothing of itself, 421 and good-bye included.
    pub(super) async fn is_quiet(&self) -> bool {
        self.stream.unasked().await.is_none()
    }

    /// QUIT, answered within 2 seconds or not.
    pub(super) async fn quit(mut self: Box<Self>) {
        let farewell = async {
            let said = self.client.command("QUIT\r\n").await.is_ok();
            let closed = self.stream.shutdown().await.is_ok();
            said && closed
        };
        // The relay has all it was given; whether it heard this changes nothing.
        let _ = timeout(LAST_WORDS, farewell).await;
    }

    /// The transaction failed; the connection is kept if both sides are in step.
    fn failed(mut self: Box<Self>, failure: Failure, is_in_step: bool) -> Failed<Box<Self>> {
        self.needs_reset = true;
        Failed { failure, connection: is_in_step.then_some(self) }
    }

    async fn ask(&mut self, stage: Stage, command: &str) -> Result<Spoken, Failure> {
        let limit = self.timeouts.of(stage);
        let outcome = timeout(limit, self.client.command(command)).await;
        self.judge(stage, limit, outcome.map(Result::err))
    }

    async fn hear(&mut self, stage: Stage) -> Result<Spoken, Failure> {
        let limit = self.timeouts.of(stage);
        let outcome = timeout(limit, self.client.read_response()).await;
        self.judge(stage, limit, outcome.map(Result::err))
    }

    /// What the relay said, as our stream noted it: lettre takes any 2xx or 3xx for good news, and makes
    /// errors of the others.
    fn judge(
        &self,
        stage: Stage,
        limit: Duration,
        outcome: Result<Option<smtp::Error>, Elapsed>,
    ) -> Result<Spoken, Failure> {
        match (self.stream.take_heard(), outcome) {
            (Some(spoken), Ok(_)) => Ok(spoken),
            (_, Err(_)) => Err(Failure::timed_out(stage, limit)),
            (None, Ok(Some(error))) => Err(Failure::lettre(stage, &error)),
            (None, Ok(None)) => Err(Failure::silence(stage, "no answer")),
        }
    }

    /// Fails if the relay has said something, or hung up, where it had nothing to say: that must not
    /// be taken for the answer to what comes next.
    async fn nothing_unasked(&self, stage: Stage) -> Result<(), Failure> {
        match self.stream.unasked().await {
            None => Ok(()),
            Some(Unasked::Reply(spoken)) => Err(Failure::spoken(stage, &spoken)),
            Some(Unasked::Noise) => Err(Failure::silence(
                stage,
                "the relay closed the connection or sent an unexpected reply",
            )),
        }
    }
}

impl SmtpMessage {
    /// Sends the message, up to the relay's answer to the final dot.
    pub(super) async fn finish(
        self,
        message: &Message,
    ) -> Result<(Reply, Box<SmtpConnection>), Failed<Box<SmtpConnection>>> {
        let Self(mut connection) = self;
        // Not before the first block: the final check was directly before it, and nothing is to
        // have a turn in between.
        for (index, block) in Blocks::of(message).enumerate() {
            if index > 0 {
                connection.nothing_unasked(Stage::Body).await?;
            }
            connection.write_block(&block).await?;
        }
        connection.nothing_unasked(Stage::Body).await?;
        let answer = connection.ask(Stage::FinalDot, ".\r\n").await?;
        match expect(Stage::FinalDot, &answer, &[250]) {
            Ok(()) => Ok((answer.reply(), connection)),
            // The transaction is over (RFC 5321, section 4.1.1.4), but Postfix's is not when the end of the data
            // was refused by a restriction: a reset makes sure.
            Err(failure) => Err(connection.failed(failure, is_refusal(answer.code))),
        }
    }
}

/// A refusal that leaves both sides in step; after 421 the relay closes.
fn is_refusal(code: u16) -> bool {
    (400..=599).contains(&code) && code != 421
}

fn expect(stage: Stage, spoken: &Spoken, codes: &[u16]) -> Result<(), Failure> {
    if codes.contains(&spoken.code) { Ok(()) } else { Err(Failure::spoken(stage, spoken)) }
}

impl AsyncTokioStream for RelayStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use secrecy::SecretString;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::config::{self, Config, Environment, Security};
    use crate::domain::delivery::Verdict;
    use crate::mail::transport::{SmtpSettings, SmtpTransport};

    fn transport(relay: SocketAddr) -> SmtpTransport {
        let shipped = Config::parse("", "", &Environment::default()).unwrap();
        let config::Transport::Smtp(smtp) = shipped.mail.transport else {
            panic!("mails leave by SMTP by default");
        };
        SmtpTransport::new(SmtpSettings {
            host: relay.ip().to_string(),
            port: relay.port(),
            security: Security::None,
            credentials: None,
            ca: None,
            helo_name: "client.example".to_owned(),
            timeouts: smtp.timeouts,
        })
        .unwrap()
    }

    /// Authenticates in clear, over a socket whose other end is said to be `peer`; what that end heard
    /// after EHLO.
    async fn authenticate_in_clear(peer: &str) -> (Result<(), Failure>, String) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let socket = TcpStream::connect(address).await.unwrap();
        let relay = tokio::spawn(async move {
            let (mut relay, _) = listener.accept().await.unwrap();
            relay
                .write_all(b"250-relay.example\r\n250 AUTH PLAIN\r\n235 welcome\r\n")
                .await
                .unwrap();
            let mut heard = String::new();
            relay.read_to_string(&mut heard).await.unwrap();
            heard
        });
        let transport = transport(address);
        let stream = RelayStream::new(Box::new(socket), peer.parse().unwrap(), false);
        let mut connection = SmtpConnection::greet(stream, transport.relay()).await.unwrap();
        let credentials =
            Credentials { username: "router".to_owned(), password: SecretString::from("geheim") };
        let outcome = connection.authenticate(&credentials).await;
        drop(connection);
        let heard = relay.await.unwrap();
        (outcome, heard.replace("EHLO client.example\r\n", ""))
    }

    #[tokio::test]
    async fn credentials_are_never_sent_in_clear_over_a_network() {
        for peer in ["192.0.2.1:25", "[2001:db8::1]:25", "10.0.0.1:25", "[::ffff:192.0.2.1]:25"] {
            let (outcome, heard) = authenticate_in_clear(peer).await;
            let failure = outcome.unwrap_err();
            assert_eq!(failure.stage, Stage::Auth);
            assert_eq!(failure.verdict(), Verdict::RelayFailed);
            assert_eq!(heard, "", "{peer}");
        }
    }

    #[tokio::test]
    async fn credentials_may_be_sent_in_clear_to_ones_own_host() {
        for peer in ["127.0.0.1:25", "[::1]:25", "[::ffff:127.0.0.1]:25"] {
            let (outcome, heard) = authenticate_in_clear(peer).await;
            assert_eq!(outcome, Ok(()));
            assert_eq!(heard, "AUTH PLAIN AHJvdXRlcgBnZWhlaW0=\r\n", "{peer}");
        }
    }

    #[tokio::test]
    async fn a_connection_does_not_wait_to_fill_its_packets() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let transport = transport(listener.local_addr().unwrap());
        let (socket, _) = opening::connect(transport.relay()).await.unwrap();
        assert!(socket.nodelay().unwrap());
    }
}
