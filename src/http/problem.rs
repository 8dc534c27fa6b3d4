//! What went wrong, in the two shapes it needs: a problem document for the caller (RFC 9457) and a
//! cause for the log.
//!
//! The caller gets what helps to correct the request and nothing else; the cause of a bad signature or
//! of a fault of ours goes to the log, under the `request_id` that the answer shows. Statuses are chosen
//! here and nowhere else: the domain and the store know nothing of them.

use hyper::StatusCode;
use serde_json::{Map, Value, json};

use crate::domain::delivery::Shown;
use crate::domain::id::{Digest, Version};
use crate::store::StoreError;

/// A request that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// Which kind; decides status, title and whether a retry can help.
    pub(super) code: Code,
    /// What is special about this one.
    pub(super) details: Box<Details>,
}

/// What a problem says beyond its kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Details {
    /// One sentence for the caller.
    pub(super) sentence: String,
    /// Which places of the request are wrong, and what was expected there.
    pub(super) errors: Vec<Fault>,
    /// The account's version in force, if that is what it conflicts with.
    pub(super) current_version: Option<Version>,
    /// The invoice's state, if that is what it conflicts with.
    pub(super) state: Option<Shown>,
    /// The members in which an invoice differs from the one that is there.
    pub(super) differs: Vec<&'static str>,
    /// The documents that are not stored.
    pub(super) missing: Vec<Digest>,
    /// When to come again, in seconds, where the kind alone does not say it.
    pub(super) retry_after_seconds: Option<u32>,
    /// The methods that the resource has, for `Allow`.
    pub(super) allow: Option<String>,
    /// For the log only.
    pub(super) cause: Option<String>,
}

/// A wrong place in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// Where.
    pub(super) place: Place,
    /// What would have been right there.
    pub(super) expected: String,
}

/// Where something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// In the body, as a JSON pointer (RFC 6901).
    Body(String),
    /// A parameter of the path or of the query, by its name.
    Parameter(String),
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:ident, $retryable:literal, $title:literal;)*) => {
        /// Kinds of problems.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every kind.
            #[cfg(test)]
            pub(super) const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name on the wire.
            pub(super) fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The status.
            pub(super) fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// Whether the same request can succeed later.
            pub(super) fn retryable(self) -> bool {
                match self { $(Self::$name => $retryable,)* }
            }

            /// The same words for every problem of the kind.
            pub(super) fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    /// The bytes are no UTF-8.
    NotUtf8 = "not_utf8", BAD_REQUEST, false, "The body is not UTF-8";
    /// The text is no JSON.
    NotJson = "not_json", BAD_REQUEST, false, "The body is not JSON";
    /// A key stands twice in an object.
    DuplicateKey = "duplicate_key", BAD_REQUEST, false, "A key stands twice";
    /// The body ended early.
    IncompleteBody = "incomplete_body", BAD_REQUEST, true, "The body is not complete";
    /// The head breaks a rule of HTTP/1.1, or can be read in two ways.
    BadHead = "bad_head", BAD_REQUEST, false, "The head of the request is wrong";
    /// The path is not percent-encoded UTF-8.
    BadPath = "bad_path", BAD_REQUEST, false, "The path cannot be read";
    /// Anything about the signature.
    SignatureInvalid = "signature_invalid", UNAUTHORIZED, false, "The signature is not valid";
    /// No token, or an unknown one.
    TokenInvalid = "token_invalid", UNAUTHORIZED, false, "The token is not valid";
    /// Known, but without the right.
    Forbidden = "forbidden", FORBIDDEN, false, "Not allowed";
    /// There is no such thing.
    NotFound = "not_found", NOT_FOUND, false, "Not found";
    /// The resource has no such method.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, false, "Method not allowed";
    /// The request came too slowly.
    TimeOut = "time_out", REQUEST_TIMEOUT, true, "The request took too long";
    /// The length is not given.
    LengthRequired = "length_required", LENGTH_REQUIRED, false, "A length is required";
    /// The body is too large.
    TooLarge = "too_large", PAYLOAD_TOO_LARGE, false, "The body is too large";
    /// The target is too long.
    UriTooLong = "uri_too_long", URI_TOO_LONG, false, "The path is too long";
    /// The body has another format than the resource takes.
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, false, "Unsupported media type";
    /// The version is in force with other content.
    VersionConflict = "version_conflict", CONFLICT, false, "The version is in force with other content";
    /// A change does not follow directly.
    VersionGap = "version_gap", CONFLICT, true, "A change in between is missing";
    /// An older version with a newer time-stamp.
    VersionRegressed = "version_regressed", CONFLICT, false, "The versions went back";
    /// The number is there with other content.
    InvoiceConflict = "invoice_conflict", CONFLICT, false, "The number is there with other content";
    /// Documents have to be uploaded first.
    DocumentMissing = "document_missing", CONFLICT, true, "A document is missing";
    /// It was, or may have been, sent.
    AlreadySent = "already_sent", CONFLICT, false, "Already sent";
    /// The state does not allow it.
    WrongState = "wrong_state", CONFLICT, false, "Not possible in this state";
    /// A field or a rule.
    Invalid = "invalid", UNPROCESSABLE_ENTITY, false, "The request breaks a rule";
    /// Other bytes succeeded under the id.
    WebhookIdReused = "webhook_id_reused", UNPROCESSABLE_ENTITY, false, "The webhook-id was used for other content";
    /// The digest of the bytes is not that of the path.
    DigestDiffers = "digest_differs", UNPROCESSABLE_ENTITY, false, "The digest differs";
    /// No bytes.
    EmptyDocument = "empty_document", UNPROCESSABLE_ENTITY, false, "The document is empty";
    /// More requests than the sender may bring.
    TooManyRequests = "too_many_requests", TOO_MANY_REQUESTS, true, "Too many requests";
    /// More connections than one address may have.
    TooManyConnections = "too_many_connections", TOO_MANY_REQUESTS, true, "Too many connections";
    /// Too many documents that no invoice refers to.
    TooManyDocuments = "too_many_documents", TOO_MANY_REQUESTS, true, "Too many unused documents";
    /// A fault of ours.
    Internal = "internal", INTERNAL_SERVER_ERROR, true, "A fault of the daemon";
    /// Too little space on the disk.
    DiskFull = "disk_full", SERVICE_UNAVAILABLE, true, "The disk is full";
    /// Too much to do.
    Busy = "busy", SERVICE_UNAVAILABLE, true, "Too busy";
    /// About to end.
    Draining = "draining", SERVICE_UNAVAILABLE, true, "Shutting down";
}

