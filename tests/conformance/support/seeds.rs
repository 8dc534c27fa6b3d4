//! What proofs from seeds share: their options, seeds tried side by side, and figures of what happened, each of which
//! must have happened. Included by `#[path]`, so that it is no package of its own.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// A seed takes milliseconds; one that takes so long never ends.
const ENDLESS: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(20);
/// Seeds that go wrong are told up to so many; then all stops.
const TOLD: usize = 3;

#[derive(clap::Parser)]
pub(crate) struct Options {
    /// The long form: many more, from any seed.
    #[arg(long)]
    long: bool,
    /// So many seeds.
    #[arg(long, visible_aliases = ["worlds", "sequences"], value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// The first seed, 1 or, with --long, any; with --count 1 what happens is printed.
    #[arg(long)]
    seed: Option<u64>,
}

impl Options {
    /// So many as the short form tries, or the long one. The short form is part of every run, and looks for what a
    /// change has broken; the long one looks further each time.
    pub(crate) fn seeds(&self, short: u64, long: u64) -> anyhow::Result<Range<u64>> {
        let count = self.count.unwrap_or(if self.long { long } else { short });
        let any = || if self.long { fastrand::u64(..1 << 40) } else { 1 };
        let first = self.seed.unwrap_or_else(any);
        Ok(first..first.checked_add(count).context("seeds end at 2^64")?)
    }
}

/// What happened, counted by its name.
#[derive(Debug, Default, Clone)]
pub(crate) struct Figures(BTreeMap<String, u64>);

impl Figures {
    pub(crate) fn count(&mut self, what: &str) {
        self.add(what, 1);
    }

    pub(crate) fn add(&mut self, what: &str, count: u64) {
        if let Some(known) = self.0.get_mut(what) {
            *known += count;
        } else {
            self.0.insert(what.to_owned(), count);
        }
    }

    pub(crate) fn get(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or_default()
    }

    pub(crate) fn add_all(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            self.add(what, *count);
        }
    }

    /// Each line of the table must have happened so many times, and nothing else.
    pub(crate) fn check(&self, table: &[&str], times: u64) -> anyhow::Result<()> {
        let rare: Vec<_> = table.iter().filter(|what| self.get(what) < times.max(1)).collect();
        let is_listed = |what: &&String| table.contains(&what.as_str());
        let unlisted: Vec<_> = self.0.keys().filter(|what| !is_listed(what)).collect();
        if !rare.is_empty() || !unlisted.is_empty() {
            bail!("happened too rarely: {rare:?}; not in the table: {unlisted:?}");
        }
        Ok(())
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(what, count)| writeln!(f, "{count:>9} {what}"))
    }
}

/// What came of many seeds.
#[derive(Default)]
pub(crate) struct Tried {
    figures: Figures,
    seeds: u64,
    /// What to tell of each seed that went wrong.
    pub(crate) wrong: Vec<String>,
}

impl Tried {
    /// Prints what came of it; with `enough` seeds each line of the table must have happened, once in so many seeds as
    /// are enough.
    pub(crate) fn tell(
        &self,
        began: Instant,
        (table, enough): (&[&str], u64),
        mut out: impl std::io::Write,
    ) -> anyhow::Result<ExitCode> {
        let Self { figures, seeds, wrong } = self;
        for message in wrong {
            writeln!(out, "{message}")?;
        }
        let seconds = began.elapsed().as_secs();
        write!(out, "{figures}")?;
        writeln!(out, "{seeds} seeds, {} went wrong; {seconds} s", wrong.len())?;
        if !wrong.is_empty() {
            return Ok(ExitCode::FAILURE);
        }
        if *seeds >= enough {
            figures.check(table, seeds / enough)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Tries each seed, on as many threads as there are processors. `try_seed` says what is wrong about one, if anything
/// is; `again` tries one seed again.
pub(crate) fn try_all(
    seeds: Range<u64>,
    again: &str,
    try_seed: impl Fn(u64, &mut Figures) -> anyhow::Result<Option<String>> + Sync,
) -> Tried {
    let next = AtomicU64::new(seeds.start);
    let under_way = Mutex::new(BTreeMap::new());
    let tried = Mutex::new(Tried::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            locked(&under_way).insert(seed, Instant::now());
            let mut figures = Figures::default();
            let came = catch_unwind(AssertUnwindSafe(|| try_seed(seed, &mut figures)));
            locked(&under_way).remove(&seed);
            let wrong = match came {
                Ok(Ok(wrong)) => wrong,
                Ok(Err(error)) => Some(format!("it cannot be tried: {error:#}")),
                Err(panic) => Some(format!("a panic: {}", said(&*panic))),
            };
            let mut tried = locked(&tried);
            tried.seeds += 1;
            tried.figures.add_all(&figures);
            if let Some(message) = wrong {
                tried.wrong.push(format!(
                    "seed {seed}:\n{message}\n  again: {again} --count 1 --seed {seed}"
                ));
                if tried.wrong.len() >= TOLD {
                    next.store(seeds.end, Ordering::Relaxed);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads()).map(|_| scope.spawn(work)).collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::sleep(LOOK);
            let is_endless = |since: &Instant| since.elapsed() > ENDLESS;
            let endless = locked(&under_way)
                .iter()
                .find(|(_, since)| is_endless(since))
                .map(|(seed, _)| *seed);
            if let Some(seed) = endless {
                let message = format!(
                    "seed {seed}: it does not end\n  again: {again} --count 1 --seed {seed}"
                );
                drop(writeln!(std::io::stdout(), "{message}"));
                std::process::exit(1);
            }
        }
    });
    tried.into_inner().unwrap_or_else(PoisonError::into_inner)
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
pub(crate) fn ground() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

pub(crate) fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
