//! Cursors: where a list is to go on, as a string that is opaque to clients.
//!
//! What a cursor holds is a place in an order that nothing changes: of ids, of arrival, of the trail. So whatever
//! comes, goes or changes between two pages, what is there all the time is told once.

#[cfg(any(test, fuzzing))]
pub(super) mod property;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::id::{AccountId, Sequence};
use crate::store::{TrailOrder, TrailPlace};

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

/// With the order that it is told in: in the other one, all that would come after it has been told.
impl Place for (TrailOrder, TrailPlace) {
    const LIST: u8 = b't';

    fn bytes(&self) -> Vec<u8> {
        let (order, TrailPlace { batch, index }) = self;
        let order = match order {
            TrailOrder::OldestFirst => b'o',
            TrailOrder::NewestFirst => b'n',
        };
        [&[order], &batch.to_be_bytes()[..], &index.to_be_bytes()].concat()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (order, place) = bytes.split_first()?;
        let order = match order {
            b'o' => TrailOrder::OldestFirst,
            b'n' => TrailOrder::NewestFirst,
            _ => return None,
        };
        let (batch, index) = place.split_first_chunk()?;
        let place = TrailPlace {
            batch: u64::from_be_bytes(*batch),
            index: u64::from_be_bytes(index.try_into().ok()?),
        };
        Some((order, place))
    }
}

/// The cursor that stands for going on after a place.
pub(super) fn write(place: &impl Place) -> String {
    fn of<P: Place>(place: &P) -> Vec<u8> {
        [&[P::LIST], place.bytes().as_slice()].concat()
    }
    URL_SAFE_NO_PAD.encode(of(place))
}

/// The place that a cursor of this list stands for.
pub(super) fn read<P: Place>(cursor: &str) -> Option<P> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (list, place) = bytes.split_first()?;
    (*list == P::LIST).then(|| P::read(place)).flatten()
}