impl Code {
    /// When to try again, in seconds, for `Retry-After`.
    pub(super) fn retry_after_seconds(self) -> Option<u32> {
        let is_to_wait = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS];
        if self == Self::DiskFull || self == Self::TooManyDocuments {
            Some(60)
        } else if is_to_wait.contains(&self.status()) {
            Some(2)
        } else {
            None
        }
    }

    /// What a 401 asks for (RFC 9110, section 15.5.2). Standard Webhooks have no registered scheme.
    pub(super) fn challenge(self) -> Option<&'static str> {
        if self == Self::TokenInvalid {
            Some("Bearer")
        } else if self == Self::SignatureInvalid {
            Some("Standard-Webhooks")
        } else {
            None
        }
    }

    /// Whether the rest of the request is not worth reading.
    pub(super) fn closes(self) -> bool {
        matches!(self, Self::TimeOut | Self::TooLarge | Self::IncompleteBody | Self::BadHead)
    }
}

impl Fault {
    /// Something wrong in the body.
    pub(super) fn at(pointer: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { place: Place::Body(pointer.into()), expected: expected.into() }
    }

    /// Something wrong in the path or the query.
    pub(super) fn parameter(name: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { place: Place::Parameter(name.into()), expected: expected.into() }
    }

    fn to_json(&self) -> Value {
        let Self { place, expected } = self;
        match place {
            Place::Body(pointer) => json!({"pointer": pointer, "expected": expected}),
            Place::Parameter(name) => json!({"parameter": name, "expected": expected}),
        }
    }
}

impl Problem {
    /// A problem that says no more than its kind and a sentence.
    pub(super) fn new(code: Code, sentence: impl Into<String>) -> Self {
        let details = Details { sentence: sentence.into(), ..Details::default() };
        Self::with(code, details)
    }

    /// A problem with details.
    pub(super) fn with(code: Code, details: Details) -> Self {
        Self { code, details: Box::new(details) }
    }

