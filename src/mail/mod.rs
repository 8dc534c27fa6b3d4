//! From an invoice to the relay's answer.
//!
//! A message is handed over step by step, so that what an attempt came to is judged by how far it got
//! and by what exactly the relay said there, never by an error's text. Nothing here decides whether to
//! send, retry or give up: that is the domain's.

pub mod connection;
pub mod file;
pub mod outcome;
pub mod transport;
