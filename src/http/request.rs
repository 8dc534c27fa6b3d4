//! What a handler works with: the request and what it says, and how it answers.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::body::Bytes;
use hyper::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, TRANSFER_ENCODING,
};
use hyper::{HeaderMap, StatusCode};
use serde::Serialize;

use super::Context;
use super::body::{Body, OWN_BYTES};
use super::fields::FAULTS;
use super::interface::{Peer, Service};
use super::problem::{Code, Fault, Problem};
use crate::api::Acceptance;
use crate::config::Limits;
use crate::domain::id::{Digest, SenderName};
use crate::store::StoreError;

/// A request under way.
pub(super) struct RequestContext {
    pub(super) service: Arc<Service>,
    pub(super) peer: Peer,
    pub(super) version: hyper::Version,
    pub(super) method: hyper::Method,
    pub(super) uri: hyper::Uri,
    pub(super) headers: HeaderMap,
    pub(super) log_fields: LogFields,
    /// Stands in the answer and in the log.
    pub(super) request_id: String,
    pub(super) body: Body,
    /// Whether it is known who sends the body, before it is read.
    pub(super) is_verified: bool,
    pub(super) params: Params,
    pub(super) query: Query,
}

impl RequestContext {
    pub(super) fn context(&self) -> &Context {
        &self.service.context
    }

    /// Who asks at the admin interface.
    pub(super) fn operator(&self) -> String {
        self.log_fields.actor.clone().unwrap_or_default()
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.service.limits
    }

    /// Judges what the head says of the body, without reading it: reading would tell a client that
    /// waits for `100 Continue` to send.
    pub(super) fn check_announced(&self, most: usize) -> Result<(), Problem> {
        if ![CONTENT_LENGTH, TRANSFER_ENCODING].iter().any(|it| self.headers.contains_key(it)) {
            let sentence = "send Content-Length, or the body in chunks";
            return Err(Problem::new(Code::LengthRequired, sentence));
        }
        self.body.check_announced(most)?;
        self.check_encoding()
    }

    /// Whether the body is said, once, to be of this type: perhaps with the charset that JSON has anyway (RFC 8259,
    /// section 8.1).
    pub(super) fn has_content_type(&self, media_type: &str) -> bool {
        let mut values = self.headers.get_all(CONTENT_TYPE).iter();
        match (values.next().map(HeaderValue::to_str), values.next()) {
            (Some(Ok(value)), None) => is_content_type(value, media_type),
            _ => false,
        }
    }

    /// Nothing here takes a coding off a body.
    pub(super) fn check_encoding(&self) -> Result<(), Problem> {
        match self.headers.get(CONTENT_ENCODING) {
            Some(encoding) if encoding != "identity" => {
                let sentence = "send the body without Content-Encoding";
                Err(Problem::new(Code::UnsupportedMediaType, sentence))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Reads the whole body, within its limit and in time.
    pub(super) async fn read_body(&mut self, most: usize) -> Result<Vec<u8>, Problem> {
        let memory =
            if self.is_verified { &self.service.verified_bodies } else { &self.service.bodies };
        self.body.read(most, self.service.limits.body_time, memory, self.is_verified).await
    }
}

/// What the log says of a request, apart from its answer.
#[derive(Debug, Default)]
pub(super) struct LogFields {
    /// The route's pattern: the path itself may hold an address.
    pub(super) path: Option<Cow<'static, str>>,
    /// Who asked at the admin interface.
    pub(super) actor: Option<String>,
    /// Whose secret signed it.
    pub(super) sender: Option<SenderName>,
    /// An event's type.
    pub(super) event_type: Option<&'static str>,
    /// The account that it is about.
    pub(super) account: Option<String>,
    /// The invoice that it is about.
    pub(super) number: Option<String>,
    /// The document that it brings.
    pub(super) document: Option<Digest>,
    /// How it was accepted.
    pub(super) result: Option<Acceptance>,
    /// How many lines a batch had, and how many of them were accepted.
    pub(super) lines: Option<(usize, usize)>,
}

/// A success.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) media_type: &'static str,
    pub(super) body: Bytes,
}

impl Reply {
    /// One of the [`api`](crate::api)'s types as JSON.
    pub(super) fn new(status: StatusCode, body: &impl Serialize) -> Result<Self, Problem> {
        let json =
            serde_json::to_vec(body).map_err(|error| Problem::internal(error.to_string()))?;
        Ok(Self { status, media_type: "application/json", body: json.into() })
    }

    pub(super) fn ok(body: &impl Serialize) -> Result<Self, Problem> {
        Self::new(StatusCode::OK, body)
    }

    /// Text of a media type.
    pub(super) fn text(media_type: &'static str, text: impl Into<Bytes>) -> Self {
        Self { status: StatusCode::OK, media_type, body: text.into() }
    }
}

fn is_content_type(value: &str, media_type: &str) -> bool {
    let mut parts = value.split(';').map(str::trim);
    let is_type = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case(media_type));
    is_type
        && parts.all(|parameter| {
            parameter.is_empty()
                || parameter.split_once('=').is_some_and(|(name, value)| {
                    name.eq_ignore_ascii_case("charset")
                        && value.trim_matches('"').eq_ignore_ascii_case("utf-8")
                })
        })
}

/// What stood in a path in place of its `{…}`, not decoded yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Params(BTreeMap<String, String>);

impl Params {
    pub(super) fn new<'p>(pairs: impl Iterator<Item = (&'p str, &'p str)>) -> Self {
        Self(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// As it stood in the path.
    pub(super) fn raw(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Decoded.
    pub(super) fn decoded(&self, name: &str) -> Result<String, Problem> {
        decode(self.raw(name), false)
            .ok_or_else(|| Problem::new(Code::BadPath, "percent-encode UTF-8 in the path"))
    }
}

/// The parameters of a query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    /// Reads `name=value` pairs; refuses one that is not in `known`, or that occurs twice.
    pub(super) fn parse(raw: Option<&str>, known: &[&str]) -> Result<Self, Problem> {
        let mut parameters = BTreeMap::new();
        let mut faults = Vec::new();
        for pair in raw.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            if faults.len() == FAULTS {
                break;
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(name), Some(value)) = (decode(name, true), decode(value, true)) else {
                faults.push(Fault::parameter(name, "percent-encoded UTF-8"));
                continue;
            };
            if !known.contains(&name.as_str()) {
                let expected = match known {
                    [] => "no parameters".to_owned(),
                    known => format!("one of the parameters {}", known.join(", ")),
                };
                faults.push(Fault::parameter(name, expected));
            } else if parameters.insert(name.clone(), value).is_some() {
                faults.push(Fault::parameter(name, "each parameter once"));
            }
        }
        if faults.is_empty() { Ok(Self(parameters)) } else { Err(Problem::invalid(faults)) }
    }

