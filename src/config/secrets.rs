//! The secrets that the configuration names, read from their files.
//!
//! They are wiped from memory when dropped and never shown: not by `Debug`, and not by an error, which
//! names the line only.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};

use super::error::{ConfigError, ConfigErrors};
use super::source::KeyPath;
use super::{Config, Sender, Transport};
use crate::domain::id::{Digest, SenderName};

/// Shortest and longest key of a webhook, in bytes (Standard Webhooks 1.0).
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Longest password in bytes.
const PASSWORD_BYTES: usize = 1024;
/// Largest file of secrets.
const FILE_BYTES: u64 = 64 * 1024;

/// All secrets of a configuration.
#[derive(Debug)]
pub struct Secrets {
    /// The keys of each sender; no key is two senders'.
    pub senders: BTreeMap<SenderName, SenderKeys>,
    /// For the relay, if the daemon logs in there.
    pub smtp_password: Option<SecretString>,
    /// For the admin interface over TCP, if there is one.
    pub admin_tokens: Vec<AdminToken>,
}

/// The keys of one sender, at least one: several while they are being exchanged.
#[derive(Debug)]
pub struct SenderKeys(Vec<SecretSlice<u8>>);

impl SenderKeys {
    /// The keys, in the order of the file; any of them may verify, the first signs.
    #[must_use]
    pub fn as_slice(&self) -> &[SecretSlice<u8>] {
        &self.0
    }
}

/// A token of the admin interface.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminToken {
    /// Who acts with it, for the audit trail.
    pub name: SenderName,
    /// What it allows.
    pub may: MayAdmin,
    /// SHA-256 of the token.
    pub digest: Digest,
}

impl std::fmt::Debug for AdminToken {
    /// Without the digest: of a weak token it would be as good as the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, may, digest: _ } = self;
        f.debug_struct("AdminToken").field("name", name).field("may", may).finish_non_exhaustive()
    }
}

/// What a token of the admin interface allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MayAdmin {
    /// Looking.
    Read,
    /// Looking and acting.
    Operate,
}

/// Reads all of them, or says everything that is wrong.
pub(super) fn read(config: &Config) -> Result<Secrets, ConfigErrors> {
    let mut errors = Vec::new();
    let mut senders = BTreeMap::new();
    for (name, sender) in &config.webhook.senders {
        match sender_keys(config, name, sender) {
            Ok(keys) => {
                senders.insert(name.clone(), keys);
            }
            Err(error) => errors.push(error),
        }
    }
    errors.extend(shared_key(config, &senders));
    let smtp_password = match &config.mail.transport {
        Transport::Smtp(smtp) => smtp.login.as_ref(),
        Transport::File { directory: _ } => None,
    }
    .and_then(|login| {
        smtp_password(config, &login.password_file).map_err(|error| errors.push(error)).ok()
    });
    let admin_tokens = match &config.admin.listen {
        Some(listen) => admin_tokens(config, &listen.tokens_file).unwrap_or_else(|error| {
            errors.push(error);
            Vec::new()
        }),
        None => Vec::new(),
    };
    ConfigErrors::check(errors)?;
    Ok(Secrets { senders, smtp_password, admin_tokens })
}

/// Reads the keys of one sender.
pub(super) fn sender_keys(
    config: &Config,
    name: &SenderName,
    sender: &Sender,
) -> Result<SenderKeys, ConfigError> {
    let file = SecretFile {
        config,
        key: KeyPath::new(&["webhook", "senders", name.as_str(), "secrets_file"]),
        path: &sender.secrets_file,
    };
    let text = file.read("; make one with: echo \"whsec_$(openssl rand -base64 32)\"")?;
    let mut keys = Vec::new();
    for (number, line) in meaningful_lines(&text) {
        let key = line
            .strip_prefix("whsec_")
            .and_then(|encoded| STANDARD.decode(encoded).ok())
            .filter(|key| KEY_BYTES.contains(&key.len()))
            .ok_or_else(|| file.line(number, "\"whsec_\" and base64 of 24 to 64 bytes"))?;
        keys.push(SecretSlice::from(key));
    }
    if keys.is_empty() {
        return Err(file.line(1, "\"whsec_\" and base64 of 24 to 64 bytes"));
    }
    Ok(SenderKeys(keys))
}

