//! The state machine, event by event; the exhaustive table follows the rules it must keep.
