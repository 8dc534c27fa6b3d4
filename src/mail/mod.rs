//! From an invoice and its recipient to the bytes of a mail, and those to the relay.
//!
//! [`template`] finds the words, [`compose`] makes them a message.

pub mod compose;
pub mod template;
