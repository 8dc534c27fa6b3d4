//! The rules of accounts, one by one, and what holds whatever the sequence of changes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::domain::address::EmailAddress;
use crate::domain::recipient::{OnRejected, Suppression, Suppressions, Target, resolve};

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn groups() -> BillingGroups {
    BillingGroups::new([Group::parse("Rechnungen").unwrap(), Group::parse("billing").unwrap()])
        .unwrap()
}

fn sub_user_id(id: &str) -> SubUserId {
    SubUserId::parse(id).unwrap()
}

fn address(raw: &str) -> EmailAddress {
    EmailAddress::parse(raw).unwrap()
}

fn contact(name: &str, addresses: &[&str]) -> Contact {
    Contact {
        name: HeaderText::parse(name).unwrap(),
        company: Some(HeaderText::parse("Muster GmbH").unwrap()),
        language: None,
        addresses: Addresses::parse(addresses.iter().map(|raw| address(raw)).collect()).unwrap(),
    }
}

fn member(name: &str) -> SubUser {
    SubUser {
        group: Group::parse("Rechnungen").unwrap(),
        contact: contact(name, &[&format!("{name}@muster.example")]),
        login: None,
    }
}

fn profile(sub_users: &[&str], billing_contact: Option<&str>) -> Profile {
    Profile {
        name: None,
        language: None,
        schedule: None,
        main_contact: contact("Erika Muster", &["erika@muster.example"]),
        sub_users: sub_users
            .iter()
            .map(|id| (sub_user_id(id), member(id)))
            .collect::<BTreeMap<_, _>>(),
        billing_contact: billing_contact.map(sub_user_id),
    }
}

fn change(version: u64, kind: ChangeKind) -> AccountChange {
    AccountChange {
        account: AccountId::parse("K-1001").unwrap(),
        version: Version::parse(version).unwrap(),
        timestamp: at(i64::try_from(version).unwrap()),
        kind,
    }
}

fn saved(id: &str, group: &str, addresses: &[&str]) -> ChangeKind {
    ChangeKind::SubUserSaved {
        id: sub_user_id(id),
        group: Group::parse(group).unwrap(),
        contact: ContactChange::Whole(contact(id, addresses)),
        login: None,
    }
}

fn selected(id: Option<&str>) -> ChangeKind {
    ChangeKind::BillingContactSelected(id.map(sub_user_id))
}

fn try_change(
    current: Option<&Account>,
    version: u64,
    kind: ChangeKind,
) -> Result<Applied, Refused> {
    apply(current, &change(version, kind), &groups(), at(1_000 + i64::try_from(version).unwrap()))
}

fn changed(current: Option<&Account>, version: u64, kind: ChangeKind) -> (Account, Vec<Warning>) {
    match try_change(current, version, kind) {
        Ok(Applied::Changed { account, warnings }) => (*account, warnings),
        other => panic!("{other:?}"),
    }
}

fn account(sub_users: &[&str], billing_contact: Option<&str>) -> Account {
    changed(None, 1, ChangeKind::Updated(profile(sub_users, billing_contact))).0
}

fn rule(account: &Account) -> Rule {
    resolve(account, &Suppressions::new(), OnRejected::MainContact).reason.rule
}

#[test]
fn only_account_updated_creates_an_account() {
    let kinds = [
        ChangeKind::Closed,
        saved("u-1", "Technik", &[]),
        ChangeKind::SubUserRemoved(sub_user_id("u-1")),
        selected(None),
    ];
    for kind in kinds {
        assert_eq!(
            try_change(None, 1, kind),
            Err(Refused::VersionGap { current: Version::UNKNOWN })
        );
    }
}

#[test]
fn a_snapshot_may_jump_ahead_and_a_delta_may_not() {
    let account = account(&["u-1"], None);
    assert!(matches!(
        try_change(Some(&account), 9, ChangeKind::Updated(profile(&[], None))),
        Ok(Applied::Changed { .. })
    ));
    assert!(matches!(
        try_change(Some(&account), 9, ChangeKind::Closed),
        Ok(Applied::Changed { .. })
    ));
    for kind in [
        selected(Some("u-1")),
        saved("u-2", "Technik", &[]),
        ChangeKind::SubUserRemoved(sub_user_id("u-1")),
    ] {
        let gap = Err(Refused::VersionGap { current: Version::parse(1).unwrap() });
        assert_eq!(try_change(Some(&account), 3, kind.clone()), gap);
        assert!(try_change(Some(&account), 2, kind).is_ok());
    }
}

