//! What is published, and the edges of what is taken; all else is for the property, which asks the official library.

use super::*;
use crate::domain::id::SenderName;

const KEY: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const NEXT: &str = "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";
const OTHER: &str = "whsec_YmlsbGluZyBiaWxsaW5nIGJpbGxpbmcgYmlsbGluZyE=";
const NOW: i64 = 1_790_000_000;

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

/// Who sent this at `now`, if the portal has these secrets and the billing system another one.
fn judge(
    secrets: &[&str],
    [id, timestamp, signature, body]: [&str; 4],
    now: i64,
) -> Result<String, Rejected> {
    let sender = |name, secrets: &[&str]| Sender {
        name: SenderName::parse(name).unwrap(),
        secrets: secrets.iter().map(|s| Secret::parse(s).unwrap()).collect(),
        accounts: true,
        invoices: true,
    };
    let known = Senders::new([sender("billing", &[OTHER]), sender("portal", secrets)]).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(ID_HEADER, id.parse().unwrap());
    headers.insert(TIMESTAMP_HEADER, timestamp.parse().unwrap());
    headers.insert(SIGNATURE_HEADER, signature.parse().unwrap());
    let signed = Signed::read(&headers, DateTime::from_timestamp(now, 0).unwrap())?;
    Ok(signed.verify(&known, body.as_bytes())?.name.to_string())
}

fn signature(key: &str, id: &str, at: i64, body: &str) -> String {
    sign(&Secret::parse(key).unwrap(), &WebhookId::parse(id).unwrap(), at, body.as_bytes())
}

#[test]
fn the_published_signatures_are_made_and_verify_at_their_time() {
    for (secret, id, seconds, body, published) in PUBLISHED {
        assert_eq!(signature(secret, id, seconds, body), published);
        let request = [id, &seconds.to_string(), published, body];
        assert_eq!(judge(&[KEY, secret], request, seconds).as_deref(), Ok("portal"));
        assert_eq!(judge(&[KEY], request, seconds), Err(Rejected::NoMatch));
    }
}

#[test]
fn either_secret_of_a_rotation_verifies_and_any_of_eight_signatures_counts() {
    for (key, sender) in [(KEY, "portal"), (NEXT, "portal"), (OTHER, "billing")] {
        let right = signature(key, "evt_1", NOW, "x");
        for (others, judged) in [
            ("v1a,abc v2,x v1,AAAA ".to_owned(), Ok(sender.to_owned())),
            ("v1,x ".repeat(7), Ok(sender.to_owned())),
            ("v1,x ".repeat(8), Err(Rejected::TooMany)),
        ] {
            let request = ["evt_1", &NOW.to_string(), &format!("{others}{right}"), "x"];
            assert_eq!(judge(&[KEY, NEXT], request, NOW), judged, "{others}");
        }
    }
}

#[test]
fn the_time_of_sending_is_within_five_minutes_of_now() {
    let right = signature(KEY, "evt_1", NOW, "x");
    let request = ["evt_1", &NOW.to_string(), &right, "x"];
    for (seconds, fits) in [(0, true), (300, true), (301, false), (-300, true), (-301, false)] {
        assert_eq!(judge(&[KEY], request, NOW + seconds).is_ok(), fits, "{seconds}");
    }
}

#[test]
fn a_time_stamp_is_a_positive_integer_of_at_most_eleven_digits() {
    for raw in [
        "",
        "0",
        "-1",
        "+1",
        "01",
        "1.0",
        "1e9",
        "123456789012",
        "9223372036854775807",
        "-9223372036854775808",
        "99999999999999999999",
    ] {
        let judged = judge(&[KEY], ["evt_1", raw, "v1,x", "x"], NOW);
        assert_eq!(judged, Err(Rejected::Malformed(TIMESTAMP_HEADER)), "{raw:?}");
    }
    assert_eq!(parse_timestamp("99999999999"), Some(99_999_999_999));
}
