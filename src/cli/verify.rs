//! `verify`: everything that the state directory holds, checked while no daemon has it open.

use std::os::unix::fs::MetadataExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Context as _, anyhow};
use serde_json::json;

use super::{Context, Failure};
use crate::store::{self, Finding, OpenError, StoreError, Verified};

pub(super) fn run(context: &Context) -> Result<(), Failure> {
    let config = context.load()?;
    let directory = &config.state.directory;
    let owner = std::fs::metadata(directory)
        .with_context(|| format!("cannot read {}", directory.display()))?
        .uid();
    // Opening a database leaves files of its own, which the daemon would not be allowed to touch.
    if owner != rustix::process::geteuid().as_raw() {
        return Err(Failure::Failed(anyhow!(
            "{} belongs to the user with id {owner}: run this as that user",
            directory.display()
        )));
    }
    let mut findings: Vec<String> = Vec::new();
    let mut tell = |Finding { place, what }| {
        context.out.tell(&format!("{place}: {what}"));
        findings.push(format!("{place}: {what}"));
    };
    // sled panics over some damages.
    let verified = catch_unwind(AssertUnwindSafe(|| store::verify(&config.state, &mut tell)))
        .map_err(|_| Failure::Failed(anyhow!("the database is damaged: reading it crashed")))?
        .map_err(not_verified)?;
    let Verified { records, links, documents, findings: count, left_over, strays } = verified;
    for stray in &strays {
        let said = format!("{}: does not belong to this store; ignored", stray.display());
        context.out.tell(&said);
    }
    let value = json!({
        "result": if count == 0 { "ok" } else { "damaged" },
        "records": records,
        "links": links,
        "documents": documents,
        "left_over": left_over,
        "strays": strays.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
        "findings": findings,
    });
    context.out.show(&value, || {
        let left_over = match left_over {
            0 => String::new(),
            some => format!(
                "; {some} documents without a record, left by interrupted uploads or by \
                 missing records; retention deletes them"
            ),
        };
        format!(
            "{records} records, {links} links of the audit log and {documents} documents checked: \
             {count} findings{left_over}"
        )
    })?;
    if count == 0 { Ok(()) } else { Err(Failure::Failed(anyhow!("the store is damaged"))) }
}

/// Why nothing could be checked.
fn not_verified(error: OpenError) -> Failure {
    match error {
        OpenError::Store(StoreError::SyncFailed(_)) => Failure::SyncFailed(error.into()),
        OpenError::InUse(_) => Failure::Failed(anyhow!(error).context("stop the daemon first")),
        OpenError::NotEmpty { .. }
        | OpenError::Mismatch { .. }
        | OpenError::NewerFormat { .. }
        | OpenError::Io { .. }
        | OpenError::Store(_) => Failure::Failed(error.into()),
    }
}
