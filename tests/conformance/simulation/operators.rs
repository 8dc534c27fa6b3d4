//! Operators: they hold, release, withdraw, resend, pause and dispatch, at any time.

use chrono::TimeDelta;
use invoice_router::domain::audit::Actor;
use invoice_router::domain::delivery::StepAnswer;
use invoice_router::store::{Command, InvoiceView, OperateAnswer, Order, PauseScope, StoreError};

use crate::model::Model;
use crate::sample::{id, number as number_of, of_account, of_schedule};
use crate::world::World;

impl World {
    fn some_invoice(&mut self) -> Option<(String, String)> {
        if self.rng.bool() {
            // What is just being sent is worth a second look.
            let streams = self.relay.streams();
            let numbers = streams.into_iter().filter_map(|stream| stream.number);
            let model = self.model();
            let sending: Vec<_> = numbers
                .filter_map(|number| {
                    Some((model.invoices.get(&number)?.issued.account.to_string(), number))
                })
                .collect();
            drop(model);
            if let Some(found) = self.rng.choice(sending) {
                return Some(found);
            }
        }
        let invoices: Vec<_> = self
            .model()
            .invoices
            .values()
            .map(|invoice| (invoice.issued.account.to_string(), invoice.issued.number.to_string()))
            .collect();
        self.rng.choice(invoices)
    }

    fn revision(&self, account: &str, number: &str) -> u32 {
        match self.look(account, number) {
            Some(InvoiceView::Whole(whole)) => whole.delivery.revision,
            Some(InvoiceView::Tombstone { .. }) | None => 1,
        }
    }

    pub(crate) fn operator_acts(&mut self) {
        let Some((account, number)) = self.some_invoice() else {
            return;
        };
        let command = match self.rng.u32(..10) {
            0..3 => Command::Hold { reason: "look at it".to_owned() },
            3..7 => Command::Release { now: self.rng.bool() },
            7 => Command::Withdraw,
            _ => Command::Resend { revision: self.revision(&account, &number) },
        };
        self.operate(&account, &number, command);
    }

    pub(crate) fn operate(&mut self, account: &str, number: &str, command: Command) {
        let told_number = number.to_owned();
        let told = command.clone();
        let commit = self.store().operate(
            &id(account),
            &number_of(number),
            Order::from(command),
            "anna".to_owned(),
            self.clock.now(),
        );
        self.disk.tell(commit, move |model, answer, _| {
            operated(model, &told_number, &told, &answer);
        });
        self.wake_up.notify_one();
    }

    pub(crate) fn pauses(&mut self) {
        let all = self.rng.bool();
        let account = format!("K{}", self.rng.u32(1..5));
        let is_paused =
            if all { self.model().all_paused } else { self.model().paused.contains(&account) };
        if is_paused {
            self.resume((!all).then_some(account));
        } else {
            let scope = scope_of((!all).then_some(&account));
            let operator = anna();
            let now = self.clock.now();
            let commit = self.store().pause(scope, "wait".to_owned(), operator, now);
            self.disk.tell(commit, move |model, answer, _| {
                if answer.is_ok() {
                    model.note(format!("paused: {}", if all { "all" } else { &account }));
                    if all {
                        model.all_paused = true;
                    } else {
                        model.paused.insert(account);
                    }
                }
            });
        }
    }

    pub(crate) fn resume(&mut self, account: Option<String>) {
        let operator = anna();
        let now = self.clock.now();
        if account.is_none() && self.rng.bool() {
            self.forgets_rejections();
        }
        let commit = self.store().resume(scope_of(account.as_ref()), None, operator, now);
        self.disk.tell(commit, move |model, answer, _| {
            if answer.is_ok() {
                model.note(format!("resumed: {account:?}"));
                match account {
                    None => {
                        model.all_paused = false;
                        model.rejections.clear();
                    }
                    Some(account) => {
                        model.paused.remove(&account);
                    }
                }
            }
        });
        self.wake_up.notify_one();
    }

    fn forgets_rejections(&mut self) {
        let (store, now) = (self.store(), self.clock.now());
        let since = now - TimeDelta::days(1);
        // It waits for its commits, which a task must not.
        let forget = || {
            let forget = move || store.forget_rejections(since, None, anna(), now);
            std::thread::spawn(forget).join()
        };
        let forgotten = self.disk.at_once(forget);
        self.model().note(format!("rejections forgotten: {forgotten:?}"));
    }

    pub(crate) fn dispatches(&mut self) {
        let scope = if self.rng.bool() {
            of_schedule("default")
        } else {
            of_account(&format!("K{}", self.rng.u32(1..5)))
        };
        let operator = anna();
        self.model().dispatched = true;
        let now = self.clock.now();
        let commit = self.store().release(scope, now, operator, None, now);
        self.disk.tell(commit, |model, answer, _| {
            model.note(format!("dispatched: {answer:?}"));
        });
        self.wake_up.notify_one();
    }
}

fn operated(
    model: &mut Model,
    number: &str,
    command: &Command,
    answer: &Result<Option<OperateAnswer>, StoreError>,
) {
    model.note(format!("{command:?} {number}: {answer:?}"));
    let Ok(Some(OperateAnswer { answer, .. })) = *answer else {
        return;
    };
    match (command, answer) {
        (Command::Hold { .. }, StepAnswer::Applied) => {
            model.held(number);
            model.stopped.insert(number.to_owned());
        }
        (Command::Hold { .. }, StepAnswer::Deferred) => {
            model.held(number);
            model.stops_after_this(number);
        }
        (Command::Withdraw, StepAnswer::Applied) => {
            model.withdrawn(number);
        }
        (Command::Withdraw, StepAnswer::Deferred | StepAnswer::AlreadySent) => {
            model.stops_after_this(number);
        }
        (Command::Release { .. }, StepAnswer::Applied | StepAnswer::Deferred) => {
            model.stopped.remove(number);
            model.released(number);
        }
        (Command::Resend { .. }, StepAnswer::Applied) => {
            model.stopped.remove(number);
            model.resent(number);
        }
        (Command::Hold { .. } | Command::Resend { .. }, StepAnswer::AlreadySent)
        | (Command::Resend { .. }, StepAnswer::Deferred)
        | (
            Command::Hold { .. } | Command::Withdraw | Command::Resend { .. },
            StepAnswer::Unchanged | StepAnswer::WrongState | StepAnswer::OtherRevision { .. },
        )
        | (
            Command::Release { .. },
            StepAnswer::Unchanged
            | StepAnswer::AlreadySent
            | StepAnswer::WrongState
            | StepAnswer::OtherRevision { .. },
        ) => {}
    }
}

fn scope_of(account: Option<&String>) -> PauseScope {
    account.map_or(PauseScope::Everything, |account| PauseScope::Account(id(account)))
}

fn anna() -> Actor {
    Actor::Operator("anna".to_owned())
}
