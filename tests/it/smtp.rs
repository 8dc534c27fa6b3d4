//! The connection to a relay: what goes over the wire, and what its answers come to.

// Tells clippy that helpers belong to tests as well.
#![cfg(test)]

mod faults;
mod opening;

use std::time::Duration;

use invoice_router::config::{Security, SmtpTimeouts};
use invoice_router::domain::address::{EmailAddress, MessageId};
use invoice_router::domain::delivery::{EnhancedCode, Reply, Stage, Verdict};
use invoice_router::mail::message::Message;
use invoice_router::mail::outcome::{Failed, Failure};
use invoice_router::mail::transport::{
    BegunMessage, Connection, SmtpSettings, SmtpTransport, Transport,
};

use crate::scripted_smtp::{Script, ScriptedRelay};

const MESSAGE: &[u8] = b"Subject: a\r\n\r\ntext\r\n";
/// Long enough never to end while a relay does what it should.
const LONG: Duration = Duration::from_secs(20);

fn settings(relay: &ScriptedRelay) -> SmtpSettings {
    SmtpSettings {
        host: "127.0.0.1".to_owned(),
        port: relay.port(),
        security: Security::None,
        credentials: None,
        ca: None,
        helo_name: "client.example".to_owned(),
        timeouts: timeouts(LONG),
    }
}

pub(crate) fn timeouts(limit: Duration) -> SmtpTimeouts {
    SmtpTimeouts {
        connect: limit,
        tls: limit,
        greeting: limit,
        ehlo: limit,
        auth: limit,
        mail: limit,
        rcpt: limit,
        data: limit,
        body: limit,
        final_dot: limit,
        idle: limit,
    }
}

/// A connection as long as it can be used, or the message that was begun on it.
#[derive(Debug)]
struct Session {
    connection: Option<Connection>,
    begun: Option<BegunMessage>,
}

impl Session {
    fn is_usable(&self) -> bool {
        self.connection.is_some()
    }

    async fn is_alive(&mut self) -> bool {
        if let Some(connection) = self.connection.take() {
            self.connection = connection.if_alive().await;
        }
        self.is_usable()
    }

    async fn begin(&mut self, octets: usize) -> Result<(), Failure> {
        let connection = self.connection.take().expect("a connection that can be used");
        let from = EmailAddress::parse("rechnung@haus.example").unwrap();
        let to = EmailAddress::parse("erika@muster.example").unwrap();
        match connection.begin(&from, &to, u64::try_from(octets).unwrap()).await {
            Ok(begun) => self.begun = Some(begun),
            Err(failed) => return Err(self.take_back(failed)),
        }
        Ok(())
    }

    async fn finish(&mut self, message: &[u8]) -> Result<Reply, Failure> {
        let begun = self.begun.take().expect("a message that was begun");
        match begun.finish(&message_of(message)).await {
            Ok((reply, connection)) => {
                self.connection = Some(connection);
                Ok(reply)
            }
            Err(failed) => Err(self.take_back(failed)),
        }
    }

    async fn quit(self) {
        self.connection.expect("a connection that can be used").quit().await;
    }

    fn take_back(&mut self, failed: Failed) -> Failure {
        self.connection = failed.connection;
        failed.failure
    }
}

async fn open(settings: SmtpSettings) -> Result<Session, Failure> {
    let transport = Transport::Smtp(SmtpTransport::new(settings).unwrap());
    let connection = Some(transport.connect().await?);
    Ok(Session { connection, begun: None })
}

async fn connected(relay: &ScriptedRelay) -> Session {
    open(settings(relay)).await.unwrap()
}

/// Sends a message to a relay with this script, and leaves; the reply, and what the relay heard.
async fn sent(script: Script, message: &[u8]) -> (Reply, Vec<String>) {
    let relay = ScriptedRelay::start([script]).await;
    let reply = send(&mut connected(&relay).await, message).await.unwrap();
    (reply, relay.heard().await.concat())
}

async fn send(session: &mut Session, message: &[u8]) -> Result<Reply, Failure> {
    session.begin(message.len()).await?;
    session.finish(message).await
}

fn message_of(bytes: &[u8]) -> Message {
    let id = MessageId::parse("1@haus.example").unwrap();
    Message::parse(bytes.to_vec(), id, bytes.len()).unwrap()
}

