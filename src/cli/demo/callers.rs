//! The demo's portal, billing system and operator: each speaks to the daemon as the real one would.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::daemon::{Daemon, Home};
use super::examples::{Document, Event};
use crate::api::DocumentAnswer;
use crate::clock::Clock;
use crate::config::Secret;
use crate::domain::id::WebhookId;
use crate::http::client::{Method, Target, request};
use crate::http::signature::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign};

/// How long the daemon has for an answer.
const TIME_OUT: Duration = Duration::from_secs(20);

/// An event, as far as it is read.
#[derive(Deserialize)]
struct Typed {
    r#type: String,
}

/// Everybody who talks to the daemon.
#[derive(Debug)]
pub(super) struct Callers {
    webhook: Target,
    admin: Target,
    portal: Secret,
    billing: Secret,
}

impl Callers {
    pub(super) fn new(home: &Home, daemon: &Daemon) -> Self {
        Self {
            webhook: Target::Tcp(daemon.webhook),
            admin: Target::Unix(home.socket()),
            portal: home.portal.clone(),
            billing: home.billing.clone(),
        }
    }

    /// Pushes an event as the one who sends events of this kind.
    pub(super) async fn push<T: DeserializeOwned>(&self, event: &Event) -> anyhow::Result<T> {
        let Typed { r#type } =
            serde_json::from_str(event.body).context("an example has no type")?;
        let secret = if r#type.starts_with("invoice.") { &self.billing } else { &self.portal };
        let bytes = event.body.as_bytes();
        self.send_signed(secret, Method::POST, "/v1/events", "application/json", bytes, bytes)
            .await
            .with_context(|| format!("pushing {}", event.file))
    }

    /// Uploads a document as the billing system. What is signed is its digest.
    pub(super) async fn upload(&self, document: &Document) -> anyhow::Result<DocumentAnswer> {
        let digest = document.digest().to_string();
        let path = format!("/v1/documents/{digest}");
        self.send_signed(
            &self.billing,
            Method::PUT,
            &path,
            "application/octet-stream",
            digest.as_bytes(),
            document.bytes,
        )
        .await
        .with_context(|| format!("uploading {}", document.file))
    }

    /// Asks as an operator.
    pub(super) async fn ask<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        send(&self.admin, Method::GET, path, &[], Vec::new())
            .await
            .with_context(|| format!("asking for {path}"))
    }

    /// Acts as an operator.
    pub(super) async fn operate<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let headers = [("content-type", "application/json")];
        send(&self.admin, Method::POST, path, &headers, serde_json::to_vec(body)?)
            .await
            .with_context(|| format!("posting to {path}"))
    }

    async fn send_signed<T: DeserializeOwned>(
        &self,
        secret: &Secret,
        method: Method,
        path: &str,
        media_type: &str,
        payload: &[u8],
        body: &[u8],
    ) -> anyhow::Result<T> {
        let id = WebhookId::parse(format!("demo_{:016x}", fastrand::u64(..)))
            .map_err(|invalid| anyhow::anyhow!("a webhook-id: {invalid}"))?;
        let timestamp = Clock::system().now().timestamp();
        let signature = sign(secret, &id, timestamp, payload);
        let headers = [
            ("content-type", media_type),
            (ID_HEADER, id.as_str()),
            (TIMESTAMP_HEADER, &timestamp.to_string()),
            (SIGNATURE_HEADER, &signature),
        ];
        send(&self.webhook, method, path, &headers, body.to_owned()).await
    }
}

/// What is answered, which must be a success.
async fn send<T: DeserializeOwned>(
    target: &Target,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> anyhow::Result<T> {
    let answer = request(target, method, path, headers, body, TIME_OUT).await?;
    if !answer.status.is_success() {
        let body = String::from_utf8_lossy(&answer.body);
        bail!("the daemon answered {}: {body}", answer.status);
    }
    serde_json::from_slice(&answer.body).context("the daemon's answer cannot be read")
}
