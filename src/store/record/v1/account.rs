//! Accounts, their contacts, and what follows from them: recipients and suspects.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::{Malformed, Stored};
use super::{field, numbered, read_time, read_version_seen, time};
use crate::domain::account::{Account, AccountParts, Login, Profile, SubUser};
use crate::domain::address::{EmailAddress, HeaderText};
use crate::domain::contact::{Addresses, Contact, Language};
use crate::domain::id::{AccountId, Group, ScheduleName, SubUserId, Version};
use crate::domain::recipient::{Addressee, Reason, Recipient, Rule, Suspect, Target};

#[derive(Serialize, Deserialize)]
pub(in crate::store::record) struct AccountForm<'a> {
    id: &'a str,
    version: u64,
    changed_at: i64,
    closed: bool,
    reason: ReasonForm,
    name: Option<&'a str>,
    language: Option<&'a str>,
    schedule: Option<&'a str>,
    #[serde(borrow)]
    main_contact: ContactForm<'a>,
    sub_users: Vec<SubUserForm<'a>>,
    billing_contact: Option<&'a str>,
}

impl Stored for Account {
    const KIND: &'static str = "account";
    type Form<'a> = AccountForm<'a>;

    fn form(&self) -> AccountForm<'_> {
        let Profile { name, language, schedule, main_contact, sub_users, billing_contact } =
            self.profile();
        // What else an account has is forced in by `restore`, which must name every part.
        AccountForm {
            id: self.id().as_str(),
            version: self.version().get(),
            changed_at: time(self.changed_at()),
            closed: self.closed(),
            reason: ReasonForm::of(self.reason()),
            name: name.as_ref().map(HeaderText::as_str),
            language: language.as_ref().map(Language::as_str),
            schedule: schedule.as_ref().map(ScheduleName::as_str),
            main_contact: ContactForm::of(main_contact),
            sub_users: sub_users
                .iter()
                .map(|(id, sub_user)| SubUserForm::of(id, sub_user))
                .collect(),
            billing_contact: billing_contact.as_ref().map(SubUserId::as_str),
        }
    }

    fn restore(form: AccountForm<'_>) -> Result<Self, Malformed> {
        let AccountForm {
            id,
            version,
            changed_at,
            closed,
            reason,
            name,
            language,
            schedule,
            main_contact,
            sub_users,
            billing_contact,
        } = form;
        let mut by_id = BTreeMap::new();
        for sub_user in sub_users {
            let (id, sub_user) = sub_user.restore()?;
            if by_id.insert(id, sub_user).is_some() {
                return Err(Malformed("a sub-user stands twice".to_owned()));
            }
        }
        let parts = AccountParts {
            id: field("id", AccountId::parse(id))?,
            version: field("version", Version::parse(version))?,
            changed_at: read_time("changed at", changed_at)?,
            closed,
            reason: reason.restore()?,
            profile: Profile {
                name: field("name", name.map(HeaderText::parse).transpose())?,
                language: field("language", language.map(Language::parse).transpose())?,
                schedule: field("schedule", schedule.map(ScheduleName::parse).transpose())?,
                main_contact: main_contact.restore()?,
                sub_users: by_id,
                billing_contact: field(
                    "billing contact",
                    billing_contact.map(SubUserId::parse).transpose(),
                )?,
            },
        };
        field("billing contact", Account::restore(parts))
    }
}

#[derive(Serialize, Deserialize)]
pub(in crate::store::record) struct SubUserForm<'a> {
    id: &'a str,
    group: &'a str,
    #[serde(borrow)]
    contact: ContactForm<'a>,
    login: Option<LoginForm<'a>>,
}

impl<'a> SubUserForm<'a> {
    fn of(id: &'a SubUserId, sub_user: &'a SubUser) -> Self {
        let SubUser { group, contact, login } = sub_user;
        Self {
            id: id.as_str(),
            group: group.as_str(),
            contact: ContactForm::of(contact),
            login: login.as_ref().map(LoginForm::of),
        }
    }

    fn restore(self) -> Result<(SubUserId, SubUser), Malformed> {
        let Self { id, group, contact, login } = self;
        let sub_user = SubUser {
            group: field("group", Group::parse(group))?,
            contact: contact.restore()?,
            login: login.map(LoginForm::restore).transpose()?,
        };
        Ok((field("sub-user", SubUserId::parse(id))?, sub_user))
    }
}

#[derive(Serialize, Deserialize)]
pub(in crate::store::record) struct LoginForm<'a> {
    enabled: bool,
    user_name: Option<&'a str>,
    #[serde(borrow)]
    permissions: Vec<&'a str>,
}

impl<'a> LoginForm<'a> {
    fn of(login: &'a Login) -> Self {
        Self {
            enabled: login.enabled(),
            user_name: login.user_name().map(HeaderText::as_str),
            permissions: login.permissions().iter().map(HeaderText::as_str).collect(),
        }
    }

    fn restore(self) -> Result<Login, Malformed> {
        let Self { enabled, user_name, permissions } = self;
        let user_name = field("user name", user_name.map(HeaderText::parse).transpose())?;
        let permissions = permissions.into_iter().map(HeaderText::parse).collect();
        let permissions = field("permission", permissions)?;
        field("login", Login::new(enabled, user_name, permissions))
    }
}

