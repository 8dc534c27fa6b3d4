//! Runs, who opened them, pauses, stories, the trail, cursors and counters.

use serde::{Deserialize, Serialize};

use super::super::{CounterRow, CursorRow, EntryRow, Malformed, OpenerRow, Stored, TrailRow};
use super::{field, read_time, time};
use crate::domain::id::{AccountId, ScheduleName, Sequence};
use crate::store::types::{Entry, Pause, Run, RunScope};

#[derive(Serialize, Deserialize)]
pub(in crate::store::record) struct RunForm<'a> {
    #[serde(borrow)]
    scope: ScopeForm<'a>,
    instant: i64,
    high_water: u64,
    cursor: Option<&'a str>,
    open: bool,
    latecomers: u64,
}

#[derive(Serialize, Deserialize)]
pub(in crate::store::record) enum ScopeForm<'a> {
    Schedule(&'a str),
    Account(&'a str),
}

impl Stored for Run {
    const KIND: &'static str = "run";
    type Form<'a> = RunForm<'a>;

    fn form(&self) -> RunForm<'_> {
        let Self { scope, instant, high_water: Sequence(high_water), cursor, open, latecomers } =
            self;
        RunForm {
            scope: match scope {
                RunScope::Schedule(name) => ScopeForm::Schedule(name.as_str()),
                RunScope::Account(id) => ScopeForm::Account(id.as_str()),
            },
            instant: time(*instant),
            high_water: *high_water,
            cursor: cursor.as_ref().map(AccountId::as_str),
            open: *open,
            latecomers: *latecomers,
        }
    }

    fn restore(form: RunForm<'_>) -> Result<Self, Malformed> {
        let RunForm { scope, instant, high_water, cursor, open, latecomers } = form;
        Ok(Self {
            scope: match scope {
                ScopeForm::Schedule(name) => {
                    RunScope::Schedule(field("schedule", ScheduleName::parse(name))?)
                }
                ScopeForm::Account(id) => {
                    RunScope::Account(field("account", AccountId::parse(id))?)
                }
            },
            instant: read_time("instant", instant)?,
            high_water: Sequence(high_water),
            cursor: field("cursor", cursor.map(AccountId::parse).transpose())?,
            open,
            latecomers,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(in crate::store::record) struct OpenerForm<'a>(&'a str);

impl Stored for OpenerRow {
    const KIND: &'static str = "opener";
    type Form<'a> = OpenerForm<'a>;

    fn form(&self) -> OpenerForm<'_> {
        let Self(by) = self;
        OpenerForm(by)
    }

    fn restore(form: OpenerForm<'_>) -> Result<Self, Malformed> {
        let OpenerForm(by) = form;
        Ok(Self(by.to_owned()))
    }
}

#[derive(Serialize, Deserialize)]
pub(in crate::store::record) struct PauseForm<'a> {
    reason: &'a str,
    by: &'a str,
    since: i64,
}

impl Stored for Pause {
    const KIND: &'static str = "pause";
    type Form<'a> = PauseForm<'a>;

    fn form(&self) -> PauseForm<'_> {
        let Self { reason, by, since } = self;
        PauseForm { reason, by, since: time(*since) }
    }

    fn restore(form: PauseForm<'_>) -> Result<Self, Malformed> {
        let PauseForm { reason, by, since } = form;
        Ok(Self { reason: reason.to_owned(), by: by.to_owned(), since: read_time("since", since)? })
    }
}

#[derive(Serialize, Deserialize)]
pub(in crate::store::record) struct EntryForm<'a> {
    salt: [u8; 16],
    at: i64,
    actor: &'a str,
    what: &'a str,
}

impl Stored for EntryRow {
    const KIND: &'static str = "entry";
    type Form<'a> = EntryForm<'a>;

    fn form(&self) -> EntryForm<'_> {
        let Self { salt, entry: Entry { at, actor, what } } = self;
        EntryForm { salt: *salt, at: time(*at), actor, what }
    }

    fn restore(form: EntryForm<'_>) -> Result<Self, Malformed> {
        let EntryForm { salt, at, actor, what } = form;
        Ok(Self {
            salt,
            entry: Entry {
                at: read_time("at", at)?,
                actor: actor.to_owned(),
                what: what.to_owned(),
            },
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(in crate::store::record) struct TrailForm {
    previous: [u8; 32],
    entries: Vec<[u8; 32]>,
    objects: Vec<Vec<u8>>,
}

impl Stored for TrailRow {
    const KIND: &'static str = "trail";
    type Form<'a> = TrailForm;

    fn form(&self) -> TrailForm {
        let Self { previous, entries, objects } = self;
        TrailForm { previous: *previous, entries: entries.clone(), objects: objects.clone() }
    }

    fn restore(form: TrailForm) -> Result<Self, Malformed> {
        let TrailForm { previous, entries, objects } = form;
        if entries.len() != objects.len() {
            return Err(Malformed("as many objects as entries expected".to_owned()));
        }
        Ok(Self { previous, entries, objects })
    }
}

#[derive(Serialize, Deserialize)]
pub(in crate::store::record) struct CursorForm<'a>(&'a [u8]);

impl Stored for CursorRow {
    const KIND: &'static str = "cursor";
    type Form<'a> = CursorForm<'a>;

    fn form(&self) -> CursorForm<'_> {
        let Self(key) = self;
        CursorForm(key)
    }

    fn restore(form: CursorForm<'_>) -> Result<Self, Malformed> {
        let CursorForm(key) = form;
        Ok(Self(key.to_vec()))
    }
}

#[derive(Serialize, Deserialize)]
pub(in crate::store::record) struct CounterForm(u64);

impl Stored for CounterRow {
    const KIND: &'static str = "counter";
    type Form<'a> = CounterForm;

    fn form(&self) -> CounterForm {
        let Self(number) = self;
        CounterForm(*number)
    }

    fn restore(form: CounterForm) -> Result<Self, Malformed> {
        let CounterForm(number) = form;
        Ok(Self(number))
    }
}
