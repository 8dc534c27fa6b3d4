//! Temporary.
pub mod demo;
