//! `invoice-router`.
fn main() {}
