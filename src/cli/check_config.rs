//! `check-config`: everything that the daemon would read, read and compiled.

use serde_json::json;

use super::{Context, Failure};
use crate::app;

pub(super) fn run(context: &Context) -> Result<(), Failure> {
    let config = context.load()?;
    let warnings = app::check(&config)?;
    let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    let value = json!({ "result": "ok", "warnings": warnings });
    context.out.show(&value, || {
        let mut lines: Vec<String> =
            warnings.iter().map(|warning| format!("warning: {warning}")).collect();
        lines.push("the configuration is valid".to_owned());
        lines.join("\n")
    })?;
    Ok(())
}
