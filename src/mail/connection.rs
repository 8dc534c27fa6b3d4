//! One connection to the relay, and what is said on it, command by command.
//!
//! Commands and mechanisms of AUTH are lettre's; what they go over (`connection/stream.rs`) and how replies are read
//! (`connection/replies.rs`) is not. MAIL, RCPT, DATA, the message and the final dot are driven one by one, so that
//! the stage reached is known and not guessed, and only the exact code that a step needs counts.
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

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lettre::transport::smtp;
use lettre::transport::smtp::commands::{Auth, Data, Quit, Rset};
use secrecy::ExposeSecret as _;
use tokio::time::timeout;

use crate::domain::address::EmailAddress;
use crate::domain::delivery::{Reply, Stage};

use self::body::Blocks;
pub use self::opening::Dial;
use self::opening::Offers;
pub(super) use self::opening::Relay;
use self::replies::Spoken;
use self::stream::RelayStream;
pub use self::stream::Socket;
use super::message::Message;
use super::outcome::{Failed, Failure};
use super::settings::Credentials;
use super::transport::Connection;

/// How long a relay that cut the body short may take to say why, and one that is left to say good-bye.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How often a relay may ask for more of the credentials: for the user name and the password.
const CHALLENGES: usize = 2;

/// A connection to a relay that has answered EHLO and, with credentials, AUTH. An existing one can be used: each step
/// takes it and gives it back only while both sides are in step.
#[derive(Debug)]
pub struct SmtpConnection {
    stream: RelayStream,
    offers: Offers,
    /// Whether a transaction failed, which RSET is to end before the next begins.
    needs_reset: bool,
}

/// A message that the relay waits for: it has said 354. There is no way back but to close the connection, which is
/// what dropping it does.
#[derive(Debug)]
pub struct SmtpMessage(Box<SmtpConnection>);

impl SmtpConnection {
    /// Connects, up to EHLO and AUTH.
    pub(super) async fn open(
        relay: &Relay,
        credentials: Option<&Credentials>,
    ) -> Result<Box<Self>, Failure> {
        let (stream, offers) = opening::open(relay).await?;
        let mut connection = Box::new(Self { stream, offers, needs_reset: false });
        if let Some(credentials) = credentials {
            let limit = relay.timeouts.auth;
            timeout(limit, connection.authenticate(credentials))
                .await
                .map_err(|_| Failure::timed_out(Stage::Auth, limit))??;
        }
        Ok(connection)
    }

    /// AUTH PLAIN or LOGIN, whichever the relay offers; never in clear over a network.
    async fn authenticate(&mut self, credentials: &Credentials) -> Result<(), Failure> {
        let failure = |cause| Failure::silence(Stage::Auth, cause);
        if !self.stream.is_encrypted() && !self.stream.peer().ip().to_canonical().is_loopback() {
            return Err(failure("the credentials were not sent: the connection is not encrypted"));
        }
        let mechanism = self
            .offers
            .mechanism
            .ok_or_else(|| failure("the relay offers neither AUTH PLAIN nor AUTH LOGIN"))?;
        let credentials = smtp::authentication::Credentials::new(
            credentials.username.clone(),
            credentials.password.expose_secret().to_owned(),
        );
        let mut challenge = None;
        for _ in 0..=CHALLENGES {
            let answer = Auth::new(mechanism, credentials.clone(), challenge.take())
                .map_err(|_| failure("the relay asked for something that is not supported"))?;
            let reply = self.stream.ask(Stage::Auth, &answer).await?;
            if reply.code != 334 {
                return expect(Stage::Auth, &reply, &[235]);
            }
            // What is no text in base64 asks for nothing that is known.
            let decoded = reply.lines.first().and_then(|line| STANDARD.decode(line).ok());
            challenge = Some(decoded.and_then(|it| String::from_utf8(it).ok()).unwrap_or_default());
        }
        Err(failure("the relay asked too often"))
    }

    /// Up to the relay's 354.
    pub(super) async fn begin(
        mut self: Box<Self>,
        from: &EmailAddress,
        to: &EmailAddress,
        octets: u64,
    ) -> Result<SmtpMessage, Failed> {
        if self.needs_reset {
            let answer = self.stream.ask(Stage::Mail, Rset).await?;
            expect(Stage::Mail, &answer, &[250])?;
            self.needs_reset = false;
        }
        if let Some(limit) = self.offers.size_octets.filter(|&limit| octets > limit) {
            let cause =
                format!("the message has {octets} octets, the relay accepts at most {limit}");
            let failure = Failure::message(Stage::Mail, cause);
            return Err(Failed { failure, connection: Some(Connection::Smtp(self)) });
        }
        self.stream.nothing_unasked(Stage::Mail).await?;
        let mail = if self.offers.size {
            format!("MAIL FROM:<{from}> SIZE={octets}\r\n")
        } else {
            format!("MAIL FROM:<{from}>\r\n")
        };
        let rcpt = format!("RCPT TO:<{to}>\r\n");
        if self.offers.pipelining {
            self.begin_at_once(&format!("{mail}{rcpt}{Data}")).await
        } else {
            self.begin_in_turn(&mail, &rcpt).await
        }
    }

