//! A connection to the relay from the client's side: a state machine that answers after delays of the runtime's
//! time, and goes wrong as the relay's weather wants it.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::relay::{Copy, Inner, Relay, Stream, Watch, Weather};
use crate::seeds::locked;

/// Longer than any time-out.
const FOR_EVER: Duration = Duration::from_secs(86_400);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Say(&'static str),
    Cut,
    Hang,
}

const GREETING_TROUBLES: [Trouble; 7] = [
    Trouble::Say("421 4.3.2 not now"),
    Trouble::Say("451 4.3.0 try again"),
    Trouble::Say("554 5.7.1 no service"),
    Trouble::Say("garbage"),
    Trouble::Say("250"),
    Trouble::Cut,
    Trouble::Hang,
];
const RCPT_TROUBLES: [Trouble; 10] = [
    Trouble::Say("450 4.2.1 mailbox busy"),
    Trouble::Say("452 4.5.3 too many"),
    Trouble::Say("550 5.1.1 no such user"),
    Trouble::Say("550 no such user"),
    Trouble::Say("554 5.7.1 policy"),
    Trouble::Say("421 4.7.0 closing"),
    Trouble::Say("354 what"),
    Trouble::Say("\u{1}\u{2}"),
    Trouble::Cut,
    Trouble::Hang,
];
const DATA_TROUBLES: [Trouble; 6] = [
    Trouble::Say("451 4.3.0 try again"),
    Trouble::Say("554 5.5.1 no"),
    Trouble::Say("250 2.0.0 what"),
    Trouble::Say("421 4.7.0 closing"),
    Trouble::Cut,
    Trouble::Hang,
];
/// Each for a relay that does not have the message, and for one that has.
const DOT_TROUBLES: [(Trouble, bool); 11] = [
    (Trouble::Say("451 4.3.0 try again"), false),
    (Trouble::Say("452 4.2.2 full"), false),
    (Trouble::Say("554 5.6.0 content"), false),
    (Trouble::Say("550 5.1.1 no such user"), false),
    (Trouble::Say("421 4.7.0 closing"), false),
    (Trouble::Say("354 more"), true),
    (Trouble::Say("25"), true),
    (Trouble::Cut, false),
    (Trouble::Cut, true),
    (Trouble::Hang, false),
    (Trouble::Hang, true),
];

#[derive(Debug)]
enum Mode {
    Commands,
    Message(Message),
}

#[derive(Debug)]
struct Message {
    bytes: Vec<u8>,
    has_header: bool,
    /// After so many bytes something happens.
    turn: Option<(usize, Turn)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Cut,
    SayAndCut,
    /// Reads nothing for a while, or for ever.
    Stand(Duration),
}

/// One connection, from the client's side.
pub(crate) struct Socket {
    id: u64,
    relay: Relay,
    watch: Arc<Mutex<dyn Watch>>,
    mode: Mode,
    input: Vec<u8>,
    to: Option<String>,
    /// Whether MAIL or RCPT of this transaction was refused.
    failed: bool,
    output: VecDeque<(Instant, Vec<u8>)>,
    read_waker: Option<Waker>,
    read_timer: Option<Pin<Box<Sleep>>>,
    write_timer: Option<Pin<Box<Sleep>>>,
    /// Once the output is read, the connection is closed.
    ends: bool,
    /// Nothing comes any more.
    hangs: bool,
}

impl Socket {
    /// A connection that was taken; the relay greets, or does not.
    pub(crate) fn open(id: u64, relay: Relay, watch: Arc<Mutex<dyn Watch>>) -> Self {
        let mut socket = Self {
            id,
            relay,
            watch,
            mode: Mode::Commands,
            input: Vec::new(),
            to: None,
            failed: false,
            output: VecDeque::new(),
            read_waker: None,
            read_timer: None,
            write_timer: None,
            ends: false,
            hangs: false,
        };
        let yes = "220 relay.example ESMTP";
        socket.answer(|weather| weather.greeting, &GREETING_TROUBLES, yes);
        socket
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        self.relay.with(work)
    }

    /// Says yes, or has trouble of the kind; says whether it was yes.
    fn answer(&mut self, chance: impl Fn(&Weather) -> f64, kinds: &[Trouble], yes: &str) -> bool {
        let trouble = self.with(|inner| {
            let chance = chance(&inner.weather);
            inner.happens(chance).then(|| inner.pick(kinds))
        });
        match trouble {
            None => {
                self.say(yes);
                true
            }
            Some(trouble) => {
                self.go_wrong(trouble);
                false
            }
        }
    }

