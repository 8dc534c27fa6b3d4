//! A relay that follows a script, faults included.
//!
//! Each connection takes the next script: what the relay says and what it expects to hear, in turn. At
//! the end of a script it only listens until the client has gone. What it heard is told by
//! [`ScriptedRelay::heard`], which also fails the test if the client said something else than expected.

// Tells clippy that helpers belong to tests as well.
#![cfg(test)]

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;

/// After this a relay whose client never came, or never left, fails the test.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a relay does on one connection.
#[derive(Clone, Default)]
pub(crate) struct Script(VecDeque<Act>);

#[derive(Clone)]
enum Act {
    Say(Vec<u8>),
    Hear(String),
    HearMessage,
    HearOctets(usize),
    Tls(TlsAcceptor),
    Cut,
    Stall,
    Tell(Arc<Notify>),
}

impl Script {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Greets and answers EHLO with `offers`.
    pub(crate) fn greeted(offers: &[&str]) -> Self {
        Self::new().say("220 relay.example ESMTP").ehlo(offers)
    }

    /// As [`Self::greeted`], whatever the client is called.
    pub(crate) fn greeted_by_any(offers: &[&str]) -> Self {
        Self::new().say("220 relay.example ESMTP").hear("EHLO ").offer(offers)
    }

    /// Answers EHLO with `offers`.
    pub(crate) fn ehlo(self, offers: &[&str]) -> Self {
        self.hear("EHLO client.example").offer(offers)
    }

    fn offer(self, offers: &[&str]) -> Self {
        let lines = [&["relay.example"], offers].concat();
        let (last, others) = lines.split_last().expect("at least the name");
        let others: Vec<String> = others.iter().map(|line| format!("250-{line}\r\n")).collect();
        self.say(&format!("{}250 {last}", others.concat()))
    }

    /// Accepts one message, command by command.
    pub(crate) fn accept(self) -> Self {
        self.envelope().message().say("250 2.0.0 queued as 1")
    }

    /// Accepts MAIL, RCPT and DATA, one by one.
    pub(crate) fn envelope(self) -> Self {
        self.hear("MAIL FROM:<rechnung@haus.example>")
            .say("250 2.1.0 ok")
            .hear("RCPT TO:<erika@muster.example>")
            .say("250 2.1.5 ok")
            .hear("DATA")
            .say("354 go ahead")
    }

    /// Hears MAIL, RCPT and DATA, and answers nothing.
    pub(crate) fn envelope_at_once(self) -> Self {
        self.hear("MAIL FROM:<rechnung@haus.example>")
            .hear("RCPT TO:<erika@muster.example>")
            .hear("DATA")
    }

    /// Says a line, or several, whose last line end is added.
    pub(crate) fn say(self, line: &str) -> Self {
        self.say_raw(format!("{line}\r\n").as_bytes())
    }

    pub(crate) fn say_raw(self, octets: &[u8]) -> Self {
        self.then(Act::Say(octets.to_vec()))
    }

    /// Hears a line that begins so.
    pub(crate) fn hear(self, prefix: &str) -> Self {
        self.then(Act::Hear(prefix.to_owned()))
    }

    /// Hears everything up to the final dot.
    pub(crate) fn message(self) -> Self {
        self.then(Act::HearMessage)
    }

    pub(crate) fn octets(self, count: usize) -> Self {
        self.then(Act::HearOctets(count))
    }

    /// Goes on encrypted.
    pub(crate) fn tls(self, acceptor: &TlsAcceptor) -> Self {
        self.then(Act::Tls(acceptor.clone()))
    }

    /// Closes the connection, whatever the client still has to say.
    pub(crate) fn cut(self) -> Self {
        self.then(Act::Cut)
    }

    /// Reads nothing more and keeps the connection open. [`ScriptedRelay::heard`] never ends then.
    pub(crate) fn stall(self) -> Self {
        self.then(Act::Stall)
    }

    /// Lets the test know that everything before this was heard.
    pub(crate) fn tell(self, whom: &Arc<Notify>) -> Self {
        self.then(Act::Tell(Arc::clone(whom)))
    }

