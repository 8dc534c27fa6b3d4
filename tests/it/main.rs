//! Integration tests: one binary.

mod admin;
mod architecture;
mod compose;
mod dispatch;
mod interface;
#[path = "../support/scripted_smtp.rs"]
mod scripted_smtp;
mod smtp;
mod store_contract;
mod templates;
mod webhook;