    /// A parameter; an empty one counts as absent.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.get(name)?;
        (!value.is_empty()).then_some(value.as_str())
    }

    /// A parameter that `parse` takes, or what it `expected`.
    pub(super) fn read<T>(
        &self,
        name: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(raw) = self.get(name) else {
            return Ok(None);
        };
        match parse(raw) {
            Some(value) => Ok(Some(value)),
            None => Err(Problem::invalid(vec![Fault::parameter(name, expected)])),
        }
    }
}

/// Percent-decodes (RFC 3986, section 2.1); in a query `+` is a blank.
pub(super) fn decode(raw: &str, plus_is_blank: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                let digits = std::str::from_utf8(digits).ok()?;
                if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return None;
                }
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = after;
            }
            b'+' if plus_is_blank => bytes.push(b' '),
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).ok()
}

/// Runs `read`, which may block, where blocking is allowed.
pub(super) async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(read).await {
        Ok(read) => Ok(read?),
        Err(ended) => Err(Problem::internal(format!("a read did not end: {ended}"))),
    }
}

/// Does `work` on the body, where blocking is allowed if the body is large.
pub(super) async fn blocking_if_large<T: Send + 'static>(
    body_bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    if body_bytes <= OWN_BYTES {
        return Ok(work());
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|ended| Problem::internal(format!("work on a body did not end: {ended}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_json_says_so_and_nothing_else() {
        for fits in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/json;charset=\"utf-8\"",
        ] {
            assert!(is_content_type(fits, "application/json"), "{fits}");
        }
        for other in [
            "",
            "text/json",
            "application/x-ndjson",
            "application/json; charset=latin1",
            "application/jsonx",
        ] {
            assert!(!is_content_type(other, "application/json"), "{other}");
        }
    }

    #[test]
    fn what_is_not_percent_encoded_utf8_is_refused() {
        assert_eq!(decode("a%C3%A4+b", false).as_deref(), Some("aä+b"));
        assert_eq!(decode("a+b", true).as_deref(), Some("a b"));
        for raw in ["%", "%4", "%zz", "%+4", "%FF"] {
            assert_eq!(decode(raw, false), None, "{raw}");
        }
    }

    #[test]
    fn a_query_has_known_parameters_once_each() {
        let known = ["state", "account"];
        let query = Query::parse(Some("state=held&account=K%2F1&"), &known).unwrap();
        assert_eq!(query.get("account"), Some("K/1"));
        for raw in ["stat=held", "state=a&state=b", "state=%zz"] {
            assert!(Query::parse(Some(raw), &known).is_err(), "{raw}");
        }
        let many = Query::parse(Some(&"a&".repeat(1000)), &known).unwrap_err();
        assert_eq!(many.body.errors.len(), FAULTS);
    }
}
