//! A mail server that receives everything and delivers nothing: for the demo, tests and measurements.
//!
//! It speaks real SMTP (RFC 5321, with PIPELINING, SIZE, 8BITMIME and ENHANCEDSTATUSCODES) on a free
//! port of the loopback interface, and is strict: bare line feeds, lines that are too long and commands out
//! of order are refused, so that what it takes any server takes. A message counts as received, and is
//! answered with 250, only after its file is written. Without a directory only the envelopes are kept,
//! so that memory stays small however many messages come. A [`Script`] makes it fail where a test wants it to.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::io::{BufReader, BufWriter};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Largest message, as the answer to EHLO says.
const MESSAGE_BYTES: usize = 64 * 1024 * 1024;
/// Longest line of a message with its CRLF (RFC 5321, section 4.5.3.1.6), and a doubled dot.
const LINE_BYTES: u64 = 1001;
/// Longest command line with its CRLF: the 512 of RFC 5321 and room for the parameters of extensions.
const COMMAND_BYTES: u64 = 1024;
/// Size of the read buffer; a small mail with its envelope is read at once.
const BUFFER_BYTES: usize = 64 * 1024;
const GO_AHEAD: &str = "354 end with <CRLF>.<CRLF>";
const EXTENSIONS: &str = "250-sink.invalid\r\n250-PIPELINING\r\n250-SIZE 67108864\r\n250-8BITMIME\r\n\
                          250 ENHANCEDSTATUSCODES";

/// A point of a session at which a [`Script`] is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment<'a> {
    /// Before the greeting.
    Connected,
    /// MAIL came.
    Mail,
    /// RCPT came, with this address.
    Rcpt(&'a str),
    /// DATA came.
    Data,
    /// The first line of a message to these recipients came. Nothing more is read while the script waits here.
    Streaming(&'a [String]),
    /// The message came, whole and without doubled dots.
    FinalDot(&'a [String], &'a [u8]),
    /// The connection ended within a message.
    CutOff,
    /// QUIT came.
    Quit,
}

/// What the server does at a [`Moment`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// Says yes.
    Accept,
    /// Says this, which refuses what it was asked for.
    Say(&'static str),
    /// Closes the connection.
    Cut,
}

/// What the server does other than accepting.
pub trait Script: Send + Sync + 'static {
    /// Says what to do on the connection of this number, counted from 1. May wait.
    fn react(&self, connection: usize, at: Moment<'_>) -> impl Future<Output = Reaction> + Send;
}

/// Accepts everything.
struct Accepting;

impl Script for Accepting {
    async fn react(&self, _: usize, _: Moment<'_>) -> Reaction {
        Reaction::Accept
    }
}

/// A running mail server; it stops when dropped.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    received: watch::Receiver<Vec<Received>>,
    server: JoinHandle<()>,
}

/// The envelope of a message that was received, and where the message lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The address of MAIL FROM; empty for a bounce.
    pub sender: String,
    /// The addresses of RCPT TO, in their order.
    pub recipients: Vec<String>,
    /// Size of the message without its final dot.
    pub bytes: usize,
    /// The message, below the headers `Return-Path` and `Delivered-To` that a delivering server adds;
    /// if messages are kept.
    pub file: Option<PathBuf>,
}

impl Sink {
    /// Listens on a free port of the loopback interface. With a directory, which must exist, each
    /// message is kept there as an `.eml` file.
    pub async fn start(directory: Option<PathBuf>) -> io::Result<Self> {
        Self::scripted(directory, Accepting).await
    }

    /// As [`Self::start`], with a script.
    pub async fn scripted(directory: Option<PathBuf>, script: impl Script) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let received = watch::Sender::default();
        let subscribed = received.subscribe();
        let files = AtomicUsize::new(0);
        let mailbox = Arc::new(Mailbox { directory, files, received, script });
        Ok(Self { address, received: subscribed, server: tokio::spawn(serve(listener, mailbox)) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has been received so far, in order.
    #[must_use]
    pub fn messages(&self) -> Vec<Received> {
        self.received.borrow().clone()
    }

    /// How many messages have been received so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.received.borrow().len()
    }

    /// Waits until at least `count` messages have been received; false if `time_out` came first.
    pub async fn wait_for(&self, count: usize, time_out: Duration) -> bool {
        let mut received = self.received.clone();
        let enough = received.wait_for(|received| received.len() >= count);
        matches!(tokio::time::timeout(time_out, enough).await, Ok(Ok(_)))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve<S: Script>(listener: TcpListener, mailbox: Arc<Mailbox<S>>) {
    let mut sessions = JoinSet::new();
    let mut connection = 0;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // A client that is gone before it is accepted wants nothing from us.
                let Ok((stream, _)) = accepted else { continue };
                connection += 1;
                sessions.spawn(Session::new(Arc::clone(&mailbox), connection, stream).run());
            }
            Some(_) = sessions.join_next() => {}
        }
    }
}

