//! Each table of the configuration: its keys, their limits, and the rules between them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::error::{ConfigError, ConfigErrors};
use super::location::KeyPath;
use super::reader::{Noted, Reader, as_text};
use super::source::Layers;
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
    let mut warn = |names: &[&str], expected: &str| {
        let key = KeyPath::new(names);
        warnings.push(config.error_at(&key, &Invalid::expected(expected)));
    };
    let is_example = |address: &EmailAddress| {
        // Reserved by RFC 2606, section 3.
        ["example.com", "example.net", "example.org"].contains(&address.domain())
    };
    if is_example(&config.mail.from.address) {
        warn(&["mail", "from"], "your own address instead of an example");
    }
    if is_example(&config.mail.reply_to.address) {
        warn(&["mail", "reply_to"], "your own address instead of an example");
    }
    if smtp.security == Security::None && !smtp.host.is_loopback() {
        warn(
            &["mail", "smtp", "security"],
            "\"tls\" or \"starttls\", since the relay is on another host",
        );
    }
    warnings
}

fn state(reader: &mut Reader<'_>) -> Result<State, Noted> {
    let key = |name| KeyPath::new(&["state", name]);
    table!(State {
        directory: reader.path(&key("directory")),
        reserve_bytes: reader.integer(&key("reserve_bytes"), 16 * MIB..=1024 * GIB, " bytes"),
        cache_bytes: reader.integer(&key("cache_bytes"), MIB..=64 * GIB, " bytes"),
    })
}

fn webhook(reader: &mut Reader<'_>) -> Result<Webhook, Noted> {
    let key = |name| KeyPath::new(&["webhook", name]);
    table!(Webhook {
        listen: reader.text(&key("listen"), socket_address),
        limits: limits(reader),
        unused_documents_bytes: reader.integer(
            &key("unused_documents_bytes"),
            MIB..=1024 * GIB,
            " bytes"
        ),
        senders: senders(reader),
    })
}

/// The memory for large bodies, or as many of the largest as [`LARGEST_AT_ONCE`] if that is more.
const BODIES_BYTES: usize = 128 * 1024 * 1024;
const LARGEST_AT_ONCE: usize = 4;

fn limits(reader: &mut Reader<'_>) -> Result<Limits, Noted> {
    let key = |name| KeyPath::new(&["webhook", name]);
    let limits = table!(Limits {
        event_body_bytes: reader.integer(
            &key("event_body_bytes"),
            64 * 1024..=64 * 1024 * 1024,
            " bytes"
        ),
        document_bytes: reader.integer(
            &key("document_bytes"),
            64 * 1024..=256 * 1024 * 1024,
            " bytes"
        ),
        bodies_bytes: Ok(BODIES_BYTES),
        connections: reader.integer(&key("connections"), 1..=10_000, ""),
        connections_per_peer: reader.integer(&key("connections_per_peer"), 1..=10_000, ""),
        requests_per_connection: reader.integer(&key("requests_per_connection"), 1..=1_000_000, ""),
        sender_requests_per_second: reader.integer(
            &key("sender_requests_per_second"),
            1..=1_000_000,
            " requests a second"
        ),
        // hyper's own least.
        header_bytes: reader.integer(&key("header_bytes"), 8 * 1024..=1024 * 1024, " bytes"),
        header_time: reader.seconds(&key("header_seconds"), 1..=STEP_SECONDS),
        body_time: reader.seconds(&key("body_seconds"), 1..=STEP_SECONDS),
    })?;
    let largest = limits.event_body_bytes.max(limits.document_bytes);
    Ok(Limits {
        bodies_bytes: limits.bodies_bytes.max(largest.saturating_mul(LARGEST_AT_ONCE)),
        ..limits
    })
}

