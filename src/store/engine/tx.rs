//! A unit of work and the batch it goes into.
//!
//! A unit is evaluated once, in arrival order, over the tree and the batch being built, and collects
//! its own writes; only if it succeeds do they join the batch, so a refused unit adds nothing. The
//! batch is written as one; only then are its answers given.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;

use sha2::{Digest as _, Sha256};

use super::keys::{self, Key, Object};
use crate::domain::audit::AuditEntry;
use crate::store::record::{ChainRow, EntryRow, Link, Record};
use crate::store::{Result, Rules, StoreError};

/// Most operations that a batch may hold: larger ones were not atomic over a power cut.
pub(crate) const BATCH_OPERATIONS: usize = 128;
/// Most units that a batch may hold. Those that only read, and those that write the same keys, would make it an
/// endless one.
const BATCH_UNITS: usize = 256;
/// Longest value in bytes. Larger leaves spill to files that sled never syncs.
pub(crate) const VALUE_BYTES: usize = 3_400;

/// A key and its value in a range of the tree; `Break` ends the range.
pub(crate) type Visit<'v> = &'v mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// A sorted map of bytes.
pub(crate) trait Tree {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Visits `from..to` in order, or to the end if `to` is `None`.
    fn range(&self, from: &[u8], to: Option<&[u8]>, visit: Visit<'_>) -> Result<()>;
}

fn damaged<R: Record>(cause: String) -> StoreError {
    StoreError::Damaged { key: format!("of kind {}", R::KIND), cause }
}

/// Reading records from a tree.
pub(crate) trait Records: Tree {
    /// The record under `key`.
    fn read<R: Record>(&self, key: &[u8]) -> Result<Option<R>> {
        let Some(mut first) = self.get(key)? else {
            return Ok(None);
        };
        loop {
            let error = match self.decode(key, &first) {
                Ok(record) => return Ok(Some(record)),
                Err(error) => error,
            };
            // Parts are read one by one: the record may have been written anew meanwhile. Then its
            // checksum, which is in the first part, is another one.
            match self.get(key)? {
                Some(again) if again != first => first = again,
                Some(_) => return Err(error),
                None => return Ok(None),
            }
        }
    }

    /// Decodes a value that was met at `key`, with its further parts.
    fn decode<R: Record>(&self, key: &[u8], first: &[u8]) -> Result<R> {
        let whole = self.whole::<R>(key, first)?;
        R::decode(&whole).map_err(|error| damaged::<R>(error.to_string()))
    }

    /// A record's bytes, put together from a value that was met at `key` and its further parts.
    fn whole<'v, R: Record>(&self, key: &[u8], first: &'v [u8]) -> Result<Cow<'v, [u8]>> {
        let empty = || damaged::<R>("empty".to_owned());
        let (parts, head) = first.split_first().ok_or_else(empty)?;
        let mut whole = Cow::Borrowed(head);
        for part in 1..=*parts {
            let missing = || damaged::<R>(format!("part {part} of {parts} is missing"));
            let part = self.get(&keys::continued(key, part))?.ok_or_else(missing)?;
            whole.to_mut().extend(part);
        }
        Ok(whole)
    }

    /// What `pick` makes of what begins with `prefix`, in order, after the key `after`; at most `limit` of it.
    fn scan<T>(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        pick: impl FnMut(&[u8], &[u8]) -> Option<T>,
    ) -> Result<Vec<T>> {
        // No key comes between one and the same with a zero behind it.
        let from = after.map_or_else(Vec::new, |after| [after, &[0]].concat());
        let from = prefix.max(&from);
        self.scan_range(from, keys::after_prefix(prefix).as_deref(), limit, pick)
    }

    /// As [`Records::scan`], of the keys `from..to`.
    fn scan_range<T>(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
        mut pick: impl FnMut(&[u8], &[u8]) -> Option<T>,
    ) -> Result<Vec<T>> {
        let mut picked = Vec::new();
        if to.is_none_or(|to| from < to) {
            self.range(from, to, &mut |key, value| {
                picked.extend(pick(key, value));
                if picked.len() < limit {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            })?;
        }
        Ok(picked)
    }

    /// The records whose keys begin with `prefix`, in order.
    fn collect<R: Record>(&self, prefix: &[u8]) -> Result<Vec<R>> {
        let met = self.scan(prefix, None, usize::MAX, met)?;
        met.iter().map(|(key, value)| self.decode(key, value)).collect()
    }

    /// Whether there is anything under `key`.
    fn is_there(&self, key: &[u8]) -> Result<bool> {
        Ok(self.get(key)?.is_some())
    }

    /// Whether anything begins with `prefix`.
    fn any(&self, prefix: &[u8]) -> Result<bool> {
        Ok(!self.scan(prefix, None, 1, |_, _| Some(()))?.is_empty())
    }
}

