//! `check-config`: everything that the daemon would read, read and compiled.

use serde_json::json;

use super::{Context, Failure};
use crate::app;

pub(super) fn run(context: &Context) -> Result<(), Failure> {
    let warnings = app::check(&context.load()?)?;
    let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    context.out.show(&json!({ "result": "ok", "warnings": warnings }), || {
        let warnings = warnings.iter().map(|warning| format!("warning: {warning}"));
        let lines: Vec<String> =
            warnings.chain(["the configuration is valid".to_owned()]).collect();
        lines.join("\n")
    })
}
