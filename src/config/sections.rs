//! Each table of the configuration: its keys, their limits, and the rules between them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::error::{ConfigError, ConfigErrors};
use super::location::KeyPath;
use super::reader::{Noted, Reader, as_text};
use super::source::{Item, Layers};
use super::{
    Admin, AdminListen, Billing, Config, Environment, Limits, Log, LogFormat, Mail, RelayHost,
    Retention, Retry, Security, SenderTable, Smtp, SmtpLogin, SmtpTimeouts, State, Templates,
    Transport, Webhook,
};
use crate::domain::Invalid;
use crate::domain::account::BillingGroups;
use crate::domain::address::{EmailAddress, MailDomain, Mailbox};
use crate::domain::contact::Language;
use crate::domain::id::{Group, ScheduleName, SenderName};
use crate::domain::invoice::{MESSAGE_OVERHEAD_BYTES, documents_bytes_max};
use crate::domain::recipient::OnRejected;
use crate::domain::retry::{AfterUncertain, Backoff, Policy};
use crate::domain::schedule::{Schedule, Schedules, Timetable};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
/// Longest time that a single step may take.
const STEP_SECONDS: u64 = 3600;

/// A struct of values that are all read before the first mistake ends it, so that each mistake is noted.
macro_rules! table {
    ($table:ident { $($field:ident: $read:expr),+ $(,)? }) => {{
        $(let $field = $read;)+
        Ok::<_, Noted>($table { $($field: $field?),+ })
    }};
}

/// Reads all tables, or says everything that is wrong.
pub(super) fn read(layers: &Layers, environment: &Environment) -> Result<Config, ConfigErrors> {
    let mut reader = Reader::new(layers, environment);
    let config = all(&mut reader);
    reader.finish(config)
}

/// Asks for every key there is, whatever is wrong with others.
pub(super) fn all(reader: &mut Reader<'_>) -> Result<Config, Noted> {
    let (webhook_table, mail_table) = (webhook(reader), mail(reader));
    if let (Ok(webhook), Ok(mail)) = (&webhook_table, &mail_table) {
        check_document_fits(reader, webhook, mail);
    }
    table!(Config {
        state: state(reader),
        webhook: webhook_table,
        admin: admin(reader),
        billing: billing(reader),
        schedules: schedules(reader),
        mail: mail_table,
        retry: retry(reader),
        retention: retention(reader),
        templates: templates(reader),
        log: log(reader),
        layers: Ok(reader.layers().clone()),
    })
}

/// Suspicious but valid settings.
pub(super) fn warnings(config: &Config) -> Vec<ConfigError> {
    let mut warnings = Vec::new();
    let Transport::Smtp(smtp) = &config.mail.transport else {
        return warnings;
    };
    let mut warn = |key, expected: &str| warnings.push(config.error_at(key, expected));
    let is_example = |address: &EmailAddress| {
        // Reserved by RFC 2606, section 3.
        ["example.com", "example.net", "example.org"].contains(&address.domain())
    };
    if is_example(&config.mail.from.address) {
        warn("mail.from", "your own address instead of an example");
    }
    if is_example(&config.mail.reply_to.address) {
        warn("mail.reply_to", "your own address instead of an example");
    }
    if smtp.security == Security::None && !smtp.host.is_loopback() {
        warn("mail.smtp.security", "\"tls\" or \"starttls\", since the relay is on another host");
    }
    warnings
}

fn state(reader: &mut Reader<'_>) -> Result<State, Noted> {
    let mut table = reader.table("state");
    table!(State {
        directory: table.path("directory"),
        reserve_bytes: table.integer("reserve_bytes", 16 * MIB..=1024 * GIB, " bytes"),
        cache_bytes: table.integer("cache_bytes", MIB..=64 * GIB, " bytes"),
    })
}

fn webhook(reader: &mut Reader<'_>) -> Result<Webhook, Noted> {
    let (granted, known) = (limits(reader), senders(reader));
    let mut table = reader.table("webhook");
    let most = 1024 * GIB;
    table!(Webhook {
        listen: table.text("listen", socket_address),
        limits: granted,
        unused_documents_bytes: table.integer("unused_documents_bytes", MIB..=most, " bytes"),
        senders: known,
    })
}

/// The memory for large bodies, or as many of the largest as [`LARGEST_AT_ONCE`] if that is more.
const BODIES_BYTES: usize = 128 * 1024 * 1024;
const LARGEST_AT_ONCE: usize = 4;