/// Where messages go.
struct Mailbox<S> {
    directory: Option<PathBuf>,
    /// Files begun, which number the messages.
    files: AtomicUsize,
    received: watch::Sender<Vec<Received>>,
    script: S,
}

impl<S> Mailbox<S> {
    /// Keeps a message; once this returns it has been received.
    async fn deliver(
        &self,
        sender: String,
        recipients: Vec<String>,
        message: &[u8],
    ) -> io::Result<()> {
        let mut file = None;
        if let Some(directory) = &self.directory {
            // A number for the order, and the first recipient to tell files apart at a glance.
            let number = self.files.fetch_add(1, Ordering::Relaxed) + 1;
            let is_plain = |c: &char| c.is_ascii_alphanumeric() || "@.-_+".contains(*c);
            let recipient: String = recipients[0].chars().filter(is_plain).take(64).collect();
            let path = directory.join(format!("{number:04}-{recipient}.eml"));
            // As a delivering server leaves it, with its envelope on top (RFC 5321, section 4.4).
            let to = recipients.join("\r\nDelivered-To: ");
            let envelope = format!("Return-Path: <{sender}>\r\nDelivered-To: {to}\r\n");
            tokio::fs::write(&path, [envelope.as_bytes(), message].concat()).await?;
            file = Some(path);
        }
        let received = Received { sender, recipients, bytes: message.len(), file };
        self.received.send_modify(|all| all.push(received));
        Ok(())
    }
}

/// One connection: commands in, replies out.
struct Session<S> {
    mailbox: Arc<Mailbox<S>>,
    connection: usize,
    reader: BufReader<OwnedReadHalf>,
    writer: BufWriter<OwnedWriteHalf>,
    greeted: bool,
    sender: Option<String>,
    recipients: Vec<String>,
}

/// Why a session ends.
enum End {
    /// The connection is cut, or was.
    Gone,
    /// With this reply.
    With(&'static str),
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

impl<S: Script> Session<S> {
    fn new(mailbox: Arc<Mailbox<S>>, connection: usize, stream: TcpStream) -> Self {
        // Without it, it is merely slower.
        drop(stream.set_nodelay(true));
        let (reader, writer) = stream.into_split();
        Self {
            mailbox,
            connection,
            reader: BufReader::with_capacity(BUFFER_BYTES, reader),
            writer: BufWriter::new(writer),
            greeted: false,
            sender: None,
            recipients: Vec::new(),
        }
    }

    /// Serves the connection to its end, which is the client's to notice.
    async fn run(mut self) {
        if let Err(End::With(words)) = self.converse().await {
            drop(self.say(words).await);
            drop(self.writer.flush().await);
        }
    }

    async fn converse(&mut self) -> Result<(), End> {
        let greeting = self.ask(Moment::Connected, "220 sink.invalid ESMTP").await?;
        self.say(greeting).await?;
        let mut line = Vec::new();
        loop {
            line.clear();
            self.line(COMMAND_BYTES, &mut line).await?;
            let reply = self.obey(&String::from_utf8_lossy(&line)).await?;
            self.say(reply).await?;
        }
    }

    /// The reply to a command.
    async fn obey(&mut self, line: &str) -> Result<&'static str, End> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let path = |keyword| path_of(rest, keyword);
        Ok(match verb.to_ascii_uppercase().as_str() {
            "EHLO" | "HELO" if rest.trim().is_empty() => "501 5.5.4 a name is expected",
            verb @ ("EHLO" | "HELO") => {
                self.greeted = true;
                self.reset();
                if verb == "EHLO" { EXTENSIONS } else { "250 sink.invalid" }
            }
            "MAIL" if !self.greeted => "503 5.5.1 EHLO comes first",
            "MAIL" if self.sender.is_some() => "503 5.5.1 one MAIL a message",
            "MAIL" => match path("FROM:") {
                Some(path) => {
                    let reply = self.ask(Moment::Mail, "250 2.1.0 sender ok").await?;
                    self.sender = reply.starts_with('2').then_some(path);
                    reply
                }
                None => "501 5.5.4 expected FROM:<address>",
            },
            "RCPT" if self.sender.is_none() => "503 5.5.1 MAIL comes first",
            "RCPT" => match path("TO:") {
                Some(path) if path.contains('@') => {
                    let reply = self.ask(Moment::Rcpt(&path), "250 2.1.5 recipient ok").await?;
                    self.recipients.extend(reply.starts_with('2').then_some(path));
                    reply
                }
                Some(_) => "501 5.1.3 expected an address with a domain",
                None => "501 5.5.4 expected TO:<address>",
            },
            "DATA" if self.recipients.is_empty() => "503 5.5.1 RCPT comes first",
            "DATA" => match self.ask(Moment::Data, GO_AHEAD).await? {
                GO_AHEAD => {
                    self.say(GO_AHEAD).await?;
                    self.message().await?
                }
                refused => refused,
            },
            "RSET" => {
                self.reset();
                "250 2.0.0 ok"
            }
            "NOOP" => "250 2.0.0 ok",
            "QUIT" => {
                let reply = self.ask(Moment::Quit, "221 2.0.0 bye").await?;
                return Err(End::With(reply));
            }
            _ => "500 5.5.1 unknown command",
        })
    }

    fn reset(&mut self) {
        self.sender = None;
        self.recipients.clear();
    }

    /// Reads a message up to its final dot, and undoes the doubling of leading dots. Returns the reply.
    async fn message(&mut self) -> Result<&'static str, End> {
        let mut message = Vec::new();
        let mut is_streaming = false;
        loop {
            let start = message.len();
            if let Err(end) = self.line(LINE_BYTES, &mut message).await {
                self.ask(Moment::CutOff, "").await?;
                return Err(end);
            }
            if !std::mem::replace(&mut is_streaming, true) {
                let early = self.ask(Moment::Streaming(&self.recipients), "").await?;
                if !early.is_empty() {
                    self.say(early).await?;
                    self.writer.flush().await?;
                }
            }
            match &message[start..] {
                b"." => {
                    message.truncate(start);
                    break;
                }
                [b'.', ..] => drop(message.remove(start)),
                _ => {}
            }
            message.extend_from_slice(b"\r\n");
            if message.len() > MESSAGE_BYTES {
                return Err(End::With("552 5.3.4 message too large"));
            }
        }
        let dot = Moment::FinalDot(&self.recipients, &message);
        let reply = self.ask(dot, "250 2.0.0 queued").await?;
        let sender = self.sender.take().unwrap_or_default();
        let recipients = std::mem::take(&mut self.recipients);
        if reply.starts_with('2')
            && self.mailbox.deliver(sender, recipients, &message).await.is_err()
        {
            return Ok("452 4.3.1 the message could not be written");
        }
        Ok(reply)
    }