#[derive(Serialize, Deserialize)]
pub(in crate::store::record) struct ContactForm<'a> {
    name: &'a str,
    company: Option<&'a str>,
    language: Option<&'a str>,
    #[serde(borrow)]
    addresses: Vec<&'a str>,
}

impl<'a> ContactForm<'a> {
    fn of(contact: &'a Contact) -> Self {
        let Contact { name, company, language, addresses } = contact;
        Self {
            name: name.as_str(),
            company: company.as_ref().map(HeaderText::as_str),
            language: language.as_ref().map(Language::as_str),
            addresses: texts(addresses.as_slice()),
        }
    }

    fn restore(self) -> Result<Contact, Malformed> {
        let Self { name, company, language, addresses } = self;
        Ok(Contact {
            name: field("contact's name", HeaderText::parse(name))?,
            company: field("company", company.map(HeaderText::parse).transpose())?,
            language: field("language", language.map(Language::parse).transpose())?,
            addresses: field("addresses", Addresses::parse(read_addresses(addresses)?))?,
        })
    }
}

fn texts(addresses: &[EmailAddress]) -> Vec<&str> {
    addresses.iter().map(EmailAddress::as_str).collect()
}

fn read_addresses(addresses: Vec<&str>) -> Result<Vec<EmailAddress>, Malformed> {
    let addresses = addresses.into_iter().map(EmailAddress::parse).collect();
    field("address", addresses)
}

numbered!(
    RuleForm = Rule {
        BillingContactSelected,
        NoBillingContact,
        BillingContactRemoved,
        BillingContactLeftGroup,
        FallbackAfterRejection,
        NoDeliverableAddress,
    }
);

#[derive(Serialize, Deserialize)]
pub(in crate::store::record) struct ReasonForm {
    rule: RuleForm,
    account_version: u64,
    since: i64,
}

impl ReasonForm {
    fn of(reason: Reason) -> Self {
        let Reason { rule, account_version, since } = reason;
        Self { rule: rule.into(), account_version: account_version.get(), since: time(since) }
    }

    fn restore(self) -> Result<Reason, Malformed> {
        let Self { rule, account_version, since } = self;
        Ok(Reason {
            rule: rule.into(),
            account_version: read_version_seen("reason's version", account_version)?,
            since: read_time("since", since)?,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(in crate::store::record) struct SuspectForm<'a> {
    since: i64,
    account_version: u64,
    reply: &'a str,
}

impl Stored for Suspect {
    const KIND: &'static str = "suspect";
    type Form<'a> = SuspectForm<'a>;

    fn form(&self) -> SuspectForm<'_> {
        let Self { since, account_version, reply } = self;
        SuspectForm { since: time(*since), account_version: account_version.get(), reply }
    }

    fn restore(form: SuspectForm<'_>) -> Result<Self, Malformed> {
        let SuspectForm { since, account_version, reply } = form;
        Ok(Self {
            since: read_time("since", since)?,
            account_version: read_version_seen("account's version", account_version)?,
            reply: reply.to_owned(),
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(in crate::store::record) struct RecipientForm<'a> {
    #[serde(borrow)]
    target: TargetForm<'a>,
    reason: ReasonForm,
}

#[derive(Serialize, Deserialize)]
pub(in crate::store::record) enum TargetForm<'a> {
    SubUser(&'a str, #[serde(borrow)] AddresseeForm<'a>),
    MainContact(AddresseeForm<'a>),
    None,
}

#[derive(Serialize, Deserialize)]
pub(in crate::store::record) struct AddresseeForm<'a> {
    #[serde(borrow)]
    contact: ContactForm<'a>,
    deliverable: Vec<&'a str>,
    language: Option<&'a str>,
}

impl Stored for Recipient {
    const KIND: &'static str = "recipient";
    type Form<'a> = RecipientForm<'a>;

    fn form(&self) -> RecipientForm<'_> {
        let Self { target, reason } = self;
        RecipientForm {
            target: match target {
                Target::SubUser(id, addressee) => {
                    TargetForm::SubUser(id.as_str(), AddresseeForm::of(addressee))
                }
                Target::MainContact(addressee) => {
                    TargetForm::MainContact(AddresseeForm::of(addressee))
                }
                Target::None => TargetForm::None,
            },
            reason: ReasonForm::of(*reason),
        }
    }

    fn restore(form: RecipientForm<'_>) -> Result<Self, Malformed> {
        let RecipientForm { target, reason } = form;
        Ok(Self {
            target: match target {
                TargetForm::SubUser(id, addressee) => {
                    Target::SubUser(field("sub-user", SubUserId::parse(id))?, addressee.restore()?)
                }
                TargetForm::MainContact(addressee) => Target::MainContact(addressee.restore()?),
                TargetForm::None => Target::None,
            },
            reason: reason.restore()?,
        })
    }
}

impl<'a> AddresseeForm<'a> {
    fn of(addressee: &'a Addressee) -> Self {
        let Addressee { contact, deliverable, language } = addressee;
        Self {
            contact: ContactForm::of(contact),
            deliverable: texts(deliverable),
            language: language.as_ref().map(Language::as_str),
        }
    }

    fn restore(self) -> Result<Addressee, Malformed> {
        let Self { contact, deliverable, language } = self;
        Ok(Addressee {
            contact: contact.restore()?,
            deliverable: read_addresses(deliverable)?,
            language: field("language", language.map(Language::parse).transpose())?,
        })
    }
}
