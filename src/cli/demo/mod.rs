//! Temporary.
pub mod sink;
