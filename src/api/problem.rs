//! A request that was refused (RFC 9457).

use serde::{Deserialize, Serialize};

use super::Name;
use crate::domain::delivery::Shown;
use crate::domain::named;

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Problem {
    pub r#type: String,
    pub title: String,
    pub status: u16,
    pub detail: String,
    pub code: Name<Code>,
    pub retryable: bool,
    pub request_id: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_version: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Name<Shown>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differs: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// What is wrong in a request, and what is expected there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Fault {
    #[serde(flatten)]
    pub place: Place,
    pub expected: String,
}

/// Where something is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Place {
    /// In the body, as a JSON pointer (RFC 6901).
    #[serde(rename = "pointer")]
    Body(String),
    /// A parameter of the path or of the query, by its name.
    #[serde(rename = "parameter")]
    Parameter(String),
}

impl Place {
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Body(text) | Self::Parameter(text) => text,
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:literal, $retryable:literal, $title:literal;)*) => {
        named! {
            /// Kinds of problems.
            pub enum Code { $($(#[$doc])* $name = $code,)* }
        }

        impl Code {
            /// The status of the answer.
            pub fn status_code(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// Whether the same request can succeed later.
            pub fn retryable(self) -> bool {
                match self { $(Self::$name => $retryable,)* }
            }

            /// A short sentence, the same for every problem of the kind.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    /// The bytes are no UTF-8.
    NotUtf8 = "not_utf8", 400, false, "The body is not UTF-8";
    /// The text is no JSON.
    NotJson = "not_json", 400, false, "The body is not JSON";
    /// An object has a key twice.
    DuplicateKey = "duplicate_key", 400, false, "Duplicate key";
    /// The body ended early.
    IncompleteBody = "incomplete_body", 400, true, "The body is not complete";
    /// The head breaks a rule of HTTP/1.1, or can be read in two ways.
    BadHead = "bad_head", 400, false, "Malformed request head";
    /// The path is not percent-encoded UTF-8.
    BadPath = "bad_path", 400, false, "Malformed path";
    /// Anything about the signature.
    SignatureInvalid = "signature_invalid", 401, false, "The signature is not valid";
    /// No token, or an unknown one.
    TokenInvalid = "token_invalid", 401, false, "The token is not valid";
    /// Known, but without the right.
    Forbidden = "forbidden", 403, false, "Not allowed";
    /// There is no such thing.
    NotFound = "not_found", 404, false, "Not found";
    /// The resource has no such method.
    MethodNotAllowed = "method_not_allowed", 405, false, "Method not allowed";
    /// The request was sent too slowly.
    TimeOut = "time_out", 408, true, "The request took too long";
    /// The length is not given.
    LengthRequired = "length_required", 411, false, "Length required";
    /// The body is too large.
    TooLarge = "too_large", 413, false, "The body is too large";
    /// The target is too long.
    UriTooLong = "uri_too_long", 414, false, "The path is too long";
    /// The body has another format than the resource takes.
    UnsupportedMediaType = "unsupported_media_type", 415, false, "Unsupported media type";
    /// The version is stored with different content.
    VersionConflict = "version_conflict", 409, false, "Account version already used with different content";
    /// A change does not follow directly.
    VersionGap = "version_gap", 409, true, "Version gap: a change is missing";
    /// An older version with a newer time-stamp.
    VersionRegressed = "version_regressed", 409, false, "Account versions went backwards";
    /// The invoice is stored with different content.
    InvoiceConflict = "invoice_conflict", 409, false, "Invoice number already used with different content";
    /// Documents have to be uploaded first.
    DocumentMissing = "document_missing", 409, true, "A document is missing";
    /// It was, or may have been, sent.
    AlreadySent = "already_sent", 409, false, "Already sent";
    /// The state does not allow it.
    WrongState = "wrong_state", 409, false, "Not possible in this state";
    /// A field or a rule.
    Invalid = "invalid", 422, false, "The request is invalid";
    /// Other bytes succeeded under the id.
    WebhookIdReused = "webhook_id_reused", 422, false, "Webhook-id already used with different content";
    /// The digest of the bytes is not that of the path.
    DigestDiffers = "digest_differs", 422, false, "The digest does not match";
    /// No bytes.
    EmptyDocument = "empty_document", 422, false, "The document is empty";
    /// More requests than the sender may bring.
    TooManyRequests = "too_many_requests", 429, true, "Too many requests";
    /// More connections than one address may have.
    TooManyConnections = "too_many_connections", 429, true, "Too many connections";
    /// Too many documents that no invoice refers to.
    TooManyDocuments = "too_many_documents", 429, true, "Too many unused documents";
    /// A fault of the daemon.
    Internal = "internal", 500, true, "Internal error";
    /// Too little space on the disk.
    DiskFull = "disk_full", 503, true, "The disk is full";
    /// Too much to do.
    Busy = "busy", 503, true, "Too busy";
    /// The daemon is shutting down.
    Draining = "draining", 503, true, "Shutting down";
}
