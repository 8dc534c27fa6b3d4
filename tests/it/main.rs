//! Integration tests: one binary.

#[path = "../support/scripted_smtp.rs"]
mod scripted_smtp;
mod smtp;
