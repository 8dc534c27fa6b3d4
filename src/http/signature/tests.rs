use proptest::prelude::*;

use super::*;

const KEY: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const OTHER: &str = "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";

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
    Senders::new(list.iter().map(|(n, s)| sender(n, s)).collect()).unwrap()
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
fn the_sender_is_the_one_whose_secret_verifies() {
    let at = now();
    assert_eq!(judge(&signed(KEY, at, b"{}"), at, b"{}").unwrap(), "portal");
    assert_eq!(
        judge(&signed(OTHER, at, b"{}"), at, b"{}").unwrap(),
        "billing"
    );
    assert_eq!(
        judge(&signed(KEY, at, b"{}"), at, b"{ }"),
        Err(Rejected::NoMatch)
    );
}

#[test]
fn both_secrets_of_a_rotation_verify_and_any_of_the_signatures_counts() {
    let at = now();
    let known = senders(&[("portal", &[KEY, OTHER])]);
    for key in [KEY, OTHER] {
        let headers = signed(key, at, b"x");
        assert!(
            Signed::read(&headers, at)
                .unwrap()
                .verify(&known, b"x")
                .is_ok()
        );
    }
    let right = signed(KEY, at, b"x")[SIGNATURE_HEADER]
        .to_str()
        .unwrap()
        .to_owned();
    let wrong = signed(OTHER, at, b"y")[SIGNATURE_HEADER]
        .to_str()
        .unwrap()
        .to_owned();
    let mut headers = signed(KEY, at, b"x");
    headers.insert(
        SIGNATURE_HEADER,
        format!("v1a,abc v2,{right} {wrong} {right}")
            .parse()
            .unwrap(),
    );
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
    for (seconds, fits) in [
        (0, true),
        (300, true),
        (301, false),
        (-300, true),
        (-301, false),
    ] {
        let headers = signed(KEY, at - chrono::TimeDelta::seconds(seconds), b"x");
        assert_eq!(judge(&headers, at, b"x").is_ok(), fits, "{seconds}");
    }
}

#[test]
fn a_time_stamp_is_a_positive_integer_of_at_most_eleven_digits() {
    let right = signed(KEY, now(), b"x")[SIGNATURE_HEADER]
        .to_str()
        .unwrap()
        .to_owned();
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
        assert_eq!(
            judged,
            Err(Rejected::Malformed(TIMESTAMP_HEADER)),
            "{raw:?}"
        );
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

#[test]
fn a_secret_has_24_to_64_bytes_and_is_not_shown() {
    let of = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
    for (bytes, fits) in [(1, false), (23, false), (24, true), (64, true), (65, false)] {
        assert_eq!(Secret::parse(&of(bytes)).is_ok(), fits, "{bytes}");
    }
    assert!(
        Secret::parse(&STANDARD.encode([7; 32])).is_err(),
        "no prefix"
    );
    assert_eq!(format!("{:?}", Secret::parse(KEY).unwrap()), "Secret");
}

#[test]
fn one_secret_under_two_senders_is_refused() {
    let shared = Senders::new(vec![
        sender("portal", &[KEY]),
        sender("billing", &[OTHER, KEY]),
    ]);
    assert!(matches!(shared, Err(AmbiguousSenders::Secret(_, _))));
    let twice = Senders::new(vec![sender("portal", &[KEY]), sender("portal", &[OTHER])]);
    assert!(matches!(twice, Err(AmbiguousSenders::Name(_))));
}
