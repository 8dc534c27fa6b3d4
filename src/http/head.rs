//! What the head of each request has to say, whatever it asks for.
//!
//! hyper takes what two readers could understand in two ways: a proxy in front of us may route by one
//! `Host` and we answer for the other, or see an end of the body where we see none.

use hyper::header::{HOST, TRANSFER_ENCODING};
use hyper::{HeaderMap, Version};

use super::problem::{Code, Problem};

/// Refuses a head without its one `Host` (RFC 9112, section 3.2), or with a transfer coding that nobody
/// here takes off (section 6.1).
pub(super) fn check(version: Version, headers: &HeaderMap) -> Result<(), Problem> {
    let refused = |what: &str| Err(Problem::new(Code::BadHead, what));
    match headers.get_all(HOST).iter().count() {
        0 if version >= Version::HTTP_11 => return refused("expected a Host header"),
        0 | 1 => {}
        _ => return refused("expected one Host header"),
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        (Some(_), _) => refused("the only Transfer-Encoding that is taken is chunked"),
    }
}
