//! Integration tests: one binary.

mod architecture;
mod compose;
mod dispatch;
#[path = "../support/scripted_smtp.rs"]
mod scripted_smtp;
mod smtp;
mod templates;
