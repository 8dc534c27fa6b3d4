//! Whole worlds in the runtime's time, from a seed each: domain, store and sending as they are, with everything
//! around them made up. A seed that goes wrong goes wrong again.

mod disk;
mod ending;
mod events;
mod faults;
mod model;
mod operators;
mod outgoing;
mod relay;
mod rules;
#[expect(
    clippy::unwrap_used,
    dead_code,
    reason = "what tests of the store are made of, which use more of it"
)]
#[path = "../../it/store_contract/sample.rs"]
mod sample;
#[path = "../support/seeds.rs"]
mod seeds;
mod senders;
mod setting;
mod socket;
mod verdict;
mod watch;
mod wire;
mod world;

use std::io::{Write as _, stdout};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use clap::Parser as _;

use crate::seeds::{Options, ground, try_all};
use crate::world::{Outcome, live};

const WORLDS: u64 = 1_000;
const WORLDS_LONG: u64 = 200_000;
/// Each of so many worlds is lived through twice, and must go the same way.
const TWICE: u64 = 50;

/// What must have happened.
const FIGURES: [&str; 15] = [
    "worlds lived through twice",
    "hours",
    "events",
    "crashes",
    "jumps of the clock",
    "troubles of the relay",
    "invoices",
    "delivered",
    "sent again",
    "left as tombstones",
    "mails begun",
    "mails to a stand-in",
    "named in flight",
    "second copies",
    "uncertain attempts",
];

/// Lives through made-up worlds and looks whether anything is lost, sent to the wrong person or sent twice.
fn main() -> anyhow::Result<ExitCode> {
    let worlds = Options::parse().seeds(WORLDS, WORLDS_LONG)?;
    let began = Instant::now();
    let tells_all = worlds.end - worlds.start == 1;
    writeln!(stdout(), "from seed {}", worlds.start)?;
    let again = "tests/conformance/simulation/run";
    let tried = try_all(worlds, again, |seed, figures| {
        let Outcome { log, mut violations, figures: happened } = live_in_memory(seed)?;
        figures.add_all(&happened);
        if seed.is_multiple_of(TWICE) {
            let again = live_in_memory(seed)?.log;
            figures.count("worlds lived through twice");
            if again != log {
                let line = log.iter().zip(&again).find(|(one, other)| one != other);
                violations.push(format!("it goes another way the second time: {line:?}"));
            }
        }
        if tells_all {
            writeln!(stdout(), "{}", log.join("\n"))?;
        }
        Ok((!violations.is_empty()).then(|| violations.join("\n  ")))
    });
    tried.tell(began, (&FIGURES, WORLDS), stdout())
}

fn live_in_memory(seed: u64) -> anyhow::Result<Outcome> {
    let directory = tempfile::Builder::new()
        .prefix("invoice-router-simulation.")
        .tempdir_in(ground())
        .context("a directory for documents")?;
    Ok(live(seed, directory.path()))
}
