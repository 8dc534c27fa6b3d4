//! The use cases over a sorted map of bytes, shared by every implementation that has one.

pub(in crate::store) mod backend;
pub(in crate::store) mod keys;
pub(in crate::store) mod tx;
