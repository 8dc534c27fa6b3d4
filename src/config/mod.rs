//! The configuration: the shipped file, a user's file over it, and what both together mean.
//!
//! `config/invoice-router.toml` is compiled in and is the only source of defaults; the code has none.
//! What [`Config`] holds is valid: domain types, times as [`Duration`], sets of names as enums. Every
//! error names file, line and key, and all errors of a file are reported at once.
//!
//! Secrets are not part of it. They lie in files that only the service may read, while every command
//! needs the rest; [`Config::secrets`] reads them, and again whenever they may have been exchanged.
//!
//! Templates are checked by those who know them; [`Config::error_at`]
//! gives their errors the place in the file.

mod access;
mod error;
mod location;
mod reader;
mod secrets;
mod sections;
mod source;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::domain::Invalid;
use crate::domain::account::BillingGroups;
use crate::domain::address::{EmailAddress, MailDomain, Mailbox};
use crate::domain::contact::Language;
use crate::domain::delivery::Stage;
use crate::domain::id::SenderName;
use crate::domain::recipient::OnRejected;
use crate::domain::retry::Policy;
use crate::domain::schedule::Schedules;

pub use access::{Access, Right, Secret, Sender, Senders, SharedSecret, Token};
pub use error::{ConfigError, ConfigErrors};
pub use location::{KeyPath, Location};
pub use secrets::Secrets;

use source::Layers;

/// The shipped file: every key with its default and what it is for.
pub const SHIPPED: &str = include_str!("../../config/invoice-router.toml");
/// How the shipped file is called in errors.
const SHIPPED_NAME: &str = "built-in invoice-router.toml";

/// Everything that can be configured.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the data lies.
    pub state: State,
    /// The interface for portal and billing system.
    pub webhook: Webhook,
    /// The interface for operators.
    pub admin: Admin,
    /// Who can be a billing contact.
    pub billing: Billing,
    /// When waiting invoices are released; `default` is always there.
    pub schedules: Schedules,
    /// How mails look and leave.
    pub mail: Mail,
    /// What happens after failures.
    pub retry: Retry,
    /// How long things are kept.
    pub retention: Retention,
    /// Where templates are.
    pub templates: Templates,
    /// What is logged, and how.
    pub log: Log,
    layers: Layers,
}

/// `[state]`: where a store lies and what it may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The state directory; it exists and belongs to the daemon.
    pub directory: PathBuf,
    /// Free disk space in bytes below which nothing more is accepted.
    pub reserve_bytes: u64,
    /// Memory for the database's pages, in bytes.
    pub cache_bytes: u64,
}

/// `[webhook]`
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Where events and documents are taken.
    pub listen: SocketAddr,
    /// What the interface grants a client.
    pub limits: Limits,
    /// All documents that no invoice refers to.
    pub unused_documents_bytes: u64,
    /// Who may push; at least one.
    pub senders: BTreeMap<SenderName, SenderTable>,
}

/// What an HTTP interface grants a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest body of an event, or of a request to the admin interface, in bytes.
    pub event_body_bytes: usize,
    /// Largest document, in bytes.
    pub document_bytes: usize,
    /// The memory in bytes that all bodies under way share for what each has beyond its first 64 KiB. An
    /// event must be read before its signature can be judged: without this any client could fill the memory.
    pub bodies_bytes: usize,
    /// Most connections at once; further ones wait in the listener's backlog.
    pub connections: usize,
    /// Most connections of one address at once; further ones are refused.
    pub connections_per_peer: usize,
    /// How many requests a connection may bring before it is closed.
    pub requests_per_connection: u32,
    /// How many requests a sender may bring in a second.
    pub sender_requests_per_second: u32,
    /// Largest head of a request in bytes, at least 8 KiB; also what is read of a body at once.
    pub header_bytes: usize,
    /// How long a client may take for the head of a request; the same for an idle connection.
    pub header_time: Duration,
    /// How long a client may take for a whole body, and for reading a part of an answer.
    pub body_time: Duration,
}

