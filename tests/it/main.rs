//! Integration tests: one binary.

mod architecture;
mod compose;
mod templates;
#[path = "../support/scripted_smtp.rs"]
mod scripted_smtp;
mod smtp;
