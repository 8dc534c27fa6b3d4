//! Brings invoices to their recipients: releases what is due, resolves, sends, settles.
//!
//! [`schedule`] says when waiting invoices are released. It is pure; everything else here reads it
//! with the clock's time.

pub mod schedule;
