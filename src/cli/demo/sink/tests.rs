use std::fs;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::*;

const ENVELOPE: &str = "EHLO client.example\r\nMAIL FROM:<a@client.example> SIZE=20\r\n\
                        RCPT TO:<b@muster.example>\r\nDATA\r\n";

struct Client(BufReader<TcpStream>);

impl Client {
    /// Connects and reads the greeting.
    async fn of(sink: &Sink) -> Self {
        let stream = TcpStream::connect(sink.address()).await.unwrap();
        let mut client = Self(BufReader::new(stream));
        assert_eq!(client.reply().await, "220");
        client
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).await.unwrap();
    }

    /// The code of the next reply, its further lines read as well; empty at the end.
    async fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).await.unwrap();
            if line.as_bytes().get(3) != Some(&b'-') {
                return line.chars().take(3).collect();
            }
        }
    }

    async fn replies(&mut self, commands: &str, count: usize) -> Vec<String> {
        self.send(commands.as_bytes()).await;
        let mut codes = Vec::new();
        for _ in 0..count {
            codes.push(self.reply().await);
        }
        codes
    }
}

#[tokio::test]
async fn pipelined_messages_over_one_connection_are_all_kept_as_sent() {
    let directory = tempfile::tempdir().unwrap();
    let sink = Sink::start(Some(directory.path().to_owned())).await.unwrap();
    let mut client = Client::of(&sink).await;

    let codes = client.replies(ENVELOPE, 4).await;
    assert_eq!(codes, ["250", "250", "250", "354"]);
    let codes = client
        .replies(
            "Subject: 1\r\n\r\n..one dot\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<c@muster.example>\r\n\
             RCPT TO:<d@muster.example>\r\nDATA\r\n",
            5,
        )
        .await;
    assert_eq!(codes, ["250", "250", "250", "250", "354"]);
    assert_eq!(client.replies(".\r\nQUIT\r\n", 2).await, ["250", "221"]);

    assert!(sink.wait_for(2, Duration::from_secs(30)).await);
    let [first, second] = &sink.messages()[..] else {
        panic!("{:?}", sink.messages());
    };
    assert_eq!(first.sender, "a@client.example");
    assert_eq!(first.recipients, ["b@muster.example"]);
    assert_eq!(
        fs::read_to_string(first.file.as_ref().unwrap()).unwrap(),
        "Return-Path: <a@client.example>\r\nDelivered-To: b@muster.example\r\n\
         Subject: 1\r\n\r\n.one dot\r\n"
    );
    assert_eq!(first.file.as_ref().unwrap().file_name().unwrap(), "0001-b@muster.example.eml");
    assert_eq!(second.recipients, ["c@muster.example", "d@muster.example"]);
    assert_eq!((second.bytes, second.connection), (0, 1));
}

#[tokio::test]
async fn without_a_directory_only_envelopes_are_kept() {
    let sink = Sink::start(None).await.unwrap();
    let mut client = Client::of(&sink).await;

    client.replies(ENVELOPE, 4).await;
    assert_eq!(client.replies("Subject: 1\r\n.\r\n", 1).await, ["250"]);

    assert_eq!(sink.count(), 1);
    assert_eq!(sink.messages()[0].file, None);
    assert_eq!(sink.messages()[0].bytes, "Subject: 1\r\n".len());
}

#[tokio::test]
async fn what_was_not_ended_with_a_dot_is_not_received() {
    let sink = Sink::start(None).await.unwrap();
    let mut client = Client::of(&sink).await;

    client.replies(ENVELOPE, 4).await;
    client.send(b"Subject: 1\r\n").await;
    client.0.get_mut().shutdown().await.unwrap();
    client.0.read_to_end(&mut Vec::new()).await.unwrap();

    assert_eq!(sink.count(), 0);
}

#[tokio::test]
async fn commands_out_of_order_or_misspelt_are_refused() {
    let sink = Sink::start(None).await.unwrap();
    let mut client = Client::of(&sink).await;
    for (command, code) in [
        ("MAIL FROM:<a@client.example>", "503"),
        ("EHLO", "501"),
        ("EHLO client.example", "250"),
        ("DATA", "503"),
        ("RCPT TO:<b@muster.example>", "503"),
        ("MAIL FROM: a@client.example", "501"),
        ("MAIL FROM:<a@client.example> SIZE=99999999999", "552"),
        ("MAIL FROM:<a@client.example> FAST", "555"),
        ("mail from:<a@client.example> body=8bitmime", "250"),
        ("MAIL FROM:<a@client.example>", "503"),
        ("RCPT TO:<b>", "501"),
        ("RCPT TO:<b c@muster.example>", "501"),
        ("RSET", "250"),
        ("DATA", "503"),
        ("NOOP", "250"),
        ("SEND", "500"),
    ] {
        let codes = client.replies(&format!("{command}\r\n"), 1).await;
        assert_eq!(codes, [code], "{command}");
    }
}

#[tokio::test]
async fn lines_that_smtp_does_not_allow_end_the_connection() {
    let long = "x".repeat(1001);
    for (text, code) in [("a\nb\r\n.\r\n", "521"), (long.as_str(), "500")] {
        let sink = Sink::start(None).await.unwrap();
        let mut client = Client::of(&sink).await;

        client.replies(ENVELOPE, 4).await;
        assert_eq!(client.replies(text, 2).await, [code, ""]);

        assert_eq!(sink.count(), 0);
    }
}

#[tokio::test]
async fn waiting_for_more_than_comes_ends() {
    let sink = Sink::start(None).await.unwrap();
    assert!(!sink.wait_for(1, Duration::from_millis(1)).await);
    assert!(sink.wait_for(0, Duration::ZERO).await);
}
