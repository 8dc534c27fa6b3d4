//! The rules of accounts and their one recipient once more, in few words: what the domain is compared with.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use invoice_router::domain::change::Refused;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sub {
    pub(crate) billing: bool,
    pub(crate) addresses: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Profile {
    pub(crate) main: Vec<String>,
    pub(crate) subs: BTreeMap<String, Sub>,
    pub(crate) selected: Option<String>,
    pub(crate) schedule: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) version: u64,
    pub(crate) changed_at: DateTime<Utc>,
    pub(crate) closed: bool,
    pub(crate) profile: Profile,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Updated(Profile),
    Closed,
    Saved(String, Sub),
    Copied(String, bool),
    Removed(String),
    Selected(Option<String>),
}

impl Profile {
    /// Whether mail may go to `to`: if it is the one recipient's, or the stand-in's.
    pub(crate) fn allows(&self, to: &str, falls_back: bool, blamed: &BTreeSet<String>) -> bool {
        let contains = |addresses: &[String]| addresses.iter().any(|address| address == to);
        match self.selected_addresses() {
            None => contains(&self.main),
            Some(addresses) if contains(addresses) => true,
            Some(addresses) => {
                let is_lost = addresses.iter().all(|address| blamed.contains(address));
                falls_back && is_lost && contains(&self.main)
            }
        }
    }

    /// The selected billing contact's addresses.
    pub(crate) fn selected_addresses(&self) -> Option<&[String]> {
        let sub = self.subs.get(self.selected.as_ref()?)?;
        Some(&sub.addresses)
    }

    fn refuses(&self) -> Option<&'static str> {
        if self.subs.values().any(|sub| sub.billing && sub.addresses.is_empty()) {
            return Some("no address");
        }
        match self.selected.as_ref().map(|id| self.subs.get(id)) {
            Some(None) => Some("unknown billing contact"),
            Some(Some(sub)) if !sub.billing => Some("not in a billing group"),
            Some(Some(_)) | None => None,
        }
    }
}

/// The account whose address this is.
pub(crate) fn account_of(address: &str) -> String {
    let domain = address.split('@').nth(1).unwrap_or_default();
    domain.split('.').next().unwrap_or_default().to_uppercase()
}

/// What a change should come to, and the account afterwards if it is another.
pub(crate) fn judge(
    before: Option<&Account>,
    version: u64,
    timestamp: DateTime<Utc>,
    kind: &Kind,
) -> (&'static str, Option<Account>) {
    let current = before.map_or(0, |account| account.version);
    if version < current {
        let is_newer = before.is_some_and(|account| timestamp > account.changed_at);
        return (if is_newer { "regressed" } else { "stale" }, None);
    }
    let is_whole = matches!(kind, Kind::Updated(_));
    let may_jump = is_whole || matches!(kind, Kind::Closed);
    if before.is_none() && !is_whole || !may_jump && version > current + 1 {
        return ("gap", None);
    }
    let (changed, closed) = change(before, kind);
    if version == current {
        let is_same = changed.as_ref().is_ok_and(|profile| {
            before.is_some_and(|account| account.profile == *profile && account.closed == closed)
        });
        return (if is_same { "duplicate" } else { "conflict" }, None);
    }
    match changed {
        Err(refusal) => (refusal, None),
        Ok(profile) => {
            let account = Account { version, changed_at: timestamp, closed, profile };
            ("applied", Some(account))
        }
    }
}

fn change(before: Option<&Account>, kind: &Kind) -> (Result<Profile, &'static str>, bool) {
    let mut profile = before.map(|account| account.profile.clone()).unwrap_or_default();
    let mut closed = before.is_some_and(|account| account.closed);
    let mut refusal = None;
    let mut save = |profile: &mut Profile, id: &String, sub: Sub| {
        if sub.billing && sub.addresses.is_empty() {
            refusal = Some("no address");
        }
        if !sub.billing && profile.selected.as_ref() == Some(id) {
            profile.selected = None;
        }
        profile.subs.insert(id.clone(), sub);
    };
    match kind {
        Kind::Updated(updated) => {
            profile = updated.clone();
            closed = false;
            refusal = updated.refuses();
        }
        Kind::Closed => closed = true,
        Kind::Saved(id, sub) => save(&mut profile, id, sub.clone()),
        Kind::Copied(id, billing) => {
            let sub = Sub { billing: *billing, addresses: profile.main.clone() };
            save(&mut profile, id, sub);
        }
        Kind::Removed(id) => {
            profile.subs.remove(id);
            if profile.selected.as_ref() == Some(id) {
                profile.selected = None;
            }
        }
        Kind::Selected(selected) => {
            profile.selected.clone_from(selected);
            refusal = profile.refuses();
        }
    }
    (refusal.map_or(Ok(profile), Err), closed)
}

/// A refusal in the words of [`judge`].
pub(crate) fn refusal(refused: &Refused) -> &'static str {
    match refused {
        Refused::VersionConflict { .. } => "conflict",
        Refused::VersionGap { .. } => "gap",
        Refused::VersionRegressed { .. } => "regressed",
        Refused::UnknownBillingContact(_) => "unknown billing contact",
        Refused::NotInBillingGroup { .. } => "not in a billing group",
        Refused::UnknownCopySource(_) => "unknown source",
        Refused::NoAddress(_) => "no address",
        Refused::TooManySubUsers => "too many",
        Refused::TooLarge => "too large",
    }
}