    fn go_wrong(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Say(words) => {
                if words.starts_with("55") && words.contains("no such user") {
                    self.blame();
                }
                self.say(words);
                if words.starts_with("421") {
                    self.end();
                }
            }
            Trouble::Cut => self.end(),
            Trouble::Hang => self.hangs = true,
        }
    }

    /// Closes the connection behind what was said.
    fn end(&mut self) {
        self.ends = true;
        if let Some(waker) = self.read_waker.take() {
            waker.wake();
        }
    }

    fn blame(&self) {
        if let Some(to) = &self.to {
            locked(&self.watch).rejected(to);
        }
    }

    /// A reply, after a while, at times in two pieces.
    fn say(&mut self, words: &str) {
        if self.ends || self.hangs {
            return;
        }
        let (delay, cut) = self.with(|inner| {
            let most = inner.weather.delay.as_millis().max(1);
            let delay = inner.rng.u64(0..u64::try_from(most).unwrap_or(u64::MAX));
            (Duration::from_millis(delay), inner.rng.u8(..) < 16)
        });
        let mut at = Instant::now() + delay;
        if let Some((before, _)) = self.output.back() {
            at = at.max(*before);
        }
        let mut line = format!("{words}\r\n").into_bytes();
        if cut {
            let rest = line.split_off(line.len() / 2);
            self.output.push_back((at, line));
            at += delay;
            line = rest;
        }
        self.output.push_back((at, line));
        if let Some(waker) = self.read_waker.take() {
            waker.wake();
        }
    }

    fn feed(&mut self, octets: &[u8]) {
        self.input.extend_from_slice(octets);
        loop {
            match &mut self.mode {
                Mode::Commands => {
                    let Some(end) = find(&self.input, b"\r\n") else {
                        return;
                    };
                    let line: Vec<u8> = self.input.drain(..end + 2).collect();
                    let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                    self.command(&line);
                }
                Mode::Message(message) => {
                    let is_first = message.bytes.is_empty() && !self.input.is_empty();
                    message.bytes.append(&mut self.input);
                    if !self.message(is_first) {
                        return;
                    }
                }
            }
        }
    }

    fn command(&mut self, line: &str) {
        if line.starts_with("EHLO") {
            let pipelining = self.with(|inner| inner.pipelining);
            let yes = if pipelining {
                "250-relay.example\r\n250-PIPELINING\r\n250 SIZE 50000000"
            } else {
                "250 relay.example"
            };
            self.answer(|weather| weather.greeting, &GREETING_TROUBLES, yes);
        } else if line.starts_with("MAIL") {
            self.to = None;
            self.failed =
                !self.answer(|weather| weather.greeting, &GREETING_TROUBLES, "250 2.1.0 ok");
        } else if let Some(rcpt) = line.strip_prefix("RCPT TO:<") {
            self.to = rcpt.split('>').next().map(str::to_owned);
            if self.failed {
                self.say("503 5.5.1 no");
            } else if self.with(|inner| self.to.as_ref().is_some_and(|to| inner.rejects(to))) {
                self.failed = true;
                self.go_wrong(Trouble::Say("550 5.1.1 no such user"));
            } else {
                self.failed =
                    !self.answer(|weather| weather.envelope, &RCPT_TROUBLES, "250 2.1.5 ok");
            }
        } else if line == "DATA" {
            if self.failed || self.to.is_none() {
                self.say("503 5.5.1 no");
            } else if self.answer(|weather| weather.envelope, &DATA_TROUBLES, "354 go ahead") {
                self.begin_message();
            }
        } else if line == "RSET" {
            self.failed = false;
            self.to = None;
            self.say("250 2.0.0 ok");
        } else if line == "QUIT" {
            self.say("221 2.0.0 bye");
            self.ends = true;
        } else {
            self.say("500 5.5.2 what");
        }
    }

    fn begin_message(&mut self) {
        let turn = self.with(|inner| {
            let chance = inner.weather.body;
            inner.happens(chance).then(|| {
                let after = inner.rng.usize(1..4_000);
                let stand = Duration::from_millis(inner.rng.u64(1..10_000));
                let turn = inner.pick(&[
                    Turn::Cut,
                    Turn::SayAndCut,
                    Turn::Stand(stand),
                    Turn::Stand(stand),
                    Turn::Stand(FOR_EVER),
                ]);
                (after, turn)
            })
        });
        self.mode = Mode::Message(Message { bytes: Vec::new(), has_header: false, turn });
    }

    /// Looks at what has come of a message; says whether it is at its end.
    fn message(&mut self, is_first: bool) -> bool {
        let Mode::Message(message) = &mut self.mode else {
            return false;
        };
        let to = self.to.clone().unwrap_or_default();
        if is_first {
            let stream = Stream { to: to.clone(), number: None };
            self.relay.with(|inner| inner.streams.insert(self.id, stream));
            locked(&self.watch).first_byte(self.id, &to);
        }
        if !message.has_header && find(&message.bytes, b"\r\n\r\n").is_some() {
            message.has_header = true;
            let number = header(&message.bytes, "X-Invoice-Number");
            self.relay.with(|inner| {
                if let Some(stream) = inner.streams.get_mut(&self.id) {
                    stream.number = Some(number.clone());
                }
            });
            locked(&self.watch).header(self.id, &to, &number);
        }
        let Some(end) = find(&message.bytes, b"\r\n.\r\n") else {
            return false;
        };
        self.input = message.bytes.split_off(end + 5);
        let mut bytes = std::mem::take(&mut message.bytes);
        bytes.truncate(end + 2);
        self.mode = Mode::Commands;
        self.final_dot(&to, &unstuffed(&bytes));
        true
    }

    fn final_dot(&mut self, to: &str, message: &[u8]) {
        let trouble = self.with(|inner| {
            let chance = inner.weather.final_dot;
            inner.happens(chance).then(|| inner.pick(&DOT_TROUBLES))
        });
        let has_it = trouble.is_none_or(|(_, has_it)| has_it);
        if has_it {
            let copy = Copy {
                to: to.to_owned(),
                number: header(message, "X-Invoice-Number"),
                message_id: header(message, "Message-ID"),
                date: header(message, "Date"),
                digest: Sha256::digest(message).into(),
                confirmed: trouble.is_none(),
            };
            self.with(|inner| inner.copies.push(copy));
        }
        match trouble {
            None => self.say("250 2.0.0 queued"),
            Some((trouble, _)) => self.go_wrong(trouble),
        }
        self.to = None;
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.relay.with(|inner| {
            inner.open -= 1;
            inner.streams.remove(&self.id);
        });
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let Some((at, octets)) = self.output.front_mut() else {
                if self.ends {
                    return Poll::Ready(Ok(()));
                }
                self.read_waker = Some(context.waker().clone());
                return Poll::Pending;
            };
            if *at <= Instant::now() {
                let count = octets.len().min(buffer.remaining());
                buffer.put_slice(&octets[..count]);
                octets.drain(..count);
                if octets.is_empty() {
                    self.output.pop_front();
                }
                let is_answered = self.ends || matches!(self.mode, Mode::Commands);
                if is_answered && self.output.is_empty() {
                    self.with(|inner| inner.streams.remove(&self.id));
                }
                return Poll::Ready(Ok(()));
            }
            let mut timer = Box::pin(sleep_until(*at));
            let passed = timer.as_mut().poll(context);
            self.read_timer = Some(timer);
            if passed.is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.ends && self.output.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if let Some(timer) = &mut self.write_timer {
            if timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.write_timer = None;
        }
        let mut count = octets.len();
        if self.ends || self.hangs {
            // Into the kernel's buffers, and no one reads it.
            return Poll::Ready(Ok(count));
        }
        let mut turn_now = None;
        if let Mode::Message(message) = &mut self.mode
            && let Some((after, turn)) = message.turn
        {
            let left = after.saturating_sub(message.bytes.len());
            if left < count {
                message.turn = None;
                turn_now = Some(turn);
                count = left.max(1);
            }
        }
        self.feed(&octets[..count]);
        match turn_now {
            None => {}
            Some(Turn::Cut) => self.end(),
            Some(Turn::SayAndCut) => {
                self.say("451 4.3.0 enough");
                self.end();
            }
            Some(Turn::Stand(span)) => self.write_timer = Some(Box::pin(sleep(span))),
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ends = true;
        Poll::Ready(Ok(()))
    }
}

fn find(octets: &[u8], what: &[u8]) -> Option<usize> {
    octets.windows(what.len()).position(|window| window == what)
}

/// A header's value, which is on one line.
fn header(message: &[u8], name: &str) -> String {
    let head = &message[..find(message, b"\r\n\r\n").unwrap_or(message.len())];
    String::from_utf8_lossy(head)
        .lines()
        .find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(": ")?.trim().to_owned()))
        .unwrap_or_default()
}

/// Without the dots that were put before those at the beginning of a line.
fn unstuffed(message: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(message.len());
    for line in message.split_inclusive(|octet| *octet == b'\n') {
        plain.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
    }
    plain
}
