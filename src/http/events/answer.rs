//! From what the store decided to what the sender reads.

use hyper::StatusCode;

use super::account::Places;
use crate::api::{self, Acceptance, AccountAnswer, WarningCode};
use crate::domain::account::Profile;
use crate::domain::change::{AccountChange, ChangeKind, ContactChange, Import, Refused, Warning};
use crate::domain::contact::Language;
use crate::domain::delivery::Shown;
use crate::domain::id::{AccountId, Digest, InvoiceNumber, SubUserId, Version};
use crate::http::problem::{Code, Fault, Problem, already_sent};
use crate::http::request::{LogFields, Reply};
use crate::http::{Context, view};
use crate::store::{
    ChangeAnswer, ChangeResult, Deduplicated, InvoiceStatus, IssueAnswer, WithdrawAnswer,
};

/// Other bytes succeeded under the id.
pub(super) fn id_reused() -> Problem {
    Problem::new(
        Code::WebhookIdReused,
        "different content was already accepted under this webhook-id: send this under a new one",
    )
}

/// The answer, and whether it was given before.
pub(super) fn unless_reused<T>(judged: Deduplicated<T>) -> Result<(T, bool), Problem> {
    match judged {
        Deduplicated::New(answer) => Ok((answer, false)),
        Deduplicated::Repeated(answer) => Ok((answer, true)),
        Deduplicated::IdReused => Err(id_reused()),
    }
}

/// The answer to a change of an account.
pub(super) fn changed(
    answer: ChangeAnswer,
    repeated: bool,
    places: &Places,
    settings: Vec<api::Warning>,
    log_fields: &mut LogFields,
) -> Result<AccountAnswer, Problem> {
    let (result, account, recipient, warnings, in_flight) = match answer {
        ChangeAnswer::Accepted { result, account, recipient, warnings, in_flight } => {
            (result, account, recipient, warnings, in_flight)
        }
        ChangeAnswer::Refused(refused) => return Err(self::refused(&refused, places)),
    };
    let name = match result {
        ChangeResult::Applied => Acceptance::Applied,
        ChangeResult::Duplicate => Acceptance::Duplicate,
        ChangeResult::Stale => Acceptance::Stale,
    };
    let name = if repeated { Acceptance::Duplicate } else { name };
    log_fields.result = Some(name);
    let mut shown: Vec<api::Warning> = warnings.iter().map(warning).collect();
    // A stale change needs no warning about its settings.
    if result != ChangeResult::Stale {
        shown.extend(settings);
    }
    Ok(AccountAnswer {
        result: name.into(),
        account: account.id().to_string(),
        version: account.version().get(),
        recipient: view::recipient(&recipient),
        warnings: shown,
        in_flight: in_flight.iter().map(ToString::to_string).collect(),
    })
}

/// The answer to an invoice.
pub(super) fn issued(
    account: &AccountId,
    number: &InvoiceNumber,
    answer: IssueAnswer,
    repeated: bool,
    places: &[(Digest, String)],
    context: &Context,
    log_fields: &mut LogFields,
) -> Result<Reply, Problem> {
    let (status, result, standing) = match answer {
        IssueAnswer::Applied(standing) => (StatusCode::OK, Acceptance::Applied, standing),
        IssueAnswer::Parked(standing) => (StatusCode::ACCEPTED, Acceptance::Parked, standing),
        IssueAnswer::Duplicate(standing) => (StatusCode::OK, Acceptance::Duplicate, standing),
        IssueAnswer::Stale(standing) => (StatusCode::OK, Acceptance::Stale, standing),
        IssueAnswer::Conflict { state, differs } => {
            let sentence = "this invoice number was already used with different content";
            let mut problem = Problem::new(Code::InvoiceConflict, sentence);
            problem.body.state = Some(state.into());
            let before = "the value that was accepted before";
            let fault = |name: &&str| Fault::at(format!("/data/{name}"), before);
            problem.body.errors = differs.iter().map(fault).collect();
            problem.body.differs = Some(differs.into_iter().map(str::to_owned).collect());
            return Err(problem);
        }
        IssueAnswer::DocumentsMissing(missing) => {
            let sentence = "upload the missing documents with PUT /v1/documents/{sha256}, then send this again";
            let mut problem = Problem::new(Code::DocumentMissing, sentence);
            problem.body.errors = places
                .iter()
                .filter(|(digest, _)| missing.contains(digest))
                .map(|(_, pointer)| Fault::at(pointer, "the digest of a stored document"))
                .collect();
            problem.body.missing = missing.iter().map(ToString::to_string).collect();
            return Err(problem);
        }
        IssueAnswer::DocumentsTooLarge { most } => {
            let expected =
                format!("documents of at most {most} bytes in total, the limit of one mail");
            return Err(Problem::invalid(vec![Fault::at("/data/documents", expected)]));
        }
    };
    let (status, result) =
        if repeated { (StatusCode::OK, Acceptance::Duplicate) } else { (status, result) };
    log_fields.result = Some(result);
    let InvoiceStatus { state, schedule, next_at, recipient } = standing;
    let next = |schedule| context.schedules.next_after(&schedule, context.clock.now());
    let release_at = if state == Shown::Waiting {
        schedule.and_then(next)
    } else {
        next_at.filter(|_| state == Shown::Due)
    };
    let answer = api::InvoiceAnswer {
        result: result.into(),
        account: account.to_string(),
        number: number.to_string(),
        state: state.into(),
        release_at,
        recipient: recipient.as_ref().map(view::recipient),
        warnings: Vec::new(),
    };
    Reply::new(status, &answer)
}

