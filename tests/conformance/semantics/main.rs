//! The contract written a second time: a model of plain functions over a list, and sequences of random events that
//! daemon and model must answer alike and come to the same state with. The daemon is asked over HTTP.
//!
//! - [`model`] is §2 to §6, with [`form`] and [`words`] for what an event looks like and says, and [`views`] for
//!   what operators see;
//! - [`author`] writes sequences, [`play`] plays them, [`compare`] says what counts;
//! - what is sent is a [`request::Request`]: a further way to send events becomes one more [`request::What`].

mod author;
mod compare;
mod figures;
mod form;
mod house;
mod json;
mod model;
mod play;
mod request;
mod script;
mod setting;
mod views;
mod words;

use std::io::{Write as _, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::Parser as _;

use crate::figures::Figures;

const SEQUENCES: u64 = 100_000;
const SEQUENCES_LONG: u64 = 1_000_000;
/// From so many on each kind of answer must have been given.
const ENOUGH: u64 = 10_000;
/// Sequences that go wrong are told up to so many; then all stops.
const TOLD: usize = 3;

/// Sends random sequences of events and compares answers and end state with the contract, written a second time.
#[derive(clap::Parser)]
struct Options {
    /// 1,000,000 sequences instead of 100,000.
    #[arg(long)]
    long: bool,
    /// So many sequences.
    #[arg(long)]
    sequences: Option<u64>,
    /// The first sequence's seed, 1 or, with --long, any; with --sequences 1 its requests are printed.
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let sequences = options.sequences.unwrap_or(if options.long {
        SEQUENCES_LONG
    } else {
        SEQUENCES
    });
    // The short form is part of every run, and looks for what a change has broken; the long one looks further
    // each time.
    let first = options.seed.unwrap_or_else(|| {
        if options.long {
            fastrand::u64(..1 << 40)
        } else {
            1
        }
    });
    let mut out = stdout().lock();
    if sequences == 1 {
        for request in &author::write(first).requests {
            writeln!(out, "{request}")?;
        }
    }
    let began = Instant::now();
    let run = Run {
        next: AtomicU64::new(first),
        end: first + sequences,
        ground: ground(),
        sum: Mutex::default(),
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| run.work())).collect();
        for worker in workers {
            match worker.join() {
                Ok(worked) => worked?,
                Err(_) => bail!("a thread crashed"),
            }
        }
        Ok(())
    })?;
    let Sum { figures, wrong } = run.sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    for message in &wrong {
        writeln!(out, "{message}")?;
    }
    let seconds = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let a_second = figures.requests as f64 / seconds;
    write!(out, "{figures}")?;
    writeln!(
        out,
        "{sequences} sequences from seed {first}: {} requests answered and {} looks at the state that came of them as the \
         contract says; {} went wrong; {seconds:.0} s, {a_second:.0} requests a second",
        figures.requests,
        figures.looks,
        wrong.len()
    )?;
    if !wrong.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    if sequences >= ENOUGH {
        let (missing, unlisted) = (figures.missing(), figures.unlisted());
        if !missing.is_empty() || !unlisted.is_empty() {
            bail!("never happened: {missing:?}; not in the table: {unlisted:?}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

struct Run {
    next: AtomicU64,
    end: u64,
    ground: PathBuf,
    sum: Mutex<Sum>,
}

#[derive(Default)]
struct Sum {
    figures: Figures,
    wrong: Vec<String>,
}

impl Run {
    fn work(&self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut figures = Figures::default();
        loop {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.end {
                break;
            }
            let tried = runtime.block_on(self.try_seed(seed, &mut figures));
            if tried.is_err() {
                // No other thread needs to go on.
                self.next.store(self.end, Ordering::Relaxed);
            }
            if let Some(message) = tried.with_context(|| format!("seed {seed}"))? {
                let mut sum = self.sum.lock().unwrap_or_else(PoisonError::into_inner);
                sum.wrong.push(message);
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
        let Some(found) = play::play(&script, &self.ground, figures).await? else {
            return Ok(None);
        };
        let (shortest, difference) = play::shrink(script, found, &self.ground).await?;
        let requests = shortest
            .requests
            .iter()
            .map(|request| format!("  {request}"));
        let requests = requests.collect::<Vec<_>>().join("\n");
        Ok(Some(format!(
            "seed {seed}:\n{requests}\n{difference}\n  again: tests/conformance/semantics/run --sequences 1 --seed {seed}"
        )))
    }
}

/// Where documents and sockets lie: in memory, where there is such a place.
fn ground() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    }
}
