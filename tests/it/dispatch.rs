//! From an invoice in the store to the relay, and what the store knows afterwards.

// Tells clippy that helpers belong to tests as well.
#![cfg(test)]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names the moments at which its relay says no"
)]

mod attempts;
mod clock;
mod commands;
pub(crate) mod failing_store;
mod faults;
mod house;
mod logs;
mod pauses;
mod races;
mod relay;
mod scene;
mod schedules;