/// `[webhook.senders.NAME]`
#[derive(Debug, Clone)]
pub struct SenderTable {
    /// Its secrets, one a line.
    pub secrets_file: PathBuf,
    /// Whether it may push account and sub-user events.
    pub accounts: bool,
    /// Whether it may push invoice events and documents.
    pub invoices: bool,
}

/// `[admin]`
#[derive(Debug, Clone)]
pub struct Admin {
    /// Guarded by file permission.
    pub socket: PathBuf,
    /// TCP, guarded by tokens.
    pub listen: Option<AdminListen>,
}

/// The admin interface over TCP; there is none without tokens.
#[derive(Debug, Clone)]
pub struct AdminListen {
    /// Where.
    pub address: SocketAddr,
    /// A line for each token.
    pub tokens_file: PathBuf,
}

/// `[billing]`
#[derive(Debug, Clone)]
pub struct Billing {
    /// Groups whose sub-users may be selected.
    pub groups: BillingGroups,
}

/// `[mail]`
#[derive(Debug, Clone)]
pub struct Mail {
    /// The `From` header.
    pub from: Mailbox,
    /// The `Reply-To` header.
    pub reply_to: Mailbox,
    /// The envelope's sender.
    pub envelope_from: EmailAddress,
    /// The right side of every Message-ID.
    pub message_id_domain: MailDomain,
    /// Where neither contact nor account has one.
    pub default_language: Language,
    /// Largest mail, in bytes as sent.
    pub message_bytes: usize,
    /// How mails leave.
    pub transport: Transport,
}

/// How mails leave the house.
#[derive(Debug, Clone)]
pub enum Transport {
    /// Through a relay.
    Smtp(Box<Smtp>),
    /// As files, for trials.
    File {
        /// One `.eml` a mail.
        directory: PathBuf,
    },
}

/// `[mail.smtp]`
#[derive(Debug, Clone)]
pub struct Smtp {
    /// The relay.
    pub host: RelayHost,
    /// Its port.
    pub port: u16,
    /// How the link is encrypted.
    pub security: Security,
    /// With what to log in, if at all.
    pub login: Option<SmtpLogin>,
    /// Authorities in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// Connections at a time.
    pub connections: usize,
    /// How long each step may take.
    pub timeouts: SmtpTimeouts,
}

/// A relay's host name or IP address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayHost(String);

impl RelayHost {
    /// An IP address, or a host name of letters, digits, `-` and `.`.
    pub fn parse(raw: &str) -> Result<Self, Invalid> {
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let is_name = raw.len() <= 253 && raw.split('.').all(is_label);
        if is_name || raw.parse::<IpAddr>().is_ok() {
            Ok(Self(raw.to_ascii_lowercase()))
        } else {
            Err(Invalid::expected("a host name or an IP address, without port"))
        }
    }

    /// The name or address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether what is sent there stays on this host.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.0 == "localhost" || self.0.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

/// How the link to the relay is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Security {
    /// From the first octet (RFC 8314, section 3).
    Tls,
    /// By STARTTLS, without which nothing is sent (RFC 3207).
    StartTls,
    /// Not at all. Credentials are sent only to a loopback address.
    None,
}

/// With what to log in at the relay.
#[derive(Debug, Clone)]
pub struct SmtpLogin {
    /// The user name.
    pub username: String,
    /// The password is its first line.
    pub password_file: PathBuf,
}

/// How long each step towards the relay may take (RFC 5321, section 4.5.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SmtpTimeouts {
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
    /// An unused connection is kept so long.
    pub idle: Duration,
}

impl SmtpTimeouts {
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

/// `[retry]`
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// Delays, their end, and what an unknown outcome leads to.
    pub policy: Policy,
    /// When no address of the billing contact is left.
    pub on_rejected: OnRejected,
    /// More rejected addresses within ten minutes stop all sending.
    pub rejections_max: u32,
}

/// `[retention]`
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// A webhook's id is remembered so many days.
    pub webhook_id_days: u16,
    /// A document without an invoice is kept so many days.
    pub unused_document_days: u16,
    /// A finished invoice is kept so many days.
    pub finished_days: u16,
}

/// `[templates]`
#[derive(Debug, Clone)]
pub struct Templates {
    /// Templates in place of the compiled-in ones.
    pub directory: Option<PathBuf>,
}