/// A key of the tree with its value.
pub(crate) type KeyValue = (Key, Vec<u8>);

/// Picks both, for [`Records::scan`].
#[expect(clippy::unnecessary_wraps, reason = "others pick some only")]
pub(crate) fn met(key: &[u8], value: &[u8]) -> Option<KeyValue> {
    Some((key.to_vec(), value.to_vec()))
}

impl<T: Tree + ?Sized> Records for T {}

/// Writes by key; `None` removes.
pub(crate) type Writes = BTreeMap<Key, Option<Vec<u8>>>;

/// Gives a unit's answer once its batch is durable, or why it is not.
pub(crate) type Answerer = Box<dyn FnOnce(Result<()>) + Send>;

/// Work to be evaluated inside the committer.
pub(crate) type Unit = Box<dyn FnOnce(&mut Tx<'_>) -> Answerer + Send>;

/// What a unit sees and writes.
pub(crate) struct Tx<'a> {
    base: &'a dyn Tree,
    batch: &'a Writes,
    rules: &'a Rules,
    own: Writes,
    entries: Vec<Told>,
    /// What is left for a unit of its own, to be evaluated after this one and those who wait by then.
    pub(super) next: Option<Unit>,
}

impl Tree for Tx<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.own.get(key).or_else(|| self.batch.get(key)) {
            Some(written) => Ok(written.clone()),
            None => self.base.get(key),
        }
    }

    fn range(&self, from: &[u8], to: Option<&[u8]>, visit: Visit<'_>) -> Result<()> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let bounds = (Included(from), to.map_or(Unbounded, Excluded));
        let mut written = self.batch.range::<[u8], _>(bounds).collect::<BTreeMap<_, _>>();
        written.extend(self.own.range::<[u8], _>(bounds));
        let mut written = written.into_iter().peekable();
        let mut stopped = false;
        self.base.range(from, to, &mut |key, value| {
            while let Some((new_key, new_value)) =
                written.next_if(|(new_key, _)| new_key.as_slice() < key)
            {
                if let Some(new_value) = new_value
                    && visit(new_key, new_value).is_break()
                {
                    stopped = true;
                    return ControlFlow::Break(());
                }
            }
            let flow = match written.next_if(|(new_key, _)| new_key.as_slice() == key) {
                Some((_, Some(new_value))) => visit(key, new_value),
                Some((_, None)) => ControlFlow::Continue(()),
                None => visit(key, value),
            };
            stopped = flow.is_break();
            flow
        })?;
        if !stopped {
            for (key, value) in written {
                if let Some(value) = value
                    && visit(key, value).is_break()
                {
                    break;
                }
            }
        }
        Ok(())
    }
}

