//! The demo's mail server, which takes what it is given unless a test says otherwise for a moment of a
//! transaction.

use std::sync::{Arc, Mutex};

use invoice_router::cli::demo::sink::{self, Script, Sink};
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
    /// Waits until the relay is here.
    pub(super) async fn reached(&self) {
        super::house::patiently("the relay reaches the gate", self.reached.notified()).await;
    }

    pub(super) fn open(&self) {
        self.open.notify_one();
    }

    /// Keeps the relay here until the test opens.
    async fn pass(&self) {
        self.reached.notify_one();
        self.open.notified().await;
    }
}

/// A message that the relay said yes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mail {
    pub(super) to: String,
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

type Behaviour = Box<dyn FnMut(&Moment) -> Reaction + Send>;

/// What the test wants, and what came of it.
#[derive(Clone)]
struct Direction {
    behaviour: Arc<Mutex<Behaviour>>,
    book: watch::Sender<Book>,
}

impl Script for Direction {
    async fn react(&self, connection: usize, at: sink::Moment<'_>) -> sink::Reaction {
        let moment = match at {
            sink::Moment::Connected => Moment::Connected(connection),
            sink::Moment::Mail => Moment::Mail,
            sink::Moment::Rcpt(to) => Moment::Rcpt(to.to_owned()),
            sink::Moment::Data => Moment::Data,
            sink::Moment::Streaming(to) => Moment::Streaming(to[0].clone()),
            sink::Moment::FinalDot(to, message) => {
                let message = String::from_utf8(message.to_owned()).unwrap();
                Moment::FinalDot(Mail { to: to[0].clone(), message })
            }
            sink::Moment::CutOff => {
                self.book.send_modify(|book| book.cut_off += 1);
                return sink::Reaction::Accept;
            }
            sink::Moment::Quit => {
                self.book.send_modify(|book| book.goodbyes += 1);
                return sink::Reaction::Accept;
            }
        };
        match &moment {
            Moment::Connected(_) => self.book.send_modify(|book| book.connections += 1),
            Moment::Streaming(to) => self.book.send_modify(|book| book.begun.push(to.clone())),
            Moment::Mail | Moment::Rcpt(_) | Moment::Data | Moment::FinalDot(_) => {}
        }
        let reaction = (self.behaviour.lock().unwrap())(&moment);
        let reaction = match reaction {
            Reaction::Yes => sink::Reaction::Accept,
            Reaction::Say(words) => sink::Reaction::Say(words),
            Reaction::Cut => sink::Reaction::Cut,
            Reaction::Wait(gate) => {
                gate.pass().await;
                sink::Reaction::Accept
            }
            Reaction::WaitAndSay(gate, words) => {
                gate.pass().await;
                sink::Reaction::Say(words)
            }
        };
        if let (Moment::FinalDot(mail), sink::Reaction::Accept) = (moment, reaction) {
            self.book.send_modify(|book| book.accepted.push(mail));
        }
        reaction
    }
}

/// A relay on a loopback port of its own.
pub(super) struct Relay {
    pub(super) port: u16,
    direction: Direction,
    _sink: Sink,
}

impl Relay {
    pub(super) async fn start() -> Self {
        let behaviour = Arc::new(Mutex::new(Box::new(|_: &Moment| Reaction::Yes) as Behaviour));
        let direction = Direction { behaviour, book: watch::Sender::default() };
        let sink = Sink::scripted(None, direction.clone()).await.unwrap();
        Self { port: sink.address().port(), direction, _sink: sink }
    }

    /// From now on `behaviour` decides.
    pub(super) fn behave(&self, behaviour: impl FnMut(&Moment) -> Reaction + Send + 'static) {
        *self.direction.behaviour.lock().unwrap() = Box::new(behaviour);
    }

    /// Says yes to everything again.
    pub(super) fn behave_well(&self) {
        self.behave(|_| Reaction::Yes);
    }

    pub(super) fn book(&self) -> Book {
        self.direction.book.borrow().clone()
    }

    /// Waits until the book is as wanted.
    pub(super) async fn until(&self, what: &str, wanted: impl Fn(&Book) -> bool) -> Book {
        let mut book = self.direction.book.subscribe();
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
