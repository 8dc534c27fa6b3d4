//! What sending is set to in a world, half of it by the seed.

use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use invoice_router::config::{Security, SmtpTimeouts};
use invoice_router::dispatch::Settings;
use invoice_router::domain::address::{MailDomain, Mailbox};
use invoice_router::domain::contact::Language;
use invoice_router::domain::recipient::OnRejected;
use invoice_router::domain::retry::{AfterUncertain, Backoff, Policy};
use invoice_router::domain::schedule::{Schedule, Schedules, Timetable};
use invoice_router::mail::compose::Brand;
use invoice_router::mail::transport::{Dial, SmtpSettings, SmtpTransport, Transport};
use invoice_router::store::Rules;

use crate::sample::{self, address, instant, schedule};
use crate::wire::parsed;

/// The second and third fire at instants of the first, too.
const SCHEDULES: [(&str, &str); 3] =
    [("default", "*/10 * * * *"), ("hourly", "0 * * * *"), ("night", "30 2 * * *")];
/// Worlds begin on a day like others, before both changes between CET and CEST, and before a new year.
const BEGINNINGS: [&str; 4] = [
    "2026-11-23T07:00:00Z",
    "2026-10-25T00:20:00Z",
    "2027-03-28T00:20:00Z",
    "2026-12-31T22:40:00Z",
];
/// Of each step of an SMTP transaction.
const TIME_OUT: Duration = Duration::from_secs(30);

pub(crate) fn beginning(rng: &mut fastrand::Rng) -> DateTime<Utc> {
    instant(BEGINNINGS[rng.usize(..BEGINNINGS.len())])
}

pub(crate) fn rules(rng: &mut fastrand::Rng) -> Rules {
    Rules {
        policy: Policy {
            backoff: Backoff {
                first: Duration::from_secs(60),
                max: Duration::from_secs(600),
                give_up_after: Duration::from_secs(3_600),
            },
            after_uncertain: if rng.u8(..) < 50 {
                AfterUncertain::Hold
            } else {
                AfterUncertain::Resend
            },
        },
        on_rejected: if rng.u8(..) < 80 {
            OnRejected::Undeliverable
        } else {
            OnRejected::MainContact
        },
        ..sample::rules()
    }
}

pub(crate) fn settings(rng: &mut fastrand::Rng, rules: &Rules) -> Settings {
    Settings {
        brand: Brand {
            name: None,
            from: address("rechnung@haus.example"),
            reply_to: parsed(Mailbox::parse("buchhaltung@haus.example")),
        },
        envelope_from: address("bounce@haus.example"),
        message_id_domain: parsed(MailDomain::parse("mail.haus.example")),
        default_language: parsed(Language::parse("de")),
        message_bytes: 1 << 20,
        connections: rng.usize(1..5),
        connection_idle: Duration::from_secs(60),
        probe_first: Duration::from_secs(5),
        rules: rules.clone(),
        rejections_max: [1, 3, 100, 100][rng.usize(..4)],
        tick: Duration::from_secs(20),
    }
}

pub(crate) fn schedules(rng: &mut fastrand::Rng) -> Schedules {
    let zone = [Tz::UTC, Tz::Europe__Berlin][rng.usize(..2)];
    let catch_up = rng.u8(..) < 200;
    let timetable = |cron| Timetable { schedule: parsed(Schedule::parse(cron, zone)), catch_up };
    SCHEDULES.iter().map(|(name, cron)| (schedule(name), timetable(cron))).collect()
}

pub(crate) fn transport(dial: Dial) -> Transport {
    let transport = SmtpTransport::new(SmtpSettings {
        host: "relay.example".to_owned(),
        port: 25,
        security: Security::None,
        credentials: None,
        ca: None,
        helo_name: "client.example".to_owned(),
        timeouts: SmtpTimeouts {
            connect: TIME_OUT,
            tls: TIME_OUT,
            greeting: TIME_OUT,
            ehlo: TIME_OUT,
            auth: TIME_OUT,
            mail: TIME_OUT,
            rcpt: TIME_OUT,
            data: TIME_OUT,
            body: TIME_OUT,
            final_dot: TIME_OUT,
            idle: TIME_OUT,
        },
    });
    Transport::Smtp(parsed(transport).dialling(dial))
}
