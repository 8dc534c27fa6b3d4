//! One connection: commands in, replies out.
//!
//! Replies to pipelined commands leave together, as RFC 2920 wants: they are flushed when nothing more
//! lies in the buffer.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::io::{BufReader, BufWriter};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::Mailbox;

/// Name in greeting and replies.
const NAME: &str = "sink.invalid";
/// Largest message.
const MESSAGE_BYTES: usize = 64 * 1024 * 1024;
/// Longest line of a message with its CRLF (RFC 5321, section 4.5.3.1.6).
const LINE_BYTES: u64 = 1000;
/// Longest command line with its CRLF: the 512 of RFC 5321 and room for the parameters of extensions.
const COMMAND_BYTES: u64 = 1024;
/// Most recipients of one message (RFC 5321, section 4.5.3.1.8).
const RECIPIENTS: usize = 100;
/// Size of the read buffer; a small mail with its envelope is read at once.
const BUFFER_BYTES: usize = 64 * 1024;

const LINE_TOO_LONG: &str = "500 5.5.2 line too long";
const BARE_LINE_FEED: &str = "521 5.5.2 bare line feed";

/// What a connection has said so far.
pub(super) struct Session {
    mailbox: Arc<Mailbox>,
    connection: u64,
    greeted: bool,
    sender: Option<String>,
    recipients: Vec<String>,
}

/// What to do after a command.
enum Next {
    /// Answer with this line, and go on.
    Reply(&'static str),
    /// Answer to EHLO.
    Extensions,
    /// Take the message.
    Data,
    /// Answer with this line, and close.
    Close(&'static str),
}

/// A line as it came.
enum Line {
    /// Without its CRLF, at the end of the buffer it was read into.
    Whole,
    /// The peer has closed the connection.
    End,
    /// No line that SMTP allows; the reply says which rule it breaks.
    Refused(&'static str),
}

/// How a message ended.
enum Message {
    Whole(Vec<u8>),
    TooLarge,
    End,
    Refused(&'static str),
}

impl Session {
    pub(super) fn new(mailbox: Arc<Mailbox>, connection: u64) -> Self {
        Self { mailbox, connection, greeted: false, sender: None, recipients: Vec::new() }
    }

    /// Serves the connection to its end.
    pub(super) async fn run(mut self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, reader);
        let mut writer = BufWriter::new(writer);
        reply(&mut writer, &format!("220 {NAME} ESMTP")).await?;
        let mut line = Vec::new();
        loop {
            if reader.buffer().is_empty() {
                writer.flush().await?;
            }
            line.clear();
            let next = match read_line(&mut reader, &mut line, COMMAND_BYTES).await? {
                Line::Whole => self.obey(&String::from_utf8_lossy(&line)),
                Line::End => return Ok(()),
                Line::Refused(why) => Next::Close(why),
            };
            match next {
                Next::Reply(text) => reply(&mut writer, text).await?,
                Next::Extensions => reply(&mut writer, &extensions()).await?,
                Next::Data => {
                    let answer = self.take_message(&mut reader, &mut writer).await?;
                    let Some(answer) = answer else { return Ok(()) };
                    reply(&mut writer, answer).await?;
                    if answer == LINE_TOO_LONG || answer == BARE_LINE_FEED {
                        return writer.flush().await;
                    }
                }
                Next::Close(text) => {
                    reply(&mut writer, text).await?;
                    return writer.flush().await;
                }
            }
        }
    }

    fn obey(&mut self, line: &str) -> Next {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" | "HELO" if rest.trim().is_empty() => {
                Next::Reply("501 5.5.4 a name is expected")
            }
            "EHLO" => {
                self.begin();
                Next::Extensions
            }
            "HELO" => {
                self.begin();
                Next::Reply("250 sink.invalid")
            }
            "MAIL" => self.mail(rest),
            "RCPT" => self.rcpt(rest),
            "DATA" if self.recipients.is_empty() => Next::Reply("503 5.5.1 RCPT comes first"),
            "DATA" => Next::Data,
            "RSET" => {
                self.reset();
                Next::Reply("250 2.0.0 ok")
            }
            "NOOP" => Next::Reply("250 2.0.0 ok"),
            "VRFY" => Next::Reply("252 2.1.5 send something and see"),
            "QUIT" => Next::Close("221 2.0.0 bye"),
            _ => Next::Reply("500 5.5.1 unknown command"),
        }
    }

    fn begin(&mut self) {
        self.greeted = true;
        self.reset();
    }

    fn reset(&mut self) {
        self.sender = None;
        self.recipients.clear();
    }

    fn mail(&mut self, rest: &str) -> Next {
        if !self.greeted {
            return Next::Reply("503 5.5.1 EHLO comes first");
        }
        if self.sender.is_some() {
            return Next::Reply("503 5.5.1 one MAIL a message");
        }
        let Some((path, parameters)) = path_of(rest, "FROM:") else {
            return Next::Reply("501 5.5.4 expected FROM:<address>");
        };
        for parameter in parameters.split_ascii_whitespace() {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name.to_ascii_uppercase().as_str() {
                "SIZE" => match value.parse::<usize>() {
                    Ok(bytes) if bytes <= MESSAGE_BYTES => {}
                    Ok(_) => return Next::Reply("552 5.3.4 message too large"),
                    Err(_) => return Next::Reply("501 5.5.4 SIZE is a number"),
                },
                "BODY" if ["7BIT", "8BITMIME"].contains(&value.to_ascii_uppercase().as_str()) => {}
                _ => return Next::Reply("555 5.5.4 unknown parameter"),
            }
        }
        self.sender = Some(path);
        Next::Reply("250 2.1.0 sender ok")
    }

    fn rcpt(&mut self, rest: &str) -> Next {
        if self.sender.is_none() {
            return Next::Reply("503 5.5.1 MAIL comes first");
        }
        if self.recipients.len() >= RECIPIENTS {
            return Next::Reply("452 4.5.3 too many recipients");
        }
        match path_of(rest, "TO:") {
            Some((path, "")) if path.contains('@') => {
                self.recipients.push(path);
                Next::Reply("250 2.1.5 recipient ok")
            }
            Some((_, "")) => Next::Reply("501 5.1.3 expected an address with a domain"),
            Some(_) => Next::Reply("555 5.5.4 unknown parameter"),
            None => Next::Reply("501 5.5.4 expected TO:<address>"),
        }
    }

    /// The reply to the message; none if the peer has gone.
    async fn take_message(
        &mut self,
        reader: &mut BufReader<OwnedReadHalf>,
        writer: &mut BufWriter<OwnedWriteHalf>,
    ) -> io::Result<Option<&'static str>> {
        reply(writer, "354 end with <CRLF>.<CRLF>").await?;
        writer.flush().await?;
        let message = read_message(reader).await?;
        let sender = self.sender.take().unwrap_or_default();
        let recipients = std::mem::take(&mut self.recipients);
        let message = match message {
            Message::Whole(message) => message,
            Message::TooLarge => return Ok(Some("552 5.3.4 message too large")),
            Message::Refused(why) => return Ok(Some(why)),
            Message::End => return Ok(None),
        };
        let kept = self.mailbox.deliver(sender, recipients, self.connection, &message).await;
        Ok(Some(match kept {
            Ok(()) => "250 2.0.0 received",
            Err(_) => "452 4.3.1 the message could not be written",
        }))
    }
}

