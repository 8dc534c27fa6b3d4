//! What must hold of whatever comes in the three headers: the rules of Standard Webhooks as our interface
//! states them, read anew over the raw values, with an HMAC of its own.

#![expect(clippy::unwrap_used, reason = "a panic is how a property tells that it does not hold")]

use std::sync::LazyLock;

use hyper::header::{HeaderName, HeaderValue};
use sha2::Digest as _;

use super::*;
use crate::domain::id::SenderName;

/// When every request arrives, so that an input means the same for ever.
const NOW: i64 = 1_790_000_000;
/// Whose key is which; the billing system is rotating its own.
const KEYS: [(&str, &[u8]); 3] = [
    ("portal", b"0123456789abcdef0123456789abcdef"),
    ("billing", b"as short as it may be..."),
    ("billing", b"as long as a key may be, which is the length of a block of SHA-2"),
];
/// A placeholder in an input for the signature by each key, which can't be guessed.
const PLACES: [&[u8]; 3] = [b"{0}", b"{1}", b"{2}"];

static SENDERS: LazyLock<Senders> = LazyLock::new(|| {
    Senders::new(["portal", "billing"].map(|name| {
        Sender {
            name: SenderName::parse(name).unwrap(),
            secrets: KEYS
                .iter()
                .filter(|(whose, _)| *whose == name)
                .map(|(_, key)| Secret::new(key.to_vec().into()).unwrap())
                .collect(),
            accounts: true,
            invoices: true,
        }
    }))
    .unwrap()
});

/// Lines `name: value` in any number, an empty line, the payload.
pub(crate) fn signatures(request: &[u8]) {
    let end = request.windows(2).position(|pair| pair == b"\n\n");
    let (head, payload) = match end {
        Some(end) => (&request[..end], &request[end + 2..]),
        None => (request, &[][..]),
    };
    let mut lines: Vec<(HeaderName, Vec<u8>)> = head
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let value = line[colon + 1..].trim_ascii_start();
            HeaderValue::from_bytes(value).ok()?;
            Some((HeaderName::from_bytes(&line[..colon]).ok()?, value.to_vec()))
        })
        .collect();
    let right = KEYS.map(|(_, key)| {
        let first = |name| values(&lines, name).first().copied().unwrap_or_default();
        signature(key, first(ID_HEADER), first(TIMESTAMP_HEADER), payload)
    });
    for (_, value) in lines.iter_mut().filter(|(name, _)| name == SIGNATURE_HEADER) {
        for (place, right) in PLACES.iter().zip(&right) {
            *value = replaced(value, place, right.as_bytes());
        }
    }
    let now = DateTime::from_timestamp(NOW, 0).unwrap();

    let headers = header_map(&lines);
    let read = Signed::read(&headers, now);
    assert_eq!(read.is_ok(), is_well_formed(&lines), "{lines:?}: {read:?}");
    let Ok(signed) = read else {
        return;
    };
    let (id, timestamp) = (values(&lines, ID_HEADER)[0], values(&lines, TIMESTAMP_HEADER)[0]);
    let theirs = values(&lines, SIGNATURE_HEADER)[0];
    assert_eq!(signed.id.as_str().as_bytes(), id);
    // Of several senders the first by name.
    let by = KEYS
        .iter()
        .zip(&right)
        .filter(|(_, right)| theirs.split(|byte| *byte == b' ').any(|one| one == right.as_bytes()))
        .min_by_key(|((name, _), _)| *name);
    let verified = signed.verify(&SENDERS, payload);
    assert_eq!(
        verified.map(|sender| sender.name.as_str()),
        by.map(|((name, _), _)| *name).ok_or(Rejected::NoMatch),
        "{lines:?}"
    );

    let any = request.iter().map(|byte| usize::from(*byte)).sum();
    for ((name, key), right) in KEYS.iter().zip(&right) {
        let parts = [id, timestamp, right.as_bytes(), payload];
        is_signed_as_ever(&signed, key, parts);
        assert_eq!(judged(parts, now).as_deref(), Some(*name));
        is_nobodys_when_changed(parts, any, now);
    }
}

/// We sign like this, and so does the official library, which takes text only.
fn is_signed_as_ever(signed: &Signed, key: &[u8], [_, timestamp, right, payload]: [&[u8]; 4]) {
    let seconds = String::from_utf8_lossy(timestamp).parse().unwrap();
    let secret = Secret::new(key.to_vec().into()).unwrap();
    let ours = sign(&secret, &signed.id, seconds, payload);
    assert_eq!(ours.as_bytes(), right);
    if std::str::from_utf8(payload).is_ok() {
        let oracle = standardwebhooks::Webhook::from_bytes(key.to_vec()).unwrap();
        let theirs = oracle.sign(signed.id.as_str(), seconds, payload);
        assert_eq!(theirs.ok(), Some(ours));
    }
}

