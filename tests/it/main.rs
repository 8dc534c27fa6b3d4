//! Integration tests: one binary.

mod architecture;
mod compose;
#[path = "../support/scripted_smtp.rs"]
mod scripted_smtp;
mod smtp;
mod store_contract;
mod templates;
