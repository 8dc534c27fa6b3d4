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
#[expect(
    clippy::unwrap_used,
    dead_code,
    reason = "what tests of the store are made of, which use more of it"
)]
#[path = "../../it/store_contract/sample.rs"]
mod sample;
mod script;
#[path = "../support/seeds.rs"]
mod seeds;
mod setting;
mod views;
mod words;

use std::io::{Write as _, stdout};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser as _;
use tokio::runtime::Runtime;

use crate::seeds::{Options, ground, try_all};
use crate::setting::Setting;

const SEQUENCES: u64 = 3_000;
const SEQUENCES_LONG: u64 = 1_000_000;

/// Sends random sequences of events and compares answers and end state with the contract, written a second time.
fn main() -> anyhow::Result<ExitCode> {
    let sequences = Options::parse().seeds(SEQUENCES, SEQUENCES_LONG)?;
    let ground = ground();
    let mut out = stdout().lock();
    // It must be known even if this comes to no end.
    writeln!(out, "from seed {}", sequences.start)?;
    if sequences.end - sequences.start == 1 {
        for request in &author::write(sequences.start).requests {
            writeln!(out, "{request}")?;
        }
    } else {
        writeln!(out, "{}", proof::prove(&ground)?)?;
    }
    let began = Instant::now();
    let again = "tests/conformance/semantics/run";
    let tried = try_all(sequences, again, |seed, figures| {
        let script = author::write(seed);
        new_runtime()?.block_on(async {
            let setting = Setting::default();
            let Some(found) = play::play(&script, &ground, &setting, figures).await? else {
                return Ok(None);
            };
            let (shortest, difference) = play::shrink(script, found, &ground).await;
            let requests = shortest.requests.iter().map(|request| format!("  {request}\n"));
            Ok(Some(format!("{}{difference}", requests.collect::<String>())))
        })
    });
    let table = [figures::ANSWERS, figures::SHOWN].concat();
    tried.tell(began, (&table, SEQUENCES), out)
}

fn new_runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
