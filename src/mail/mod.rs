//! From an invoice and its recipient to the bytes of a mail, and from those to the relay's answer.
//!
//! [`template`] finds the words, [`compose`] makes them a message, [`transport`] hands it over step by
//! step, so that what an attempt came to is judged by how far it got and by what exactly the relay said
//! there, never by an error's text. Nothing here decides whether to send, retry or give up: that is the
//! domain's.

pub mod compose;
pub mod connection;
pub mod file;
pub mod message;
pub mod outcome;
mod settings;
pub mod template;
pub mod transport;