fn limits(reader: &mut Reader<'_>) -> Result<Limits, Noted> {
    let mut table = reader.table("webhook");
    let limits = table!(Limits {
        event_body_bytes: table.integer("event_body_bytes", 64 * 1024..=64 * 1024 * 1024, " bytes"),
        document_bytes: table.integer("document_bytes", 64 * 1024..=256 * 1024 * 1024, " bytes"),
        bodies_bytes: Ok(BODIES_BYTES),
        connections: table.integer("connections", 1..=10_000, ""),
        connections_per_peer: table.integer("connections_per_peer", 1..=10_000, ""),
        requests_per_connection: table.integer("requests_per_connection", 1..=1_000_000, ""),
        sender_requests_per_second: table.integer(
            "sender_requests_per_second",
            1..=1_000_000,
            " requests a second"
        ),
        // hyper's own least.
        header_bytes: table.integer("header_bytes", 8 * 1024..=1024 * 1024, " bytes"),
        header_time: table.seconds("header_seconds", 1..=STEP_SECONDS),
        body_time: table.seconds("body_seconds", 1..=STEP_SECONDS),
    })?;
    let largest = limits.event_body_bytes.max(limits.document_bytes);
    Ok(Limits {
        bodies_bytes: limits.bodies_bytes.max(largest.saturating_mul(LARGEST_AT_ONCE)),
        ..limits
    })
}

fn senders(reader: &mut Reader<'_>) -> Result<BTreeMap<SenderName, SenderTable>, Noted> {
    let table = KeyPath::new("webhook.senders");
    let names = reader.names(&table);
    if names.is_empty() {
        return Err(reader.rule(&table, "at least one sender, [webhook.senders.NAME]"));
    }
    let senders: Vec<Result<(SenderName, SenderTable), Noted>> = names
        .iter()
        .map(|name| {
            let path = table.child(name);
            let mut table = reader.table_at(path.clone());
            let secrets_file = table.file("secrets_file");
            let may = table.list("may", rights);
            let name = named(reader, &path, SenderName::parse(name));
            let (secrets_file, (accounts, invoices)) = (secrets_file?, may?);
            Ok((name?, SenderTable { secrets_file, accounts, invoices }))
        })
        .collect();
    senders.into_iter().collect()
}

/// Whether a sender may push accounts, and invoices.
fn rights(items: &[Item]) -> Result<(bool, bool), Invalid> {
    let (mut accounts, mut invoices) = (false, false);
    for item in items {
        match as_text(item) {
            Ok("accounts") => accounts = true,
            Ok("invoices") => invoices = true,
            Ok(_) | Err(_) => {
                return Err(Invalid::expected("a list of \"accounts\" and \"invoices\""));
            }
        }
    }
    if accounts || invoices {
        Ok((accounts, invoices))
    } else {
        Err(Invalid::expected("\"accounts\", \"invoices\" or both"))
    }
}

fn admin(reader: &mut Reader<'_>) -> Result<Admin, Noted> {
    let mut table = reader.table("admin");
    let socket = table.path("socket");
    let address = table.optional_text("listen", socket_address);
    let tokens_file = table.optional_file("tokens_file");
    let listen = match (address?, tokens_file?) {
        (Some(address), Some(tokens_file)) => Some(AdminListen { address, tokens_file }),
        (Some(_), None) => {
            return Err(table.rule("listen", "admin.tokens_file beside it"));
        }
        (None, Some(_)) => {
            return Err(table.rule("tokens_file", "admin.listen beside it"));
        }
        (None, None) => None,
    };
    Ok(Admin { socket: socket?, listen })
}

fn billing(reader: &mut Reader<'_>) -> Result<Billing, Noted> {
    let groups = reader.table("billing").list("groups", |items| {
        let groups: Vec<Group> =
            items.iter().map(|item| Group::parse(as_text(item)?)).collect::<Result<_, _>>()?;
        BillingGroups::new(groups)
    });
    Ok(Billing { groups: groups? })
}