    async fn begin_in_turn(
        mut self: Box<Self>,
        mail: &str,
        rcpt: &str,
    ) -> Result<SmtpMessage, Failed> {
        for (stage, command, codes) in [
            (Stage::Mail, mail, [250].as_slice()),
            (Stage::Rcpt, rcpt, &[250, 251]),
            (Stage::Data, "DATA\r\n", &[354]),
        ] {
            let answer = self.stream.ask(stage, command).await?;
            if let Err(failure) = expect(stage, &answer, codes) {
                return Err(self.failed(failure, is_refusal(answer.code)));
            }
        }
        Ok(SmtpMessage(self))
    }

    /// One write and three replies (RFC 2920). All three are read before the first refusal is returned, so
    /// that both sides stay in step.
    async fn begin_at_once(mut self: Box<Self>, commands: &str) -> Result<SmtpMessage, Failed> {
        let mail = self.stream.ask(Stage::Mail, commands).await?;
        if mail.code == 421 {
            return Err(Failure::spoken(Stage::Mail, &mail).into());
        }
        let rcpt = self.stream.hear(Stage::Rcpt).await;
        let data = match &rcpt {
            // It hangs up after that, or at least says nothing more.
            Ok(rcpt) if rcpt.code == 421 => Err(Failure::spoken(Stage::Rcpt, rcpt)),
            Ok(_) => self.stream.hear(Stage::Data).await,
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
        let Err(failure) = self.stream.say(Stage::Body, block).await else {
            return Ok(());
        };
        match timeout(LAST_WORDS, self.stream.hear(Stage::Body)).await {
            Ok(Ok(spoken)) => Err(Failure::spoken(Stage::Body, &spoken)),
            Ok(Err(_)) | Err(_) => Err(failure),
        }
    }

    /// Whether the relay has said nothing of itself, 421 and good-bye included.
    pub(super) async fn is_quiet(&mut self) -> bool {
        self.stream.nothing_unasked(Stage::Mail).await.is_ok()
    }

    /// QUIT, answered within 2 seconds or not.
    pub(super) async fn quit(mut self: Box<Self>) {
        let farewell = async {
            if self.stream.ask(Stage::Mail, Quit).await.is_ok() {
                self.stream.shutdown().await;
            }
        };
        // The relay has all it was given; whether it received this changes nothing.
        let _ = timeout(LAST_WORDS, farewell).await;
    }

    /// The transaction failed; the connection is kept if both sides are in step.
    fn failed(mut self: Box<Self>, failure: Failure, is_in_step: bool) -> Failed {
        self.needs_reset = true;
        Failed { failure, connection: is_in_step.then_some(Connection::Smtp(self)) }
    }
}

impl SmtpMessage {
    /// Sends the message, up to the relay's answer to the final dot.
    pub(super) async fn finish(
        self,
        message: &Message,
    ) -> Result<(Reply, Box<SmtpConnection>), Failed> {
        let Self(mut connection) = self;
        // Not before the first block: the final check was directly before it, and nothing is to
        // have a turn in between.
        for (index, block) in Blocks::of(message).enumerate() {
            if index > 0 {
                connection.stream.nothing_unasked(Stage::Body).await?;
            }
            connection.write_block(&block).await?;
        }
        connection.stream.nothing_unasked(Stage::Body).await?;
        let answer = connection.stream.ask(Stage::FinalDot, ".\r\n").await?;
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

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{Ipv4Addr, SocketAddr};

    use secrecy::SecretString;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
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

    /// Authenticates in clear, over a socket whose other end is said to be `peer`; what that end received
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
        let relay_settings = transport.relay();
        let timeouts = relay_settings.timeouts;
        let mut stream = RelayStream::new(Box::new(socket), peer.parse().unwrap(), false, timeouts);
        let offers = opening::hello(&mut stream, relay_settings).await.unwrap();
        let mut connection = SmtpConnection { stream, offers, needs_reset: false };
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
    async fn what_has_arrived_unasked_is_seen_though_the_runtime_has_not_looked_yet() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let socket = TcpStream::connect(address).await.unwrap();
        // Blocking: the relay's end does not depend on the runtime.
        let (mut relay, _) = listener.accept().unwrap();
        let timeouts = transport(address).relay().timeouts;
        let mut stream = RelayStream::new(Box::new(socket), address, false, timeouts);
        for (said, seen) in [
            ("", Ok(())),
            ("421 4.4.2 bye\r\n", Err(Some(421))),
            ("", Ok(())),
            // A part of a reply.
            ("421-4.4.2 bye\r\n", Err(None)),
        ] {
            relay.write_all(said.as_bytes()).unwrap();
            let unasked = stream.nothing_unasked(Stage::Mail).await;
            let code = |failure: Failure| failure.reply.map(|reply| reply.code);
            assert_eq!(unasked.map_err(code), seen, "{said:?}");
        }
        drop(relay);
        assert!(stream.nothing_unasked(Stage::Mail).await.is_err());
    }

    #[tokio::test]
    async fn a_connection_does_not_wait_to_fill_its_packets() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let transport = transport(listener.local_addr().unwrap());
        let (socket, _) = opening::connect(transport.relay()).await.unwrap();
        assert!(socket.nodelay().unwrap());
    }
}
