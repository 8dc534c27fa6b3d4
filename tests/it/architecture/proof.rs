//! The rules against small sources: each must be able to fail, and to hold.

use super::violations;

#[test]
fn a_violation_names_file_line_rule_and_path() {
    assert_eq!(
        violations("http/routes.rs", "use std::fmt;\nuse crate::dispatch::worker;\n"),
        ["src/http/routes.rs:2: http may not import dispatch (crate::dispatch::worker)"]
    );
}

#[test]
fn sources_that_keep_the_rules_are_accepted() {
    for (file, source) in [
        ("http/routes.rs", "use crate::{domain::id, store, config, mail, clock::Clock};"),
        ("store/mod.rs", "use crate::domain::account::Account;"),
        ("app.rs", "use crate::{http, dispatch, cli};"),
        ("fuzzing.rs", "use crate::{dispatch, domain, http};"),
        ("main.rs", "fn main() { invoice_router::cli::run() }"),
        ("domain/change.rs", "use crate::domain::account; use super::Invalid;"),
        ("dispatch/worker.rs", "use super::schedule; use super::super::store;"),
        ("store/mod.rs", "mod tests { use super::mail; fn f() {} }"),
        ("store/sled.rs", "use sled::{Batch, Tree}; fn f() { sled::open(p) }"),
        ("http/server.rs", "use hyper::body::Incoming;"),
        ("domain/schedule.rs", "use cron::Schedule;"),
        ("domain/id.rs", "use chrono::NaiveDate; use thiserror::Error;"),
        // A module with the name of a crate is not the crate.
        ("store/mod.rs", "pub mod sled; fn f() { sled::SledStore::open() }"),
        ("app.rs", "use crate::store::sled; fn f() { sled::SledStore::open() }"),
        // Comments, literals, visibility and fields name nothing.
        ("domain/id.rs", "// use crate::store;\n/* /* sled::open */ tokio::spawn */ struct A;"),
        ("domain/id.rs", "/// [`crate::mail::compose`]\nconst A: &str = \"use crate::store;\";"),
        ("domain/id.rs", "const B: &str = r#\"a \" crate::store::x \"#; fn f<'a>(x: &'a str) {}"),
        ("domain/id.rs", "pub(crate) fn f(a: A) { a.sled.get(); a.tokio::<u8>(); let store = 1; }"),
    ] {
        assert_eq!(violations(file, source), Vec::<String>::new(), "{source}");
    }
}

#[test]
fn sources_that_break_a_rule_are_refused() {
    for (file, source, because) in [
        ("util.rs", "", "not among the rules' modules"),
        ("store/mod.rs", "use crate::clock::Clock;", "store may not import clock"),
        ("mail/compose.rs", "use crate::store;", "mail may not import store"),
        ("clock.rs", "use crate::domain::id;", "clock may not import domain"),
        ("dispatch/mod.rs", "use crate::app;", "dispatch may not import app"),
        ("http/events.rs", "use crate::fuzzing;", "http may not import fuzzing"),
        ("mail/mod.rs", "use invoice_router::http;", "mail may not import http"),
        ("store/mod.rs", "use crate::*;", "store may not import *"),
        ("domain/mod.rs", "use super::*;", "domain may not import *"),
        (
            "dispatch/worker.rs",
            "use crate::{\n domain::{id, a::{self, B}},\n store::{self, http::{self}},\n http::{self as web},\n};",
            "src/dispatch/worker.rs:4: dispatch may not import http",
        ),
        // `super` leads to the module above, in an inline module to the file.
        ("dispatch/worker.rs", "use super::super::http;", "dispatch may not import http"),
        ("store/mod.rs", "fn f() { super::mail::send() }", "store may not import mail"),
        ("store/mod.rs", "mod a { fn f() { {} } use super::super::mail; }", "not import mail"),
        ("store/mod.rs", "mod a { fn f() {} } use super::mail;", "store may not import mail"),
        // A path inside code counts like an import.
        ("domain/id.rs", "fn f() -> u8 { crate::store::count() }", "domain may not import store"),
        ("app.rs", "fn f() { let db: sled::Db = g(); }", "sled is named only in"),
        ("app.rs", "fn f(db: ::sled::Db) {}", "sled is named only in"),
        ("app.rs", "#[derive(hyper::Thing)] struct A;", "hyper is named only in"),
        ("app.rs", "type A = Vec<lettre::Address>;", "lettre is named only in"),
        ("app.rs", "extern crate sled;", "sled is named only in"),
        ("app.rs", "use lettre as post;", "lettre is named only in"),
        ("cli/a.rs", "use hyper::client::conn::http1;", "hyper is named only in http/"),
        ("dispatch/worker.rs", "use cron::Schedule;", "domain/schedule.rs"),
        ("mail/compose.rs", "use lettre::Message;", "lettre is named only in"),
        ("mail/transport.rs", "use mail_builder::X;", "mail/compose.rs"),
        ("store/mod.rs", "pub mod sled; fn f() { ::sled::open() }", "sled is named only in"),
        // The core is pure.
        ("domain/id.rs", "use serde::Serialize;", "does without serde"),
        ("domain/id.rs", "#[derive(serde::Serialize)] struct A;", "does without serde"),
        ("domain/id.rs", "async fn f() { tokio::join!() }", "does without tokio"),
    ] {
        let found = violations(file, source);
        assert_eq!(found.len(), 1, "{source}: {found:?}");
        assert!(found[0].contains(because), "{source}: {found:?}");
    }
}