#[test]
fn the_same_version_is_a_duplicate_only_with_the_same_content() {
    let (account, _) = changed(Some(&account(&["u-1"], None)), 2, selected(Some("u-1")));
    assert_eq!(try_change(Some(&account), 2, selected(Some("u-1"))), Ok(Applied::Duplicate));
    assert_eq!(
        try_change(Some(&account), 2, ChangeKind::Updated(profile(&["u-1"], Some("u-1")))),
        Ok(Applied::Duplicate)
    );
    let conflict = Err(Refused::VersionConflict { current: Version::parse(2).unwrap() });
    assert_eq!(try_change(Some(&account), 2, selected(None)), conflict);
    assert_eq!(try_change(Some(&account), 2, selected(Some("nobody"))), conflict);
    assert_eq!(try_change(Some(&account), 2, ChangeKind::Closed), conflict);
}

#[test]
fn an_older_version_is_stale_unless_its_time_is_newer() {
    let (account, _) =
        changed(Some(&account(&[], None)), 5, ChangeKind::Updated(profile(&["u-1"], None)));
    assert_eq!(try_change(Some(&account), 4, selected(Some("u-1"))), Ok(Applied::Stale));
    let mut restored = change(4, ChangeKind::Closed);
    restored.timestamp = at(60);
    let regressed = Err(Refused::VersionRegressed { current: Version::parse(5).unwrap() });
    assert_eq!(apply(Some(&account), &restored, &groups(), at(61)), regressed);
}

#[test]
fn a_selection_must_name_a_member_of_a_billing_group() {
    let (account, _) =
        changed(Some(&account(&["u-1"], None)), 2, saved("u-2", "Technik", &["t@muster.example"]));
    let outside = Refused::NotInBillingGroup {
        id: sub_user_id("u-2"),
        group: Group::parse("Technik").unwrap(),
    };
    assert_eq!(try_change(Some(&account), 3, selected(Some("u-2"))), Err(outside.clone()));
    assert_eq!(
        try_change(Some(&account), 3, selected(Some("u-9"))),
        Err(Refused::UnknownBillingContact(sub_user_id("u-9")))
    );
    let mut snapshot = account.profile().clone();
    snapshot.billing_contact = Some(sub_user_id("u-2"));
    assert_eq!(try_change(Some(&account), 3, ChangeKind::Updated(snapshot)), Err(outside));
}

#[test]
fn a_contact_removed_while_selected_falls_back_to_the_main_contact() {
    let before = account(&["u-1"], Some("u-1"));
    let (after, warnings) =
        changed(Some(&before), 2, ChangeKind::SubUserRemoved(sub_user_id("u-1")));
    assert_eq!(after.billing_contact(), None);
    assert_eq!(rule(&after), Rule::BillingContactRemoved);
    assert_eq!(warnings, [Warning::BillingContactRemoved(sub_user_id("u-1"))]);

    let (again, _) = changed(Some(&after), 3, saved("u-1", "Rechnungen", &["u-1@muster.example"]));
    assert_eq!(again.billing_contact(), None, "adding it again does not reselect it");
    assert_eq!(again.reason(), after.reason(), "the reason is still the removal");
}

#[test]
fn a_contact_that_leaves_the_billing_group_is_deselected() {
    let before = account(&["u-1"], Some("u-1"));
    let (after, warnings) = changed(Some(&before), 2, saved("u-1", "Technik", &[]));
    assert_eq!(rule(&after), Rule::BillingContactLeftGroup);
    assert_eq!(warnings, [Warning::BillingContactLeftGroup(sub_user_id("u-1"))]);
}

#[test]
fn a_selection_outlives_a_typo_in_the_configured_groups() {
    let before = account(&["u-1"], Some("u-1"));
    let typo = BillingGroups::new([Group::parse("Rechnugnen").unwrap()]).unwrap();
    let saved_with_typo = |kind| apply(Some(&before), &change(2, kind), &typo, at(5));
    for kind in [saved("u-2", "Technik", &[]), saved("u-1", "Rechnungen", &["new@muster.example"])]
    {
        let applied = saved_with_typo(kind).unwrap();
        let Applied::Changed { account, warnings } = applied else { panic!("{applied:?}") };
        assert_eq!(account.billing_contact().map(|(id, _)| id.as_str()), Some("u-1"));
        assert_eq!(warnings, []);
    }
    let nowhere = saved_with_typo(saved("u-1", "Rechnungen", &[]));
    assert_eq!(nowhere, Err(Refused::NoAddress(sub_user_id("u-1"))));

    let applied = saved_with_typo(saved("u-1", "Technik", &[])).unwrap();
    let Applied::Changed { account, .. } = applied else { panic!("{applied:?}") };
    assert_eq!(rule(&account), Rule::BillingContactLeftGroup);
}