/// Changes one byte of each part, at a place that hangs on `any`, into another of its kind, so that it is not
/// merely the form that is refused.
fn is_nobodys_when_changed(parts: [&[u8]; 4], any: usize, now: DateTime<Utc>) {
    for (part, original) in parts.into_iter().enumerate().filter(|(_, part)| !part.is_empty()) {
        let mut changed = original.to_vec();
        let at = any % changed.len();
        changed[at] = match changed[at] {
            b'9' => b'8',
            digit @ b'0'..=b'8' => digit + 1,
            b'A' => b'B',
            _ => b'A',
        };
        let mut parts = parts;
        parts[part] = &changed;
        assert_eq!(judged(parts, now), None, "byte {at} of part {part} is another");
    }
}

/// Whether each of the three is there once and has its form, and the time-stamp is current.
fn is_well_formed(lines: &[(HeaderName, Vec<u8>)]) -> bool {
    let all = [ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER].map(|name| values(lines, name));
    let [[id], [timestamp], [signatures]] = all.each_ref().map(Vec::as_slice) else {
        return false;
    };
    let is_id = (1..=64).contains(&id.len())
        && id
            .iter()
            .all(|byte| matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
    let is_number = (1..=11).contains(&timestamp.len())
        && timestamp[0] != b'0'
        && timestamp.iter().all(u8::is_ascii_digit);
    let seconds = timestamp
        .iter()
        .filter(|_| is_number)
        .fold(0, |seconds, digit| seconds * 10 + i64::from(*digit - b'0'));
    let is_text = signatures.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    let count = signatures.split(|byte| *byte == b' ').count();
    is_id && is_number && (NOW - 300..=NOW + 300).contains(&seconds) && is_text && count <= 8
}

/// All values of a header.
fn values<'l>(lines: &'l [(HeaderName, Vec<u8>)], name: &str) -> Vec<&'l [u8]> {
    lines.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_slice()).collect()
}

fn header_map(lines: &[(HeaderName, Vec<u8>)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(name, HeaderValue::from_bytes(value).unwrap());
    }
    headers
}

/// Who sent this, by id, time-stamp, signatures and payload.
fn judged(parts: [&[u8]; 4], now: DateTime<Utc>) -> Option<String> {
    let [headers @ .., payload] = parts;
    let lines: Vec<(HeaderName, Vec<u8>)> = [ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER]
        .map(HeaderName::from_static)
        .into_iter()
        .zip(headers.map(<[u8]>::to_vec))
        .collect();
    let signed = Signed::read(&header_map(&lines), now).ok()?;
    let sender = signed.verify(&SENDERS, payload).ok()?;
    Some(sender.name.to_string())
}

/// `v1,` and the base64 of the HMAC (RFC 2104) by a key of at most a block.
fn signature(key: &[u8], id: &[u8], timestamp: &[u8], payload: &[u8]) -> String {
    let padded = |pad: u8| {
        let mut block = [pad; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let text = [id, timestamp, payload].join(&b'.');
    let inner = Sha256::digest([&padded(0x36), text.as_slice()].concat());
    let outer = Sha256::digest([&padded(0x5C), inner.as_slice()].concat());
    format!("v1,{}", STANDARD.encode(outer))
}

/// The text with each occurrence of `place` replaced.
fn replaced(text: &[u8], place: &[u8], by: &[u8]) -> Vec<u8> {
    let mut done = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(place.len()).position(|here| here == place) {
        done.extend_from_slice(&rest[..at]);
        done.extend_from_slice(by);
        rest = &rest[at + place.len()..];
    }
    done.extend_from_slice(rest);
    done
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A time-stamp around the edges of what is taken.
    fn timestamp() -> impl Strategy<Value = String> {
        prop_oneof![
            (NOW - 302..=NOW + 302).prop_map(|seconds| seconds.to_string()),
            "[-+0-9. ]{0,13}",
        ]
    }

    fn signature_header() -> impl Strategy<Value = String> {
        let one =
            prop_oneof!["\\{[0-2]\\}", "v1,[A-Za-z0-9+/]{43}=", "v1a?,\\{[0-2]\\}", "[ -~\t]{0,9}"];
        prop::collection::vec(one, 0..10).prop_map(|all| all.join(" "))
    }

    proptest! {
        #[test]
        fn any_bytes_are_signed_by_the_rules_or_not_at_all(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            signatures(&bytes);
        }

        #[test]
        fn what_looks_signed_is_so_by_the_rules_or_not_at_all(
            (id, timestamp, signature) in ("[A-Za-z0-9_-]{1,65}|[ -~]{0,9}", timestamp(), signature_header()),
            twice in 0_usize..9,
            payload in prop::collection::vec(any::<u8>(), 0..40),
            at in any::<prop::sample::Index>(),
            other in any::<u8>(),
        ) {
            let mut lines = vec![
                format!("{ID_HEADER}: {id}"),
                format!("{TIMESTAMP_HEADER}: {timestamp}"),
                format!("Webhook-Signature: {signature}"),
            ];
            lines.extend(lines.get(twice).cloned());
            let head = lines.join("\n");
            let mut request = [head.as_bytes(), b"\n\n", &payload].concat();
            signatures(&request);
            let at = at.index(request.len());
            request[at] = other;
            signatures(&request);
        }
    }
}
