//! A finished mail: bytes that survive SMTP, with what identifies them.
//!
//! Relays disagree where a line ends in a bare CR or LF, or where one with a NUL ends, and so where the
//! message does (RFC 5321, section 2.3.8). Bytes are therefore checked once, when they become a [`Message`], and
//! nothing else is handed to a relay.

use std::fmt;

use crate::domain::address::MessageId;
use crate::domain::id::Digest;

/// Longest line in octets, without its CRLF (RFC 5321, section 4.5.3.1.6; RFC 5322, section 2.1.1).
pub const LINE_OCTETS: usize = 998;

/// Header and body (RFC 5322) that may go out as they are: every line, the last one too, ends in CRLF and has at
/// most [`LINE_OCTETS`]; no NUL, no other CR or LF. Dots are not stuffed.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    bytes: Vec<u8>,
    digest: Digest,
    id: MessageId,
}

/// Why bytes are no message. Lines count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageFault {
    /// Larger than what may be sent.
    #[error("it has {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// CR without LF, LF without CR, or a last line that does not end.
    #[error("line {line} does not end in CR LF")]
    LineEnd {
        /// Which.
        line: usize,
    },
    /// Longer than [`LINE_OCTETS`].
    #[error("line {line} is longer than {LINE_OCTETS} octets")]
    LongLine {
        /// Which.
        line: usize,
    },
    /// A NUL, where relays cut or refuse the message.
    #[error("line {line} holds a NUL")]
    Nul {
        /// Which.
        line: usize,
    },
}

impl Message {
    /// Takes bytes whose `Message-ID` is `id`, at most `limit` of them, or says why they may not go out.
    pub fn parse(bytes: Vec<u8>, id: MessageId, limit: usize) -> Result<Self, MessageFault> {
        if bytes.len() > limit {
            return Err(MessageFault::TooLarge { bytes: bytes.len(), limit });
        }
        check_lines(&bytes)?;
        let digest = Digest::of(&bytes);
        Ok(Self { bytes, digest, id })
    }

    /// The bytes, as they go to the relay but for stuffed dots.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many bytes, as MAIL announces them (RFC 1870).
    #[must_use]
    pub fn octets(&self) -> u64 {
        u64::try_from(self.bytes.len()).unwrap_or(u64::MAX)
    }

    /// SHA-256 of exactly these bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Its `Message-ID`.
    #[must_use]
    pub fn id(&self) -> &MessageId {
        &self.id
    }
}

impl fmt::Debug for Message {
    /// Leaves out the bytes: they are a customer's mail.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("bytes", &self.bytes.len())
            .field("digest", &self.digest)
            .field("id", &self.id)
            .finish()
    }
}

fn check_lines(bytes: &[u8]) -> Result<(), MessageFault> {
    for (index, raw) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let line = index + 1;
        let Some(text) = raw.strip_suffix(b"\r\n").filter(|text| !text.contains(&b'\r')) else {
            return Err(MessageFault::LineEnd { line });
        };
        if text.len() > LINE_OCTETS {
            return Err(MessageFault::LongLine { line });
        }
        if text.contains(&b'\0') {
            return Err(MessageFault::Nul { line });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(bytes: &[u8], limit: usize) -> Result<Message, MessageFault> {
        Message::parse(bytes.to_vec(), MessageId::parse("1@muster.example").unwrap(), limit)
    }

    #[test]
    fn each_thing_that_would_not_survive_smtp_is_found_with_its_line() {
        let longest = [b"x".repeat(998).as_slice(), b"\r\n"].concat();
        let longer = [b"a\r\n", b"x".repeat(999).as_slice(), b"\r\n"].concat();
        for (bytes, expected) in [
            (&b""[..], Ok(())),
            (b"a: b\r\n\r\n.\r\ntext\r\n", Ok(())),
            (&longest, Ok(())),
            (&longer, Err(MessageFault::LongLine { line: 2 })),
            (b"a\r\nb", Err(MessageFault::LineEnd { line: 2 })),
            (b"a\r\n\n.\n", Err(MessageFault::LineEnd { line: 2 })),
            (b"a\rb\r\n", Err(MessageFault::LineEnd { line: 1 })),
            (b"a\r\r\n", Err(MessageFault::LineEnd { line: 1 })),
            (b"a\r", Err(MessageFault::LineEnd { line: 1 })),
            (b"a\r\n\r\n\0\r\n", Err(MessageFault::Nul { line: 3 })),
        ] {
            assert_eq!(parsed(bytes, 2000).map(drop), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_message_has_at_most_the_bytes_that_are_allowed() {
        assert!(parsed(b"a: b\r\n", 6).is_ok());
        assert_eq!(parsed(b"a: b\r\n", 5), Err(MessageFault::TooLarge { bytes: 6, limit: 5 }));
    }

    #[test]
    fn a_message_carries_the_digest_of_its_bytes() {
        let message = parsed(b"a: b\r\n", 6).unwrap();
        assert_eq!((message.octets(), message.digest()), (6, Digest::of(b"a: b\r\n")));
    }
}
