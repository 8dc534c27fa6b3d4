//! `sign`: the headers of a signed webhook, for curl.

use std::collections::BTreeMap;

use anyhow::Context as _;

use super::{Context, Failure, SignArguments};
use crate::clock::Clock;
use crate::config::Secret;
use crate::domain::id::{Digest, WebhookId};
use crate::http::signature::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign};

pub(super) fn run(context: &Context, arguments: SignArguments) -> Result<(), Failure> {
    let SignArguments { sender, id, document, file } = arguments;
    let config = context.load()?;
    let known = config.sender(&sender).transpose()?;
    let secret = known.and_then(|sender| sender.secrets.into_iter().next()).ok_or_else(|| {
        let known: Vec<&str> = config.webhook.senders.keys().map(AsRef::as_ref).collect();
        let known = known.join(", ");
        anyhow::anyhow!("no sender {sender} is configured; there are {known}")
    })?;
    let bytes = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let payload = if document { Digest::of(&bytes).to_string().into_bytes() } else { bytes };
    let headers = signed(&secret, id, &payload)?;
    context.out.show(&headers.iter().cloned().collect::<BTreeMap<_, _>>(), || {
        let lines = headers.map(|(name, value)| format!("{name}: {value}"));
        lines.join("\n")
    })
}

/// The headers that sign this payload, now.
pub(super) fn signed(
    secret: &Secret,
    id: Option<WebhookId>,
    payload: &[u8],
) -> anyhow::Result<[(&'static str, String); 3]> {
    // Very likely unused; it need not be hard to guess.
    let random = || WebhookId::parse(format!("msg_{:032x}", fastrand::u128(..)));
    let id = id.map_or_else(random, Ok)?;
    let timestamp = Clock::system().now().timestamp();
    Ok([
        (ID_HEADER, id.to_string()),
        (TIMESTAMP_HEADER, timestamp.to_string()),
        (SIGNATURE_HEADER, sign(secret, &id, timestamp, payload)),
    ])
}