/// The answer to a withdrawal.
pub(super) fn withdrawn(
    account: &AccountId,
    number: &InvoiceNumber,
    answer: &WithdrawAnswer,
    repeated: bool,
    log_fields: &mut LogFields,
) -> Result<Reply, Problem> {
    let (status, result, state) = match answer {
        WithdrawAnswer::Withdrawn => (StatusCode::OK, Acceptance::Applied, Shown::Withdrawn),
        WithdrawAnswer::Recorded => (StatusCode::ACCEPTED, Acceptance::Applied, Shown::Sending),
        // Recorded before, by another event: this one is no more certain to be obeyed.
        WithdrawAnswer::Duplicate { state: Shown::Sending } if !repeated => {
            (StatusCode::ACCEPTED, Acceptance::Duplicate, Shown::Sending)
        }
        WithdrawAnswer::Duplicate { state } => (StatusCode::OK, Acceptance::Duplicate, *state),
        WithdrawAnswer::AlreadySent { state } => return Err(already_sent(*state)),
    };
    log_fields.result = Some(result);
    let answer = api::WithdrawalAnswer {
        result: result.into(),
        account: account.to_string(),
        number: number.to_string(),
        state: state.into(),
        warnings: Vec::new(),
    };
    Reply::new(status, &answer)
}

/// What a portal should know about settings that have no effect here.
pub(super) fn settings_warnings(
    change: &AccountChange,
    places: &Places,
    context: &Context,
) -> Vec<api::Warning> {
    let mut warnings = Vec::new();
    let mut language = |field: String, language: Option<&Language>| {
        let unknown = language.filter(|language| !context.languages.contains(*language));
        warnings.extend(unknown.map(|language| api::Warning {
            code: WarningCode::LanguageWithoutTemplate.into(),
            field,
            detail: format!(
                "no templates for language {:?}; mails use the default language",
                language.as_str()
            ),
        }));
    };
    match &change.kind {
        ChangeKind::Updated(profile) | ChangeKind::Imported(Import { profile, .. }) => {
            let root = places.root();
            language(format!("{root}/language"), profile.language.as_ref());
            let main_contact = &profile.main_contact;
            language(format!("{root}/main_contact/language"), main_contact.language.as_ref());
            for (id, sub_user) in &profile.sub_users {
                let field = format!("{}/contact/language", places.sub_user(id));
                language(field, sub_user.contact.language.as_ref());
            }
            warnings.extend(unknown_schedule(profile, root, context));
        }
        ChangeKind::SubUserSaved { contact, .. } => {
            let own = match contact {
                ContactChange::Whole(contact) => contact.language.as_ref(),
                ContactChange::Copy { differences, .. } => {
                    differences.language.as_ref().and_then(Option::as_ref)
                }
            };
            language("/data/sub_user/contact/language".to_owned(), own);
        }
        ChangeKind::Closed
        | ChangeKind::SubUserRemoved(_)
        | ChangeKind::BillingContactSelected(_) => {}
    }
    warnings
}

