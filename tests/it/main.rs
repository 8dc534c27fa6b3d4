//! Integration tests: one binary.

mod compose;
mod templates;
