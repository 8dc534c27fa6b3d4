//! The contract written a second time: a model of plain functions over a list, and sequences of random events that
//! daemon and model must answer alike and come to the same state with. The daemon is asked over HTTP.
//!
//! - [`model`] says what is answered, with [`form`] and [`words`] for what an event looks like and says, and [`views`]
//!   for what operators see; [`model`] says what of the contract that is, and what not;
//! - [`author`] writes sequences, [`play`] plays them, [`compare`] says what counts;
//! - what is sent is a [`request::Request`]: a further way to send events becomes one more [`request::What`];
//! - [`proof`] makes sure before each run that what is wrong would be seen.

mod author;
mod compare;
mod figures;
mod form;
mod house;
mod json;
mod model;
mod play;
mod proof;
mod request;
mod script;
mod setting;
mod views;
mod words;

use std::any::Any;
use std::io::{Write as _, stdout};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::ScopedJoinHandle;
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::Parser as _;
use tokio::runtime::Runtime;

use crate::figures::Figures;

const SEQUENCES: u64 = 5_000;
const SEQUENCES_LONG: u64 = 1_000_000;
/// From so many on each kind of answer must have been given.
const ENOUGH: u64 = SEQUENCES;
/// Each must have been given once in so many sequences.
const RAREST: u64 = 5_000;
/// Sequences that go wrong are told up to so many; then all stops.
const TOLD: usize = 3;

/// Sends random sequences of events and compares answers and end state with the contract, written a second time.
#[derive(clap::Parser)]
struct Options {
    /// 1,000,000 sequences instead of 5,000.
    #[arg(long)]
    long: bool,
    /// So many sequences.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    sequences: Option<u64>,
    /// The first sequence's seed, 1 or, with --long, any; with --sequences 1 its requests are printed.
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let sequences =
        options.sequences.unwrap_or(if options.long { SEQUENCES_LONG } else { SEQUENCES });
    // The short form is part of every run, and looks for what a change has broken; the long one looks further
    // each time.
    let first =
        options.seed.unwrap_or_else(|| if options.long { fastrand::u64(..1 << 40) } else { 1 });
    let end = first.checked_add(sequences).context("seeds end at 2^64")?;
    let ground = ground();
    let mut out = stdout().lock();
    // It must be known even if this comes to no end.
    writeln!(out, "from seed {first}")?;
    if sequences == 1 {
        for request in &author::write(first).requests {
            writeln!(out, "{request}")?;
        }
    } else {
        writeln!(out, "{}", proof::prove(&ground)?)?;
    }
    let began = Instant::now();
    let run = Run { next: AtomicU64::new(first), end, ground, sum: Mutex::default() };
    let Sum { figures, wrong } = run.all();
    for message in &wrong {
        writeln!(out, "{message}")?;
    }
    let seconds = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let a_second = figures.requests as f64 / seconds;
    write!(out, "{figures}")?;
    writeln!(
        out,
        "{} sequences from seed {first}: {} requests answered and {} looks at the state that came of them as the \
         contract says; {} went wrong; {seconds:.0} s, {a_second:.0} requests a second",
        figures.sequences,
        figures.requests,
        figures.looks,
        wrong.len()
    )?;
    if !wrong.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    if figures.sequences != sequences {
        bail!("{sequences} sequences were to be played");
    }
    if sequences >= ENOUGH {
        let (rare, unlisted) = (figures.rarer_than(sequences / RAREST), figures.unlisted());
        if !rare.is_empty() || !unlisted.is_empty() {
            bail!("happened too rarely: {rare:?}; not in the table: {unlisted:?}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

struct Run {
    next: AtomicU64,
    /// The seed after the last one.
    end: u64,
    ground: PathBuf,
    sum: Mutex<Sum>,
}

#[derive(Default)]
struct Sum {
    figures: Figures,
    /// What to tell of each sequence that went wrong.
    wrong: Vec<String>,
}

impl Run {
    /// Plays all sequences, or as many as there are before too many went wrong.
    fn all(self) -> Sum {
        let ends: Vec<_> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads()).map(|_| scope.spawn(|| self.work())).collect();
            workers.into_iter().map(ScopedJoinHandle::join).collect()
        });
        let mut sum = self.sum.into_inner().unwrap_or_else(PoisonError::into_inner);
        for end in ends {
            match end {
                Ok(Ok(())) => {}
                Ok(Err(error)) => sum.wrong.push(format!("a thread gave up: {error:#}")),
                Err(panic) => sum.wrong.push(format!("a thread crashed: {}", said(&*panic))),
            }
        }
        sum
    }

    fn work(&self) -> anyhow::Result<()> {
        let mut runtime = new_runtime()?;
        let mut figures = Figures::default();
        loop {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.end {
                break;
            }
            let tried = catch_unwind(AssertUnwindSafe(|| {
                runtime.block_on(self.try_seed(seed, &mut figures))
            }));
            let wrong = match tried {
                Ok(Ok(None)) => None,
                Ok(Ok(Some(message))) => Some(message),
                Ok(Err(error)) => Some(format!("could not be played: {error:#}")),
                Err(panic) => {
                    // What the sequence has left behind goes with its runtime.
                    runtime = new_runtime()?;
                    Some(format!("a panic: {}", said(&*panic)))
                }
            };
            figures.sequences += 1;
            if let Some(message) = wrong {
                let mut sum = self.sum.lock().unwrap_or_else(PoisonError::into_inner);
                sum.wrong.push(format!(
                    "seed {seed}:\n{message}\n  again: tests/conformance/semantics/run --sequences 1 --seed {seed}"
                ));
                if sum.wrong.len() >= TOLD {
                    self.next.store(self.end, Ordering::Relaxed);
                }
            }
        }
        let mut sum = self.sum.lock().unwrap_or_else(PoisonError::into_inner);
        sum.figures.add(&figures);
        Ok(())
    }

    /// What is wrong about a seed's sequence.
    async fn try_seed(&self, seed: u64, figures: &mut Figures) -> anyhow::Result<Option<String>> {
        let script = author::write(seed);
        let setting = setting::Setting::default();
        let Some(found) = play::play(&script, &self.ground, &setting, figures).await? else {
            return Ok(None);
        };
        let (shortest, difference) = play::shrink(script, found, &self.ground).await;
        let requests = shortest.requests.iter().map(|request| format!("  {request}\n"));
        Ok(Some(format!("{}{difference}", requests.collect::<String>())))
    }
}

fn new_runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("nothing that can be read")
}

/// Where documents and sockets lie: in memory, where there is such a place.
fn ground() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}
