//! The rules against small sources: each must be able to fail, and to hold.

use super::violations;

#[track_caller]
fn refuses(file: &str, source: &str, because: &str) {
    let found = violations(file, source);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains(because), "{found:?}");
}

#[track_caller]
fn accepts(file: &str, source: &str) {
    assert_eq!(violations(file, source), Vec::<String>::new());
}

#[test]
fn a_plain_import_across_the_line_is_refused_with_file_and_line() {
    assert_eq!(
        violations("http/routes.rs", "use std::fmt;\nuse crate::dispatch::worker;\n"),
        ["src/http/routes.rs:2: http may not import dispatch (crate::dispatch::worker)"]
    );
}

#[test]
fn each_module_may_import_what_its_row_says() {
    accepts("http/routes.rs", "use crate::{domain::id, store, config, mail, clock::Clock};");
    accepts("store/mod.rs", "use crate::domain::account::Account;");
    accepts("app.rs", "use crate::{http, dispatch, cli};");
    accepts("fuzzing.rs", "use crate::{dispatch, domain, http};");
    refuses("store/mod.rs", "use crate::clock::Clock;", "store may not import clock");
    refuses("mail/compose.rs", "use crate::store;", "mail may not import store");
    refuses("clock.rs", "use crate::domain::id;", "clock may not import domain");
    refuses("dispatch/mod.rs", "use crate::app;", "dispatch may not import app");
    refuses("http/events.rs", "use crate::fuzzing;", "http may not import fuzzing");
}

#[test]
fn a_module_may_import_itself() {
    accepts("domain/change.rs", "use crate::domain::account; use super::Invalid;");
}

#[test]
fn a_module_without_a_row_is_refused() {
    refuses("util.rs", "", "not among the rules' modules");
}

#[test]
fn nested_trees_are_followed_to_every_leaf() {
    refuses(
        "dispatch/worker.rs",
        "use crate::{\n  domain::{id, money::{self, Money}},\n  store::{self, http::{self}},\n  http::{self as web},\n};",
        "src/dispatch/worker.rs:4: dispatch may not import http",
    );
}

#[test]
fn an_inline_path_counts_like_an_import() {
    refuses(
        "domain/id.rs",
        "fn f() -> u8 { crate::store::count() }",
        "domain may not import store",
    );
    refuses("app.rs", "fn f() { let db: sled::Db = g(); }", "sled is named only in");
    refuses("app.rs", "fn f(db: ::sled::Db) {}", "sled is named only in");
    refuses("app.rs", "#[derive(hyper::Thing)] struct A;", "hyper is named only in");
    refuses("app.rs", "type A = Vec<lettre::Address>;", "lettre is named only in");
}

#[test]
fn super_leads_to_the_module_above() {
    refuses(
        "dispatch/worker.rs",
        "use super::super::http::routes;",
        "dispatch may not import http",
    );
    refuses("store/mod.rs", "fn f() { super::mail::send() }", "store may not import mail");
    accepts("dispatch/worker.rs", "use super::schedule; use super::super::store;");
}

#[test]
fn super_in_an_inline_module_leads_to_the_file() {
    accepts("store/mod.rs", "mod tests { use super::mail; fn f() {} }");
    refuses(
        "store/mod.rs",
        "mod tests { fn f() { {} } use super::super::mail; } use super::domain;",
        "store may not import mail",
    );
    refuses(
        "store/mod.rs",
        "mod tests { fn f() {} } use super::mail;",
        "store may not import mail",
    );
}

#[test]
fn an_alias_stands_for_what_it_was_taken_from() {
    refuses("app.rs", "extern crate sled;", "sled is named only in");
    refuses("app.rs", "use lettre as post;", "lettre is named only in");
    assert_eq!(
        violations(
            "http/mod.rs",
            "use crate as home;\nuse home as house;\nfn f() { house::dispatch::go() }"
        ),
        ["src/http/mod.rs:3: http may not import dispatch (crate::dispatch::go)"]
    );
}

#[test]
fn aliases_that_stand_for_each_other_come_to_an_end() {
    accepts("http/mod.rs", "fn f() { use a::b; b::c() } fn g() { use b::a; a::c() }");
}

#[test]
fn a_glob_over_the_whole_crate_is_refused() {
    refuses("store/mod.rs", "use crate::*;", "store may not import *");
    refuses("domain/mod.rs", "use super::*;", "domain may not import *");
}

#[test]
fn the_name_of_the_library_is_the_crate() {
    refuses("mail/mod.rs", "use invoice_router::http;", "mail may not import http");
    accepts("main.rs", "fn main() { invoice_router::cli::run() }");
}

#[test]
fn a_crate_may_be_named_in_its_files() {
    accepts("store/sled.rs", "use sled::{Batch, Tree}; fn f() { sled::open(p) }");
    accepts("http/server.rs", "use hyper::body::Incoming;");
    refuses("cli/account.rs", "use hyper::client::conn::http1;", "hyper is named only in http/");
    accepts("domain/schedule.rs", "use cron::Schedule;");
    refuses("dispatch/worker.rs", "use cron::Schedule;", "domain/schedule.rs");
    refuses("mail/compose.rs", "use lettre::Message;", "lettre is named only in");
    refuses("mail/transport.rs", "use mail_builder::X;", "mail/compose.rs");
}

#[test]
fn a_module_with_the_name_of_a_crate_is_not_the_crate() {
    accepts("store/mod.rs", "pub mod sled; fn f() { sled::SledStore::open() }");
    accepts("app.rs", "use crate::store::sled; fn f() { sled::SledStore::open() }");
    refuses("store/mod.rs", "pub mod sled; fn f() { ::sled::open() }", "sled is named only in");
}

#[test]
fn the_core_stays_pure() {
    refuses("domain/id.rs", "use serde::Serialize;", "does without serde");
    refuses("domain/id.rs", "#[derive(serde::Serialize)] struct A;", "does without serde");
    refuses("domain/id.rs", "async fn f() { tokio::join!() }", "does without tokio");
    accepts("domain/id.rs", "use chrono::NaiveDate; use thiserror::Error;");
}

#[test]
fn comments_and_literals_do_not_count() {
    accepts(
        "domain/id.rs",
        r##"
        // use crate::store;
        /* use crate::http; /* sled::open */ tokio::spawn */
        /// [`crate::mail::compose`]
        const A: &str = "use crate::store; \" sled::open";
        const B: &str = r#"a " crate::store::x "#;
        const C: &[u8] = br"crate::store\";
        const D: [char; 3] = ['"', '\'', '\\'];
        fn f<'a>(x: &'a str) -> &'a str { x }
        "##,
    );
}

#[test]
fn code_behind_comments_and_literals_does_count() {
    for before in [
        "/* /* */ */ ",
        "const A: &str = \"\\\\\"; ",
        "const B: &str = r#\"\"\"#; ",
        "const C: char = '\"'; ",
        "const C: char = '\\''; ",
        "fn f<'a>() {} ",
        "fn f(bar: u8) { bar\"\" } ",
    ] {
        refuses(
            "domain/id.rs",
            &format!("{before}use crate::store;"),
            "domain may not import store",
        );
    }
}

#[test]
fn visibility_and_fields_are_no_imports() {
    accepts(
        "domain/id.rs",
        "pub(crate) fn f(a: A) { a.sled.get(); a.tokio::<u8>(); let store = 1; } pub(super) struct B;",
    );
}
