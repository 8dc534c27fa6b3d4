//! What the daemon is configured to, which daemon and model must agree about.

use chrono::{DateTime, TimeDelta, Utc};

pub(crate) const BILLING_GROUPS: [&str; 2] = ["Rechnungen", "billing"];
pub(crate) const LANGUAGES: [&str; 2] = ["de", "en"];
pub(crate) const SCHEDULES: [&str; 2] = ["default", "monthly"];
pub(crate) const WEBHOOK_ID_DAYS: u32 = 7;

/// What a daemon is started with.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) groups: &'static [&'static str],
    pub(crate) languages: &'static [&'static str],
    pub(crate) schedules: &'static [&'static str],
    pub(crate) webhook_id_days: u32,
    /// Who may push accounts, and who may hand over invoices.
    pub(crate) rights: [&'static [Sender]; 2],
    /// In which minute of an hour its schedules fire; they should in the first.
    pub(crate) release_minute: u8,
    /// How far its clock is ahead.
    pub(crate) clock_ahead: TimeDelta,
}

/// What the model takes for granted.
impl Default for Setting {
    fn default() -> Self {
        Self {
            groups: &BILLING_GROUPS,
            languages: &LANGUAGES,
            schedules: &SCHEDULES,
            webhook_id_days: WEBHOOK_ID_DAYS,
            rights: [Sender::OF_ACCOUNTS, Sender::OF_INVOICES],
            release_minute: 0,
            clock_ahead: TimeDelta::zero(),
        }
    }
}

impl Setting {
    /// One thing wrong at a time, by its name.
    pub(crate) fn wrong() -> Vec<(&'static str, Self)> {
        let but = |name, spoil: fn(&mut Self)| {
            let mut setting = Self::default();
            spoil(&mut setting);
            (name, setting)
        };
        vec![
            but("a billing group less", |it| it.groups = &["Rechnungen"]),
            but("a billing group more", |it| {
                it.groups = &["Rechnungen", "billing", "Technik"];
            }),
            but("a language less", |it| it.languages = &["de"]),
            but("a language more", |it| it.languages = &["de", "en", "fr"]),
            but("a schedule less", |it| it.schedules = &["default"]),
            but("ids remembered a day less", |it| it.webhook_id_days -= 1),
            but("ids remembered a day more", |it| it.webhook_id_days += 1),
            but("a sender that may not push accounts", |it| {
                it.rights[0] = &[Sender::Portal];
            }),
            but("a sender that may push accounts", |it| {
                it.rights[0] = &Sender::KNOWN;
            }),
            but("a sender that may not hand over invoices", |it| {
                it.rights[1] = &[Sender::Billing];
            }),
            but("a sender that may hand over invoices", |it| {
                it.rights[1] = &Sender::KNOWN;
            }),
            but("a release a minute late", |it| {
                it.release_minute = 1;
            }),
            but("a clock a millisecond ahead", |it| {
                it.clock_ahead = TimeDelta::milliseconds(1);
            }),
        ]
    }
}

/// Somebody who sends events. What one may and what secret one has is known here and to the daemon alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    Portal,
    Billing,
    /// A house whose portal writes the invoices, too.
    Both,
    /// Nobody knows this secret.
    Stranger,
}

impl Sender {
    pub(crate) const KNOWN: [Self; 3] = [Self::Portal, Self::Billing, Self::Both];
    const OF_ACCOUNTS: &[Self] = &[Self::Portal, Self::Both];
    const OF_INVOICES: &[Self] = &[Self::Billing, Self::Both];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Portal => "portal",
            Self::Billing => "billing",
            Self::Both => "both",
            Self::Stranger => "stranger",
        }
    }

    pub(crate) fn secret(self) -> &'static str {
        match self {
            Self::Portal => "whsec_cG9ydGFsIHBvcnRhbCBwb3J0YWwgcG9ydGFsIDAx",
            Self::Billing => "whsec_YmlsbGluZyBiaWxsaW5nIGJpbGxpbmcgYmlsbGluZyE=",
            Self::Both => "whsec_Ym90aCBib3RoIGJvdGggYm90aCBib3RoIGJvdGg=",
            Self::Stranger => "whsec_c3RyYW5nZXIgc3RyYW5nZXIgc3RyYW5nZXIgc3RyYQ==",
        }
    }

    pub(crate) fn may_push_accounts(self) -> bool {
        Self::OF_ACCOUNTS.contains(&self)
    }

    pub(crate) fn may_hand_over_invoices(self) -> bool {
        Self::OF_INVOICES.contains(&self)
    }
}

/// When the first event of a sequence may come.
pub(crate) fn beginning() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_420_800, 0).unwrap_or_default()
}

/// The hours of a day in which a schedule that is configured fires, as crontab(5) has them, and how many hours lie
/// between two firings.
pub(crate) fn hours(schedule: &str) -> Option<(&'static str, i64)> {
    match schedule {
        "default" => Some(("*", 1)),
        "monthly" => Some(("0", 24)),
        _ => None,
    }
}

/// When a schedule that is configured fires after `now`.
pub(crate) fn next_release(schedule: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let (_, hours) = hours(schedule)?;
    let seconds = hours * 3_600;
    DateTime::from_timestamp((now.timestamp().div_euclid(seconds) + 1) * seconds, 0)
}
