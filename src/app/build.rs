//! From the configuration to what the parts of the daemon are built of.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{self, Config, ConfigError, ConfigErrors, Secrets};
use crate::dispatch;
use crate::domain::contact::Language;
use crate::domain::delivery::DeliveryId;
use crate::domain::id::Sequence;
use crate::domain::invoice::documents_bytes_max;
use crate::mail::compose::{Brand, message_id};
use crate::mail::file::FileTransport;
use crate::mail::template::Templates;
use crate::mail::transport::{Credentials, SmtpSettings, SmtpTransport, Transport};
use crate::store;
use crate::telemetry::{self, TelemetryError};

/// All that the configuration names, read and compiled.
pub(super) struct Compiled {
    pub(super) secrets: Secrets,
    pub(super) templates: Arc<Templates>,
    pub(super) transport: Arc<Transport>,
}

impl Compiled {
    /// Reads and compiles everything, or says all that is wrong with it.
    pub(super) fn read(config: &Config) -> Result<Self, ConfigErrors> {
        let mut errors = Vec::new();
        if let Err(error) = telemetry::check_level(&config.log.level) {
            errors.push(logging_error(config, &error));
        }
        let templates = templates(config, &mut errors);
        let domain = &config.mail.message_id_domain;
        if message_id(&[0; 16], DeliveryId::of_invoice(Sequence(0)), 1, domain).is_err() {
            errors.push(config.error_at("mail.message_id_domain", "a shorter host name"));
        }
        let secrets = config.secrets().map_err(|more| errors.extend(more.0)).ok();
        let transport = secrets.as_ref().and_then(|secrets| {
            transport(config, secrets).map_err(|error| errors.push(error)).ok()
        });
        match (secrets, templates, transport) {
            (Some(secrets), Some(templates), Some(transport)) if errors.is_empty() => {
                Ok(Self { secrets, templates: Arc::new(templates), transport: Arc::new(transport) })
            }
            _ => Err(ConfigErrors(errors)),
        }
    }
}

/// What is wrong with `[log]`.
pub(super) fn logging_error(config: &Config, error: &TelemetryError) -> ConfigError {
    match error {
        TelemetryError::Level { .. } => config.error_at("log.level", error),
        TelemetryError::Journal(reason) => {
            config.error_at("log.format", format!("a valid format ({error}: {reason})"))
        }
        TelemetryError::Twice(_) => config.error_at("log.format", error),
    }
}

fn templates(config: &Config, errors: &mut Vec<ConfigError>) -> Option<Templates> {
    if let Some(directory) = &config.templates.directory
        && let Err(reason) = std::fs::read_dir(directory)
    {
        let expected = format!("a readable directory ({reason})");
        errors.push(config.error_at("templates.directory", expected));
        return None;
    }
    let templates = match Templates::load(config.templates.directory.as_deref()) {
        Ok(templates) => templates,
        Err(mistakes) => {
            errors.extend(mistakes.0.iter().map(|mistake| ConfigError::File(mistake.to_string())));
            return None;
        }
    };
    if !templates.has(&config.mail.default_language) {
        let known: Vec<&str> = templates.languages().map(Language::as_str).collect();
        let expected = format!("a language that has templates: {}", known.join(", "));
        errors.push(config.error_at("mail.default_language", expected));
    }
    Some(templates)
}

/// How mails leave; reads the CA file.
fn transport(config: &Config, secrets: &Secrets) -> Result<Transport, ConfigError> {
    let smtp = match &config.mail.transport {
        config::Transport::File { directory } => {
            return Ok(Transport::File(FileTransport::new(directory.clone())));
        }
        config::Transport::Smtp(smtp) => smtp,
    };
    let key = "mail.smtp.ca_file";
    let ca = match &smtp.ca_file {
        Some(path) => Some(
            std::fs::read(path)
                .map_err(|reason| config.error_at(key, format!("a readable file ({reason})")))?,
        ),
        None => None,
    };
    let credentials = match (&smtp.login, &secrets.smtp_password) {
        (Some(login), Some(password)) => {
            Some(Credentials { username: login.username.clone(), password: password.clone() })
        }
        (Some(_) | None, _) => None,
    };
    let settings = SmtpSettings {
        host: smtp.host.as_str().to_owned(),
        port: smtp.port,
        security: smtp.security,
        credentials,
        ca,
        helo_name: config.mail.message_id_domain.as_str().to_owned(),
        timeouts: smtp.timeouts,
    };
    let transport = SmtpTransport::new(settings)
        .map_err(|fault| config.error_at(key, format!("certificates of CAs in PEM ({fault})")))?;
    Ok(Transport::Smtp(transport))
}

pub(super) fn brand(config: &Config) -> Brand {
    Brand {
        name: config.mail.from.name.clone(),
        from: config.mail.from.address.clone(),
        reply_to: config.mail.reply_to.clone(),
    }
}

pub(super) fn rules(config: &Config) -> store::Rules {
    store::Rules {
        groups: config.billing.groups.clone(),
        policy: config.retry.policy,
        on_rejected: config.retry.on_rejected,
        webhook_id_days: u32::from(config.retention.webhook_id_days),
        documents_bytes: u64::try_from(documents_bytes_max(config.mail.message_bytes))
            .unwrap_or(u64::MAX),
        unused_documents_bytes: config.webhook.unused_documents_bytes,
    }
}

pub(super) fn retention(config: &Config) -> store::Retention {
    let days = |days: u16| Duration::from_secs(u64::from(days) * 86_400);
    store::Retention {
        unused_documents: days(config.retention.unused_document_days),
        finished: days(config.retention.finished_days),
    }
}

/// The longest time between two looks of the dispatcher at clock and store.
const TICK: Duration = Duration::from_secs(5);
/// How long after the relay failed it is probed.
const PROBE_FIRST: Duration = Duration::from_secs(5);

pub(super) fn dispatch_settings(config: &Config) -> dispatch::Settings {
    let (connections, connection_idle) = match &config.mail.transport {
        config::Transport::Smtp(smtp) => (smtp.connections, smtp.timeouts.idle),
        config::Transport::File { directory: _ } => (1, Duration::from_secs(60)),
    };
    dispatch::Settings {
        brand: brand(config),
        envelope_from: config.mail.envelope_from.clone(),
        message_id_domain: config.mail.message_id_domain.clone(),
        default_language: config.mail.default_language.clone(),
        message_bytes: config.mail.message_bytes,
        connections,
        connection_idle,
        probe_first: PROBE_FIRST,
        rules: rules(config),
        rejections_max: usize::try_from(config.retry.rejections_max).unwrap_or(usize::MAX),
        tick: TICK,
    }
}
