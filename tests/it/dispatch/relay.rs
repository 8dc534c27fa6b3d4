//! A relay that takes what it is given, on any number of connections at once, unless a test says
//! otherwise for a moment of a transaction.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

/// Where a transaction is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Moment {
    /// Before the greeting; the number of the connection, from 1.
    Connected(usize),
    Mail,
    /// With the address.
    Rcpt(String),
    Data,
    /// After the first line of the message, with the address. While the relay waits here it reads nothing more.
    Streaming(String),
    /// After the final dot, with the message and its recipient.
    FinalDot(Mail),
}

/// What the relay does in place of saying yes.
#[derive(Debug, Clone)]
pub(super) enum Reaction {
    Yes,
    Say(&'static str),
    /// Closes the connection.
    Cut,
    /// Waits until the test opens the gate, then says yes.
    Wait(Arc<Gate>),
    /// Waits until the test opens the gate, then says this.
    WaitAndSay(Arc<Gate>, &'static str),
}

/// A place where the relay waits for the test.
#[derive(Debug, Default)]
pub(super) struct Gate {
    reached: Notify,
    open: Notify,
}

impl Gate {
    /// Waits until the relay stands here.
    pub(super) async fn reached(&self) {
        super::house::patiently("the relay reaches the gate", self.reached.notified()).await;
    }

    pub(super) fn open(&self) {
        self.open.notify_one();
    }

    /// Where the relay stands until the test opens.
    async fn pass(&self) {
        self.reached.notify_one();
        self.open.notified().await;
    }
}

/// A message that the relay said yes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mail {
    pub(super) to: String,
    /// As it came, dots stuffed.
    pub(super) message: String,
}

impl Mail {
    /// A header's value, if it is on one line.
    pub(super) fn header(&self, name: &str) -> &str {
        self.message
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            .unwrap_or_else(|| panic!("{name} in {}", self.message))
    }
}

type Behaviour = Box<dyn FnMut(&Moment) -> Reaction + Send>;

/// What the relay has seen.
#[derive(Debug, Default, Clone)]
pub(super) struct Book {
    pub(super) accepted: Vec<Mail>,
    /// To whom a message began to come, be it only its first line.
    pub(super) begun: Vec<String>,
    /// Messages whose rest never came.
    pub(super) cut_off: usize,
    pub(super) connections: usize,
    pub(super) goodbyes: usize,
}

/// A relay on a loopback port of its own.
pub(super) struct Relay {
    pub(super) port: u16,
    behaviour: Arc<Mutex<Behaviour>>,
    book: watch::Sender<Book>,
}

impl Relay {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let behaviour: Arc<Mutex<Behaviour>> =
            Arc::new(Mutex::new(Box::new(|_: &Moment| Reaction::Yes)));
        let book = watch::Sender::new(Book::default());
        let relay = Self { port, behaviour: Arc::clone(&behaviour), book: book.clone() };
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let session = Session::new(socket, Arc::clone(&behaviour), book.clone());
                tokio::spawn(session.serve());
            }
        });
        relay
    }

    /// From now on `behaviour` decides.
    pub(super) fn behave(&self, behaviour: impl FnMut(&Moment) -> Reaction + Send + 'static) {
        *self.behaviour.lock().unwrap() = Box::new(behaviour);
    }

    /// Says yes to everything again.
    pub(super) fn behave_well(&self) {
        self.behave(|_| Reaction::Yes);
    }

    pub(super) fn book(&self) -> Book {
        self.book.borrow().clone()
    }

    /// Waits until the book is as wanted.
    pub(super) async fn until(&self, what: &str, wanted: impl Fn(&Book) -> bool) -> Book {
        let mut book = self.book.subscribe();
        let seen = async { book.wait_for(|book| wanted(book)).await.unwrap().clone() };
        super::house::patiently(what, seen).await
    }

    /// Waits for so many messages; their recipients, sorted.
    pub(super) async fn accepted(&self, count: usize) -> Vec<String> {
        let book = self
            .until(&format!("{count} messages are accepted"), |book| book.accepted.len() >= count)
            .await;
        let mut recipients: Vec<_> = book.accepted.into_iter().map(|mail| mail.to).collect();
        recipients.sort();
        recipients
    }
}

