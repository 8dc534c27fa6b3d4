//! A message as it goes over the wire.
//!
//! lettre stuffs dots after CRLF and writes the last CRLF together with the final dot, so that it
//! would be unknown whether the relay has the message. Here the body ends with its own CRLF.

use crate::mail::message::Message;

/// Octets of a message that are written at once; each block has the time-out of the body to itself
/// (RFC 5321, section 4.5.3.2.5).
const BLOCK_OCTETS: usize = 64 * 1024;

/// A message as it goes over the wire, without the final dot: a dot put before each line that
/// begins with one (RFC 5321, section 4.5.2), in blocks of whole lines.
pub(super) struct Blocks<'a> {
    rest: &'a [u8],
}

impl<'a> Blocks<'a> {
    pub(super) fn of(message: &'a Message) -> Self {
        Self { rest: message.bytes() }
    }
}

impl Iterator for Blocks<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        if self.rest.is_empty() {
            return None;
        }
        let mut block = Vec::with_capacity(self.rest.len().min(BLOCK_OCTETS) + 1024);
        while !self.rest.is_empty() && block.len() < BLOCK_OCTETS {
            let end = self.rest.iter().position(|&byte| byte == b'\n');
            let (line, rest) = self.rest.split_at(end.map_or(self.rest.len(), |end| end + 1));
            if line.starts_with(b".") {
                block.push(b'.');
            }
            block.extend_from_slice(line);
            self.rest = rest;
        }
        Some(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::address::MessageId;

    fn message(bytes: &[u8]) -> Message {
        let id = MessageId::parse("1@muster.example").unwrap();
        Message::parse(bytes.to_vec(), id, bytes.len()).unwrap()
    }

    fn on_the_wire(bytes: &[u8]) -> Vec<u8> {
        Blocks::of(&message(bytes)).flatten().collect()
    }

    #[test]
    fn a_dot_at_the_start_of_a_line_is_doubled_and_no_other() {
        assert_eq!(
            on_the_wire(b".a\r\n.\r\n..\r\nb.\r\n\r\n.c.\r\n"),
            b"..a\r\n..\r\n...\r\nb.\r\n\r\n..c.\r\n"
        );
    }

    #[test]
    fn blocks_are_bounded_and_join_without_a_seam() {
        let message = message(&b".0123456789\r\n".repeat(20_000));
        let blocks: Vec<_> = Blocks::of(&message).collect();
        assert!(blocks.len() > 3);
        assert!(blocks.iter().all(|block| block.len() < BLOCK_OCTETS + 1024));
        assert_eq!(blocks.concat(), b"..0123456789\r\n".repeat(20_000));
    }
}
