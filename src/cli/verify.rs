//! `verify`: everything that the state directory holds, checked while no daemon has it open.

use std::os::unix::fs::MetadataExt as _;

use anyhow::{Context as _, anyhow};
use serde_json::json;

use super::{Context, Failure};
use crate::app;
use crate::store::{Finding, OpenError, Verified};

pub(super) fn run(context: &Context) -> Result<(), Failure> {
    let config = context.load()?;
    let directory = &config.state.directory;
    let owner = std::fs::metadata(directory)
        .with_context(|| format!("cannot look at {}", directory.display()))?
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
    let verified = app::verify(&config, &mut tell).map_err(|error| {
        let is_in_use = matches!(error, OpenError::InUse(_));
        let error = anyhow::Error::new(error);
        Failure::Failed(if is_in_use {
            error.context("stop the daemon first")
        } else {
            error
        })
    })?;
    let Verified {
        records,
        links,
        documents,
        findings: count,
        left_over,
    } = verified;
    let value = json!({
        "result": if count == 0 { "ok" } else { "damaged" },
        "records": records,
        "links": links,
        "documents": documents,
        "left_over": left_over,
        "findings": findings,
    });
    context.out.show(&value, |_| {
        let left_over = match left_over {
            0 => String::new(),
            some => format!("; {some} files of uploads that were cut off are of no use"),
        };
        format!(
            "{records} records, {links} links of the trail and {documents} documents checked: \
             {count} findings{left_over}"
        )
    })?;
    if count == 0 {
        Ok(())
    } else {
        Err(Failure::Failed(anyhow!("the store does not hold together")))
    }
}