    /// The reply that the script gives at this point: `usual`, unless it wants another.
    async fn ask(&self, at: Moment<'_>, usual: &'static str) -> Result<&'static str, End> {
        match self.mailbox.script.react(self.connection, at).await {
            Reaction::Accept => Ok(usual),
            Reaction::Say(words) => Ok(words),
            Reaction::Cut => Err(End::Gone),
        }
    }

    async fn say(&mut self, words: &str) -> io::Result<()> {
        self.writer.write_all(words.as_bytes()).await?;
        self.writer.write_all(b"\r\n").await
    }

    /// Appends the next line, without its CRLF. Replies to pipelined commands leave together, as RFC 2920 wants: when
    /// nothing more lies in the buffer.
    async fn line(&mut self, limit_bytes: u64, to: &mut Vec<u8>) -> Result<(), End> {
        if self.reader.buffer().is_empty() {
            self.writer.flush().await?;
        }
        let start = to.len();
        let mut limited = (&mut self.reader).take(limit_bytes);
        limited.read_until(b'\n', to).await?;
        match &to[start..] {
            [.., b'\r', b'\n'] => {
                to.truncate(to.len() - 2);
                Ok(())
            }
            [.., b'\n'] => Err(End::With("521 5.5.2 bare line feed")),
            _ if limited.limit() == 0 => Err(End::With("500 5.5.2 line too long")),
            _ => Err(End::Gone),
        }
    }
}

