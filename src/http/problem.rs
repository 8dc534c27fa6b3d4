//! What went wrong, in the two shapes it needs: a problem document for the caller (RFC 9457) and a
//! cause for the log.
//!
//! The caller gets what helps to correct the request and nothing else; the cause of a bad signature or
//! of a fault of the daemon goes to the log, under the `request_id` that the answer shows. Statuses are chosen
//! here and nowhere else: the domain and the store know nothing of them.

use hyper::StatusCode;

use super::signature::Rejected;
use crate::api;
pub(super) use crate::api::{Code, Fault, Place};
use crate::domain::delivery::Shown;
use crate::store::StoreError;

/// A request that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// Which kind; decides status, title and whether a retry can help.
    pub(super) code: Code,
    /// The answer, without the request id.
    pub(super) body: Box<api::Problem>,
    /// When to come again, in seconds, where the kind alone does not say it.
    pub(super) retry_after_seconds: Option<u32>,
    /// The methods that the resource has, for `Allow`.
    pub(super) allow: Option<String>,
    /// For the log only.
    pub(super) cause: Option<String>,
}

impl Code {
    /// The status.
    pub(super) fn status(self) -> StatusCode {
        StatusCode::from_u16(self.status_code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

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
}

impl Problem {
    /// A problem that says no more than its kind and a sentence.
    pub(super) fn new(code: Code, sentence: impl Into<String>) -> Self {
        let body = api::Problem {
            r#type: format!("urn:invoice-router:problem:{code}"),
            title: code.title().to_owned(),
            status: code.status_code(),
            detail: sentence.into(),
            code: code.into(),
            retryable: code.retryable(),
            request_id: String::new(),
            errors: Vec::new(),
            current_version: None,
            state: None,
            differs: None,
            missing: Vec::new(),
        };
        Self { code, body: Box::new(body), retry_after_seconds: None, allow: None, cause: None }
    }

    /// Fields or rules that the request breaks.
    pub(super) fn invalid(errors: Vec<Fault>) -> Self {
        let sentence = match errors.as_slice() {
            [Fault { place: Place::Body(pointer), expected }] if pointer.is_empty() => {
                format!("the body: expected {expected}")
            }
            [one] => format!("{}: expected {}", one.place.as_str(), one.expected),
            several => format!("the request has {} errors", several.len()),
        };
        let mut problem = Self::new(Code::Invalid, sentence);
        problem.body.errors = errors;
        problem
    }

    /// There is no such resource, or the caller may not know of it.
    pub(super) fn not_found() -> Self {
        Self::new(Code::NotFound, "no resource has this path")
    }

    /// A fault of the daemon; `cause` goes to the log.
    pub(super) fn internal(cause: impl Into<String>) -> Self {
        Self::new(Code::Internal, "the daemon's log has the cause under this request_id")
            .because(cause)
    }

    /// When to try again, in seconds, for `Retry-After`.
    pub(super) fn retry_after_seconds(&self) -> Option<u32> {
        self.retry_after_seconds.or_else(|| self.code.retry_after_seconds())
    }

    /// With a cause for the log.
    pub(super) fn because(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// The answer to the request that the log has under this id.
    pub(super) fn told(&self, request_id: &str) -> api::Problem {
        api::Problem { request_id: request_id.to_owned(), ..(*self.body).clone() }
    }

    /// The same as JSON.
    pub(super) fn to_json(&self, request_id: &str) -> Vec<u8> {
        // Texts, numbers and lists of them can always be written.
        serde_json::to_vec(&self.told(request_id)).unwrap_or_default()
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let cause = error.in_full();
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

/// The bland answer to whatever is wrong about a signature.
pub(super) fn unsigned(rejected: &Rejected) -> Problem {
    Problem::new(
        Code::SignatureInvalid,
        "expected the three headers of Standard Webhooks, signed with a known secret",
    )
    .because(rejected.to_string())
}

/// The sender is known and may not.
pub(super) fn forbidden(what: &str) -> Problem {
    Problem::new(Code::Forbidden, format!("this sender may not {what}"))
}

/// It was, or may have been, sent.
pub(super) fn already_sent(state: Shown) -> Problem {
    let mut problem = Problem::new(
        Code::AlreadySent,
        "an address was sent the invoice, or may have been; the remaining addresses get nothing",
    );
    problem.body.state = Some(state.into());
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_what_helps_and_not_its_cause() {
        let mut problem = Problem::new(Code::VersionGap, "a sentence").because("for the log alone");
        problem.body.current_version = Some(4);
        problem.body.errors = vec![Fault::at("/data/version", "5")];
        assert_eq!(
            serde_json::to_value(problem.told("abc")).unwrap(),
            serde_json::json!({
                "type": "urn:invoice-router:problem:version_gap",
                "title": "Version gap: a change is missing",
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
    fn the_cause_of_a_fault_is_for_the_log_alone() {
        let broken = Problem::from(StoreError::sync_failed("EIO at /var/lib"));
        assert_eq!(broken.code, Code::Internal);
        let told = String::from_utf8(broken.to_json("abc")).unwrap();
        assert!(told.contains("\"internal\"") && !told.contains("EIO"), "{told}");
    }
}
