//! How a relay is reached: what the administrator decides.

use secrecy::SecretString;

use crate::config::{Security, SmtpTimeouts};

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
    pub timeouts: SmtpTimeouts,
}

/// User name and password for AUTH.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Name.
    pub username: String,
    /// Password.
    pub password: SecretString,
}