    fn then(mut self, act: Act) -> Self {
        self.0.push_back(act);
        self
    }
}

/// A relay on a loopback port of its own.
pub(crate) struct ScriptedRelay {
    port: u16,
    task: JoinHandle<Vec<Vec<String>>>,
}

impl ScriptedRelay {
    /// One connection after the other, one for each script.
    pub(crate) async fn start(scripts: impl IntoIterator<Item = Script>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let scripts: Vec<Script> = scripts.into_iter().collect();
        let task = tokio::spawn(async move {
            let mut heard = Vec::new();
            for script in scripts {
                let (socket, _) = listener.accept().await.unwrap();
                heard.push(follow(script, socket).await);
            }
            heard
        });
        Self { port, task }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// What each connection heard: lines, and whole messages with their final dot. Waits until the
    /// client has closed all of them.
    pub(crate) async fn heard(self) -> Vec<Vec<String>> {
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .expect("the client closes each connection")
            .expect("the client keeps to the script")
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

async fn follow(script: Script, socket: TcpStream) -> Vec<String> {
    socket.set_nodelay(true).unwrap();
    let mut stream: BufReader<Box<dyn Duplex>> = BufReader::new(Box::new(socket));
    let mut heard = Vec::new();
    for act in script.0 {
        match act {
            Act::Say(octets) => say(&mut stream, &octets).await,
            Act::Hear(prefix) => {
                let line = line(&mut stream).await;
                assert!(line.starts_with(&prefix), "heard {line:?}, not {prefix:?}");
                heard.push(line.trim_end().to_owned());
            }
            Act::HearMessage => heard.push(message(&mut stream).await),
            Act::HearOctets(count) => {
                let mut octets = vec![0; count];
                stream.read_exact(&mut octets).await.unwrap();
                heard.push(String::from_utf8(octets).unwrap());
            }
            Act::Tls(acceptor) => {
                assert!(stream.buffer().is_empty(), "the client waits for the 220");
                match acceptor.accept(stream.into_inner()).await {
                    Ok(encrypted) => stream = BufReader::new(Box::new(encrypted)),
                    Err(_) => return heard,
                }
            }
            Act::Cut => return heard,
            Act::Stall => std::future::pending().await,
            Act::Tell(whom) => whom.notify_one(),
        }
    }
    loop {
        let line = line(&mut stream).await;
        if line.is_empty() {
            return heard;
        }
        heard.push(line.trim_end().to_owned());
    }
}

/// The client may be gone already; what it makes of that is the test's business.
async fn say(stream: &mut BufReader<Box<dyn Duplex>>, octets: &[u8]) {
    let _ = stream.write_all(octets).await;
    let _ = stream.flush().await;
}

/// A line with its end, or nothing if the client is gone.
async fn line(stream: &mut BufReader<Box<dyn Duplex>>) -> String {
    let mut line = Vec::new();
    // A connection that is reset or ends without TLS's good-bye is gone as well.
    let _ = stream.read_until(b'\n', &mut line).await;
    String::from_utf8_lossy(&line).into_owned()
}

async fn message(stream: &mut BufReader<Box<dyn Duplex>>) -> String {
    let mut message = String::new();
    loop {
        let line = line(stream).await;
        assert!(!line.is_empty(), "the client left before its final dot");
        message.push_str(&line);
        if line == ".\r\n" {
            return message;
        }
    }
}

/// A CA, and a relay's certificate under it.
pub(crate) struct Authority {
    /// The CA's certificate in PEM.
    pub(crate) pem: Vec<u8>,
    /// With a leaf for the names that were given.
    pub(crate) acceptor: TlsAcceptor,
}

impl Authority {
    pub(crate) fn with_leaf_for(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .signed_by(&key, &issuer)
            .unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap();
        Self {
            pem: issuer.as_ref().pem().into_bytes(),
            acceptor: TlsAcceptor::from(Arc::new(config)),
        }
    }
}