fn senders(reader: &mut Reader<'_>) -> Result<BTreeMap<SenderName, SenderTable>, Noted> {
    let table = KeyPath::new(&["webhook", "senders"]);
    let names = reader.names(&table);
    if names.is_empty() {
        return Err(reader.rule(&table, "at least one sender, [webhook.senders.NAME]"));
    }
    let senders: Vec<Result<(SenderName, SenderTable), Noted>> = names
        .iter()
        .map(|name| {
            let table = table.child(name);
            let secrets_file = reader.file(&table.child("secrets_file"));
            let may = reader.list(&table.child("may"), |items| {
                let (mut accounts, mut invoices) = (false, false);
                for item in items {
                    match as_text(item) {
                        Ok("accounts") => accounts = true,
                        Ok("invoices") => invoices = true,
                        Ok(_) | Err(_) => {
                            let expected = "a list of \"accounts\" and \"invoices\"";
                            return Err(Invalid::expected(expected));
                        }
                    }
                }
                if !accounts && !invoices {
                    return Err(Invalid::expected("\"accounts\", \"invoices\" or both"));
                }
                Ok((accounts, invoices))
            });
            let name = named(reader, &table, SenderName::parse(name));
            let (secrets_file, (accounts, invoices)) = (secrets_file?, may?);
            Ok((name?, SenderTable { secrets_file, accounts, invoices }))
        })
        .collect();
    senders.into_iter().collect()
}

fn admin(reader: &mut Reader<'_>) -> Result<Admin, Noted> {
    let key = |name| KeyPath::new(&["admin", name]);
    let socket = reader.path(&key("socket"));
    let address = reader.optional_text(&key("listen"), socket_address);
    let tokens_file = reader.optional_file(&key("tokens_file"));
    let listen = match (address?, tokens_file?) {
        (Some(address), Some(tokens_file)) => Some(AdminListen { address, tokens_file }),
        (Some(_), None) => {
            return Err(reader.rule(&key("listen"), "admin.tokens_file beside it"));
        }
        (None, Some(_)) => {
            return Err(reader.rule(&key("tokens_file"), "admin.listen beside it"));
        }
        (None, None) => None,
    };
    Ok(Admin { socket: socket?, listen })
}

fn billing(reader: &mut Reader<'_>) -> Result<Billing, Noted> {
    let key = KeyPath::new(&["billing", "groups"]);
    let groups = reader.list(&key, |items| {
        let groups: Vec<Group> =
            items.iter().map(|item| Group::parse(as_text(item)?)).collect::<Result<_, _>>()?;
        BillingGroups::new(groups)
    });
    Ok(Billing { groups: groups? })
}

fn schedules(reader: &mut Reader<'_>) -> Result<Schedules, Noted> {
    let table = KeyPath::new(&["schedules"]);
    let default = ScheduleName::default();
    let schedules: Vec<Result<(ScheduleName, Timetable), Noted>> = reader
        .names(&table)
        .iter()
        .map(|name| {
            let own = table.child(name);
            let default = table.child(default.as_str());
            let or_default = |reader: &Reader<'_>, key: &str| {
                let own = own.child(key);
                if reader.has(&own) { own } else { default.child(key) }
            };
            let key = or_default(reader, "time_zone");
            let time_zone = reader.text(&key, |text| {
                text.parse::<chrono_tz::Tz>().map_err(|_| {
                    Invalid::expected("an IANA time zone such as \"Europe/Berlin\" or \"UTC\"")
                })
            });
            // In any time zone it has the same mistakes.
            let zone = time_zone.unwrap_or(chrono_tz::UTC);
            let schedule = reader.text(&own.child("cron"), |text| Schedule::parse(text, zone));
            let key = or_default(reader, "catch_up");
            let catch_up = reader.truth(&key);
            let name = named(reader, &own, ScheduleName::parse(name));
            time_zone?;
            Ok((name?, Timetable { schedule: schedule?, catch_up: catch_up? }))
        })
        .collect();
    schedules.into_iter().collect()
}

