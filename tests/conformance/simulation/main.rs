//! Whole worlds in the runtime's time, from a seed each: domain, store and sending as they are, with everything
//! around them made up. A seed that goes wrong goes wrong again.

mod disk;
mod ending;
mod events;
mod faults;
mod figures;
mod model;
mod operators;
mod outgoing;
mod relay;
mod rules;
mod senders;
mod setting;
mod socket;
mod verdict;
mod watch;
mod wire;
mod world;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{Write as _, stdout};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Parser as _;

use crate::figures::Figures;
use crate::world::{Outcome, live};

const WORLDS: u64 = 1_000;
const WORLDS_LONG: u64 = 200_000;
/// Each of so many worlds is lived through twice, and must go the same way.
const TWICE: u64 = 50;
/// Seeds that go wrong are told up to so many.
const TOLD: usize = 10;
/// A world takes milliseconds; one that takes so long never ends.
const ENDLESS: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_secs(1);

/// Lives through made-up worlds and looks whether anything is lost, sent to the wrong person or sent twice.
#[derive(clap::Parser)]
struct Options {
    /// 200,000 worlds instead of 1,000.
    #[arg(long)]
    long: bool,
    /// So many worlds.
    #[arg(long)]
    worlds: Option<u64>,
    /// The first world's seed, 1 or, with --long, any; with --worlds 1 what happens in it is printed.
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let worlds = options.worlds.unwrap_or(if options.long { WORLDS_LONG } else { WORLDS });
    // The short form is part of every run, and looks for what a change has broken; the long one looks further
    // each time.
    let first =
        options.seed.unwrap_or_else(|| if options.long { fastrand::u64(..1 << 40) } else { 1 });
    let began = Instant::now();
    let run = Run {
        next: AtomicU64::new(first),
        end: first + worlds,
        tells_all: worlds == 1,
        lived: Mutex::default(),
        sum: Mutex::default(),
    };
    std::thread::scope(|scope| {
        let (at_work, at_the_end) = mpsc::channel::<Infallible>();
        let watched = &run;
        scope.spawn(move || watched.watch(&at_the_end));
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| run.work())).collect();
        for worker in workers {
            match worker.join() {
                Ok(worked) => worked?,
                Err(_) => bail!("a thread crashed"),
            }
        }
        drop(at_work);
        Ok(())
    })?;
    let Sum { figures, replayed, wrong, messages } =
        run.sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut out = stdout().lock();
    for message in messages.iter().take(TOLD) {
        writeln!(out, "{message}")?;
    }
    let seconds = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let a_minute = worlds as f64 / seconds * 60.0;
    writeln!(
        out,
        "{worlds} worlds from seed {first}, {replayed} of them twice and the same: {figures}; {wrong} went wrong; \
         {seconds:.0} s, {a_minute:.0} a minute"
    )?;
    if wrong > 0 {
        return Ok(ExitCode::FAILURE);
    }
    if worlds >= 1_000
        && let Some(missing) = figures.missing()
    {
        bail!("{missing} never happened: this proves nothing");
    }
    Ok(ExitCode::SUCCESS)
}

struct Run {
    next: AtomicU64,
    end: u64,
    tells_all: bool,
    /// Since when each world is lived that is lived now.
    lived: Mutex<BTreeMap<u64, Instant>>,
    sum: Mutex<Sum>,
}

#[derive(Default)]
struct Sum {
    figures: Figures,
    replayed: u64,
    wrong: u64,
    messages: Vec<String>,
}

impl Run {
    fn work(&self) -> anyhow::Result<()> {
        let ground = Ground::new();
        loop {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.end {
                return Ok(());
            }
            self.lived().insert(seed, Instant::now());
            let mut outcome = ground.live(seed)?;
            let mut replayed = 0;
            if seed.is_multiple_of(TWICE) {
                let again = ground.live(seed)?;
                replayed = 1;
                if again.log != outcome.log {
                    let line = outcome.log.iter().zip(&again.log).find(|(one, other)| one != other);
                    outcome
                        .violations
                        .push(format!("it goes another way the second time: {line:?}"));
                }
            }
            self.lived().remove(&seed);
            let mut sum = self.sum.lock().unwrap_or_else(PoisonError::into_inner);
            sum.figures.add(&outcome.figures);
            sum.replayed += replayed;
            if self.tells_all {
                sum.messages.push(outcome.log.join("\n"));
            }
            if !outcome.violations.is_empty() {
                sum.wrong += 1;
                let message = format!(
                    "seed {seed}: {}\n  again: tests/conformance/simulation/run --worlds 1 --seed {seed}",
                    outcome.violations.join("\n  ")
                );
                sum.messages.push(message);
            }
        }
    }
}

impl Run {
    /// Names a world that does not end, and ends all.
    fn watch(&self, at_the_end: &mpsc::Receiver<Infallible>) {
        while at_the_end.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            let endless = self
                .lived()
                .iter()
                .find_map(|(seed, since)| (since.elapsed() > ENDLESS).then_some(*seed));
            if let Some(seed) = endless {
                let again = format!("tests/conformance/simulation/run --worlds 1 --seed {seed}");
                drop(writeln!(stdout(), "seed {seed}: it does not end\n  again: {again}"));
                std::process::exit(1);
            }
        }
    }

    fn lived(&self) -> MutexGuard<'_, BTreeMap<u64, Instant>> {
        self.lived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the documents of one world after the other lie: in memory, where there is such a place.
struct Ground(PathBuf);

impl Ground {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        Self(place)
    }

    fn live(&self, seed: u64) -> anyhow::Result<Outcome> {
        let directory = tempfile::Builder::new()
            .prefix("invoice-router-simulation.")
            .tempdir_in(&self.0)
            .context("a directory for documents")?;
        let lived = catch_unwind(AssertUnwindSafe(|| live(seed, directory.path())));
        Ok(lived.unwrap_or_else(|_| Outcome {
            violations: vec!["it panicked".to_owned()],
            ..Outcome::default()
        }))
    }
}
