use hyper::header::HeaderValue;
use proptest::prelude::*;

use super::*;
use crate::domain::id::SenderName;

const KEY: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const OTHER: &str = "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";

/// Published with the libraries: secret, id, time of sending, body and signature.
const PUBLISHED: [(&str, &str, i64, &str, &str); 2] = [
    (
        "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
        1_649_367_553,
        r#"{"email":"test@example.com","username":"test_user"}"#,
        "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
    ),
    (
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1_614_265_330,
        r#"{"test": 2432232314}"#,
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ),
];

/// The oracle reads the wall clock, so these tests do.
fn now() -> DateTime<Utc> {
    crate::clock::Clock::system().now()
}

fn sender(name: &str, secrets: &[&str]) -> Sender {
    Sender {
        name: SenderName::parse(name).unwrap(),
        secrets: secrets.iter().map(|s| Secret::parse(s).unwrap()).collect(),
        accounts: true,
        invoices: true,
    }
}

fn senders(list: &[(&str, &[&str])]) -> Senders {
    Senders::new(list.iter().map(|(n, s)| sender(n, s))).unwrap()
}

fn headers(id: &str, timestamp: &str, signature: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ID_HEADER, id.parse().unwrap());
    headers.insert(TIMESTAMP_HEADER, timestamp.parse().unwrap());
    headers.insert(SIGNATURE_HEADER, signature.parse().unwrap());
    headers
}

fn signed(key: &str, at: DateTime<Utc>, payload: &[u8]) -> HeaderMap {
    let id = WebhookId::parse("evt_1").unwrap();
    let signature = sign(&Secret::parse(key).unwrap(), &id, at.timestamp(), payload);
    headers(id.as_str(), &at.timestamp().to_string(), &signature)
}

fn judge(headers: &HeaderMap, at: DateTime<Utc>, payload: &[u8]) -> Result<String, Rejected> {
    let known = senders(&[("portal", &[KEY]), ("billing", &[OTHER])]);
    let signed = Signed::read(headers, at)?;
    Ok(signed.verify(&known, payload)?.name.to_string())
}

/// What one sender's secret makes of these bytes, each as it may come over the wire. Bytes that no header can
/// hold, or no secret is, are refused before.
fn verifies(
    secret: &[u8],
    [id, timestamp, signature, body]: [&[u8]; 4],
    at: DateTime<Utc>,
) -> bool {
    let secret = str::from_utf8(secret).ok().and_then(|s| Secret::parse(s).ok());
    let mut headers = HeaderMap::new();
    for (name, value) in
        [(ID_HEADER, id), (TIMESTAMP_HEADER, timestamp), (SIGNATURE_HEADER, signature)]
    {
        // HTTP takes off the blanks around a value.
        let Ok(value) = HeaderValue::from_bytes(value.trim_ascii()) else {
            return false;
        };
        headers.insert(name, value);
    }
    let portal = Sender { secrets: secret.into_iter().collect(), ..sender("portal", &[]) };
    let known = Senders::new([portal]).unwrap();
    Signed::read(&headers, at).is_ok_and(|signed| signed.verify(&known, body).is_ok())
}

/// Everything that differs from `bytes` in one byte.
fn altered(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let others = |(at, byte): (usize, &u8)| {
        let byte = *byte;
        (0..=u8::MAX).filter(move |other| *other != byte).map(move |other| (at, other))
    };
    bytes.iter().enumerate().flat_map(others).map(|(at, other)| {
        let mut altered = bytes.to_owned();
        altered[at] = other;
        altered
    })
}

proptest! {
    #[test]
    fn the_standard_library_and_we_sign_alike(id in "[A-Za-z0-9_-]{1,64}", payload in "\\PC{0,200}") {
        let at = now();
        let id = WebhookId::parse(id).unwrap();
        let theirs = standardwebhooks::Webhook::new(KEY).unwrap();
        let signature = sign(&Secret::parse(KEY).unwrap(), &id, at.timestamp(), payload.as_bytes());
        prop_assert_eq!(&theirs.sign(id.as_str(), at.timestamp(), payload.as_bytes()).unwrap(), &signature);
        let headers = headers(id.as_str(), &at.timestamp().to_string(), &signature);
        prop_assert!(theirs.verify(payload.as_bytes(), &headers).is_ok());
        prop_assert_eq!(judge(&headers, at, payload.as_bytes()), Ok("portal".to_owned()));
    }

    #[test]
    fn hostile_headers_never_panic_and_never_verify(
        id in "[ -~]{0,70}", timestamp in "[-+0-9. ]{0,25}|[ -~]{0,12}", signature in "[ -~]{0,200}|v1,[A-Za-z0-9+/=]{0,50}"
    ) {
        let judged = judge(&headers(&id, &timestamp, &signature), now(), b"{}");
        prop_assert!(judged.is_err());
    }
}

#[test]
fn the_published_signatures_are_made_and_verify_at_their_time() {
    for (secret, id, seconds, body, signature) in PUBLISHED {
        let made = sign(
            &Secret::parse(secret).unwrap(),
            &WebhookId::parse(id).unwrap(),
            seconds,
            body.as_bytes(),
        );
        assert_eq!(made, signature);
        let at = DateTime::from_timestamp(seconds, 0).unwrap();
        let headers = headers(id, &seconds.to_string(), signature);
        let known = senders(&[("billing", &[KEY]), ("portal", &[OTHER, secret])]);
        let signed = Signed::read(&headers, at).unwrap();
        assert_eq!(signed.verify(&known, body.as_bytes()).unwrap().name.to_string(), "portal");
    }
}