    /// Fields or rules that the request breaks.
    pub(super) fn invalid(errors: Vec<Fault>) -> Self {
        let sentence = match errors.as_slice() {
            [one] => format!("{}: expected {}", one.place.as_str(), one.expected),
            several => format!("{} places are wrong", several.len()),
        };
        let details = Details { sentence, errors, ..Details::default() };
        Self::with(Code::Invalid, details)
    }

    /// Nothing there, or nothing that may be told.
    pub(super) fn not_found() -> Self {
        Self::new(Code::NotFound, "there is nothing under this path")
    }

    /// A fault of ours; `cause` goes to the log.
    pub(super) fn internal(cause: impl Into<String>) -> Self {
        Self::new(Code::Internal, "the log tells more under this request_id").because(cause)
    }

    /// When to try again, in seconds, for `Retry-After`.
    pub(super) fn retry_after_seconds(&self) -> Option<u32> {
        let of_this = self.details.retry_after_seconds;
        of_this.or_else(|| self.code.retry_after_seconds())
    }

    /// With a cause for the log.
    pub(super) fn because(mut self, cause: impl Into<String>) -> Self {
        self.details.cause = Some(cause.into());
        self
    }

    /// The document of RFC 9457.
    pub(super) fn to_json(&self, request_id: &str) -> Value {
        let Self { code, details } = self;
        let Details {
            sentence,
            errors,
            current_version,
            state,
            differs,
            missing,
            retry_after_seconds: _,
            allow: _,
            cause: _,
        } = &**details;
        let mut members = Map::new();
        let mut put = |name: &str, value: Value| members.insert(name.to_owned(), value);
        put("type", format!("urn:invoice-router:problem:{}", code.as_str()).into());
        put("title", code.title().into());
        put("status", code.status().as_u16().into());
        put("detail", sentence.as_str().into());
        put("code", code.as_str().into());
        put("retryable", code.retryable().into());
        put("request_id", request_id.into());
        if !errors.is_empty() {
            put("errors", errors.iter().map(Fault::to_json).collect());
        }
        if let Some(version) = current_version {
            put("current_version", version.get().into());
        }
        if let Some(state) = state {
            put("state", state.as_str().into());
        }
        if *code == Code::InvoiceConflict {
            put("differs", differs.iter().copied().collect());
        }
        if !missing.is_empty() {
            put("missing", missing.iter().map(Digest::to_string).collect());
        }
        Value::Object(members)
    }
}

impl Place {
    fn as_str(&self) -> &str {
        match self {
            Self::Body(pointer) if pointer.is_empty() => "the body",
            Self::Body(text) | Self::Parameter(text) => text,
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let cause = error.to_string();
        match error {
            StoreError::DiskFull => Self::new(Code::DiskFull, "nothing was changed"),
            StoreError::Busy => Self::new(Code::Busy, "nothing was changed"),
            StoreError::Closed => Self::new(Code::Draining, "nothing was changed"),
            StoreError::Damaged { .. } | StoreError::Failed { .. } | StoreError::SyncFailed(_) => {
                return Self::internal(cause);
            }
        }
        .because(cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_what_helps_and_not_its_cause() {
        let mut problem = Problem::new(Code::VersionGap, "a sentence").because("for the log alone");
        problem.details.current_version = Version::parse(4).ok();
        problem.details.errors = vec![Fault::at("/data/version", "5")];
        assert_eq!(
            problem.to_json("abc"),
            json!({
                "type": "urn:invoice-router:problem:version_gap",
                "title": "A change in between is missing",
                "status": 409,
                "detail": "a sentence",
                "code": "version_gap",
                "retryable": true,
                "request_id": "abc",
                "current_version": 4,
                "errors": [{"pointer": "/data/version", "expected": "5"}],
            })
        );
    }

    #[test]
    fn a_store_that_cannot_is_a_503_with_a_time_and_a_broken_one_a_500() {
        for (error, code) in [
            (StoreError::DiskFull, Code::DiskFull),
            (StoreError::Busy, Code::Busy),
            (StoreError::Closed, Code::Draining),
        ] {
            let problem = Problem::from(error);
            assert_eq!(problem.code, code);
            assert_eq!(code.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(code.retry_after_seconds().is_some() && code.retryable());
        }
        let broken = Problem::from(StoreError::SyncFailed("EIO at /var/lib".to_owned()));
        assert_eq!(broken.code, Code::Internal);
        assert!(!broken.to_json("abc").to_string().contains("EIO"));
    }
}
