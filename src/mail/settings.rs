//! How a relay is reached: what the administrator decides.

use std::time::Duration;

use secrecy::SecretString;

use crate::domain::delivery::Stage;

/// How the relay is reached.
#[derive(Debug, Clone)]
pub struct SmtpSettings {
    /// Host name or IP address; the certificate must be for it.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Encryption.
    pub security: Security,
    /// For AUTH, where the relay wants it.
    pub credentials: Option<Credentials>,
    /// Certificates of the CAs to trust, in PEM, **instead of** the system's. `None`: the system's,
    /// or Mozilla's where the system has none.
    pub ca: Option<Vec<u8>>,
    /// What EHLO says: a host name, or an address in brackets.
    pub helo_name: String,
    /// Limits of each step.
    pub time_outs: TimeOuts,
}

/// How the link to the relay is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Security {
    /// From the first octet (RFC 8314).
    Tls,
    /// By STARTTLS, without which nothing is sent (RFC 3207).
    StartTls,
    /// Not at all. Credentials are sent only to a loopback address.
    None,
}

/// User name and password for AUTH.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Name.
    pub username: String,
    /// Password.
    pub password: SecretString,
}

/// How long each step may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeOuts {
    /// Name resolution and TCP, all addresses together.
    pub connect: Duration,
    /// STARTTLS and the handshake, each.
    pub tls: Duration,
    /// The relay's 220.
    pub greeting: Duration,
    /// EHLO.
    pub ehlo: Duration,
    /// The whole AUTH exchange.
    pub auth: Duration,
    /// MAIL, and RSET.
    pub mail: Duration,
    /// RCPT.
    pub rcpt: Duration,
    /// DATA, up to the 354.
    pub data: Duration,
    /// Each 64 KiB of the message.
    pub body: Duration,
    /// The final dot.
    pub final_dot: Duration,
}

impl TimeOuts {
    /// The limit of a stage.
    #[must_use]
    pub fn of(&self, stage: Stage) -> Duration {
        match stage {
            Stage::Connect => self.connect,
            Stage::Tls => self.tls,
            Stage::Greeting => self.greeting,
            Stage::Ehlo => self.ehlo,
            Stage::Auth => self.auth,
            Stage::Mail => self.mail,
            Stage::Rcpt => self.rcpt,
            Stage::Data => self.data,
            Stage::Body => self.body,
            Stage::FinalDot => self.final_dot,
        }
    }
}

/// RFC 5321, section 4.5.3.2, where it has a value; 30 seconds to connect and for TLS, 5 minutes else.
impl Default for TimeOuts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            tls: Duration::from_secs(30),
            greeting: Duration::from_secs(300),
            ehlo: Duration::from_secs(300),
            auth: Duration::from_secs(300),
            mail: Duration::from_secs(300),
            rcpt: Duration::from_secs(300),
            data: Duration::from_secs(120),
            body: Duration::from_secs(180),
            final_dot: Duration::from_secs(600),
        }
    }
}
