//! What account events say: the wire's account, sub-user, contact and login, into domain types.

use chrono::{DateTime, Utc};

use crate::domain::account::{Login, Profile, SUB_USERS, SubUser};
use crate::domain::address::{EmailAddress, HeaderText};
use crate::domain::change::{
    AccountChange, ChangeKind, ContactChange, ContactDifferences, CopySource, Import,
};
use crate::domain::contact::{ADDRESSES, Addresses, Contact, Language};
use crate::domain::id::{Group, ScheduleName, SubUserId, Version};
use crate::http::fields::{Fields, Item, Noted, Presence};
use crate::http::values::account_id;

/// Longest list of permissions that is read; the domain has its own rule below that.
const PERMISSIONS_READ: usize = 1000;

/// A change, with what is needed to point at its parts.
#[derive(Debug)]
pub(super) struct ParsedChange {
    pub(super) change: AccountChange,
    pub(super) places: Places,
}

/// The pointers to the parts of a change in the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Places {
    /// In a whole account, the sub-users in the order in which they came.
    Updated(Vec<SubUserId>),
    /// The same, but the body is the data itself.
    Imported(Vec<SubUserId>),
    /// Under `/data/sub_user`, as an object.
    Saved,
    /// Under `/data/sub_user`, as an id.
    Named,
    /// Nowhere.
    Closed,
}

type Read = Result<(ChangeKind, Places), Noted>;

