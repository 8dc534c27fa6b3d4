//! What must hold of whatever a relay sends, by a second reading, line by line.

#![expect(clippy::unwrap_used, reason = "a panic is how a property tells that it does not hold")]

use super::*;

/// A byte that says in which pieces the rest arrives, and what the relay sends.
pub(crate) fn replies(input: &[u8]) {
    let Some((&pieces, sent)) = input.split_first() else {
        return;
    };
    let whole = heard(&[sent]);
    let mut cut = Vec::new();
    let mut rest = sent;
    let mut turn = u64::from(pieces);
    while !rest.is_empty() {
        // Any sequence will do that has short and long pieces.
        turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let most = if turn >> 63 == 0 { 3 } else { 3_000 };
        let length = usize::try_from((turn >> 33) % most + 1).unwrap().min(rest.len());
        cut.push(&rest[..length]);
        rest = &rest[length..];
    }
    assert_eq!(heard(&cut), whole, "in {} pieces", cut.len());
    let (spoken, end) = whole;

    let (expected, expected_end) = read_again(sent);
    assert_eq!((&spoken, end), (&expected, expected_end));
    for spoken in &spoken {
        is_fit_for_people(spoken);
    }
}

/// What the reader gives out, and its error, if it ends with one.
fn heard(pieces: &[&[u8]]) -> (Vec<Spoken>, Option<BadReply>) {
    let mut reader = ReplyReader::default();
    let mut spoken = Vec::new();
    for piece in pieces {
        reader.push(piece);
        loop {
            match reader.next_reply() {
                Ok(Some(reply)) => spoken.push(reply),
                Ok(None) => break,
                Err(bad) => return (spoken, Some(bad)),
            }
        }
        // Whatever comes, no more than a line and a reply are kept.
        let lines = reader.under_way.as_ref().map_or(0, |reply| reply.lines.len());
        assert!(reader.unread.len() <= LINE_OCTETS && lines < REPLY_LINES);
        assert_eq!(reader.has_leftover(), !reader.unread.is_empty() || lines > 0);
    }
    (spoken, None)
}

/// Each reply with the words of its lines, by the whole of what was sent.
fn read_again(sent: &[u8]) -> (Vec<Spoken>, Option<BadReply>) {
    let mut replies = Vec::new();
    let mut under_way: Option<Spoken> = None;
    for line in sent.split_inclusive(|byte| *byte == b'\n') {
        if line.len() > LINE_OCTETS {
            return (replies, Some(BadReply::LineTooLong));
        }
        if !line.ends_with(b"\n") {
            break;
        }
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end_matches(['\r', '\n', ' ', '\t', '\x0c']);
        let code = text.get(..3).and_then(|code| code.parse().ok());
        let (Some(code @ 200..=599), None | Some(b' ' | b'-')) = (code, text.as_bytes().get(3))
        else {
            return (replies, Some(BadReply::NotAReply));
        };
        let mut lines = match under_way.take() {
            Some(before) if before.code != code => return (replies, Some(BadReply::TwoCodes)),
            Some(before) => before.lines,
            None => Vec::new(),
        };
        lines.push(text.chars().skip(4).collect());
        let count = lines.len();
        let spoken = Spoken { code, lines };
        if text.as_bytes().get(3) == Some(&b'-') {
            if count == REPLY_LINES {
                return (replies, Some(BadReply::TooManyLines));
            }
            under_way = Some(spoken);
        } else {
            replies.push(spoken);
        }
    }
    (replies, None)
}

/// What is recorded of it is one short printable line.
fn is_fit_for_people(spoken: &Spoken) {
    let Reply { code, enhanced, text } = spoken.reply();
    let read = |line: &String| enhanced_again(spoken.code, line).map(|(numbers, _)| numbers);
    let expected = spoken.lines.iter().find_map(read);
    let numbers = enhanced.map(|EnhancedCode(class, subject, detail)| (class, subject, detail));
    assert_eq!((code, numbers), (spoken.code, expected), "{spoken:?}");

    assert!(text.chars().count() <= TEXT_CHARACTERS);
    assert!(!text.contains(is_unprintable), "{text:?}");
    let mut words = String::new();
    for line in &spoken.lines {
        let rest = match enhanced_again(spoken.code, line) {
            Some((numbers, rest)) if Some(numbers) == expected => rest,
            Some(_) | None => line,
        };
        for word in rest.split(|c: char| c.is_whitespace() || is_unprintable(c)) {
            if !word.is_empty() && !words.is_empty() {
                words.push(' ');
            }
            words.push_str(word);
        }
    }
    let cut: String = words.chars().take(TEXT_CHARACTERS).collect();
    assert_eq!(text, cut, "{spoken:?}");
}

/// The three numbers of an enhanced code of the reply's own class, and what is behind them (RFC 2034, section 4),
/// character by character.
fn enhanced_again(code: u16, line: &str) -> Option<((u8, u16, u16), &str)> {
    let (class, rest) = match (code / 100, line.split_at_checked(2)?) {
        (2, ("2.", rest)) => (2, rest),
        (4, ("4.", rest)) => (4, rest),
        (5, ("5.", rest)) => (5, rest),
        _ => return None,
    };
    let (subject, rest) = digits_again(rest)?;
    let (detail, rest) = digits_again(rest.strip_prefix('.')?)?;
    let words = if rest.is_empty() { rest } else { rest.strip_prefix(' ')? };
    Some(((class, subject, detail), words))
}

/// A number of one to three digits, and what is behind it.
fn digits_again(text: &str) -> Option<(u16, &str)> {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = &text[..text.len() - rest.len()];
    let number = digits.parse().ok().filter(|_| digits.len() <= 3);
    number.map(|number| (number, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A line in one of a few codes, so that replies of several lines come about.
    fn line() -> impl Strategy<Value = Vec<u8>> {
        let text = prop_oneof![
            8 => "(250|250|550|550|354|571|[0-9]{3})[ -](([2-5]\\.[0-9]{1,4}\\.[0-9]{1,4}|[25]\\.1\\.[12]) ?)?\
                  (\\PC{0,20}|[ \t\u{7}a-z]{0,9})\r?\n",
            2 => "550-5\\.1\\.[0-2] [a-z]{0,3}\r\n550 (5\\.1\\.[0-2] )?[a-z]{0,3}\r\n",
            1 => "250[ -]x{0,2100}\r\n",
            1 => "250-\\PC{0,300}\n",
        ];
        let torn = prop::collection::vec(any::<u8>(), 0..12);
        prop_oneof![9 => text.prop_map(String::into_bytes), 1 => torn]
    }

    proptest! {
        #[test]
        fn any_bytes_are_the_same_replies_in_whatever_pieces(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            replies(&bytes);
        }

        #[test]
        fn what_looks_like_replies_is_read_alike_in_whatever_pieces(
            pieces in any::<u8>(),
            lines in prop::collection::vec(line(), 0..12),
            repeat in prop_oneof![9 => Just(1_usize), 1 => Just(60)],
        ) {
            replies(&[vec![pieces], lines.concat().repeat(repeat)].concat());
        }
    }
}
