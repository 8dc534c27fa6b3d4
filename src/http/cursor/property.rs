//! What must hold of every text that comes as a cursor, and of every place that is written as one.

use std::fmt::Debug;

use super::*;

/// A cursor as it comes in a query; its bytes are an id and numbers, too, that become cursors.
pub(crate) fn cursors(input: &[u8]) {
    let text = std::str::from_utf8(input).ok();
    if let Some(raw) = text {
        let taken = [
            is_taken::<AccountId>(raw),
            is_taken::<Sequence>(raw),
            is_taken::<(AuditOrder, AuditPlace)>(raw),
        ];
        let lists = taken.into_iter().filter(|is_taken| *is_taken).count();
        assert!(lists <= 1, "{raw:?} is a cursor of {lists} lists");
    }
    if let Some(id) = text.and_then(|text| AccountId::parse(text).ok()) {
        leads_back(&id);
    }
    if let Some((number, rest)) = input.split_first_chunk() {
        let batch = u64::from_be_bytes(*number);
        leads_back(&Sequence(batch));
        let index = rest.iter().fold(0, |index, byte| index << 8 | u64::from(*byte));
        for order in [AuditOrder::OldestFirst, AuditOrder::NewestFirst] {
            leads_back(&(order, AuditPlace { batch, index }));
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
        !cursor.is_empty()
            && cursor.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)),
        "{cursor:?} needs no escape"
    );
    assert_eq!(read::<P>(&cursor).as_ref(), Some(place), "{cursor:?}");
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
                let order = if is_new { AuditOrder::NewestFirst } else { AuditOrder::OldestFirst };
                write(&(order, AuditPlace { batch, index }))
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
