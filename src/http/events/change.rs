//! A change of an account, from its domain type to the answer: the same for one event, a line of a batch and a
//! line of an import.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::Notify;

use super::account::{self, ParsedChange, Places};
use super::answer::{self, unless_reused};
use crate::api::{AccountAnswer, Warning};
use crate::domain::address::masked;
use crate::domain::audit::Actor;
use crate::domain::change::{AccountChange, Refused};
use crate::domain::id::{AccountId, Version};
use crate::http::Context;
use crate::http::fields::{Item, Report};
use crate::http::json;
use crate::http::problem::Problem;
use crate::http::request::LogFields;
use crate::store::{ChangeAnswer, Commit, Deduplicated, Received};

/// A change of an account on its way to the disk.
pub(in crate::http) struct ChangeUnderWay {
    commit: ChangeCommit,
    account: AccountId,
    version: Version,
    places: Places,
    warnings: Vec<Warning>,
    wake_up: Arc<Notify>,
}

enum ChangeCommit {
    OfEvent(Commit<Deduplicated<ChangeAnswer>>),
    OfOperator(Commit<ChangeAnswer>),
}

impl ChangeUnderWay {
    pub(super) fn of_event(context: &Context, received: Received, parsed: ParsedChange) -> Self {
        Self::begin(context, parsed, |change| {
            ChangeCommit::OfEvent(context.store.change_account(received, change))
        })
    }

    /// Takes a line of an import, the data of an `account.updated`; what is wrong with it is in the problem.
    pub(in crate::http) fn of_import(
        context: &Context,
        line: &[u8],
        accept_version: bool,
        actor: Actor,
        reason: Option<String>,
        at: DateTime<Utc>,
    ) -> Result<Self, Problem> {
        let body = json::parse(line)?;
        let report = Report::default();
        let change = Item::root(&body, &report).fields().and_then(|data| {
            account::read(data, Ok(at), |data| account::imported(data, accept_version))
        });
        let parsed = report.finish(change)?;
        Ok(Self::begin(context, parsed, |change| {
            ChangeCommit::OfOperator(context.store.import_account(change, actor, reason, at))
        }))
    }

    fn begin(
        context: &Context,
        parsed: ParsedChange,
        commit: impl FnOnce(AccountChange) -> ChangeCommit,
    ) -> Self {
        let ParsedChange { change, places } = parsed;
        Self {
            account: change.account.clone(),
            version: change.version,
            warnings: answer::settings_warnings(&change, &places, context),
            places,
            wake_up: Arc::clone(&context.wake_up),
            commit: commit(change),
        }
    }

    /// Waits until it is durable or refused.
    pub(in crate::http) async fn end(
        self,
        log_fields: &mut LogFields,
    ) -> Result<AccountAnswer, Problem> {
        let (change_answer, repeated) = match self.commit {
            ChangeCommit::OfEvent(commit) => unless_reused(commit.await?)?,
            ChangeCommit::OfOperator(commit) => (commit.await?, false),
        };
        self.wake_up.notify_one();
        if let ChangeAnswer::Refused(Refused::VersionRegressed { current }) = change_answer {
            alarm_of_regression(&self.account, self.version, current);
        }
        answer::changed(change_answer, repeated, &self.places, self.warnings, log_fields)
    }
}

/// Until an operator acts, the daemon rejects every change from such a portal, and mail goes to outdated contacts.
fn alarm_of_regression(account: &AccountId, version: Version, current: Version) {
    tracing::error!(
        account.id = masked(account.as_str()).as_ref(),
        version = version.get(),
        current_version = current.get(),
        "account versions from the portal went backwards (restored from a backup?): its changes of this account are \
         rejected until their version exceeds the stored one, or import the accounts with --accept-versions"
    );
}
