//! Logs: JSON to stdout for collectors, fields to journald, or plain lines to stderr for people.
//!
//! The level is a list of directives, `info` or `info,invoice_router::mail=debug`, and is parsed
//! strictly: the usual filters take a misspelt level for the name of a module and then log nothing
//! at all. Whatever subscribes, no event carries personal data; that is the duty of whoever logs.

use std::io;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::LogFormat;

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// Not a list of directives.
    #[error(
        "log level {found:?}: expected off, error, warn, info, debug or trace, or a list such as \
         info,invoice_router::mail=debug"
    )]
    Level {
        /// The directive that is wrong.
        found: String,
    },
    /// No journal to write to.
    #[error("cannot reach the journal's socket")]
    Journal(#[source] io::Error),
    /// Logging was set up before; it is set up once a process.
    #[error("cannot set up logging")]
    Twice(#[from] TryInitError),
}

/// Sends the events of the whole process, from now on, to where `format` says.
///
/// `level` is what [`check_level`] accepts.
pub fn init(format: LogFormat, level: &str) -> Result<(), TelemetryError> {
    let registry = tracing_subscriber::registry().with(filter(level)?);
    match format {
        LogFormat::Json => registry.with(json(io::stdout)).try_init()?,
        LogFormat::Text => registry.with(text(io::stderr)).try_init()?,
        LogFormat::Journald => {
            let journal = tracing_journald::layer().map_err(TelemetryError::Journal)?;
            let journal = journal
                // Without it each field would be called F_ACCOUNT_ID instead of ACCOUNT_ID.
                .with_field_prefix(None)
                .with_syslog_identifier("invoice-router".to_owned());
            registry.with(journal).try_init()?;
        }
    }
    Ok(())
}

/// Checks a list of directives, separated by commas: a level for everything, or `module=level` for a
/// module and what lies below it. The most specific one counts; what none speaks of is not logged.
pub fn check_level(level: &str) -> Result<(), TelemetryError> {
    filter(level).map(|_| ())
}

fn filter(directives: &str) -> Result<Targets, TelemetryError> {
    let mut targets = Targets::new();
    for directive in directives.split(',').map(str::trim) {
        let wrong = || TelemetryError::Level { found: directive.to_owned() };
        targets = match directive.split_once('=') {
            None => targets.with_default(level(directive).ok_or_else(wrong)?),
            Some((module, at)) if is_module(module) => {
                targets.with_target(module, level(at).ok_or_else(wrong)?)
            }
            Some(_) => return Err(wrong()),
        };
    }
    Ok(targets)
}

/// `LevelFilter`'s own parser also takes numbers, any case and an empty string.
fn level(word: &str) -> Option<LevelFilter> {
    let names = ["off", "error", "warn", "info", "debug", "trace"];
    names.contains(&word).then(|| word.parse().ok()).flatten()
}

fn is_module(path: &str) -> bool {
    path.split("::").all(|name| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    })
}

fn json<S, W>(writer: W) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + 'static,
{
    tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        // It would be reported on stderr, and with that closed too the thread would panic.
        .log_internal_errors(false)
        .with_writer(writer)
}

fn text<S, W>(writer: W) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + 'static,
{
    tracing_subscriber::fmt::layer()
        .compact()
        .with_ansi(false)
        .log_internal_errors(false)
        .with_writer(writer)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use chrono::DateTime;

    use super::*;

    /// Collects what a layer writes.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        fn written(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn with_json(level: &str, act: impl FnOnce()) -> Vec<serde_json::Value> {
        let lines = Lines::default();
        let sink = lines.clone();
        let subscriber = tracing_subscriber::registry()
            .with(filter(level).unwrap())
            .with(json(move || sink.clone()));
        tracing::subscriber::with_default(subscriber, act);
        lines.written().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_json_line_has_the_events_fields_at_the_top_and_the_spans_under_span() {
        let lines = with_json("info", || {
            let span = tracing::info_span!("attempt", invoice.number = "RE-1");
            span.in_scope(|| tracing::warn!(duration_ms = 7, "the relay is slow"));
        });

        let [line] = &lines[..] else {
            panic!("expected one line, found {lines:?}");
        };
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["message"], "the relay is slow");
        assert_eq!(line["duration_ms"], 7);
        assert_eq!(line["span"]["invoice.number"], "RE-1");
        assert_eq!(line["target"], "invoice_router::telemetry::tests");
        let timestamp = line["timestamp"].as_str().unwrap();
        assert!(timestamp.ends_with('Z'), "{timestamp}");
        assert!(DateTime::parse_from_rfc3339(timestamp).is_ok(), "{timestamp}");
    }

    #[test]
    fn a_line_for_people_carries_no_colour_codes() {
        let lines = Lines::default();
        let sink = lines.clone();
        let subscriber = tracing_subscriber::registry().with(text(move || sink.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(account.id = "K-1001", "billing contact selected");
        });
        let written = lines.written();
        assert!(written.contains("billing contact selected account.id=\"K-1001\""), "{written}");
        assert!(!written.contains('\u{1b}'), "{written}");
    }

    #[test]
    fn a_directive_for_a_module_counts_more_than_the_one_for_all() {
        let lines = with_json("warn, invoice_router::telemetry=debug", || {
            tracing::debug!("of this module");
            tracing::info!(target: "invoice_router::mail", "of another");
        });
        let messages: Vec<_> = lines.iter().map(|line| &line["message"]).collect();
        assert_eq!(messages, ["of this module"]);
        assert!(with_json("off", || tracing::error!("of any module")).is_empty());
    }

    #[test]
    fn a_misspelt_level_is_refused_and_not_taken_for_a_module() {
        for wrong in [
            "",
            "inof",
            "INFO",
            "3",
            "info,",
            "info;debug",
            "invoice_router=",
            "invoice_router=loud",
            "=debug",
            "invoice router=debug",
            "invoice_router[span]=debug",
        ] {
            let error = check_level(wrong).unwrap_err().to_string();
            assert!(
                error.contains("expected off, error, warn, info, debug or trace"),
                "{wrong:?}: {error}"
            );
        }
    }
}
