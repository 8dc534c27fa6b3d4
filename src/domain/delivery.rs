//! How one invoice is brought to its recipient.