#[tokio::test]
async fn a_message_is_handed_over_and_the_relay_is_left_politely() {
    let script = Script::greeted(&[]).accept().hear("QUIT").say("221 bye");
    let relay = ScriptedRelay::start([script]).await;
    let mut connection = connected(&relay).await;
    let reply = send(&mut connection, MESSAGE).await.unwrap();
    assert_eq!(
        reply,
        Reply { code: 250, enhanced: Some(EnhancedCode(2, 0, 0)), text: "queued as 1".to_owned() }
    );
    assert!(connection.is_usable());
    connection.quit().await;
    let heard = relay.heard().await;
    assert_eq!(heard[0][4], "Subject: a\r\n\r\ntext\r\n.\r\n");
}

#[tokio::test]
async fn one_connection_carries_several_messages() {
    let script = (0..5).fold(Script::greeted(&[]), |script, _| script.accept());
    let relay = ScriptedRelay::start([script]).await;
    let mut connection = connected(&relay).await;
    for number in 0..5 {
        assert!(connection.is_alive().await);
        let message = format!("Subject: {number}\r\n\r\ntext\r\n");
        send(&mut connection, message.as_bytes()).await.unwrap();
    }
    drop(connection);
    let heard = relay.heard().await.concat();
    for number in 0..5 {
        let message = format!("Subject: {number}\r\n\r\ntext\r\n.\r\n");
        assert_eq!(heard.iter().filter(|heard| **heard == message).count(), 1);
    }
}

#[tokio::test]
async fn dots_at_line_starts_arrive_as_they_were_and_end_nothing() {
    let message = b"a: b\r\n\r\n.\r\n..\r\n.c\r\n";
    let (_, heard) = sent(Script::greeted(&[]).accept(), message).await;
    assert_eq!(heard[4], "a: b\r\n\r\n..\r\n...\r\n..c\r\n.\r\n");
}

#[tokio::test]
async fn a_message_of_many_blocks_arrives_whole() {
    let message = b"0123456789\r\n".repeat(50_000);
    let (_, heard) = sent(Script::greeted(&[]).accept(), &message).await;
    assert_eq!(heard[4].len(), message.len() + 3);
}

#[tokio::test]
async fn with_pipelining_the_envelope_is_sent_without_waiting() {
    let script = Script::greeted(&["PIPELINING"])
        .envelope_at_once()
        .say("250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go")
        .message()
        .say("250 2.0.0 queued")
        .envelope_at_once()
        .say("250 ok")
        .say("251 will forward")
        .say("354 go")
        .message()
        .say("250 queued");
    let relay = ScriptedRelay::start([script]).await;
    let mut connection = connected(&relay).await;
    send(&mut connection, MESSAGE).await.unwrap();
    send(&mut connection, MESSAGE).await.unwrap();
    drop(connection);
    relay.heard().await;
}

#[tokio::test]
async fn without_pipelining_each_command_waits_for_its_answer() {
    // The relay would not answer before it has read a command, and refuses more at once.
    let script = Script::greeted(&["X-PIPELINING"])
        .hear("MAIL")
        .say("250 ok")
        .hear("RCPT")
        .say("550 5.1.1 no such user");
    let relay = ScriptedRelay::start([script]).await;
    let mut connection = connected(&relay).await;
    let failure = connection.begin(10).await.unwrap_err();
    assert_eq!(failure.stage, Stage::Rcpt);
    drop(connection);
    let heard = relay.heard().await;
    assert!(!heard[0].contains(&"DATA".to_owned()), "{heard:?}");
}

#[tokio::test]
async fn the_size_is_announced_where_the_relay_offers_it() {
    for (offer, expected) in [
        ("SIZE 1000", "MAIL FROM:<rechnung@haus.example> SIZE=1000"),
        ("size 0", "MAIL FROM:<rechnung@haus.example> SIZE=1000"),
        ("SIZE", "MAIL FROM:<rechnung@haus.example> SIZE=1000"),
        ("8BITMIME", "MAIL FROM:<rechnung@haus.example>"),
    ] {
        let script = Script::greeted(&[offer, "HELP"]).envelope();
        let relay = ScriptedRelay::start([script]).await;
        let mut connection = connected(&relay).await;
        connection.begin(1000).await.unwrap();
        drop(connection);
        assert_eq!(relay.heard().await[0][1], expected, "{offer}");
    }
}