/// A key that two senders hold would give each the rights of both.
fn shared_key(config: &Config, senders: &BTreeMap<SenderName, SenderKeys>) -> Option<ConfigError> {
    senders.iter().enumerate().find_map(|(at, (name, keys))| {
        let other = senders.iter().take(at).find(|(_, others)| {
            keys.0.iter().any(|key| {
                let is_same =
                    |other: &SecretSlice<u8>| other.expose_secret() == key.expose_secret();
                others.0.iter().any(is_same)
            })
        });
        let (other, _) = other?;
        let key = KeyPath::new(&["webhook", "senders", name.as_str(), "secrets_file"]);
        Some(ConfigError::Rule {
            at: config.at(&key),
            key,
            expected: format!("secrets of its own, and not one that {other} has too"),
        })
    })
}

fn smtp_password(config: &Config, path: &Path) -> Result<SecretString, ConfigError> {
    let file = SecretFile { config, key: KeyPath::new(&["mail", "smtp", "password_file"]), path };
    let text = file.read("")?;
    let line = text.expose_secret().lines().next().unwrap_or_default();
    if line.is_empty() || line.len() > PASSWORD_BYTES || line.contains('\0') {
        return Err(file.line(1, "a password of 1 to 1024 bytes"));
    }
    Ok(SecretString::from(line))
}

fn admin_tokens(config: &Config, path: &Path) -> Result<Vec<AdminToken>, ConfigError> {
    let file = SecretFile { config, key: KeyPath::new(&["admin", "tokens_file"]), path };
    let text = file.read("")?;
    let expected = "NAME, \"read\" or \"operate\", and 64 lower-case hexadecimal digits";
    let mut tokens: Vec<AdminToken> = Vec::new();
    for (number, line) in meaningful_lines(&text) {
        let token = admin_token(line).ok_or_else(|| file.line(number, expected))?;
        let is_taken =
            |other: &AdminToken| other.name == token.name || other.digest == token.digest;
        if tokens.iter().any(is_taken) {
            return Err(file.line(number, "each name and each token once"));
        }
        tokens.push(token);
    }
    if tokens.is_empty() {
        return Err(file.line(1, expected));
    }
    Ok(tokens)
}

fn admin_token(line: &str) -> Option<AdminToken> {
    let mut words = line.split_ascii_whitespace();
    let (name, may, digest) = (words.next()?, words.next()?, words.next()?);
    let may = match may {
        "read" => MayAdmin::Read,
        "operate" => MayAdmin::Operate,
        _ => return None,
    };
    let token = AdminToken {
        name: SenderName::parse(name).ok()?,
        may,
        digest: Digest::parse(digest).ok()?,
    };
    words.next().is_none().then_some(token)
}

/// A file and the key that names it.
struct SecretFile<'a> {
    config: &'a Config,
    key: KeyPath,
    path: &'a Path,
}

impl SecretFile<'_> {
    /// `hint` says what to do when there is no such file.
    fn read(&self, hint: &str) -> Result<SecretString, ConfigError> {
        let read = || {
            let bytes = std::fs::metadata(self.path)?.len();
            if bytes > FILE_BYTES {
                return Err(io::Error::from(io::ErrorKind::FileTooLarge));
            }
            std::fs::read_to_string(self.path)
        };
        read().map(SecretString::from).map_err(|reason| {
            let is_missing = reason.kind() == io::ErrorKind::NotFound;
            ConfigError::File {
                at: self.config.at(&self.key),
                key: self.key.clone(),
                path: self.path.to_owned(),
                reason,
                hint: if is_missing { hint } else { "" }.to_owned(),
            }
        })
    }

    fn line(&self, line: usize, expected: &str) -> ConfigError {
        ConfigError::FileLine {
            at: self.config.at(&self.key),
            key: self.key.clone(),
            path: self.path.to_owned(),
            line,
            expected: expected.to_owned(),
        }
    }
}

/// The lines that are neither blank nor comments, with their numbers.
fn meaningful_lines(text: &SecretString) -> impl Iterator<Item = (usize, &str)> {
    text.expose_secret()
        .lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}
