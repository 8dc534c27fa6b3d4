//! What a relay says, read with patience and with limits.
//!
//! RFC 5321, section 4.2, with what relays do in practice allowed: a bare code, lines that end in LF
//! only, words in any encoding. A line or a reply without end is an error and not a full memory. The
//! words are for people only; they are made printable and cut.

#[cfg(any(test, fuzzing))]
pub(crate) mod property;

use crate::domain::delivery::{EnhancedCode, Reply};
use crate::domain::is_unprintable;

/// Longest line in octets; RFC 5321, section 4.5.3.1.5, has 512, and relays exceed it.
const LINE_OCTETS: usize = 2048;
/// Most lines of a reply.
const REPLY_LINES: usize = 100;
/// Most characters of a reply's words that are kept.
const TEXT_CHARACTERS: usize = 200;

/// Bytes that are no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::mail) enum BadReply {
    #[error("the relay sent a line of more than 2048 octets")]
    LineTooLong,
    #[error("the relay sent a reply of more than 100 lines")]
    TooManyLines,
    #[error("the relay sent a malformed reply")]
    NotAReply,
    #[error("the relay sent a reply with two codes")]
    TwoCodes,
}

/// A whole reply: its code from 200 to 599, and the text of each line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::mail) struct Spoken {
    pub(in crate::mail) code: u16,
    pub(in crate::mail) lines: Vec<String>,
}

impl Spoken {
    /// The reply as it is recorded: an enhanced code is taken out of the text, on whichever line it is.
    pub(in crate::mail) fn reply(&self) -> Reply {
        let enhanced = self
            .lines
            .iter()
            .find_map(|line| split_enhanced(self.code, line).map(|(code, _)| code));
        let words = self.lines.iter().map(|line| {
            split_enhanced(self.code, line)
                .filter(|(code, _)| Some(*code) == enhanced)
                .map_or(line.as_str(), |(_, words)| words)
        });
        let printable = words.collect::<Vec<_>>().join(" ").replace(is_unprintable, " ");
        let mut text = String::new();
        for word in printable.split_whitespace() {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(word);
        }
        if let Some((cut, _)) = text.char_indices().nth(TEXT_CHARACTERS) {
            text.truncate(cut);
        }
        Reply { code: self.code, enhanced, text }
    }
}

/// Collects bytes and gives out whole replies.
#[derive(Default)]
pub(super) struct ReplyReader {
    unread: Vec<u8>,
    under_way: Option<Spoken>,
}

impl ReplyReader {
    /// Takes over what was read from the relay.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    /// Whether bytes are left that belong to no reply given out.
    pub(super) fn has_leftover(&self) -> bool {
        !self.unread.is_empty() || self.under_way.is_some()
    }

    /// The next whole reply, or `None` if more bytes are needed. An error is final.
    pub(super) fn next_reply(&mut self) -> Result<Option<Spoken>, BadReply> {
        while let Some(raw) = self.next_line()? {
            let (code, is_last, text) = parse_line(&raw)?;
            let mut spoken = match self.under_way.take() {
                Some(spoken) if spoken.code != code => return Err(BadReply::TwoCodes),
                Some(spoken) => spoken,
                None => Spoken { code, lines: Vec::new() },
            };
            spoken.lines.push(text);
            if is_last {
                return Ok(Some(spoken));
            }
            if spoken.lines.len() >= REPLY_LINES {
                return Err(BadReply::TooManyLines);
            }
            self.under_way = Some(spoken);
        }
        Ok(None)
    }

    fn next_line(&mut self) -> Result<Option<Vec<u8>>, BadReply> {
        let end = self.unread.iter().position(|&byte| byte == b'\n');
        if end.map_or(self.unread.len(), |end| end + 1) > LINE_OCTETS {
            return Err(BadReply::LineTooLong);
        }
        Ok(end.map(|end| self.unread.drain(..=end).collect()))
    }
}

/// Code, whether it is the reply's last line, and the text.
fn parse_line(raw: &[u8]) -> Result<(u16, bool, String), BadReply> {
    let line = raw.trim_ascii_end();
    let Some((code, rest)) = line.split_first_chunk::<3>() else {
        return Err(BadReply::NotAReply);
    };
    if !(b'2'..=b'5').contains(&code[0]) || !code.iter().all(u8::is_ascii_digit) {
        return Err(BadReply::NotAReply);
    }
    let code = code.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    let (is_last, text) = match rest {
        [] => (true, rest),
        [b' ', text @ ..] => (true, text),
        [b'-', text @ ..] => (false, text),
        [_, ..] => return Err(BadReply::NotAReply),
    };
    Ok((code, is_last, String::from_utf8_lossy(text).into_owned()))
}

