//! Where messages go, and with which settings.
//!
//! A transport opens connections and nothing else: how many there are, and when they are reused, is the
//! dispatcher's. Everything that can be wrong about the settings is found when the transport is made.

use std::sync::Arc;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use crate::config::Security;
use crate::domain::address::EmailAddress;
use crate::domain::delivery::Reply;

pub use super::connection::{Dial, Socket};
use super::connection::{Relay, SmtpConnection, SmtpMessage};
use super::file::{FileConnection, FileMessage, FileTransport};
use super::message::Message;
use super::outcome::{Failed, Failure};

pub use super::settings::{Credentials, SmtpSettings};

/// Longest host name in octets (RFC 1035, section 2.3.4).
const HOST_OCTETS: usize = 255;

/// Where messages go.
#[derive(Debug)]
pub enum Transport {
    /// To a relay.
    Smtp(SmtpTransport),
    /// Into a directory.
    File(FileTransport),
}

impl Transport {
    /// Opens a connection, up to EHLO and AUTH; this is also the probe.
    pub async fn connect(&self) -> Result<Connection, Failure> {
        match self {
            Self::Smtp(transport) => transport.connect().await.map(Connection::Smtp),
            Self::File(transport) => transport.connect().await.map(Connection::File),
        }
    }
}

/// Where to: host and port, or the directory.
impl std::fmt::Display for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Smtp(SmtpTransport { relay, .. }) if relay.host.contains(':') => {
                write!(f, "[{}]:{}", relay.host, relay.port)
            }
            Self::Smtp(SmtpTransport { relay, .. }) => write!(f, "{}:{}", relay.host, relay.port),
            Self::File(transport) => transport.directory().display().fmt(f),
        }
    }
}

/// One open way to hand over messages, one after the other. An existing one can be used: a step that leaves it unusable
/// closes it and does not give it back, and so does dropping the step's future.
#[derive(Debug)]
pub enum Connection {
    /// To a relay.
    Smtp(Box<SmtpConnection>),
    /// Into a directory.
    File(FileConnection),
}

impl Connection {
    /// Begins a message of `message_octets` from `from` to `to`: up to the relay's 354, one round trip
    /// where it offers PIPELINING. A transaction that failed before is reset first.
    pub async fn begin(
        self,
        from: &EmailAddress,
        to: &EmailAddress,
        message_octets: u64,
    ) -> Result<BegunMessage, Failed> {
        match self {
            Self::Smtp(connection) => {
                connection.begin(from, to, message_octets).await.map(BegunMessage::Smtp)
            }
            Self::File(connection) => Ok(BegunMessage::File(connection.begin(from, to))),
        }
    }

    /// The connection, if it is still there after it was idle, so that one that the relay has closed, or
    /// said 421 on, is not blamed on the next invoice. Sends nothing.
    pub async fn if_alive(mut self) -> Option<Self> {
        let is_alive = match &mut self {
            Self::Smtp(connection) => connection.is_quiet().await,
            Self::File(_) => true,
        };
        is_alive.then_some(self)
    }

    /// Says good-bye and closes; takes 2 seconds at most.
    pub async fn quit(self) {
        match self {
            Self::Smtp(connection) => connection.quit().await,
            Self::File(_) => {}
        }
    }
}

/// A message that its receiver waits for. Dropped, it is not sent, and its connection is closed.
#[derive(Debug)]
#[must_use]
pub enum BegunMessage {
    /// The relay has said 354.
    Smtp(SmtpMessage),
    /// Into a directory.
    File(FileMessage),
}

impl BegunMessage {
    /// Hands the message over. `Ok` only for 250 to the final dot: then it is the relay's.
    pub async fn finish(self, message: &Message) -> Result<(Reply, Connection), Failed> {
        match self {
            Self::Smtp(begun) => {
                let (reply, connection) = begun.finish(message).await?;
                Ok((reply, Connection::Smtp(connection)))
            }
            Self::File(begun) => {
                let (reply, connection) = begun.finish(message).await?;
                Ok((reply, Connection::File(connection)))
            }
        }
    }
}

/// Why a transport cannot be made of its settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsFault {
    /// Not a host name or IP address.
    #[error("the relay's host {0:?} is neither a host name nor an IP address")]
    Host(String),
    /// Would break out of EHLO.
    #[error("the name for EHLO {0:?} is neither a host name nor an address in brackets")]
    HeloName(String),
    /// Not PEM, or no certificate in it.
    #[error("the relay's CA file holds no certificate in PEM")]
    NoCertificate,
    /// A certificate that cannot serve as a CA.
    #[error("the relay's CA file holds a certificate that cannot be used")]
    Certificate(#[source] rustls::Error),
    /// Never with the provider that is compiled in.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

/// Opens connections to one relay.
pub struct SmtpTransport {
    relay: Box<Relay>,
    credentials: Option<Credentials>,
}

impl SmtpTransport {
    /// Reads the system's certificates from disk if `ca` is `None` and the link is to be encrypted.
    pub fn new(settings: SmtpSettings) -> Result<Self, SettingsFault> {
        let SmtpSettings { host, port, security, credentials, ca, helo_name, timeouts } = settings;
        if !is_helo_name(&helo_name) {
            return Err(SettingsFault::HeloName(helo_name));
        }
        let Ok(server_name) = ServerName::try_from(host.clone()) else {
            return Err(SettingsFault::Host(host));
        };
        let roots = match (security, ca) {
            (Security::None, _) => RootCertStore::empty(),
            (Security::Tls | Security::StartTls, Some(pem)) => own_roots(&pem)?,
            (Security::Tls | Security::StartTls, None) => system_roots(),
        };
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(SettingsFault::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let relay = Box::new(Relay {
            host,
            port,
            dial: Dial::Tcp,
            security,
            server_name,
            tls: Arc::new(tls),
            helo_name,
            timeouts,
        });
        Ok(Self { relay, credentials })
    }

    /// Takes its sockets from elsewhere.
    #[must_use]
    pub fn dialling(mut self, dial: Dial) -> Self {
        self.relay.dial = dial;
        self
    }

    pub(super) async fn connect(&self) -> Result<Box<SmtpConnection>, Failure> {
        SmtpConnection::open(&self.relay, self.credentials.as_ref()).await
    }

    #[cfg(test)]
    pub(super) fn relay(&self) -> &Relay {
        &self.relay
    }
}

impl std::fmt::Debug for SmtpTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SmtpTransport")
            .field("host", &self.relay.host)
            .field("port", &self.relay.port)
            .field("security", &self.relay.security)
            .finish_non_exhaustive()
    }
}

/// It is written into EHLO as it is.
fn is_helo_name(name: &str) -> bool {
    (1..=HOST_OCTETS).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:[]".contains(&byte))
}

fn own_roots(pem: &[u8]) -> Result<RootCertStore, SettingsFault> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| SettingsFault::NoCertificate)?;
        roots.add(certificate).map_err(SettingsFault::Certificate)?;
    }
    if roots.is_empty() {
        return Err(SettingsFault::NoCertificate);
    }
    Ok(roots)
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}