fn schedules(reader: &mut Reader<'_>) -> Result<Schedules, Noted> {
    let table = KeyPath::new("schedules");
    let default = ScheduleName::default();
    let schedules: Vec<Result<(ScheduleName, Timetable), Noted>> = reader
        .names(&table)
        .iter()
        .map(|name| {
            let own = table.child(name);
            let default = table.child(default.as_str());
            let or_default = |reader: &Reader<'_>, key| {
                if reader.has(&own.child(key)) { own.clone() } else { default.clone() }
            };
            let path = or_default(reader, "time_zone");
            let time_zone = reader.table_at(path).text("time_zone", |text| {
                text.parse::<chrono_tz::Tz>().map_err(|_| {
                    Invalid::expected("an IANA time zone such as \"Europe/Berlin\" or \"UTC\"")
                })
            });
            let path = or_default(reader, "catch_up");
            let catch_up = reader.table_at(path).truth("catch_up");
            // In any time zone it has the same mistakes.
            let zone = time_zone.unwrap_or(chrono_tz::UTC);
            let mut table = reader.table_at(own.clone());
            let schedule = table.text("cron", |text| Schedule::parse(text, zone));
            let name = named(reader, &own, ScheduleName::parse(name));
            time_zone?;
            Ok((name?, Timetable { schedule: schedule?, catch_up: catch_up? }))
        })
        .collect();
    schedules.into_iter().collect()
}

fn mail(reader: &mut Reader<'_>) -> Result<Mail, Noted> {
    let smtp = smtp(reader);
    let directory = reader.table("mail.file").path("directory");
    let mut table = reader.table("mail");
    let from = table.text("from", Mailbox::parse);
    let reply_to = table.text("reply_to", Mailbox::parse);
    let envelope_from = table.optional_text("envelope_from", EmailAddress::parse);
    let message_id_domain = table.optional_text("message_id_domain", MailDomain::parse);
    let default_language = table.text("default_language", Language::parse);
    let message_bytes =
        table.integer("message_bytes", 2 * MESSAGE_OVERHEAD_BYTES..=512 * 1024 * 1024, " bytes");
    let is_smtp = table.choice("transport", &[("smtp", true), ("file", false)]);
    let from = from?;
    let message_id_domain = match message_id_domain? {
        Some(domain) => domain,
        None => MailDomain::parse(from.address.domain())
            .map_err(|invalid| table.rule("message_id_domain", invalid.expectation()))?,
    };
    Ok(Mail {
        reply_to: reply_to?,
        envelope_from: envelope_from?.unwrap_or_else(|| from.address.clone()),
        message_id_domain,
        default_language: default_language?,
        message_bytes: message_bytes?,
        transport: if is_smtp? {
            Transport::Smtp(Box::new(smtp?))
        } else {
            Transport::File { directory: directory? }
        },
        from,
    })
}

fn smtp(reader: &mut Reader<'_>) -> Result<Smtp, Noted> {
    let timeouts = smtp_timeouts(reader);
    let mut table = reader.table("mail.smtp");
    let host = table.text("host", RelayHost::parse);
    let port = table.integer("port", 1..=u16::MAX, "");
    let security = table.choice(
        "security",
        &[("tls", Security::Tls), ("starttls", Security::StartTls), ("none", Security::None)],
    );
    let username = table.optional_text("username", |text| {
        let fits = (1..=255).contains(&text.len()) && !text.chars().any(char::is_control);
        fits.then(|| text.to_owned())
            .ok_or_else(|| Invalid::expected("1 to 255 bytes without control characters"))
    });
    let password_file = table.optional_file("password_file");
    let ca_file = table.optional_file("ca_file");
    let connections = table.integer("connections", 1..=256, "");
    let login = match (username?, password_file?) {
        (Some(username), Some(password_file)) => Some(SmtpLogin { username, password_file }),
        (Some(_), None) => {
            return Err(table.rule("username", "mail.smtp.password_file beside it"));
        }
        (None, Some(_)) => {
            return Err(table.rule("password_file", "mail.smtp.username beside it"));
        }
        (None, None) => None,
    };
    let (host, security) = (host?, security?);
    if login.is_some() && security == Security::None && !host.is_loopback() {
        return Err(reader.rule_between(
            &["mail.smtp.security", "mail.smtp.username", "mail.smtp.host"],
            "mail.smtp.security to be \"tls\" or \"starttls\", since the password would be sent unencrypted",
        ));
    }
    Ok(Smtp {
        host,
        port: port?,
        security,
        login,
        ca_file: ca_file?,
        connections: connections?,
        timeouts: timeouts?,
    })
}

