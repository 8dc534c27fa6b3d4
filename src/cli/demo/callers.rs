//! The demo's portal and billing system: they speak to the daemon as the real ones would.

use std::net::SocketAddr;

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::examples::{Event, document};
use super::home::Home;
use crate::api::DocumentAnswer;
use crate::cli::client::{Client, read};
use crate::cli::sign::signed;
use crate::config::Secret;
use crate::http::client::{Method, Target};

/// Everybody who pushes to the daemon.
#[derive(Debug)]
pub(super) struct Callers {
    webhook: Client,
    portal: Secret,
    billing: Secret,
}

impl Callers {
    pub(super) fn new(home: &Home, webhook: SocketAddr) -> Self {
        let webhook = Client(Target::Tcp(webhook));
        Self { webhook, portal: home.portal.clone(), billing: home.billing.clone() }
    }

    /// Pushes an event as the one who sends events of this kind, the documents that it names before it.
    pub(super) async fn push<T: DeserializeOwned>(&self, event: &Event) -> anyhow::Result<T> {
        let Event { file, body } = event;
        let read: Value = serde_json::from_str(body).with_context(|| *file)?;
        for attached in read["data"]["documents"].as_array().into_iter().flatten() {
            // One without a digest is in the event itself.
            if let (Value::String(digest), Some(name)) =
                (&attached["sha256"], attached["file_name"].as_str())
            {
                let path = format!("/v1/documents/{digest}");
                let (signed, body) = (digest.as_bytes(), document(name)?);
                let sent = self.send(&self.billing, Method::PUT, &path, signed, body);
                let _: DocumentAnswer = sent.await.with_context(|| format!("uploading {name}"))?;
            }
        }
        let is_invoice = read["type"].as_str().is_some_and(|name| name.starts_with("invoice."));
        let secret = if is_invoice { &self.billing } else { &self.portal };
        let body = body.as_bytes();
        let sent = self.send(secret, Method::POST, "/v1/events", body, body);
        sent.await.with_context(|| format!("pushing {file}"))
    }

    async fn send<T: DeserializeOwned>(
        &self,
        secret: &Secret,
        method: Method,
        path: &str,
        payload: &[u8],
        body: &[u8],
    ) -> anyhow::Result<T> {
        let media_type = match method {
            Method::PUT => "application/octet-stream",
            _ => "application/json",
        };
        let signature = signed(secret, None, payload)?;
        let mut headers = vec![("content-type", media_type)];
        headers.extend(signature.iter().map(|(name, value)| (*name, value.as_str())));
        let answer = self.webhook.exchange(method, path, &headers, body.to_owned()).await?;
        Ok(read(answer)?.value)
    }
}