#[tokio::test]
async fn a_message_beyond_the_relays_size_is_refused_before_anything_is_sent() {
    let relay = ScriptedRelay::start([Script::greeted(&["SIZE 1000"]).accept()]).await;
    let mut connection = connected(&relay).await;
    let failure = connection.begin(1001).await.unwrap_err();
    assert_eq!(failure.verdict(), Verdict::MessageRefused);
    assert!(connection.is_usable(), "nothing was sent");
    send(&mut connection, MESSAGE).await.unwrap();
    drop(connection);
    relay.heard().await;
}

#[tokio::test]
async fn after_a_refused_recipient_the_connection_is_reset_and_used_again() {
    let refuse_in_turn = Script::greeted(&[])
        .hear("MAIL")
        .say("250 ok")
        .hear("RCPT")
        .say("550-5.1.1 no such\r\n550 5.1.1 user")
        .hear("RSET")
        .say("250 ok")
        .accept();
    let refuse_at_once = Script::greeted(&["PIPELINING"])
        .envelope_at_once()
        .say("250 ok\r\n550 5.1.1 no such user\r\n503 5.5.1 no recipients")
        .hear("RSET")
        .say("250 ok")
        .envelope_at_once()
        .say("250 ok\r\n250 ok\r\n354 go")
        .message()
        .say("250 queued");
    for script in [refuse_in_turn, refuse_at_once] {
        let relay = ScriptedRelay::start([script]).await;
        let mut connection = connected(&relay).await;
        let failure = connection.begin(10).await.unwrap_err();
        assert_eq!(failure.stage, Stage::Rcpt);
        assert_eq!(failure.verdict(), Verdict::AddressRejected);
        assert_eq!(failure.reply.unwrap().text, "no such user");
        send(&mut connection, MESSAGE).await.unwrap();
        drop(connection);
        relay.heard().await;
    }
}

#[tokio::test]
async fn after_a_refused_message_the_connection_is_reset_and_used_again() {
    let script = Script::greeted(&[])
        .envelope()
        .message()
        .say("554 5.7.1 looks like spam")
        .hear("RSET")
        .say("250 ok")
        .accept();
    let relay = ScriptedRelay::start([script]).await;
    let mut connection = connected(&relay).await;
    let failure = send(&mut connection, MESSAGE).await.unwrap_err();
    assert_eq!(failure.stage, Stage::FinalDot);
    assert_eq!(failure.verdict(), Verdict::MessageRefused);
    assert!(connection.is_usable());
    send(&mut connection, MESSAGE).await.unwrap();
    drop(connection);
    relay.heard().await;
}

#[tokio::test]
async fn replies_as_relays_really_send_them_are_understood() {
    let lines = "250-2.0.0 one\r\n250 2.0.0 two\r\n";
    let greeted = Script::new()
        .say_raw(b"220\n")
        .hear("EHLO")
        .say_raw(b"250\r\n")
        .hear("MAIL")
        .say_raw(b"250\n")
        .hear("RCPT")
        .say_raw(b"250 gepr\xfcft\r\n")
        .hear("DATA")
        .say_raw(b"354\r\n")
        .message();
    // Each octet in a packet of its own.
    let script = lines.as_bytes().chunks(1).fold(greeted, Script::say_raw);
    assert_eq!(sent(script, MESSAGE).await.0.text, "one two");
}

#[tokio::test]
async fn a_closed_or_closing_idle_connection_is_noticed_before_it_is_used() {
    let goodbye = Script::greeted(&[]).accept().say("421 4.4.2 idle for too long");
    for script in [goodbye.clone(), goodbye.cut()] {
        let relay = ScriptedRelay::start([script]).await;
        let mut connection = connected(&relay).await;
        send(&mut connection, MESSAGE).await.unwrap();
        while connection.is_alive().await {}
        assert!(!connection.is_usable());
        relay.heard().await;
    }
    let relay = ScriptedRelay::start([Script::greeted(&[]).accept().cut()]).await;
    let mut connection = connected(&relay).await;
    send(&mut connection, MESSAGE).await.unwrap();
    relay.heard().await;
    assert!(!connection.is_alive().await, "seen at the first look");
}