fn mail(reader: &mut Reader<'_>) -> Result<Mail, Noted> {
    let key = |name| KeyPath::new(&["mail", name]);
    let from = reader.text(&key("from"), Mailbox::parse);
    let reply_to = reader.text(&key("reply_to"), Mailbox::parse);
    let envelope_from = reader.optional_text(&key("envelope_from"), EmailAddress::parse);
    let message_id_domain = reader.optional_text(&key("message_id_domain"), MailDomain::parse);
    let default_language = reader.text(&key("default_language"), Language::parse);
    let message_bytes = reader.integer(
        &key("message_bytes"),
        2 * MESSAGE_OVERHEAD_BYTES..=512 * 1024 * 1024,
        " bytes",
    );
    let is_smtp = reader.choice(&key("transport"), &[("smtp", true), ("file", false)]);
    let smtp = smtp(reader);
    let directory = reader.path(&KeyPath::new(&["mail", "file", "directory"]));
    let from = from?;
    let message_id_domain = match message_id_domain? {
        Some(domain) => domain,
        None => MailDomain::parse(from.address.domain())
            .map_err(|invalid| reader.rule(&key("message_id_domain"), invalid.expectation()))?,
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
    let key = |name| KeyPath::new(&["mail", "smtp", name]);
    let host = reader.text(&key("host"), RelayHost::parse);
    let port = reader.integer(&key("port"), 1..=u16::MAX, "");
    let security = reader.choice(
        &key("security"),
        &[("tls", Security::Tls), ("starttls", Security::StartTls), ("none", Security::None)],
    );
    let username = reader.optional_text(&key("username"), |text| {
        let fits = (1..=255).contains(&text.len()) && !text.chars().any(char::is_control);
        fits.then(|| text.to_owned())
            .ok_or_else(|| Invalid::expected("1 to 255 bytes without control characters"))
    });
    let password_file = reader.optional_file(&key("password_file"));
    let ca_file = reader.optional_file(&key("ca_file"));
    let connections = reader.integer(&key("connections"), 1..=256, "");
    let timeouts = smtp_timeouts(reader);
    let login = match (username?, password_file?) {
        (Some(username), Some(password_file)) => Some(SmtpLogin { username, password_file }),
        (Some(_), None) => {
            return Err(reader.rule(&key("username"), "mail.smtp.password_file beside it"));
        }
        (None, Some(_)) => {
            return Err(reader.rule(&key("password_file"), "mail.smtp.username beside it"));
        }
        (None, None) => None,
    };
    let (host, security) = (host?, security?);
    if login.is_some() && security == Security::None && !host.is_loopback() {
        return Err(reader.rule_between(
            &[key("security"), key("username"), key("host")],
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
    let mut seconds = |name| {
        let key = KeyPath::new(&["mail", "smtp", name]);
        reader.seconds(&key, 1..=STEP_SECONDS)
    };
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
    let key = |name| KeyPath::new(&["retry", name]);
    let backoff = table!(Backoff {
        first: reader.seconds(&key("first_delay_seconds"), 1..=DAY),
        max: reader.seconds(&key("max_delay_seconds"), 1..=7 * DAY),
        give_up_after: reader.seconds(&key("give_up_after_seconds"), 60..=90 * DAY),
    });
    let after_uncertain = reader.choice(
        &key("after_uncertain"),
        &[("resend", AfterUncertain::Resend), ("hold", AfterUncertain::Hold)],
    );
    let on_rejected = reader.choice(
        &key("on_rejected"),
        &[("main_contact", OnRejected::MainContact), ("undeliverable", OnRejected::Undeliverable)],
    );
    let rejections_max = reader.integer(&key("rejections_max"), 1..=100_000, "");
    let backoff = backoff?;
    if backoff.max < backoff.first {
        reader.rule_between(
            &[key("max_delay_seconds"), key("first_delay_seconds")],
            "retry.max_delay_seconds to be at least retry.first_delay_seconds",
        );
    }
    if backoff.give_up_after < backoff.max {
        reader.rule_between(
            &[key("give_up_after_seconds"), key("max_delay_seconds")],
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
    let mut days = |name, most| {
        let key = KeyPath::new(&["retention", name]);
        reader.integer(&key, 1..=most, " days")
    };
    table!(Retention {
        webhook_id_days: days("webhook_id_days", 366),
        unused_document_days: days("unused_document_days", 366),
        finished_days: days("finished_days", 7320),
    })
}

fn templates(reader: &mut Reader<'_>) -> Result<Templates, Noted> {
    let directory = reader.optional_path(&KeyPath::new(&["templates", "directory"]));
    Ok(Templates { directory: directory? })
}

fn log(reader: &mut Reader<'_>) -> Result<Log, Noted> {
    let key = |name| KeyPath::new(&["log", name]);
    let formats =
        [("json", LogFormat::Json), ("text", LogFormat::Text), ("journald", LogFormat::Journald)];
    table!(Log {
        format: reader.choice(&key("format"), &formats),
        level: reader.text(&key("level"), |text| Ok(text.to_owned())),
    })
}

/// A document that no mail can carry must not be accepted in the first place.
fn check_document_fits(reader: &mut Reader<'_>, webhook: &Webhook, mail: &Mail) {
    let most = documents_bytes_max(mail.message_bytes);
    if webhook.limits.document_bytes > most {
        reader.rule_between(
            &[
                KeyPath::new(&["webhook", "document_bytes"]),
                KeyPath::new(&["mail", "message_bytes"]),
            ],
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