#[test]
fn what_is_in_force_is_a_duplicate_whatever_the_groups_of_today() {
    let (before, _) = changed(Some(&account(&["u-1"], None)), 2, selected(Some("u-1")));
    let others = BillingGroups::new([Group::parse("Buchhaltung").unwrap()]).unwrap();
    let repeated = |kind| apply(Some(&before), &change(2, kind), &others, at(5));
    let whole = profile(&["u-1"], Some("u-1"));
    for kind in [
        selected(Some("u-1")),
        saved("u-1", "Rechnungen", &["u-1@muster.example"]),
        ChangeKind::Updated(whole.clone()),
        ChangeKind::Imported(Import { profile: whole, closed: false, accept_version: true }),
    ] {
        assert_eq!(repeated(kind), Ok(Applied::Duplicate));
    }
    let other = ChangeKind::Updated(profile(&["u-1"], None));
    assert!(matches!(repeated(other), Err(Refused::VersionConflict { .. })));
}

#[test]
fn a_copy_takes_the_stored_fields_and_differences_win() {
    let before = account(&[], None);
    let kind = ChangeKind::SubUserSaved {
        id: sub_user_id("u-7"),
        group: Group::parse("Rechnungen").unwrap(),
        contact: ContactChange::Copy {
            source: CopySource::MainContact,
            differences: ContactDifferences {
                addresses: Some(
                    Addresses::parse(vec![address("rechnung@muster.example")]).unwrap(),
                ),
                ..ContactDifferences::default()
            },
        },
        login: None,
    };
    let (copied, _) = changed(Some(&before), 2, kind);
    let copy = &copied.profile().sub_users[&sub_user_id("u-7")].contact;
    assert_eq!(copy.name, before.profile().main_contact.name);
    assert_eq!(copy.company, before.profile().main_contact.company);
    assert_eq!(copy.addresses.as_slice(), [address("rechnung@muster.example")]);

    let mut other_main = copied.profile().clone();
    other_main.main_contact = contact("Max Muster", &["max@muster.example"]);
    let (later, _) = changed(Some(&copied), 3, ChangeKind::Updated(other_main));
    assert_eq!(
        later.profile().sub_users[&sub_user_id("u-7")].contact.name.as_str(),
        "Erika Muster",
        "a copy does not follow"
    );
}

#[test]
fn a_copy_of_nobody_is_refused() {
    let kind = ChangeKind::SubUserSaved {
        id: sub_user_id("u-7"),
        group: Group::parse("Rechnungen").unwrap(),
        contact: ContactChange::Copy {
            source: CopySource::SubUser(sub_user_id("u-9")),
            differences: ContactDifferences::default(),
        },
        login: None,
    };
    assert_eq!(
        try_change(Some(&account(&[], None)), 2, kind),
        Err(Refused::UnknownCopySource(sub_user_id("u-9")))
    );
}

#[test]
fn a_member_of_a_billing_group_has_an_address() {
    let account = account(&[], None);
    assert_eq!(
        try_change(Some(&account), 2, saved("u-1", "billing", &[])),
        Err(Refused::NoAddress(sub_user_id("u-1")))
    );
    assert!(try_change(Some(&account), 2, saved("u-1", "Technik", &[])).is_ok());
}

#[test]
fn a_newer_snapshot_reopens_a_closed_account() {
    let (closed, _) = changed(Some(&account(&[], None)), 2, ChangeKind::Closed);
    assert!(closed.closed());
    let (delta, _) = changed(Some(&closed), 3, saved("u-1", "Technik", &[]));
    assert!(delta.closed(), "a delta does not reopen");
    let (reopened, _) = changed(Some(&delta), 4, ChangeKind::Updated(profile(&[], None)));
    assert!(!reopened.closed());
}

#[test]
fn a_reason_keeps_the_commit_in_which_it_began_to_hold() {
    let (chosen, _) = changed(Some(&account(&["u-1", "u-2"], None)), 2, selected(Some("u-1")));
    let (unrelated, _) = changed(Some(&chosen), 3, saved("u-2", "Technik", &[]));
    assert_eq!(unrelated.reason(), chosen.reason());
    let (other, _) =
        changed(Some(&account(&["u-1", "u-2"], Some("u-1"))), 2, selected(Some("u-2")));
    assert_eq!(
        other.reason().account_version.get(),
        2,
        "another contact under the same rule began anew"
    );
}

