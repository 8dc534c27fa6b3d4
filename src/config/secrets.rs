//! The secrets that the configuration names, read from their files.
//!
//! They are wiped from memory when dropped and never shown: not by `Debug`, and not by an error, which
//! names the line only.

use std::io;
use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};

use super::access::{Access, Right, Secret, Sender, Senders, SharedSecret, Token};
use super::error::{ConfigError, ConfigErrors};
use super::location::KeyPath;
use super::{Config, SenderTable, Transport};
use crate::domain::id::{Digest, SenderName};

/// Longest password in bytes.
const PASSWORD_BYTES: usize = 1024;
/// Largest file of secrets.
const FILE_BYTES: u64 = 64 * 1024;

/// All secrets of a configuration.
#[derive(Debug)]
pub struct Secrets {
    /// For both interfaces.
    pub access: Access,
    /// For the relay, if the daemon logs in there.
    pub smtp_password: Option<SecretString>,
}

/// Reads all of them, or says everything that is wrong.
pub(super) fn read(config: &Config) -> Result<Secrets, ConfigErrors> {
    let mut errors = Vec::new();
    let mut known = Vec::new();
    for (name, table) in &config.webhook.senders {
        match sender(config, name, table) {
            Ok(sender) => known.push(sender),
            Err(error) => errors.push(error),
        }
    }
    let senders = Senders::new(known).unwrap_or_else(|SharedSecret { sender, other }| {
        let key = secrets_file(&sender);
        let expected = format!("expected secrets that {other} does not have too");
        errors.push(config.layers.error(&key, expected));
        Senders::default()
    });
    let smtp_password = match &config.mail.transport {
        Transport::Smtp(smtp) => smtp.login.as_ref(),
        Transport::File { directory: _ } => None,
    }
    .and_then(|login| {
        smtp_password(config, &login.password_file).map_err(|error| errors.push(error)).ok()
    });
    let tokens = match &config.admin.listen {
        Some(listen) => tokens(config, &listen.tokens_file).unwrap_or_else(|error| {
            errors.push(error);
            Vec::new()
        }),
        None => Vec::new(),
    };
    ConfigErrors::check(errors)?;
    Ok(Secrets { access: Access { senders, tokens }, smtp_password })
}

fn secrets_file(sender: &SenderName) -> KeyPath {
    KeyPath::new("webhook.senders").child(sender.as_str()).child("secrets_file")
}

/// Reads the secrets of one sender.
pub(super) fn sender(
    config: &Config,
    name: &SenderName,
    table: &SenderTable,
) -> Result<Sender, ConfigError> {
    let file = SecretFile { config, key: secrets_file(name), path: &table.secrets_file };
    let text = file.read("; make one with: echo \"whsec_$(openssl rand -base64 32)\"")?;
    let secrets = meaningful_lines(&text)
        .map(|(number, line)| {
            Secret::parse(line).map_err(|invalid| file.line(number, invalid.expectation()))
        })
        .collect::<Result<Vec<_>, _>>()?;
    if secrets.is_empty() {
        return Err(file.line(1, "\"whsec_\" and base64 of 24 to 64 bytes"));
    }
    let &SenderTable { secrets_file: _, accounts, invoices } = table;
    Ok(Sender { name: name.clone(), secrets, accounts, invoices })
}

fn smtp_password(config: &Config, path: &Path) -> Result<SecretString, ConfigError> {
    let file = SecretFile { config, key: KeyPath::new("mail.smtp.password_file"), path };
    let text = file.read("")?;
    let line = text.expose_secret().lines().next().unwrap_or_default();
    if line.is_empty() || line.len() > PASSWORD_BYTES || line.contains('\0') {
        return Err(file.line(1, "a password of 1 to 1024 bytes"));
    }
    Ok(SecretString::from(line))
}

fn tokens(config: &Config, path: &Path) -> Result<Vec<Token>, ConfigError> {
    let file = SecretFile { config, key: KeyPath::new("admin.tokens_file"), path };
    let text = file.read("")?;
    let expected = "NAME, \"read\" or \"operate\", and 64 lower-case hexadecimal digits";
    let mut tokens: Vec<Token> = Vec::new();
    for (number, line) in meaningful_lines(&text) {
        let token = token(line).ok_or_else(|| file.line(number, expected))?;
        let is_taken = |other: &Token| other.name == token.name || other.digest == token.digest;
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

fn token(line: &str) -> Option<Token> {
    let mut words = line.split_ascii_whitespace();
    let (name, right, digest) = (words.next()?, words.next()?, words.next()?);
    let right = match right {
        "read" => Right::Read,
        "operate" => Right::Operate,
        _ => return None,
    };
    let token =
        Token { name: SenderName::parse(name).ok()?, right, digest: Digest::parse(digest).ok()? };
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
            let hint = if reason.kind() == io::ErrorKind::NotFound { hint } else { "" };
            let what = format!("{} cannot be read: {reason}{hint}", self.path.display());
            self.config.layers.error(&self.key, what)
        })
    }

    /// What is wrong with a line. What it holds is never shown: it is secret.
    fn line(&self, line: usize, expected: &str) -> ConfigError {
        let what = format!("line {line} of {}: expected {expected}", self.path.display());
        self.config.layers.error(&self.key, what)
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
