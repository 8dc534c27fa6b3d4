//! `PUT /v1/documents/{sha256}`: a document's bytes, before the invoice that names them.
//!
//! The signature is over the path's 64 digits, since the official libraries cannot sign bytes that
//! are not text. It is verified before the body is read; then the body's digest must match.

use std::sync::Arc;

use hyper::StatusCode;

use super::problem::{Code, Fault, Problem, forbidden, unsigned};
use super::request::{Reply, RequestContext, blocking};
use super::signature::Signed;
use crate::api::{self, Acceptance};
use crate::domain::id::Digest;
use crate::store::{DocumentAnswer, Store};

/// Keeps `bytes` under `digest`, durably.
pub(super) async fn keep(
    store: &Arc<dyn Store>,
    clock: &crate::clock::Clock,
    digest: Digest,
    bytes: Vec<u8>,
) -> Result<DocumentAnswer, Problem> {
    let store = Arc::clone(store);
    let at = clock.now();
    let commit = blocking(move || Ok(store.put_document(digest, &bytes, at))).await?;
    Ok(commit.await?)
}

/// Nobody bills what was uploaded.
pub(super) fn too_many() -> Problem {
    Problem::new(
        Code::TooManyDocuments,
        "too many documents belong to no invoice yet: send their invoices first",
    )
}

/// Takes a document.
pub(super) async fn receive(request: &mut RequestContext) -> Result<Reply, Problem> {
    let most = request.limits().document_bytes;
    request.check_announced(most)?;
    let context = Arc::clone(&request.service.context);
    let digits = request.params.raw("sha256").to_owned();
    let access = context.access();
    let sender = Signed::read(&request.headers, context.clock.now())
        .and_then(|signed| signed.verify(&access.senders, digits.as_bytes()))
        .map_err(|rejected| unsigned(&rejected))?;
    request.log_fields.sender = Some(sender.name.clone());
    request.service.rates.admit(&sender.name)?;
    request.is_verified = true;
    if !sender.invoices {
        return Err(forbidden("upload documents"));
    }
    let digest = Digest::parse(&digits).map_err(|invalid| {
        Problem::invalid(vec![Fault::parameter("sha256", invalid.expectation())])
    })?;
    request.log_fields.document = Some(digest);

    let bytes = request.read_body(most).await?;
    if bytes.is_empty() {
        let expected = "at least one byte";
        let mut problem = Problem::new(Code::EmptyDocument, format!("expected {expected}"));
        problem.body.errors.push(Fault::at("", expected));
        return Err(problem);
    }
    let length = bytes.len();
    let (bytes, found) = blocking(move || {
        let found = Digest::of(&bytes);
        Ok((bytes, found))
    })
    .await?;
    if found != digest {
        let mut problem =
            Problem::new(Code::DigestDiffers, format!("the body has the digest {found}"));
        problem.body.errors.push(Fault::at("", format!("bytes with the digest {digest}")));
        return Err(problem);
    }
    let answer = keep(&context.store, &context.clock, digest, bytes).await?;
    let (status, result) = match answer {
        DocumentAnswer::TooMany => return Err(too_many()),
        DocumentAnswer::Stored => (StatusCode::CREATED, Acceptance::Stored),
        DocumentAnswer::Duplicate => (StatusCode::OK, Acceptance::Duplicate),
    };
    request.log_fields.result = Some(result);
    let (sha256, result) = (digest.to_string(), result.into());
    Reply::new(status, &api::DocumentAnswer { sha256, bytes: length, result })
}