fn smtp_timeouts(reader: &mut Reader<'_>) -> Result<SmtpTimeouts, Noted> {
    let mut table = reader.table("mail.smtp");
    let mut seconds = |name| table.seconds(name, 1..=STEP_SECONDS);
    table!(SmtpTimeouts {
        connect: seconds("connect_seconds"),
        tls: seconds("tls_seconds"),
        greeting: seconds("greeting_seconds"),
        ehlo: seconds("ehlo_seconds"),
        auth: seconds("auth_seconds"),
        mail: seconds("mail_seconds"),
        rcpt: seconds("rcpt_seconds"),
        data: seconds("data_seconds"),
        body: seconds("body_seconds"),
        final_dot: seconds("final_dot_seconds"),
        idle: seconds("idle_seconds"),
    })
}

fn retry(reader: &mut Reader<'_>) -> Result<Retry, Noted> {
    const DAY: u64 = 86_400;
    let mut table = reader.table("retry");
    let backoff = table!(Backoff {
        first: table.seconds("first_delay_seconds", 1..=DAY),
        max: table.seconds("max_delay_seconds", 1..=7 * DAY),
        give_up_after: table.seconds("give_up_after_seconds", 60..=90 * DAY),
    });
    let after_uncertain = table.choice(
        "after_uncertain",
        &[("resend", AfterUncertain::Resend), ("hold", AfterUncertain::Hold)],
    );
    let on_rejected = table.choice(
        "on_rejected",
        &[("main_contact", OnRejected::MainContact), ("undeliverable", OnRejected::Undeliverable)],
    );
    let rejections_max = table.integer("rejections_max", 1..=100_000, "");
    let backoff = backoff?;
    if backoff.max < backoff.first {
        reader.rule_between(
            &["retry.max_delay_seconds", "retry.first_delay_seconds"],
            "retry.max_delay_seconds to be at least retry.first_delay_seconds",
        );
    }
    if backoff.give_up_after < backoff.max {
        reader.rule_between(
            &["retry.give_up_after_seconds", "retry.max_delay_seconds"],
            "retry.give_up_after_seconds to be at least retry.max_delay_seconds",
        );
    }
    Ok(Retry {
        policy: Policy { backoff, after_uncertain: after_uncertain? },
        on_rejected: on_rejected?,
        rejections_max: rejections_max?,
    })
}

fn retention(reader: &mut Reader<'_>) -> Result<Retention, Noted> {
    let mut table = reader.table("retention");
    let mut days = |name, most| table.integer(name, 1..=most, " days");
    table!(Retention {
        webhook_id_days: days("webhook_id_days", 366),
        unused_document_days: days("unused_document_days", 366),
        finished_days: days("finished_days", 7320),
    })
}

fn templates(reader: &mut Reader<'_>) -> Result<Templates, Noted> {
    let directory = reader.table("templates").optional_path("directory");
    Ok(Templates { directory: directory? })
}

fn log(reader: &mut Reader<'_>) -> Result<Log, Noted> {
    let mut table = reader.table("log");
    let formats =
        [("json", LogFormat::Json), ("text", LogFormat::Text), ("journald", LogFormat::Journald)];
    table!(Log {
        format: table.choice("format", &formats),
        level: table.text("level", |text| Ok(text.to_owned())),
    })
}

/// A document that no mail can carry must not be accepted in the first place.
fn check_document_fits(reader: &mut Reader<'_>, webhook: &Webhook, mail: &Mail) {
    let most = documents_bytes_max(mail.message_bytes);
    if webhook.limits.document_bytes > most {
        reader.rule_between(
            &["webhook.document_bytes", "mail.message_bytes"],
            format!(
                "webhook.document_bytes to be at most {most}, the most that fits into mail.message_bytes as base64"
            ),
        );
    }
}

fn socket_address(text: &str) -> Result<SocketAddr, Invalid> {
    text.parse().map_err(|_| {
        Invalid::expected("an IP address and a port, such as \"127.0.0.1:8480\" or \"[::1]:8480\"")
    })
}

/// Notes that the name of a table is none.
fn named<T>(
    reader: &mut Reader<'_>,
    table: &KeyPath,
    name: Result<T, Invalid>,
) -> Result<T, Noted> {
    name.map_err(|invalid| reader.rule(table, format!("a name of {}", invalid.expectation())))
}