#[test]
fn whatever_byte_is_altered_into_whatever_other_one_nothing_verifies_any_more() {
    for (secret, id, seconds, body, signature) in PUBLISHED {
        let at = DateTime::from_timestamp(seconds, 0).unwrap();
        let timestamp = seconds.to_string();
        let right = [id, &timestamp, signature, body].map(str::as_bytes);
        assert!(verifies(secret.as_bytes(), right, at));
        for (place, bytes) in right.into_iter().enumerate() {
            for wrong in altered(bytes) {
                let mut request = right;
                request[place] = &wrong;
                let shown = wrong.escape_ascii();
                assert!(!verifies(secret.as_bytes(), request, at), "{shown}");
            }
        }
        for wrong in altered(secret.as_bytes()) {
            assert!(!verifies(&wrong, right, at), "{}", wrong.escape_ascii());
        }
    }
}

/// A key shorter than a block is filled up with zeros (RFC 2104, section 2), so that one with a zero more is the
/// same to HMAC. The padding of 32 bytes can be altered into just that.
#[test]
fn an_altered_padding_of_a_secret_verifies_only_as_the_zero_that_hmac_appends_anyway() {
    let at = now();
    let signed = signed(KEY, at, b"{}");
    let [id, timestamp, signature] =
        [ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER].map(|name| signed[name].as_bytes());
    let same: Vec<_> = altered(KEY.as_bytes())
        .filter(|secret| verifies(secret, [id, timestamp, signature, b"{}"], at))
        .collect();
    assert_eq!(same, [KEY.replace('=', "A").into_bytes()]);
}

#[test]
fn the_sender_is_the_one_whose_secret_verifies() {
    let at = now();
    assert_eq!(judge(&signed(KEY, at, b"{}"), at, b"{}").unwrap(), "portal");
    assert_eq!(judge(&signed(OTHER, at, b"{}"), at, b"{}").unwrap(), "billing");
    assert_eq!(judge(&signed(KEY, at, b"{}"), at, b"{ }"), Err(Rejected::NoMatch));
}

#[test]
fn both_secrets_of_a_rotation_verify_and_any_of_the_signatures_counts() {
    let at = now();
    let known = senders(&[("portal", &[KEY, OTHER])]);
    for key in [KEY, OTHER] {
        let headers = signed(key, at, b"x");
        assert!(Signed::read(&headers, at).unwrap().verify(&known, b"x").is_ok());
    }
    let right = signed(KEY, at, b"x")[SIGNATURE_HEADER].to_str().unwrap().to_owned();
    let wrong = signed(OTHER, at, b"y")[SIGNATURE_HEADER].to_str().unwrap().to_owned();
    let mut headers = signed(KEY, at, b"x");
    headers
        .insert(SIGNATURE_HEADER, format!("v1a,abc v2,{right} {wrong} {right}").parse().unwrap());
    assert!(judge(&headers, at, b"x").is_ok());
}

#[test]
fn at_most_eight_signatures_are_looked_at() {
    let at = now();
    let mut headers = signed(KEY, at, b"x");
    let right = headers[SIGNATURE_HEADER].to_str().unwrap().to_owned();
    let eight = [vec!["v1,x"; 7], vec![right.as_str()]].concat().join(" ");
    headers.insert(SIGNATURE_HEADER, eight.parse().unwrap());
    assert!(judge(&headers, at, b"x").is_ok());
    let nine = [vec!["v1,x"; 8], vec![right.as_str()]].concat().join(" ");
    headers.insert(SIGNATURE_HEADER, nine.parse().unwrap());
    assert_eq!(judge(&headers, at, b"x"), Err(Rejected::TooMany));
}

#[test]
fn the_time_of_sending_is_within_five_minutes_of_now() {
    let at = now();
    for (seconds, fits) in [(0, true), (300, true), (301, false), (-300, true), (-301, false)] {
        let headers = signed(KEY, at - chrono::TimeDelta::seconds(seconds), b"x");
        assert_eq!(judge(&headers, at, b"x").is_ok(), fits, "{seconds}");
    }
}

#[test]
fn a_time_stamp_is_a_positive_integer_of_at_most_eleven_digits() {
    let right = signed(KEY, now(), b"x")[SIGNATURE_HEADER].to_str().unwrap().to_owned();
    for raw in [
        "",
        "0",
        "-1",
        "+1",
        "01",
        "1.0",
        " 1",
        "1e9",
        "123456789012",
        "9223372036854775807",
        "-9223372036854775808",
        "99999999999999999999",
    ] {
        let judged = judge(&headers("evt_1", raw, &right), now(), b"x");
        assert_eq!(judged, Err(Rejected::Malformed(TIMESTAMP_HEADER)), "{raw:?}");
    }
    assert_eq!(parse_timestamp("99999999999"), Some(99_999_999_999));
}

#[test]
fn each_header_stands_exactly_once() {
    let at = now();
    for name in [ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER] {
        let mut headers = signed(KEY, at, b"x");
        let value = headers[name].clone();
        headers.append(name, value);
        assert_eq!(judge(&headers, at, b"x"), Err(Rejected::Doubled(name)));
        headers.remove(name);
        assert_eq!(judge(&headers, at, b"x"), Err(Rejected::Missing(name)));
    }
}
