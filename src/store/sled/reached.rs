//! How far the database had come, beside it.
//!
//! Batch and hash of the chain's last link, noted only after the database was synced: an honest power cut never
//! leaves a database behind its note.

use std::fs;
use std::path::Path;

use super::{OpenError, at, disk, keys, rename_durably, write_synced};
use crate::domain::id::Digest;
use crate::store::engine::tx::{TrailHead, Tree};

const REACHED: &str = "REACHED";
const WRITING: &str = "REACHED.new";

/// Whether the database has come as far as was noted, by the same way. True where nothing was noted.
pub(super) fn is_reached(directory: &Path, database: &dyn Tree) -> Result<bool, OpenError> {
    let path = directory.join(REACHED);
    let text = disk::if_there(fs::read_to_string(&path)).map_err(at("reading", &path))?;
    let Some(text) = text else {
        return Ok(true);
    };
    let Some(noted) = parse(&text) else {
        return Ok(false);
    };
    if noted.batch == 0 {
        return Ok(true);
    }
    let key = keys::trail(noted.batch);
    let link = database.get(&key)?.map(|value| (key, value));
    Ok(TrailHead::of(database, link)? == noted)
}

/// Notes how far the database has come, which is durable.
pub(super) fn note(directory: &Path, head: TrailHead) -> Result<(), OpenError> {
    let writing = directory.join(WRITING);
    disk::remove_if_there(&writing).map_err(at("removing", &writing))?;
    write_synced(&writing, &text(head))?;
    rename_durably(&writing, directory, REACHED)
}

fn text(head: TrailHead) -> String {
    format!("batch {}\nhash {}\n", head.batch, Digest::from_bytes(head.hash))
}

fn parse(text: &str) -> Option<TrailHead> {
    let (batch, hash) = text.strip_prefix("batch ")?.strip_suffix('\n')?.split_once("\nhash ")?;
    let head =
        TrailHead { batch: batch.parse().ok()?, hash: *Digest::parse(hash).ok()?.as_bytes() };
    (self::text(head) == text).then_some(head)
}