/// The enhanced code at the start of a line, and the words after it. Its class must be the reply's own
/// (RFC 2034, section 4).
fn split_enhanced(code: u16, line: &str) -> Option<(EnhancedCode, &str)> {
    let (first, words) = line.split_once(' ').unwrap_or((line, ""));
    let mut parts = first.split('.');
    let mut number = |digits: usize| {
        parts
            .next()
            .filter(|part| (1..=digits).contains(&part.len()))
            .filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|part| part.parse::<u16>().ok())
    };
    let (class, subject, detail) = (number(1)?, number(3)?, number(3)?);
    let fits = parts.next().is_none() && class == code / 100 && matches!(class, 2 | 4 | 5);
    let class = u8::try_from(class).ok()?;
    fits.then_some((EnhancedCode(class, subject, detail), words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<Spoken>, BadReply> {
        let mut reader = ReplyReader::default();
        reader.push(bytes);
        let mut replies = Vec::new();
        while let Some(reply) = reader.next_reply()? {
            replies.push(reply);
        }
        Ok(replies)
    }

    fn one(bytes: &[u8]) -> Spoken {
        let replies = read(bytes).unwrap();
        assert_eq!(replies.len(), 1, "{replies:?}");
        replies.into_iter().next().unwrap()
    }

    #[test]
    fn a_bare_code_and_an_lf_only_line_are_replies() {
        for raw in [b"250\r\n".as_slice(), b"250\n", b"250 \r\n", b"250\r\r\n"] {
            let spoken = one(raw);
            assert_eq!((spoken.code, spoken.reply().text.as_str()), (250, ""));
        }
        assert_eq!(one(b"250-a\n250 b\n").lines, ["a", "b"]);
    }

    #[test]
    fn words_in_another_encoding_are_read_and_made_printable() {
        let spoken = one(b"550 5.7.1 gesch\xfctzt\x07 \x1b[31m\r\n");
        assert_eq!(spoken.reply().text, "gesch\u{FFFD}tzt [31m");
    }

    #[test]
    fn words_are_cut_to_200_characters() {
        let raw = format!("250 {}\r\n", "ä".repeat(400));
        let spoken = one(raw.as_bytes());
        assert_eq!(spoken.reply().text.chars().count(), 200);
    }

    #[test]
    fn a_line_without_end_and_a_reply_without_end_are_errors() {
        let mut reader = ReplyReader::default();
        reader.push(&[b'2'; 2048]);
        assert_eq!(reader.next_reply(), Ok(None));
        reader.push(b"2");
        assert_eq!(reader.next_reply(), Err(BadReply::LineTooLong));

        let endless = "250-x\r\n".repeat(100);
        assert_eq!(read(endless.as_bytes()), Err(BadReply::TooManyLines));
        let longest = format!("{}250 x\r\n", "250-x\r\n".repeat(99));
        assert_eq!(one(longest.as_bytes()).lines.len(), 100);
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for raw in [
            b"\r\n".as_slice(),
            b"25\r\n",
            b"hello\r\n",
            b"2500 x\r\n",
            b"150 x\r\n",
            b"650 x\r\n",
            b"25a x\r\n",
            b"+OK\r\n",
        ] {
            assert_eq!(read(raw), Err(BadReply::NotAReply), "{raw:?}");
        }
        assert_eq!(read(b"250-a\r\n550 b\r\n"), Err(BadReply::TwoCodes));
    }

    #[test]
    fn an_enhanced_code_is_taken_from_each_line() {
        let reply = one(b"550-5.1.1 No such\r\n550 5.1.1 user\r\n").reply();
        assert_eq!(reply.enhanced, Some(EnhancedCode(5, 1, 1)));
        assert_eq!(reply.text, "No such user");

        let reply = one(b"550-Sorry,\r\n550 5.1.10 null mx\r\n").reply();
        assert_eq!(reply.enhanced, Some(EnhancedCode(5, 1, 10)));
        assert_eq!(reply.text, "Sorry, null mx");
    }

    #[test]
    fn an_enhanced_code_of_another_class_or_shape_is_words() {
        for raw in [
            "550 4.1.1 x",
            "550 5.1 x",
            "550 5.1.1.1 x",
            "550 5.1.1000 x",
            "550 5.1.x x",
            "354 3.0.0 x",
        ] {
            let reply = one(format!("{raw}\r\n").as_bytes()).reply();
            assert_eq!(reply.enhanced, None, "{raw}");
            assert_eq!(reply.text, raw[4..], "{raw}");
        }
    }
}