fn extensions() -> String {
    format!(
        "250-{NAME}\r\n250-PIPELINING\r\n250-SIZE {MESSAGE_BYTES}\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES"
    )
}

async fn reply(writer: &mut BufWriter<OwnedWriteHalf>, text: &str) -> io::Result<()> {
    writer.write_all(text.as_bytes()).await?;
    writer.write_all(b"\r\n").await
}

/// The address of `FROM:<address>` or `TO:<address>`, and the parameters behind it.
fn path_of<'l>(rest: &'l str, keyword: &str) -> Option<(String, &'l str)> {
    let (named, path) = rest.split_at_checked(keyword.len())?;
    if !named.eq_ignore_ascii_case(keyword) {
        return None;
    }
    let (address, parameters) = path.strip_prefix('<')?.split_once('>')?;
    let is_plain = !address.contains(|c: char| c.is_whitespace() || c.is_control() || c == '<');
    (is_plain && (parameters.is_empty() || parameters.starts_with(' ')))
        .then(|| (address.to_owned(), parameters.trim()))
}

/// Appends a line to `buffer`, without its CRLF.
async fn read_line<R: AsyncBufRead + Unpin>(
    reader: &mut R,
    buffer: &mut Vec<u8>,
    limit_bytes: u64,
) -> io::Result<Line> {
    let start = buffer.len();
    let mut limited = reader.take(limit_bytes);
    limited.read_until(b'\n', buffer).await?;
    let is_full = limited.limit() == 0;
    let line = &buffer[start..];
    if line.ends_with(b"\r\n") {
        buffer.truncate(buffer.len() - 2);
        Ok(Line::Whole)
    } else if line.ends_with(b"\n") {
        Ok(Line::Refused(BARE_LINE_FEED))
    } else if is_full {
        Ok(Line::Refused(LINE_TOO_LONG))
    } else {
        Ok(Line::End)
    }
}

/// Reads up to the final dot, and undoes the doubling of leading dots.
async fn read_message<R: AsyncBufRead + Unpin>(reader: &mut R) -> io::Result<Message> {
    let mut message = Vec::new();
    let mut is_too_large = false;
    loop {
        let start = message.len();
        match read_line(reader, &mut message, LINE_BYTES + 1).await? {
            Line::Whole => {}
            Line::End => return Ok(Message::End),
            Line::Refused(why) => return Ok(Message::Refused(why)),
        }
        if message[start..] == *b"." {
            message.truncate(start);
            break;
        }
        if message[start..].starts_with(b".") {
            message.remove(start);
        }
        message.extend_from_slice(b"\r\n");
        if message.len() > MESSAGE_BYTES {
            is_too_large = true;
            message.clear();
        }
    }
    Ok(if is_too_large { Message::TooLarge } else { Message::Whole(message) })
}