struct Session {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    behaviour: Arc<Mutex<Behaviour>>,
    book: watch::Sender<Book>,
}

impl Session {
    fn new(socket: TcpStream, behaviour: Arc<Mutex<Behaviour>>, book: watch::Sender<Book>) -> Self {
        socket.set_nodelay(true).unwrap();
        let (reader, writer) = socket.into_split();
        Self { reader: BufReader::new(reader), writer, behaviour, book }
    }

    /// Ends when the client leaves, or with a cut.
    async fn serve(mut self) -> Option<()> {
        let mut number = 0;
        self.book.send_modify(|book| {
            book.connections += 1;
            number = book.connections;
        });
        self.answer(Moment::Connected(number), "220 relay.example ESMTP").await?;
        let mut to = String::new();
        loop {
            let line = self.line().await?;
            let command = line.trim_end();
            if command.starts_with("EHLO") {
                self.say("250-relay.example\r\n250 SIZE 50000000").await?;
            } else if command.starts_with("MAIL") {
                self.answer(Moment::Mail, "250 2.1.0 ok").await?;
            } else if let Some(rcpt) = command.strip_prefix("RCPT TO:<") {
                to = rcpt.split('>').next()?.to_owned();
                self.answer(Moment::Rcpt(to.clone()), "250 2.1.5 ok").await?;
            } else if command == "DATA" {
                if self.answer(Moment::Data, "354 go ahead").await? {
                    self.message(to.clone()).await?;
                }
            } else if command == "RSET" {
                self.say("250 2.0.0 ok").await?;
            } else if command == "QUIT" {
                self.book.send_modify(|book| book.goodbyes += 1);
                return self.say("221 2.0.0 bye").await;
            }
        }
    }

    async fn message(&mut self, to: String) -> Option<()> {
        let mut message = self.line().await?;
        self.book.send_modify(|book| book.begun.push(to.clone()));
        let moment = Moment::Streaming(to.clone());
        if let Some(words) = self.react(&moment).await? {
            self.say(words).await?;
        }
        loop {
            match self.line().await {
                Some(line) if line == ".\r\n" => break,
                Some(line) => message.push_str(&line),
                None => {
                    self.book.send_modify(|book| book.cut_off += 1);
                    return None;
                }
            }
        }
        let mail = Mail { to, message };
        let moment = Moment::FinalDot(mail.clone());
        let accepts = self.answer(moment, "250 2.0.0 queued").await?;
        if accepts {
            self.book.send_modify(|book| book.accepted.push(mail));
        }
        Some(())
    }

    /// Answers as the test wants it; says whether that was a yes.
    async fn answer(&mut self, moment: Moment, yes: &str) -> Option<bool> {
        let other = self.react(&moment).await?;
        self.say(other.unwrap_or(yes)).await?;
        Some(other.is_none())
    }

    /// Asks the test, and waits where it says so. Returns what is to be said in place of a yes.
    async fn react(&self, moment: &Moment) -> Option<Option<&'static str>> {
        let reaction = (self.behaviour.lock().unwrap())(moment);
        match reaction {
            Reaction::Yes => Some(None),
            Reaction::Say(words) => Some(Some(words)),
            Reaction::Cut => None,
            Reaction::Wait(gate) => {
                gate.pass().await;
                Some(None)
            }
            Reaction::WaitAndSay(gate, words) => {
                gate.pass().await;
                Some(Some(words))
            }
        }
    }

    async fn say(&mut self, words: &str) -> Option<()> {
        let line = format!("{words}\r\n");
        self.writer.write_all(line.as_bytes()).await.ok()
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.reader.read_line(&mut line).await.ok()?;
        (read > 0).then_some(line)
    }
}
