//! How far the database had come, beside it.
//!
//! Batch and hash of the chain's last link, noted only after the database was synced: an honest power cut never
//! leaves a database behind its note.

use std::fs;
use std::io;
use std::path::Path;

use super::{OpenError, at, disk, keys, unsynced};
use crate::domain::id::Digest;
use crate::store::engine::tx::{TrailHead, Tree};

const REACHED: &str = "REACHED";
const WRITING: &str = "REACHED.new";

/// Whether the database has come as far as was noted, by the same way. True where nothing was noted.
pub(super) fn is_reached(directory: &Path, database: &dyn Tree) -> Result<bool, OpenError> {
    let path = directory.join(REACHED);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(at("reading", &path)(error)),
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
    let (path, writing) = (directory.join(REACHED), directory.join(WRITING));
    disk::remove_if_there(&writing).map_err(at("removing", &writing))?;
    disk::write_new(&writing, text(head).as_bytes())
        .map_err(at("writing", &writing))?
        .sync_all()
        .map_err(unsynced(&writing))?;
    fs::rename(&writing, &path).map_err(at("naming", &path))?;
    disk::sync_directory(directory).map_err(unsynced(directory))
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
