//! Cursors: where a list is to go on, as a string that is opaque to clients.
//!
//! A cursor holds a position in an order that nothing changes: of ids, of arrival, of the audit log. Whatever is added,
//! removed or changed between two pages, an item that exists throughout is listed once.

#[cfg(any(test, fuzzing))]
pub(super) mod property;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::id::{AccountId, Sequence};
use crate::store::{AuditOrder, AuditPlace};

/// A place in a list.
pub(super) trait Place: Sized {
    /// Which list: a cursor of another one is none.
    const LIST: u8;

    /// Its bytes, each place having others.
    fn bytes(&self) -> Vec<u8>;

    /// The place with these bytes.
    fn read(bytes: &[u8]) -> Option<Self>;
}

impl Place for AccountId {
    const LIST: u8 = b'a';

    fn bytes(&self) -> Vec<u8> {
        self.as_str().as_bytes().to_vec()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        Self::parse(std::str::from_utf8(bytes).ok()?).ok()
    }
}

impl Place for Sequence {
    const LIST: u8 = b'i';

    fn bytes(&self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self(u64::from_be_bytes(bytes.try_into().ok()?)))
    }
}

/// With its direction: in the other one, all items after it have been listed already.
impl Place for (AuditOrder, AuditPlace) {
    const LIST: u8 = b't';

    fn bytes(&self) -> Vec<u8> {
        let (order, AuditPlace { batch, index }) = self;
        let order = match order {
            AuditOrder::OldestFirst => b'o',
            AuditOrder::NewestFirst => b'n',
        };
        [&[order], &batch.to_be_bytes()[..], &index.to_be_bytes()].concat()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (order, place) = bytes.split_first()?;
        let order = match order {
            b'o' => AuditOrder::OldestFirst,
            b'n' => AuditOrder::NewestFirst,
            _ => return None,
        };
        let (batch, index) = place.split_first_chunk()?;
        let place = AuditPlace {
            batch: u64::from_be_bytes(*batch),
            index: u64::from_be_bytes(index.try_into().ok()?),
        };
        Some((order, place))
    }
}

/// The cursor that continues after a place.
pub(super) fn write(place: &impl Place) -> String {
    fn of<P: Place>(place: &P) -> Vec<u8> {
        [&[P::LIST], place.bytes().as_slice()].concat()
    }
    URL_SAFE_NO_PAD.encode(of(place))
}

/// The place of a cursor of this list.
pub(super) fn read<P: Place>(cursor: &str) -> Option<P> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (list, place) = bytes.split_first()?;
    (*list == P::LIST).then(|| P::read(place)).flatten()
}
