//! `test-mail`: one mail through the configured transport, without the daemon.

use std::time::Duration;

use anyhow::anyhow;
use serde_json::json;

use super::{Context, Failure};
use crate::app;
use crate::clock::Clock;
use crate::domain::address::{EmailAddress, MessageId};
use crate::mail::compose::test_message;
use crate::mail::outcome::Failure as Relay;

/// Longer than a patient person waits; each step's own time-out is shorter.
const TIME_OUT: Duration = Duration::from_secs(120);

pub(super) async fn run(context: &Context, address: &str) -> Result<(), Failure> {
    let to =
        EmailAddress::parse(address).map_err(|invalid| Failure::Refused(invalid.to_string()))?;
    let config = context.load()?;
    let (transport, brand) = app::outgoing(&config)?;
    let now = Clock::system().now();
    let domain = config.mail.message_id_domain.as_str();
    let message_id = MessageId::parse(&format!("test.{:016x}@{domain}", fastrand::u64(..)))
        .map_err(|invalid| Failure::Failed(anyhow!(invalid)))?;
    let message = test_message(&brand, &to, &message_id, now).map_err(|fault| anyhow!(fault))?;
    let from = config.mail.envelope_from.clone();
    let exchange = async {
        let connection = transport.connect().await?;
        let sent = match connection.begin(&from, &to, message.octets()).await {
            Ok(begun) => begun.finish(&message).await,
            Err(failed) => Err(failed),
        };
        let (sent, connection) = match sent {
            Ok((reply, connection)) => (Ok(reply), Some(connection)),
            Err(failed) => (Err(failed.failure), failed.connection),
        };
        if let Some(connection) = connection {
            connection.quit().await;
        }
        sent
    };
    let sent = tokio::time::timeout(TIME_OUT, exchange)
        .await
        .map_err(|_| anyhow!("{transport}: no answer within {} s", TIME_OUT.as_secs()))?;
    let relay = transport.to_string();
    let reply = sent.map_err(|failure| Failure::Failed(anyhow!(explain(&relay, &failure))))?;
    let value = json!({
        "result": "accepted",
        "relay": relay,
        "message_id": message_id.as_str(),
        "reply": reply.to_string(),
    });
    context
        .out
        .show(&value, || format!("accepted by relay {relay}: {reply}\nMessage-ID: <{message_id}>"))
}

/// Unlike the log, which must not repeat a relay's text, this is for the person who typed the address.
fn explain(relay: &str, failure: &Relay) -> String {
    match &failure.reply {
        Some(reply) => {
            let stage = failure.stage.as_str();
            format!("{relay}: {stage}: the relay answered {reply}")
        }
        None => format!("{relay}: {failure}"),
    }
}