#[test]
fn a_reason_begins_anew_when_the_contact_can_no_longer_be_reached_and_when_it_can_again() {
    let since = |account: &Account| {
        let reason = resolve(account, &Suppressions::new(), OnRejected::MainContact).reason;
        (reason.rule, reason.account_version.get(), reason.since)
    };
    let without = Profile { main_contact: contact("Erika Muster", &[]), ..profile(&["u-1"], None) };
    let first = account(&["u-1"], None);
    let (gone, _) = changed(Some(&first), 2, ChangeKind::Updated(without.clone()));
    assert_eq!(since(&gone), (Rule::NoDeliverableAddress, 2, at(1_002)));
    let (still, _) = changed(Some(&gone), 3, ChangeKind::Updated(without.clone()));
    assert_eq!(since(&still), (Rule::NoDeliverableAddress, 2, at(1_002)));
    let (back, _) = changed(Some(&still), 4, ChangeKind::Updated(profile(&["u-1"], None)));
    assert_eq!(since(&back), (Rule::NoBillingContact, 4, at(1_004)));

    let selecting = Profile { billing_contact: Some(sub_user_id("u-1")), ..without };
    let (chosen, _) = changed(None, 1, ChangeKind::Updated(selecting));
    let removal = ChangeKind::SubUserRemoved(sub_user_id("u-1"));
    let (removed, _) = changed(Some(&chosen), 2, removal);
    assert_eq!(since(&removed), (Rule::NoDeliverableAddress, 2, at(1_002)));
    let (nobody, _) = changed(Some(&removed), 3, selected(None));
    assert_eq!(
        since(&nobody),
        (Rule::NoDeliverableAddress, 2, at(1_002)),
        "why nobody is selected is another matter"
    );
}

fn any_kind() -> impl Strategy<Value = ChangeKind> {
    let id = prop::sample::select(vec!["u-1", "u-2", "u-3"]);
    let group = prop::sample::select(vec!["Rechnungen", "billing", "Technik", "rechnungen"]);
    let addresses =
        prop::sample::select(vec![vec![], vec!["a@b.example"], vec!["a@b.example", "c@d.example"]]);
    prop_oneof![
        (prop::collection::vec(id.clone(), 0..3), prop::option::of(id.clone()))
            .prop_map(|(ids, chosen)| ChangeKind::Updated(profile(&ids, chosen))),
        Just(ChangeKind::Closed),
        (id.clone(), group, addresses)
            .prop_map(|(id, group, addresses)| saved(id, group, &addresses)),
        id.clone().prop_map(|id| ChangeKind::SubUserRemoved(sub_user_id(id))),
        prop::option::of(id).prop_map(selected),
    ]
}

proptest! {
    /// Whatever the sequence of changes: at most one billing contact, in a billing group, and exactly
    /// one recipient or none, with a reason.
    #[test]
    fn every_sequence_of_changes_leaves_one_recipient(
        changes in prop::collection::vec((any_kind(), 0_u64..3), 1..25),
        rejected in prop::collection::btree_set(prop::sample::select(vec!["a@b.example", "c@d.example", "erika@muster.example", "u-1@muster.example"]), 0..4),
        fall_back in any::<bool>(),
    ) {
        let mut current: Option<Account> = None;
        let mut version = 0;
        for (kind, skip) in changes {
            let next = version + skip;
            if next == 0 {
                continue;
            }
            let before = current.clone();
            match try_change(current.as_ref(), next, kind) {
                Ok(Applied::Changed { account, .. }) => {
                    prop_assert!(next > version);
                    version = next;
                    current = Some(*account);
                }
                Ok(Applied::Duplicate | Applied::Stale) | Err(_) => prop_assert_eq!(&before, &current),
            }
            let Some(account) = &current else { continue };
            prop_assert_eq!(account.version().get(), version);
            let active = account.profile().sub_users.keys().filter(|id| account.profile().billing_contact.as_ref() == Some(*id)).count();
            prop_assert!(active <= 1);
            prop_assert_eq!(active == 1, account.profile().billing_contact.is_some(), "the selection names a sub-user");
            if let Some((_, sub_user)) = account.billing_contact() {
                prop_assert!(groups().contains(&sub_user.group));
            }
            prop_assert_eq!(&Account::restore(account.clone().into_parts()).unwrap(), account);

            let mark = Suppression { since: at(7), account_version: account.version(), reply: String::new() };
            let suppressions: Suppressions = rejected.iter().map(|raw| (address(raw), mark.clone())).collect();
            let policy = if fall_back { OnRejected::MainContact } else { OnRejected::Undeliverable };
            let recipient = resolve(account, &suppressions, policy);
            prop_assert!(recipient.addresses().iter().all(|address| !suppressions.contains_key(address)), "no rejected address");
            match &recipient.target {
                Target::SubUser(id, _) => {
                    prop_assert_eq!(Some(id), account.profile().billing_contact.as_ref());
                    prop_assert_eq!(recipient.reason.rule, Rule::BillingContactSelected);
                }
                Target::MainContact(addressee) => {
                    prop_assert_eq!(&addressee.contact, &account.profile().main_contact);
                    let stands_in = recipient.reason.rule == Rule::FallbackAfterRejection;
                    prop_assert_eq!(stands_in, account.billing_contact().is_some());
                    prop_assert!(!stands_in || fall_back);
                }
                Target::None => prop_assert_eq!(recipient.reason.rule, Rule::NoDeliverableAddress),
            }
            prop_assert_eq!(recipient.addresses().is_empty(), recipient.target == Target::None);
        }
    }
}