impl<'a> Tx<'a> {
    /// The rules that the store applies.
    pub(crate) fn rules(&self) -> &'a Rules {
        self.rules
    }

    /// Leaves something for a unit of its own.
    pub(crate) fn leave(&mut self, next: Unit) {
        self.next = Some(next);
    }

    /// Writes a record, in as many parts as it needs.
    pub(crate) fn put<R: Record>(&mut self, key: &[u8], record: &R) -> Result<()> {
        self.put_encoded::<R>(key, &record.encode())
    }

    /// Writes a record that was encoded already.
    pub(crate) fn put_encoded<R: Record>(&mut self, key: &[u8], encoded: &[u8]) -> Result<()> {
        let before = self.parts(key)?;
        let parts = split(key, encoded, &mut self.own).ok_or_else(|| {
            StoreError::failed("encoding a record", format!("{} is too large", R::KIND))
        })?;
        self.remove_parts(key, parts.saturating_add(1)..=before)
    }

    /// Writes a key that says all by being there.
    pub(crate) fn mark(&mut self, key: Key) {
        self.own.insert(key, Some(vec![0]));
    }

    /// Writes a value as it is.
    #[cfg(test)]
    pub(crate) fn put_bytes(&mut self, key: Key, value: Vec<u8>) {
        self.own.insert(key, Some(value));
    }

    /// Removes a record with all its parts, or a mark, if it is there.
    pub(crate) fn remove(&mut self, key: &[u8]) -> Result<()> {
        if self.is_there(key)? {
            let parts = self.parts(key)?;
            self.remove_parts(key, 1..=parts)?;
            self.own.insert(key.to_vec(), None);
        }
        Ok(())
    }

    /// Adds an entry to an object's history and to the audit log.
    pub(crate) fn tell(&mut self, object: Object, entry: AuditEntry) {
        // Each salt is as long as every other.
        let row = EntryRow { salt: [0; 16], entry };
        let values = row.encode().len().div_ceil(VALUE_BYTES);
        self.entries.push(Told { object, row, values });
    }

    /// How many operations this unit has so far.
    pub(crate) fn operations(&self) -> usize {
        self.own.len() + self.entries.len()
    }

    /// Takes everything back that was written so far.
    pub(crate) fn roll_back(&mut self) {
        self.own.clear();
        self.entries.clear();
        self.next = None;
    }

    /// Stops where there is none: the first byte of a value that is no record is no number of parts.
    fn remove_parts(&mut self, key: &[u8], parts: std::ops::RangeInclusive<u8>) -> Result<()> {
        for part in parts {
            let part = keys::continued(key, part);
            if self.get(&part)?.is_none() {
                break;
            }
            self.own.insert(part, None);
        }
        Ok(())
    }

    fn parts(&self, key: &[u8]) -> Result<u8> {
        Ok(self.get(key)?.and_then(|value| value.first().copied()).unwrap_or(0))
    }
}

/// The end of the hash chain over all batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct TrailHead {
    /// The number of the last batch; 0 before the first.
    pub(crate) batch: u64,
    /// The hash of its link.
    pub(crate) hash: [u8; 32],
}

impl TrailHead {
    /// Finds the last link of a tree.
    pub(crate) fn of(tree: &dyn Tree, last: Option<(Vec<u8>, Vec<u8>)>) -> Result<Self> {
        let Some((key, value)) = last else {
            return Ok(Self::default());
        };
        let link: ChainRow = tree.decode(&key, &value)?;
        let batch = keys::sequence_at_the_end(&key).map_or(0, |sequence| sequence.0);
        Ok(Self { batch, hash: link.hash() })
    }
}

/// A unit that has been evaluated and waits for its place in a batch.
pub(crate) struct Prepared {
    writes: Writes,
    entries: Vec<Told>,
    next: Option<Unit>,
    pub(crate) answer: Answerer,
}

/// Units that are written as one.
pub(crate) struct Batch<'r> {
    rules: &'r Rules,
    head: TrailHead,
    writes: Writes,
    entries: Vec<Told>,
    room: EntryRoom,
    answers: Vec<Answerer>,
}

/// An entry of the audit log that waits for its place in a batch.
struct Told {
    object: Object,
    /// Its salt comes with its place.
    row: EntryRow,
    /// Into how many values it is split.
    values: usize,
}

/// What the entries of a batch need at most.
#[derive(Debug, Clone, Copy, Default)]
struct EntryRoom {
    /// Operations for the entries themselves.
    values: usize,
    /// What the chain's link holds for them, in bytes.
    link_bytes: usize,
}

impl EntryRoom {
    /// With these entries, too.
    fn with(self, entries: &[Told]) -> Self {
        /// What encoding adds to a link: hash, checksum, lengths.
        const BESIDE_BYTES: usize = 64;
        /// A digest, and the lengths of it, of a name and of both.
        const LINKED_BYTES: usize = 32 + 6;
        let mut room = self;
        for Told { object, row: _, values } in entries {
            if room.values == 0 {
                room.link_bytes = BESIDE_BYTES;
            }
            room.values += values;
            room.link_bytes += LINKED_BYTES + object.name().len();
        }
        room
    }

    /// How many operations that is, the link's included.
    fn operations(self) -> usize {
        self.values + self.link_bytes.div_ceil(VALUE_BYTES)
    }
}

/// A batch ready to be written.
pub(crate) struct Sealed {
    pub(crate) writes: Writes,
    pub(crate) answers: Vec<Answerer>,
    pub(crate) head: TrailHead,
}