/// `[log]`
#[derive(Debug, Clone)]
pub struct Log {
    /// Where to, and in which form.
    pub format: LogFormat,
    /// Levels by module, checked by those who log.
    pub level: String,
}

/// Where and in which form events are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line on stdout: the event's fields at the top, those of its span under
    /// `span`, `timestamp` as RFC 3339 in UTC.
    Json,
    /// Lines for a terminal, on stderr, so that a command's output stays clean.
    Text,
    /// The journal's native protocol; `account.id` becomes the field `ACCOUNT_ID`.
    Journald,
}

/// What relative paths are relative to.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// The configuration file's directory; empty for the current one.
    pub directory: PathBuf,
    /// `$CREDENTIALS_DIRECTORY`
    pub credentials: Option<PathBuf>,
}

impl Environment {
    fn of_process(file: Option<&Path>) -> Self {
        Self {
            directory: file.and_then(Path::parent).unwrap_or(Path::new("")).to_owned(),
            credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
        }
    }

    fn path(&self, text: &str) -> Result<PathBuf, Invalid> {
        if text.is_empty() || text.contains('\0') {
            return Err(Invalid::expected("a path"));
        }
        Ok(self.directory.join(text))
    }

    /// A bare name is a credential's where there are credentials.
    fn file(&self, text: &str) -> Result<PathBuf, Invalid> {
        match &self.credentials {
            Some(credentials) if !text.is_empty() && !text.contains(['/', '\0']) => {
                Ok(credentials.join(text))
            }
            Some(_) | None => self.path(text),
        }
    }
}

impl Config {
    /// Reads the file at `path` over the shipped one; without a path, the shipped one alone.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigErrors> {
        let environment = Environment::of_process(path);
        let Some(path) = path else {
            return Self::parse("", SHIPPED_NAME, &environment);
        };
        let origin = path.display().to_string();
        let bytes = std::fs::read(path)
            .map_err(|reason| ConfigError::File(format!("{origin}: cannot be read: {reason}")))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = before.split(|&byte| byte == b'\n').count();
            let at = Location { file: origin.as_str().into(), line };
            ConfigError::Line { at, what: "expected UTF-8".to_owned() }
        })?;
        Self::parse(&text, &origin, &environment)
    }

    /// Reads `text` over the shipped file; `origin` is what errors call it.
    pub fn parse(
        text: &str,
        origin: &str,
        environment: &Environment,
    ) -> Result<Self, ConfigErrors> {
        let senders = KeyPath::new("webhook.senders");
        let mut layers = Layers::default();
        layers.lay(SHIPPED, SHIPPED_NAME, &senders)?;
        layers.lay(text, origin, &senders)?;
        sections::read(&layers, environment)
    }

    /// Reads the secrets that this configuration names.
    pub fn secrets(&self) -> Result<Secrets, ConfigErrors> {
        secrets::read(self)
    }

    /// One sender with its secrets; `None` if there is no such sender.
    pub fn sender(&self, name: &SenderName) -> Option<Result<Sender, ConfigErrors>> {
        let table = self.webhook.senders.get(name)?;
        Some(secrets::sender(self, name, table).map_err(ConfigErrors::from))
    }

    /// The keys whose values are not those of `other`, in order.
    #[must_use]
    pub fn differing(&self, other: &Self) -> Vec<KeyPath> {
        self.layers.differing(&other.layers)
    }

    /// The location of a key; the line of its table, where it has a default that depends on others.
    #[must_use]
    pub fn at(&self, key: &KeyPath) -> Location {
        self.layers.place(key)
    }

    /// The error of a value that was judged elsewhere, with its place.
    #[must_use]
    pub fn error_at(&self, key: &str, expected: impl fmt::Display) -> ConfigError {
        self.layers.wrong_value(&KeyPath::new(key), &expected.to_string())
    }

    /// Suspicious but valid settings: the example's addresses as sender, unencrypted mail.
    #[must_use]
    pub fn warnings(&self) -> Vec<ConfigError> {
        sections::warnings(self)
    }
}

#[cfg(test)]
mod tests;
