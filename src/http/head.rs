//! What the head of each request has to say, whatever it asks for.
//!
//! hyper takes what two readers could understand in two ways: a proxy in front of us may route by one
//! `Host` and we answer for the other, or see an end of the body where we see none.

use hyper::header::{HOST, HeaderValue, TRANSFER_ENCODING};
use hyper::http::uri::Authority;
use hyper::{HeaderMap, Version};

use super::problem::{Code, Problem};

/// Refuses a head without its one valid `Host` (RFC 9112, section 3.2), or with a transfer coding that is not
/// decoded here (section 6.1).
pub(super) fn check(version: Version, headers: &HeaderMap) -> Result<(), Problem> {
    let refused = |what: &str| Err(Problem::new(Code::BadHead, what));
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version >= Version::HTTP_11 => return refused("expected a Host header"),
        (None, _) => {}
        (Some(host), None) if is_host(host) => {}
        (Some(_), None) => return refused("expected a host and perhaps a port in the Host header"),
        (Some(_), Some(_)) => return refused("expected one Host header"),
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        (Some(_), _) => refused("the only Transfer-Encoding that is taken is chunked"),
    }
}

/// A host and perhaps a port (RFC 9110, section 7.2), or nothing, where the target has no authority.
fn is_host(value: &HeaderValue) -> bool {
    let Ok(authority) = Authority::try_from(value.as_bytes()) else {
        return value.is_empty();
    };
    let (whole, host) = (authority.as_str(), authority.host());
    // What precedes the host is a user, who has no place here.
    whole.strip_prefix(host).is_some_and(|rest| {
        let port = rest.strip_prefix(':');
        rest.is_empty() || port.is_some_and(|port| port.bytes().all(|digit| digit.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_a_port_at_most() {
        let fits = |raw: &str| is_host(&HeaderValue::from_str(raw).unwrap());
        for host in [
            "",
            "router.example",
            "router.example:8480",
            "127.0.0.1:80",
            "[::1]:8480",
            "[::1]",
            "x:",
        ] {
            assert!(fits(host), "{host}");
        }
        for other in [
            "router.example other.example",
            "router.example/v1",
            "portal@router.example",
            "router.example@router.example",
            "router.example:https",
            "router.example:80:80",
            "[::1",
            "[::1]8480",
            "a,b c",
        ] {
            assert!(!fits(other), "{other}");
        }
    }
}
