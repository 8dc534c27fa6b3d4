//! Integration tests: one binary.

mod admin;
mod architecture;
mod bad_config;
mod compose;
#[path = "../support/daemon.rs"]
mod daemon;
mod demo;
mod described;
#[path = "../support/description.rs"]
mod description;
mod dispatch;
#[path = "../support/examples.rs"]
mod examples;
#[path = "../support/figures.rs"]
mod figures;
mod interface;
#[path = "../support/logged.rs"]
mod logged;
mod mishaps;
mod operator;
#[path = "../support/overheard.rs"]
mod overheard;
mod rotation;
#[path = "../support/scripted_smtp.rs"]
mod scripted_smtp;
mod smtp;
mod store_contract;
mod templates;
mod transfer;
mod webhook;