impl<'r> Batch<'r> {
    /// An empty batch after `head`.
    pub(crate) fn after(head: TrailHead, rules: &'r Rules) -> Self {
        Self {
            rules,
            head,
            writes: Writes::new(),
            entries: Vec::new(),
            room: EntryRoom::default(),
            answers: Vec::new(),
        }
    }

    /// Evaluates units in order, `carried` first, which was evaluated for the batch before and did not fit
    /// into it. What a unit leaves for later comes after those that wait by then, if it `goes_on`. Stops when none
    /// waits, or returns the one that does not fit.
    pub(crate) fn fill(
        &mut self,
        base: &dyn Tree,
        carried: Option<Prepared>,
        waiting: &mut VecDeque<Unit>,
        goes_on: bool,
    ) -> Option<Prepared> {
        let mut prepared = carried;
        loop {
            if let Some(unit) = prepared.take() {
                if !self.fits(&unit) {
                    return Some(unit);
                }
                waiting.extend(self.add(unit).filter(|_| goes_on));
            }
            prepared = Some(self.prepare(base, waiting.pop_front()?));
        }
    }

    /// Evaluates a unit over the tree and what is in the batch already.
    fn prepare(&self, base: &dyn Tree, unit: Unit) -> Prepared {
        let mut tx = Tx {
            base,
            batch: &self.writes,
            rules: self.rules,
            own: Writes::new(),
            entries: Vec::new(),
            next: None,
        };
        let answer = unit(&mut tx);
        Prepared { writes: tx.own, entries: tx.entries, next: tx.next, answer }
    }

    /// Whether the batch keeps its limit with this unit; a first unit always fits.
    fn fits(&self, unit: &Prepared) -> bool {
        let writes = self.writes.len() + unit.writes.len();
        let room = self.room.with(&unit.entries);
        self.answers.is_empty()
            || self.answers.len() < BATCH_UNITS && writes + room.operations() <= BATCH_OPERATIONS
    }

    /// Takes the unit in; returns what it leaves for later.
    fn add(&mut self, unit: Prepared) -> Option<Unit> {
        let Prepared { writes, entries, next, answer } = unit;
        self.writes.extend(writes);
        self.room = self.room.with(&entries);
        self.entries.extend(entries);
        self.answers.push(answer);
        next
    }

    /// Puts the stories and the chain's next link in. Salts come from `salt`, so that an entry can be
    /// masked without its digest giving it away.
    pub(crate) fn seal(mut self, salt: impl Fn() -> [u8; 16]) -> Sealed {
        let mut head = self.head;
        if !self.entries.is_empty() {
            head.batch += 1;
            let mut links = Vec::with_capacity(self.entries.len());
            for (index, Told { object, row, values: _ }) in (0..).zip(self.entries) {
                let row = EntryRow { salt: salt(), ..row };
                let key = keys::entry(&object, head.batch, index);
                let encoded = row.encode();
                links.push(Link {
                    digest: Sha256::digest([key.as_slice(), &encoded].concat()).into(),
                    object,
                });
                // An audit entry and a link are far below 255 parts.
                split(&key, &encoded, &mut self.writes);
            }
            let link = ChainRow { previous: head.hash, links };
            head.hash = link.hash();
            split(&keys::trail(head.batch), &link.encode(), &mut self.writes);
        }
        Sealed { writes: self.writes, answers: self.answers, head }
    }
}

/// How many bytes a record has at most, by its first value.
pub(crate) fn stored_bytes(first: &[u8]) -> usize {
    first.len() + first.first().map_or(0, |parts| usize::from(*parts) * VALUE_BYTES)
}

/// Writes `encoded` under `key` in as many parts as it needs: the first value begins with the number of
/// further ones. Returns that number, or nothing if there were more than 255.
fn split(key: &[u8], encoded: &[u8], writes: &mut Writes) -> Option<u8> {
    let (head, rest) = encoded.split_at(encoded.len().min(VALUE_BYTES));
    let chunks = rest.chunks(VALUE_BYTES);
    let parts = u8::try_from(chunks.len()).ok()?;
    let mut first = Vec::with_capacity(head.len() + 1);
    first.push(parts);
    first.extend_from_slice(head);
    writes.insert(key.to_vec(), Some(first));
    for (part, chunk) in (1..=parts).zip(chunks) {
        writes.insert(keys::continued(key, part), Some(chunk.to_vec()));
    }
    Some(parts)
}
