//! What must hold of every text that comes as a cursor, and of every place that is written as one.

use std::fmt::Debug;

use super::*;

/// A cursor as it stands in a query; its bytes are an id and numbers, too, that become cursors.
pub(crate) fn cursors(input: &[u8]) {
    let text = std::str::from_utf8(input).ok();
    if let Some(raw) = text {
        let taken = [
            is_taken::<AccountId>(raw),
            is_taken::<Sequence>(raw),
            is_taken::<(TrailOrder, TrailPlace)>(raw),
        ];
        assert_eq!(taken, stands_for(raw), "{raw:?} as a cursor of each list");
    }
    if let Some(id) = text.and_then(|text| AccountId::parse(text).ok()) {
        leads_back(&id);
    }
    if let Some((number, rest)) = input.split_first_chunk() {
        let batch = u64::from_be_bytes(*number);
        leads_back(&Sequence(batch));
        let index = rest.iter().fold(0, |index, byte| index << 8 | u64::from(*byte));
        for order in [TrailOrder::OldestFirst, TrailOrder::NewestFirst] {
            leads_back(&(order, TrailPlace { batch, index }));
        }
    }
}

/// Whether it is a cursor of this list; if so, it is the only one of its place.
fn is_taken<P: Place + PartialEq + Debug>(raw: &str) -> bool {
    let Some(place) = read::<P>(raw) else {
        return false;
    };
    assert_eq!(write(&place), raw, "{place:?} has one cursor");
    true
}

fn leads_back<P: Place + PartialEq + Debug>(place: &P) {
    let cursor = write(place);
    assert!(
        !cursor.is_empty() && cursor.bytes().all(|byte| value(byte).is_some()),
        "{cursor:?} needs no escape"
    );
    assert_eq!(read::<P>(&cursor).as_ref(), Some(place), "{cursor:?}");
}

/// Of which lists it is a cursor: of accounts, of invoices, of the trail.
fn stands_for(raw: &str) -> [bool; 3] {
    let bytes = decoded(raw).unwrap_or_default();
    match bytes.as_slice() {
        [b'a', id @ ..] => {
            let is_id = std::str::from_utf8(id).is_ok_and(|id| AccountId::parse(id).is_ok());
            [is_id, false, false]
        }
        [b'i', number @ ..] => [false, number.len() == 8, false],
        [b't', b'o' | b'n', numbers @ ..] => [false, false, numbers.len() == 16],
        _ => [false; 3],
    }
}

/// The bytes of base64url without padding (RFC 4648, section 5); bits that are left over are nought.
fn decoded(raw: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for byte in raw.bytes() {
        bits = bits << 6 | value(byte)?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count).ok()?);
            bits &= (1 << count) - 1;
        }
    }
    (bits == 0 && count < 6).then_some(bytes)
}

fn value(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    };
    Some(value.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cursor() -> impl Strategy<Value = String> {
        prop_oneof![
            "\\PC{0,12}|[a-z./]{1,12}".prop_map(|text| URL_SAFE_NO_PAD.encode(format!("a{text}"))),
            any::<u64>().prop_map(|number| write(&Sequence(number))),
            any::<(bool, u64, u64)>().prop_map(|(is_new, batch, index)| {
                let order = if is_new { TrailOrder::NewestFirst } else { TrailOrder::OldestFirst };
                write(&(order, TrailPlace { batch, index }))
            }),
            "[A-Za-z0-9_-]{0,24}=?",
        ]
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_cursor_of_one_list_or_none(bytes in prop::collection::vec(any::<u8>(), 0..30)) {
            cursors(&bytes);
        }

        #[test]
        fn what_looks_like_a_cursor_is_the_only_one_of_its_place_or_none(
            mut cursor in cursor(),
            at in any::<prop::sample::Index>(),
            other in "[A-Za-z0-9_=+/-]",
            more in "[A-Za-z0-9_-]{4}",
        ) {
            cursors(cursor.as_bytes());
            cursors(format!("{cursor}{more}").as_bytes());
            if !cursor.is_empty() {
                let at = at.index(cursor.len());
                cursor.replace_range(at..=at, &other);
                cursors(cursor.as_bytes());
            }
        }
    }
}
