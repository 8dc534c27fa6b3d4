//! What must hold of every text that is taken for an address or a file name, by rules written anew.

use std::path::{Component, Path};

use super::{EmailAddress, FileName};
use crate::domain::is_unprintable;

/// The text of an e-mail address.
pub(crate) fn addresses(text: &[u8]) {
    let Ok(raw) = std::str::from_utf8(text) else {
        return;
    };
    let parsed = EmailAddress::parse(raw);
    if raw.is_ascii() {
        // A domain with `--` in its third place is for IDNA to judge.
        let is_ours_to_judge = !raw.split(['@', '.']).any(|label| {
            let label = label.as_bytes();
            label.len() > 3 && label[2..4] == *b"--"
        });
        let fits = is_address(raw);
        assert!(fits || parsed.is_err(), "{raw:?} is no address and was taken");
        assert!(
            parsed.is_ok() || !fits || !is_ours_to_judge,
            "{raw:?} is an address and was refused"
        );
    }
    let Ok(address) = parsed else {
        return;
    };

    let shown = address.to_string();
    assert!(is_address(&shown), "{raw:?} became {shown:?}");
    assert_eq!(address.as_str(), shown);
    assert_eq!(EmailAddress::parse(&shown).as_ref(), Ok(&address), "{raw:?} read again");
    let (local, domain) = shown.split_at(shown.find('@').unwrap_or(0));
    assert!(
        raw.starts_with(local) && domain == domain.to_ascii_lowercase(),
        "{raw:?} became {shown:?}"
    );
    assert_eq!(address.domain(), &domain[1..]);
    let written = &raw[local.len()..];
    assert!(
        !written.is_ascii() || domain == written.to_ascii_lowercase(),
        "{raw:?} became {shown:?}"
    );
    assert_eq!(address.masked(), format!("{}***{domain}", &local[..1]));

    // No reader of the envelope finds another end of it (RFC 5321, section 4.1.2).
    let command = format!("RCPT TO:<{shown}>");
    let path = command.split(['<', '>']).nth(1);
    assert_eq!(
        (path, command.split_ascii_whitespace().count(), command.matches(['<', '>']).count()),
        (Some(shown.as_str()), 2, 2)
    );
}

/// `dot-atom@domain` of at most 254 octets, byte by byte.
fn is_address(text: &str) -> bool {
    let parts: Vec<&[u8]> = text.as_bytes().split(|byte| *byte == b'@').collect();
    let &[local, domain] = parts.as_slice() else {
        return false;
    };
    let mut is_start = true;
    for byte in local {
        match byte {
            b'.' if is_start => return false,
            b'.' => is_start = true,
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'!'
            | b'#'..=b'\''
            | b'*'
            | b'+'
            | b'-'
            | b'/'
            | b'='
            | b'?'
            | b'^'..=b'`'
            | b'{'..=b'~' => is_start = false,
            _ => return false,
        }
    }
    if is_start || local.len() > 64 || text.len() > 254 {
        return false;
    }
    let labels: Vec<&[u8]> = domain.split(|byte| *byte == b'.').collect();
    let is_label = |label: &&[u8]| match label {
        [] | [b'-', ..] | [.., b'-'] => false,
        _ => {
            label.len() < 64
                && label.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
        }
    };
    let has_name_on_top =
        labels.last().is_some_and(|top| top.iter().any(|byte| !byte.is_ascii_digit()));
    labels.len() > 1 && has_name_on_top && labels.iter().all(is_label) && domain.len() <= 253
}

/// The name of an attachment.
pub(crate) fn file_names(text: &[u8]) {
    let Ok(raw) = std::str::from_utf8(text) else {
        return;
    };
    let parsed = FileName::parse(raw);
    let fits = is_file_name(raw);
    assert_eq!(parsed.is_ok(), fits, "{raw:?}");
    let Ok(name) = parsed else {
        return;
    };

    assert_eq!((name.as_str(), name.to_string().as_str()), (raw, raw), "taken as it is");
    let places: Vec<Component<'_>> = Path::new(raw).components().collect();
    assert_eq!(places, [Component::Normal(raw.as_ref())], "one step down");
    assert!(
        !raw.chars()
            .any(|c| is_unprintable(c) || c.is_whitespace() || "/\\:*?\"'<>|;%".contains(c)),
        "{raw:?} says something else to somebody"
    );
}

/// A name, one dot, an extension, character by character.
fn is_file_name(text: &str) -> bool {
    let (mut before, mut after) = (0, None);
    for c in text.chars() {
        match (c, &mut after) {
            ('.', None) => after = Some(0),
            ('a'..='z' | 'A'..='Z' | '0'..='9', Some(extension)) => *extension += 1,
            ('-' | '_', None) => before += 1,
            (letter, None) if letter.is_alphabetic() || letter.is_numeric() => before += 1,
            (_, Some(_) | None) => return false,
        }
    }
    let extension = after.unwrap_or(0);
    before > 0 && (1..=10).contains(&extension) && before + 1 + extension <= 120
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An address with each part at or beyond its limit now and then.
    const ADDRESS: &str = "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,65}(\\.[a-z]{1,4}){0,2}@\
                           ([a-zA-Z0-9]([a-z0-9-]{0,63}[a-z0-9])?\\.){1,4}[a-z0-9-]{2,5}";

    proptest! {
        #[test]
        fn any_bytes_are_an_address_by_the_rules_or_none(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            addresses(&bytes);
        }

        #[test]
        fn what_looks_like_an_address_is_one_by_the_rules_or_none(
            text in prop_oneof![ADDRESS, "\\PC{0,20}@\\PC{0,20}", "[a-z]{1,3}@\\PC{1,9}\\.(example|\\PC{1,4})"],
            at in any::<prop::sample::Index>(),
            other in any::<char>(),
        ) {
            addresses(text.as_bytes());
            addresses(with_another(&text, at, other).as_bytes());
        }

        #[test]
        fn any_bytes_are_a_file_name_by_the_rules_or_none(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            file_names(&bytes);
        }

        #[test]
        fn what_looks_like_a_file_name_is_one_by_the_rules_or_none(
            text in prop_oneof!["[\\p{L}\\p{N}_-]{1,125}\\.[a-zA-Z0-9]{1,11}", "[.a-z/\\\\]{0,9}", "\\PC{0,9}\\.\\PC{0,5}"],
            at in any::<prop::sample::Index>(),
            other in any::<char>(),
        ) {
            file_names(text.as_bytes());
            file_names(with_another(&text, at, other).as_bytes());
        }
    }

    /// The text with another character at one place.
    fn with_another(text: &str, at: prop::sample::Index, other: char) -> String {
        let mut characters: Vec<char> = text.chars().collect();
        if !characters.is_empty() {
            let at = at.index(characters.len());
            characters[at] = other;
        }
        characters.into_iter().collect()
    }
}