/// The address of `FROM:<address>` or `TO:<address>`; parameters may follow.
fn path_of(rest: &str, keyword: &str) -> Option<String> {
    let (named, path) = rest.split_at_checked(keyword.len())?;
    let (address, _) = path.strip_prefix('<')?.split_once('>')?;
    let is_plain = !address.contains(|c: char| c.is_whitespace() || c.is_control() || c == '<');
    (is_plain && named.eq_ignore_ascii_case(keyword)).then(|| address.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ENVELOPE: &str = "EHLO client.example\r\nMAIL FROM:<a@client.example> SIZE=20\r\n\
                            RCPT TO:<b@muster.example>\r\nDATA\r\n";

    /// The codes of the replies to what is sent at once; empty at the end of the connection.
    async fn replies(client: &mut BufReader<TcpStream>, sent: &str, count: usize) -> Vec<String> {
        client.get_mut().write_all(sent.as_bytes()).await.unwrap();
        let mut codes = Vec::new();
        while codes.len() < count {
            let mut line = String::new();
            client.read_line(&mut line).await.unwrap();
            if line.as_bytes().get(3) != Some(&b'-') {
                codes.push(line.chars().take(3).collect());
            }
        }
        codes
    }

    /// A server, and a client that was greeted.
    async fn connected(directory: Option<PathBuf>) -> (Sink, BufReader<TcpStream>) {
        let sink = Sink::start(directory).await.unwrap();
        let mut client = BufReader::new(TcpStream::connect(sink.address()).await.unwrap());
        assert_eq!(replies(&mut client, "", 1).await, ["220"]);
        (sink, client)
    }

    #[tokio::test]
    async fn pipelined_messages_over_one_connection_are_all_kept_as_sent() {
        let directory = tempfile::tempdir().unwrap();
        let (sink, mut client) = connected(Some(directory.path().to_owned())).await;

        let codes = replies(&mut client, ENVELOPE, 4).await;
        assert_eq!(codes, ["250", "250", "250", "354"]);
        let next = "Subject: 1\r\n\r\n..one dot\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<c@muster.example>\r\n\
                    RCPT TO:<d@muster.example>\r\nDATA\r\n";
        let codes = replies(&mut client, next, 5).await;
        assert_eq!(codes, ["250", "250", "250", "250", "354"]);
        assert_eq!(replies(&mut client, ".\r\nQUIT\r\n", 2).await, ["250", "221"]);

        assert!(sink.wait_for(2, Duration::from_secs(30)).await);
        let [first, second] = &sink.messages()[..] else {
            panic!("{:?}", sink.messages());
        };
        let file = first.file.as_ref().unwrap();
        assert_eq!(
            fs::read_to_string(file).unwrap(),
            "Return-Path: <a@client.example>\r\nDelivered-To: b@muster.example\r\n\
             Subject: 1\r\n\r\n.one dot\r\n"
        );
        assert_eq!(file.file_name().unwrap(), "0001-b@muster.example.eml");
        assert_eq!(
            (&first.sender[..], &first.recipients[0][..]),
            ("a@client.example", "b@muster.example")
        );
        assert_eq!(second.recipients, ["c@muster.example", "d@muster.example"]);
        assert_eq!((&second.sender[..], second.bytes), ("", 0));
    }

    #[tokio::test]
    async fn only_what_smtp_allows_is_received() {
        let long = "x".repeat(1001);
        for (text, ends) in
            [("Subject: 1\r\n.\r\n", "250"), ("a\nb\r\n.\r\n", "521"), (&long, "500")]
        {
            let (sink, mut client) = connected(None).await;
            replies(&mut client, ENVELOPE, 4).await;
            assert_eq!(replies(&mut client, text, 1).await, [ends]);
            assert_eq!(sink.count(), usize::from(ends == "250"));
            assert!(sink.messages().iter().all(|message| message.file.is_none()));
        }
        // Nor is what was not ended with a dot.
        let (sink, mut client) = connected(None).await;
        replies(&mut client, ENVELOPE, 4).await;
        client.get_mut().write_all(b"Subject: 1\r\n").await.unwrap();
        client.get_mut().shutdown().await.unwrap();
        client.read_to_end(&mut Vec::new()).await.unwrap();
        assert_eq!(sink.count(), 0);
        assert!(!sink.wait_for(1, Duration::from_millis(1)).await);
    }

    #[tokio::test]
    async fn commands_out_of_order_or_misspelt_are_refused() {
        let (_sink, mut client) = connected(None).await;
        for (command, code) in [
            ("MAIL FROM:<a@client.example>", "503"),
            ("EHLO", "501"),
            ("EHLO client.example", "250"),
            ("DATA", "503"),
            ("RCPT TO:<b@muster.example>", "503"),
            ("MAIL FROM: a@client.example", "501"),
            ("mail from:<a@client.example> body=8bitmime", "250"),
            ("MAIL FROM:<a@client.example>", "503"),
            ("RCPT TO:<b>", "501"),
            ("RCPT TO:<b c@muster.example>", "501"),
            ("RSET", "250"),
            ("DATA", "503"),
            ("NOOP", "250"),
            ("SEND", "500"),
        ] {
            let codes = replies(&mut client, &format!("{command}\r\n"), 1).await;
            assert_eq!(codes, [code], "{command}");
        }
    }
}