/// Reads what all account events share, and the rest by `kind`.
pub(super) fn read(
    data: Fields<'_>,
    timestamp: Result<DateTime<Utc>, Noted>,
    kind: impl FnOnce(&Fields<'_>) -> Read,
) -> Result<ParsedChange, Noted> {
    let account = account_id(&data);
    let version = data.required("version").and_then(|item| version(&item));
    let kind = kind(&data);
    data.finish();
    let (kind, places) = kind?;
    Ok(ParsedChange {
        change: AccountChange { account: account?, version: version?, timestamp: timestamp?, kind },
        places,
    })
}

/// An account's version.
pub(super) fn version(item: &Item<'_>) -> Result<Version, Noted> {
    item.check(Version::parse(item.integer()?))
}

pub(super) fn updated(data: &Fields<'_>) -> Read {
    let (profile, order) = profile(data)?;
    Ok((ChangeKind::Updated(profile), Places::Updated(order)))
}

/// The data of an `account.updated`, and whether the account is closed.
pub(super) fn imported(data: &Fields<'_>, accept_version: bool) -> Read {
    let closed = data.optionally("closed", Item::boolean);
    let (profile, order) = profile(data)?;
    let import = Import { profile, closed: closed?.unwrap_or(false), accept_version };
    Ok((ChangeKind::Imported(import), Places::Imported(order)))
}

/// A whole account, with its sub-users in the order in which they came.
fn profile(data: &Fields<'_>) -> Result<(Profile, Vec<SubUserId>), Noted> {
    let name = data.optionally("name", text);
    let language = data.optionally("language", language);
    let schedule = data.optionally("schedule", |item| item.parse(|raw| ScheduleName::parse(raw)));
    // Named or not, it is the same one.
    let schedule = schedule.map(|name| name.filter(|name| *name != ScheduleName::default()));
    let main_contact = data.required("main_contact").and_then(|item| whole_contact(&item));
    let sub_users = data.required("sub_users").and_then(|item| sub_users(&item));
    let billing_contact =
        data.nullable("billing_contact").and_then(|item| nullable_id(item.as_ref()));
    let sub_users = sub_users?;
    let order = sub_users.iter().map(|(id, _)| id.clone()).collect();
    let profile = Profile {
        name: name?,
        language: language?,
        schedule: schedule?,
        main_contact: main_contact?,
        sub_users: sub_users.into_iter().collect(),
        billing_contact: billing_contact?,
    };
    Ok((profile, order))
}

#[expect(clippy::unnecessary_wraps, reason = "one of five readers with one signature")]
pub(super) fn closed(_: &Fields<'_>) -> Read {
    Ok((ChangeKind::Closed, Places::Closed))
}

pub(super) fn sub_user_saved(data: &Fields<'_>) -> Read {
    let item = data.required("sub_user")?;
    let fields = item.fields()?;
    let (id, group, login) = identity(&fields);
    let contact = contact_change(&fields);
    fields.finish();
    let kind =
        ChangeKind::SubUserSaved { id: id?, group: group?, contact: contact?, login: login? };
    Ok((kind, Places::Saved))
}

pub(super) fn sub_user_removed(data: &Fields<'_>) -> Read {
    let id = sub_user_id(&data.required("sub_user")?)?;
    Ok((ChangeKind::SubUserRemoved(id), Places::Named))
}

pub(super) fn billing_contact_selected(data: &Fields<'_>) -> Read {
    let selected = nullable_id(data.nullable("sub_user")?.as_ref())?;
    Ok((ChangeKind::BillingContactSelected(selected), Places::Named))
}

fn nullable_id(item: Option<&Item<'_>>) -> Result<Option<SubUserId>, Noted> {
    match item {
        Some(item) => sub_user_id(item).map(Some),
        None => Ok(None),
    }
}

fn sub_user_id(item: &Item<'_>) -> Result<SubUserId, Noted> {
    item.parse(|raw| SubUserId::parse(raw))
}

fn text(item: &Item<'_>) -> Result<HeaderText, Noted> {
    item.parse(|raw| HeaderText::parse(raw))
}

fn language(item: &Item<'_>) -> Result<Language, Noted> {
    item.parse(Language::parse)
}

fn sub_users(item: &Item<'_>) -> Result<Vec<(SubUserId, SubUser)>, Noted> {
    let mut sub_users: Vec<(SubUserId, SubUser)> = Vec::new();
    item.each(SUB_USERS, |item| {
        let (id, sub_user) = sub_user(item)?;
        if sub_users.iter().any(|(other, _)| *other == id) {
            return item.fields()?.required("id")?.fault("each sub-user once");
        }
        sub_users.push((id, sub_user));
        Ok(())
    })?;
    Ok(sub_users)
}

fn sub_user(item: &Item<'_>) -> Result<(SubUserId, SubUser), Noted> {
    let fields = item.fields()?;
    let (id, group, login) = identity(&fields);
    let contact = fields.required("contact").and_then(|item| whole_contact(&item));
    fields.finish();
    let sub_user = SubUser { group: group?, contact: contact?, login: login? };
    Ok((id?, sub_user))
}

type Identity = (Result<SubUserId, Noted>, Result<Group, Noted>, Result<Option<Login>, Noted>);

/// A sub-user's members apart from its contact.
fn identity(fields: &Fields<'_>) -> Identity {
    let id = fields.required("id").and_then(|item| sub_user_id(&item));
    let group = fields.required("group").and_then(|item| item.parse(|raw| Group::parse(raw)));
    let login = fields.optionally("login", login);
    (id, group, login)
}

fn login(item: &Item<'_>) -> Result<Login, Noted> {
    let fields = item.fields()?;
    let enabled = fields.optionally("enabled", Item::boolean);
    let user_name = fields.optionally("user_name", text);
    let permissions = fields.optionally("permissions", |item| item.each(PERMISSIONS_READ, text));
    let pointed = match (&enabled, &user_name) {
        (Ok(Some(true)), Ok(None)) => {
            fields.fault("user_name", "a user name, since the login is enabled")
        }
        (Ok(_) | Err(_), Ok(_) | Err(_)) => Ok(()),
    };
    fields.finish();
    pointed?;
    item.check(Login::new(enabled?.unwrap_or(false), user_name?, permissions?.unwrap_or_default()))
}

/// `null`, until there are receiving profiles to name.
fn receiving(fields: &Fields<'_>) -> Result<(), Noted> {
    match fields.optional("receiving") {
        Some(item) => item.fault("null: no receiving profiles are configured"),
        None => Ok(()),
    }
}

fn whole_contact(item: &Item<'_>) -> Result<Contact, Noted> {
    let fields = item.fields()?;
    let name = fields.required("name").and_then(|item| text(&item));
    let company = fields.optionally("company", text);
    let language = fields.optionally("language", language);
    let receiving = receiving(&fields);
    let addresses = fields.required("addresses").and_then(|item| addresses(&item));
    fields.finish();
    receiving?;
    Ok(Contact { name: name?, company: company?, language: language?, addresses: addresses? })
}

fn addresses(item: &Item<'_>) -> Result<Addresses, Noted> {
    let mut list: Vec<EmailAddress> = Vec::new();
    item.each(ADDRESSES, |item| {
        let address = item.parse(EmailAddress::parse)?;
        if list.contains(&address) {
            return item.fault("each address once");
        }
        list.push(address);
        Ok(())
    })?;
    item.check(Addresses::parse(list))
}

/// `contact`, `copy_from`, or both.
fn contact_change(fields: &Fields<'_>) -> Result<ContactChange, Noted> {
    let source = fields.optionally("copy_from", copy_source);
    if source == Ok(None) {
        return match fields.presence("contact") {
            Presence::Value(item) => whole_contact(&item).map(ContactChange::Whole),
            Presence::Absent | Presence::Null => {
                fields.fault("contact", "a contact, or copy_from, or both")
            }
        };
    }
    // What differs is read even if the source is wrong, for its own mistakes.
    let differences = fields.optionally("contact", contact_differences);
    Ok(ContactChange::Copy {
        source: source?.ok_or(Noted)?,
        differences: differences?.unwrap_or_default(),
    })
}

fn copy_source(item: &Item<'_>) -> Result<CopySource, Noted> {
    let fields = item.fields()?;
    let main_contact = fields.optionally("main_contact", |item| {
        if item.boolean()? { Ok(()) } else { item.fault("true, or the field to be absent") }
    });
    let sub_user = fields.optionally("sub_user", sub_user_id);
    fields.finish();
    match (main_contact?, sub_user?) {
        (Some(()), None) => Ok(CopySource::MainContact),
        (None, Some(id)) => Ok(CopySource::SubUser(id)),
        (Some(()), Some(_)) | (None, None) => {
            item.fault("either {\"main_contact\": true} or {\"sub_user\": \"…\"}")
        }
    }
}

fn contact_differences(item: &Item<'_>) -> Result<ContactDifferences, Noted> {
    let fields = item.fields()?;
    let name = match fields.presence("name") {
        Presence::Absent => Ok(None),
        Presence::Value(item) => text(&item).map(Some),
        Presence::Null => fields.fault("name", "a name: it cannot be cleared"),
    };
    let company = cleared_or(&fields.presence("company"), text);
    let language = cleared_or(&fields.presence("language"), language);
    let receiving = receiving(&fields);
    let addresses = match fields.presence("addresses") {
        Presence::Absent => Ok(None),
        Presence::Null => Ok(Some(Addresses::default())),
        Presence::Value(item) => addresses(&item).map(Some),
    };
    fields.finish();
    receiving?;
    Ok(ContactDifferences {
        name: name?,
        company: company?,
        language: language?,
        addresses: addresses?,
    })
}

/// Absent, cleared or a value.
#[expect(clippy::option_option, reason = "the domain keeps absent and cleared apart in this way")]
fn cleared_or<'a, T>(
    member: &Presence<Item<'a>>,
    read: impl FnOnce(&Item<'a>) -> Result<T, Noted>,
) -> Result<Option<Option<T>>, Noted> {
    match member {
        Presence::Absent => Ok(None),
        Presence::Null => Ok(Some(None)),
        Presence::Value(item) => read(item).map(|value| Some(Some(value))),
    }
}
