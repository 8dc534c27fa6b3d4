//! Integration tests: one binary.

mod architecture;
mod compose;
mod templates;
