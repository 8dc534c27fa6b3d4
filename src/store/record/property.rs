//! What must hold of whatever bytes lie on the disk, for each kind of record.

use std::fmt::Debug;

use super::rows::KINDS;
use super::*;

/// A property of bytes that are, or are not, a record of one kind: whether they are.
pub(super) type Holds = fn(&[u8]) -> bool;

/// A byte for the kind, and what is stored: as it is, or, where the kind's highest bit is set, the content of
/// a record behind a frame that is right.
pub(crate) fn records(input: &[u8]) {
    is_record(input);
}

/// Whether it is a record of that kind.
fn is_record(input: &[u8]) -> bool {
    let Some((kind, stored)) = input.split_first() else {
        return false;
    };
    let Some((_, holds)) = KINDS.get(usize::from(kind & 0x7F)) else {
        return false;
    };
    if *kind < 0x80 { holds(stored) } else { holds(&framed(stored)) }
}

/// A frame that is right around any content.
pub(super) fn framed(content: &[u8]) -> Vec<u8> {
    sealed([&[VERSION, 0, 0, 0, 0], content].concat())
}

/// What is read can be written and read again; not a bit of it may differ on the disk, and nothing may follow.
pub(super) fn holds<R: Record + PartialEq + Debug>(stored: &[u8]) -> bool {
    let record = match R::decode(stored) {
        Ok(record) => record,
        Err(error) => {
            assert!(!error.to_string().is_empty(), "{} is refused with a cause", R::KIND);
            return false;
        }
    };
    let mut bytes = record.encode();
    assert_eq!(R::decode(&bytes).as_ref(), Ok(&record), "{} comes back", R::KIND);

    let refused =
        |bytes: &[u8]| assert!(R::decode(bytes).is_err(), "{} from {bytes:02x?}", R::KIND);
    // A CRC-32 finds every single bit; all of them in a short record, some in a long one.
    for bit in (0..bytes.len() * 8).step_by(bytes.len().div_ceil(64)) {
        bytes[bit / 8] ^= 1 << (bit % 8);
        refused(&bytes);
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    refused(&bytes[..bytes.len() - 1]);
    bytes.push(0);
    refused(&bytes);
    refused(&framed(&bytes[FRAME_OCTETS..]));
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::rows::SAMPLES;
    use super::super::samples::Random;
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_048))]

        #[test]
        fn any_bytes_are_a_record_that_comes_back_or_none(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            records(&bytes);
        }

        #[test]
        fn what_was_a_record_comes_back_or_is_refused(
            kind in 0..SAMPLES.len(),
            seed in any::<u64>(),
            at in any::<prop::sample::Index>(),
            other in any::<u8>(),
        ) {
            let mut bytes = (SAMPLES[kind].encoded)(&mut Random::with_seed(seed));
            let kind = u8::try_from(kind).unwrap();
            prop_assert!(is_record(&[&[kind], bytes.as_slice()].concat()));
            let content = bytes.split_off(FRAME_OCTETS);
            let mut framed = [&[kind | 0x80], content.as_slice()].concat();
            prop_assert!(is_record(&framed));
            let at = at.index(framed.len());
            framed[at] = other;
            records(&framed);
        }
    }
}