fn unknown_schedule(profile: &Profile, root: &str, context: &Context) -> Option<api::Warning> {
    let schedule = profile.schedule.as_ref()?;
    let name = schedule.as_str();
    (!context.schedules.contains(schedule)).then(|| api::Warning {
        code: WarningCode::UnknownSchedule.into(),
        field: format!("{root}/schedule"),
        detail: format!("schedule {name:?} is not configured; \"default\" applies"),
    })
}

fn warning(warning: &Warning) -> api::Warning {
    let (code, field, detail) = match warning {
        Warning::BillingContactRemoved(id) => (
            WarningCode::BillingContactRemoved,
            "/data/sub_user",
            format!("{id} was the billing contact; the main contact gets the invoices now"),
        ),
        Warning::BillingContactLeftGroup(id) => (
            WarningCode::BillingContactLeftGroup,
            "/data/sub_user/group",
            format!(
                "{id} was the billing contact and left the billing group; the main contact gets \
                 the invoices now"
            ),
        ),
        Warning::SubUserUnknown(id) => (
            WarningCode::SubUserUnknown,
            "/data/sub_user",
            format!("{id} is not a sub-user of this account; nothing was removed"),
        ),
    };
    api::Warning { code: code.into(), field: field.to_owned(), detail }
}

impl Places {
    /// The pointer to the account itself.
    fn root(&self) -> &'static str {
        match self {
            Self::Updated(_) | Self::Saved | Self::Named | Self::Closed => "/data",
            Self::Imported(_) => "",
        }
    }

    /// The pointer to all sub-users, or to the one that the change is about.
    fn sub_users(&self) -> String {
        self.part("sub_users")
    }

    /// The pointer to a member of a whole account, or to what the change is about.
    fn part(&self, of_account: &str) -> String {
        let root = self.root();
        match self {
            Self::Updated(_) | Self::Imported(_) => format!("{root}/{of_account}"),
            Self::Saved | Self::Named => format!("{root}/sub_user"),
            Self::Closed => root.to_owned(),
        }
    }

    /// The pointer to a sub-user.
    fn sub_user(&self, id: &SubUserId) -> String {
        let all = self.sub_users();
        let at = match self {
            Self::Updated(order) | Self::Imported(order) => {
                order.iter().position(|other| other == id)
            }
            Self::Saved | Self::Named | Self::Closed => None,
        };
        at.map_or_else(|| all.clone(), |at| format!("{all}/{at}"))
    }

    /// The pointer to a selection.
    fn selection(&self) -> String {
        self.part("billing_contact")
    }
}

fn refused(refused: &Refused, places: &Places) -> Problem {
    let version = |code, detail: &str, current: Version| {
        let mut problem = Problem::new(code, detail);
        problem.body.current_version = Some(current.get());
        problem
    };
    let rule =
        |pointer: String, expected: &str| Problem::invalid(vec![Fault::at(pointer, expected)]);
    match refused {
        Refused::VersionConflict { current } => version(
            Code::VersionConflict,
            "this version is already stored with different content",
            *current,
        ),
        Refused::VersionGap { current } => version(
            Code::VersionGap,
            "a change of this kind must directly follow the stored version; an unknown account \
             begins with account.updated",
            *current,
        ),
        Refused::VersionRegressed { current } => version(
            Code::VersionRegressed,
            "the version is older than the stored one, but its time-stamp is newer: was the \
             portal restored from a backup?",
            *current,
        ),
        Refused::UnknownBillingContact(_) => rule(
            places.selection(),
            "the id of a sub-user of this account, or null for the main contact",
        ),
        Refused::NotInBillingGroup { id: _, group } => {
            let group = group.as_str();
            let expected = format!("a sub-user in a billing group; this one is in {group:?}");
            rule(places.selection(), &expected)
        }
        Refused::UnknownCopySource(_) => rule(
            "/data/sub_user/copy_from/sub_user".to_owned(),
            "the id of a sub-user of this account",
        ),
        Refused::NoAddress(id) => {
            let pointer = match places {
                Places::Updated(_) | Places::Imported(_) | Places::Saved => {
                    format!("{}/contact/addresses", places.sub_user(id))
                }
                Places::Named | Places::Closed => places.selection(),
            };
            rule(pointer, "1 to 10 addresses for a member of a billing group")
        }
        Refused::TooManySubUsers => rule(places.sub_users(), "at most 100 sub-users of an account"),
        Refused::TooLarge => rule(places.root().to_owned(), "an account of at most 300 KiB in all"),
    }
}
