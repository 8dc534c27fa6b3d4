//! Mails each account's invoices to its single active billing contact.
//!
//! The portal and the billing system push events over [`http`]; each becomes one atomic, durable
//! commit of the [`store`]; [`dispatch`] releases invoices on schedule, resolves the recipient and
//! hands the mail that [`mail`] composes to the relay. [`domain`] holds every rule, pure. The map is
//! `docs/architecture.md`.
//!
//! Invariants, in the order in which they matter:
//! 1. An acknowledged invoice is never lost: no success is answered before its commit is durable.
//! 2. It never goes to the wrong person: the recipient is read again directly before the first byte.
//! 3. It is sent at least once; a second copy goes out only if the outcome of an attempt is unknown,
//!    and then under the same Message-ID.
//! 4. What happened and why can always be reconstructed: each commit adds to the audit log.
//!
//! Who may import whom is checked by `tests/it/architecture.rs`: `domain` and `clock` import nothing of
//! this crate; `api`, `config`, `store` and `mail` import `domain`; `http` and `dispatch` import those
//! and never each other; `app`, `cli` and `fuzzing`, which only tests have, see all.

pub mod api;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dispatch;
pub mod domain;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
pub mod mail;
pub mod store;
pub mod systemd;
pub mod telemetry;
