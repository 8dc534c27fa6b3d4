//! What a contract cannot show from outside: a process that ends between two units, and reads that a
//! commit comes between.

mod removal;

use std::cell::Cell;
use std::time::Duration;

use super::tx::Visit;
use super::*;
use crate::domain::account::{Profile, SubUser};
use crate::domain::address::EmailAddress;
use crate::domain::audit::{AuditEvent, AuditText, ReleaseScope};
use crate::domain::change::ChangeKind;
use crate::domain::contact::Contact;
use crate::domain::delivery::{DeliveryId, State, StepAnswer};
use crate::domain::id::{Group, SubUserId};
use crate::domain::invoice::Release;
use crate::domain::recipient::Suppression;
use crate::store::Command;
use crate::store::committer::Room;
use crate::store::engine::tx::{Answerer, KeyValue, Records as _};
use crate::store::record::DeliveryRow;
use crate::store::testing::samples::{self, Map, all, rules};
pub(super) use crate::store::testing::samples::{account, at};
use crate::store::testing::{Memory, MemoryBackend};

/// A backend with something between it and those who submit to it.
struct Between<F>(MemoryBackend, F);

impl<F> Backend for Between<F>
where
    F: Fn(&MemoryBackend, Priority, Unit) -> Result<()> + Send + Sync + 'static,
{
    fn tree(&self) -> &dyn Tree {
        &self.0
    }

    fn submit(&self, priority: Priority, unit: Unit) -> Result<()> {
        (self.1)(&self.0, priority, unit)
    }

    fn room_for(&self, bytes: u64) -> Result<Option<Room>> {
        self.0.room_for(bytes)
    }

    fn id(&self) -> StoreId {
        self.0.id()
    }

    fn health(&self) -> Health {
        self.0.health()
    }

    fn close(&self) {
        self.0.close();
    }

    fn last(&self, prefix: &[u8]) -> Result<Option<KeyValue>> {
        self.0.last(prefix)
    }
}

/// As if the process ended after each unit: what a unit leaves for later is not done.
fn only_this_unit(memory: &MemoryBackend, priority: Priority, unit: Unit) -> Result<()> {
    let only = Box::new(|tx: &mut Tx<'_>| {
        let answer = unit(tx);
        tx.next = None;
        answer
    });
    memory.submit(priority, only)
}

/// A tree that a commit changes after so many reads.
struct Shifting {
    before: Map,
    after: Map,
    left: Cell<u32>,
}

impl Shifting {
    fn now(&self) -> &Map {
        match self.left.get().checked_sub(1) {
            Some(left) => {
                self.left.set(left);
                &self.before
            }
            None => &self.after,
        }
    }
}

impl Tree for Shifting {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Tree::get(self.now(), key)
    }

    fn range(&self, from: &[u8], to: Option<&[u8]>, visit: Visit<'_>) -> Result<()> {
        Tree::range(self.now(), from, to, visit)
    }
}

/// What outlives a process.
pub(super) struct Home {
    pub(super) memory: Memory,
    pub(super) directory: tempfile::TempDir,
}

impl Home {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { memory: Memory::new(directory.path()).unwrap(), directory }
    }

    /// Another process.
    pub(super) fn open(&self) -> Engine {
        self.memory.open_over(self.memory.reopen(rules()), rules()).unwrap()
    }

    /// One with something between it and the database.
    fn open_behind<F>(&self, between: F) -> Engine
    where
        F: Fn(&MemoryBackend, Priority, Unit) -> Result<()> + Send + Sync + 'static,
    {
        let backend = Between(self.memory.reopen(rules()), between);
        self.memory.open_over(backend, rules()).unwrap()
    }

    /// All that the database holds.
    pub(super) fn snapshot(&self) -> Map {
        all(&self.memory.backend(), b"").into_iter().collect()
    }

    /// Writes past the engine.
    pub(super) fn submit(&self, write: impl FnOnce(&mut Tx<'_>) + Send + 'static) {
        let unit = Box::new(|tx: &mut Tx<'_>| {
            write(tx);
            Box::new(drop) as Answerer
        });
        self.memory.reopen(rules()).submit(Priority::Intake, unit).unwrap();
    }

    fn fill(&self, values: Map) {
        self.submit(|tx| {
            for (key, value) in values {
                tx.put_bytes(key, value);
            }
        });
    }

    /// Spoils the value under `key`.
    pub(super) fn spoil(&self, key: Vec<u8>) {
        self.fill(Map::from([(key, vec![0, 1, 2, 3])]));
    }
}

pub(super) fn number(n: usize) -> InvoiceNumber {
    InvoiceNumber::parse(format!("R-{n}")).unwrap()
}

pub(super) fn received(id: &str, seconds: i64) -> Received {
    samples::received(id, b"", at(seconds))
}

fn contact(addresses: usize) -> Contact {
    let address = |n| format!("{n}{}@muster.example", "x".repeat(60));
    let addresses: Vec<String> = (0..addresses).map(address).collect();
    samples::contact(addresses.iter().map(String::as_str))
}

/// Brings the account in this version, with so many sub-users.
pub(super) fn change(
    engine: &Engine,
    version: u64,
    sub_users: usize,
    seconds: i64,
) -> Deduplicated<ChangeAnswer> {
    change_of(engine, account(), version, sub_users, seconds)
}

fn change_of(
    engine: &Engine,
    account: AccountId,
    version: u64,
    sub_users: usize,
    seconds: i64,
) -> Deduplicated<ChangeAnswer> {
    let id = format!("change-{account}-{version}");
    let sub_user =
        || SubUser { group: Group::parse("support").unwrap(), contact: contact(10), login: None };
    let change = AccountChange {
        account,
        version: Version::parse(version).unwrap(),
        // The portal's clock is far ahead.
        timestamp: at(4_000_000_000 + i64::try_from(version).unwrap()),
        kind: ChangeKind::Updated(Profile {
            sub_users: (0..sub_users)
                .map(|n| (SubUserId::parse(format!("u-{n}")).unwrap(), sub_user()))
                .collect(),
            ..samples::profile(contact(1))
        }),
    };
    engine.change_account(received(&id, seconds), change).wait().unwrap()
}

pub(super) fn issue(engine: &Engine, n: usize, seconds: i64) {
    issue_to(engine, account(), n, Release::Immediately, seconds);
}

fn issue_to(engine: &Engine, account: AccountId, n: usize, release: Release, seconds: i64) {
    let bytes = b"%PDF";
    let digest = digest(bytes);
    let put = engine.put_document(digest, bytes, at(seconds));
    put.wait().unwrap();
    let invoice = samples::invoice(account, &format!("R-{n}"), release, digest, at(seconds));
    let id = format!("issue-{n}");
    engine.issue(received(&id, seconds), invoice).wait().unwrap();
}

fn due_at(engine: &Engine, seconds: i64) -> usize {
    Lane::ALL
        .into_iter()
        .map(|lane| engine.due(lane, at(seconds), None, 1_000).unwrap().len())
        .sum()
}

#[test]
fn freeing_that_was_interrupted_goes_on_as_of_the_change_that_began_it() {
    let home = Home::new();
    let ending = home.open_behind(only_this_unit);
    for n in 0..200 {
        issue(&ending, n, 0);
    }
    change(&ending, 1, 0, 10);
    let freed = due_at(&ending, 10);
    assert!((1..200).contains(&freed), "{freed} are freed at once");
    drop(ending);

    let ending = home.open_behind(only_this_unit);
    let more = due_at(&ending, 10);
    assert!((freed + 1..200).contains(&more), "a start goes on");
    // Another change comes before it is done, and frees with its own time.
    change(&ending, 2, 0, 20);
    drop(ending);
    let engine = home.open();
    assert_eq!(due_at(&engine, 10), more);
    assert_eq!(due_at(&engine, 20), 200, "none waits for the portal's clock");
    assert!(!engine.tree().any(&[keys::kind::FREEING]).unwrap());
}

#[test]
fn a_release_that_is_interrupted_after_each_unit_goes_on_and_moves_each_invoice_once() {
    const SCOPE: fn() -> RunScope = || RunScope::Schedule(ScheduleName::default());
    let home = Home::new();
    let whole = home.open();
    // A unit's end is met in the midst of an account, and between two.
    let accounts = ["K-1", "K-2", "K-3", "K-4"].map(|id| AccountId::parse(id).unwrap());
    let of: Vec<&AccountId> =
        [70, 1, 1, 60].into_iter().zip(&accounts).flat_map(|(n, id)| vec![id; n]).collect();
    for account in &accounts {
        change_of(&whole, account.clone(), 1, 0, 0);
    }
    for (n, account) in of.iter().enumerate() {
        issue_to(&whole, (*account).clone(), n, Release::Scheduled, 0);
    }
    for n in [0, 131] {
        let command = Command::Hold { reason: "a look".to_owned() };
        let anna = "anna".to_owned();
        let held = whole.operate(of[n], &number(n), command.into(), anna, at(1));
        assert_eq!(held.wait().unwrap().unwrap().answer, StepAnswer::Applied);
    }
    // It is skipped, and holds up no other.
    home.spoil(keys::delivery(DeliveryId::of_invoice(Sequence(2))));
    drop(whole);

    let ending = home.open_behind(only_this_unit);
    let released = ending.release(SCOPE(), at(8), Actor::Daemon, None, at(10));
    assert_eq!(released.wait(), Ok(true));
    drop(ending);
    let mut units = 1;
    loop {
        // Each start does one unit, and ends.
        let before = due_count(&home);
        let ending = home.open_behind(only_this_unit);
        units += 1;
        if ending.runs().unwrap().iter().all(|run| !run.open) {
            break;
        }
        let run = ending.runs().unwrap().remove(0);
        assert_eq!((run.instant, run.at, run.high_water), (at(8), at(10), Sequence(132)));
        assert!(due_count(&home) > before, "each unit comes further");
        if units == 2 {
            let let_go = |n: usize| {
                let command = Command::Release { now: false };
                let anna = "anna".to_owned();
                let done = ending.operate(of[n], &number(n), command.into(), anna, at(11));
                assert_eq!(done.wait().unwrap().unwrap().state.as_str(), "waiting");
            };
            // Behind the cursor it waits for the next release, ahead of it is released; what is new waits anyway.
            let_go(0);
            let_go(131);
            issue_to(&ending, accounts[3].clone(), 132, Release::Scheduled, 11);
        }
    }
    assert!(units > 4, "{units} units");

    let whole = home.open();
    let scope = ReleaseScope::Schedule(AuditText::new("default"));
    let event = AuditEvent::ReleasedByRun { scope };
    let stays = |n: usize| matches!(n, 0 | 132);
    for n in (0..=132).filter(|n| *n != 1) {
        let account = of.get(n).copied().unwrap_or(&accounts[3]);
        let view = whole.invoice(account, &number(n)).unwrap();
        let Some(InvoiceView::Whole(view)) = view else { panic!("{view:?}") };
        let told = view.story.iter().filter(|entry| entry.event == event).count();
        let expected = if stays(n) { ("waiting", 0) } else { ("due", 1) };
        assert_eq!((view.state.as_str(), told), expected, "{n}");
        assert!(stays(n) || view.delivery.next_at == Some(at(10)), "{n}");
    }
    // The next release takes along what waited behind the cursor.
    let released = whole.release(SCOPE(), at(20), Actor::Daemon, None, at(20));
    assert_eq!(released.wait(), Ok(true));
    assert_eq!(due_count(&home), 132);
}

fn due_count(home: &Home) -> usize {
    all(&home.memory.backend(), &[keys::kind::DUE]).len()
}

#[test]
fn an_invoice_that_is_removed_while_it_is_read_is_there_or_not_and_never_damaged() {
    let home = Home::new();
    let engine = home.open();
    change(&engine, 1, 0, 0);
    for n in 0..2 {
        issue(&engine, n, 0);
    }
    let withdrawn = engine.withdraw(received("withdraw", 0), account(), number(0));
    withdrawn.wait().unwrap();
    let before = home.snapshot();
    assert!(!engine.sweep(&SOON, at(100)).unwrap());
    let after = home.snapshot();

    for reads in 0..40 {
        let tree =
            || Shifting { before: before.clone(), after: after.clone(), left: Cell::new(reads) };
        let view = views::invoice(&tree(), &account(), &number(0), &rules());
        assert!(view.unwrap().is_some(), "after {reads} reads");
        views::job(&tree(), DeliveryId::of_invoice(Sequence(1))).unwrap();
        let page = views::invoices(&tree(), &Filter::default(), None, 10).unwrap();
        assert!((1..=2).contains(&page.items.len()), "after {reads} reads");
    }
}

#[test]
fn a_record_in_parts_that_is_written_while_it_is_read_is_read_whole() {
    let home = Home::new();
    let engine = home.open();
    for (from, to) in [(30, 40), (40, 30), (30, 0), (0, 30), (30, 30)] {
        let version = engine.account_version(&account()).unwrap().get();
        change(&engine, version + 1, from, 0);
        let before = home.snapshot();
        change(&engine, version + 2, to, 0);
        let after = home.snapshot();
        for reads in 0..30 {
            let tree =
                Shifting { before: before.clone(), after: after.clone(), left: Cell::new(reads) };
            let read = read::account(&tree, &account()).unwrap().unwrap();
            let sub_users = read.profile().sub_users.len();
            let expected = if read.version().get() == version + 1 { from } else { to };
            assert_eq!(sub_users, expected, "after {reads} reads");
        }
    }
}

/// As on a full disk.
fn no_room(_: &MemoryBackend, _: Priority, _: Unit) -> Result<()> {
    Err(StoreError::DiskFull)
}

#[test]
fn a_refused_document_leaves_no_file_and_takes_none_that_is_referred_to() {
    let home = Home::new();
    let kept = home.open();
    kept.put_document(digest(b"kept"), b"kept", at(0)).wait().unwrap();

    let full = home.open_behind(no_room);
    for bytes in [&b"kept"[..], b"refused"] {
        let answer = full.put_document(digest(bytes), bytes, at(0)).wait();
        assert_eq!(answer, Err(StoreError::DiskFull));
    }
    assert_eq!(kept.document(&digest(b"kept")), Ok(Some(b"kept".to_vec())));
    let file = |bytes| full.documents.read(&digest(bytes), at(0).date_naive());
    assert!(file(b"kept").is_ok());
    assert!(file(b"refused").is_err());
}

#[test]
fn a_file_that_no_record_names_is_swept_once_it_is_old() {
    let home = Home::new();
    let engine = home.open();
    issue(&engine, 0, 0);
    let stray = Digest::from_bytes([1; 32]);
    for seconds in [0, 86_400] {
        // As an upload does that ends before its record.
        let day = at(seconds).date_naive();
        engine.documents.write(&stray, b"stray", day).unwrap();
    }
    // Neither is a day's directory, and neither stands in the way.
    let root = home.directory.path().join("documents");
    std::fs::write(root.join("1969-12-31"), b"").unwrap();
    std::fs::create_dir(root.join("1969-1-1")).unwrap();
    let retention = Retention {
        unused_documents: Duration::from_secs(86_400),
        finished: Duration::from_secs(86_400),
    };
    while engine.sweep(&retention, at(2 * 86_400 + 1)).unwrap() {}
    let left: Vec<_> = [0, 86_400]
        .into_iter()
        .flat_map(|seconds| engine.documents.of_day(at(seconds).date_naive()).unwrap())
        .collect();
    assert_eq!(left.len(), 2, "the invoice's, and the stray one that is not old yet");
    while engine.sweep(&retention, at(3 * 86_400 + 1)).unwrap() {}
    let second = engine.documents.of_day(at(86_400).date_naive()).unwrap();
    assert_eq!(second, []);
}

#[test]
fn one_damaged_record_stands_in_nobodys_way() {
    let home = Home::new();
    let engine = home.open();
    for n in 0..3 {
        issue(&engine, n, 0);
    }
    home.spoil(keys::delivery(DeliveryId::of_invoice(Sequence(1))));
    change(&engine, 1, 0, 10);
    assert_eq!(due_at(&engine, 10), 2, "the other two are freed");

    for n in 1..3 {
        let withdrawn =
            engine.withdraw(received(&format!("withdraw-{n}"), 20), account(), number(n));
        withdrawn.wait().unwrap();
    }
    while engine.sweep(&SOON, at(100)).unwrap() {}
    for n in 1..3 {
        let left = engine.invoice(&account(), &number(n)).unwrap();
        assert!(matches!(left, Some(InvoiceView::Tombstone { .. })), "{left:?}");
    }

    for sequence in [1, 2] {
        home.spoil(keys::intent(DeliveryId::of_invoice(Sequence(sequence))));
    }
    assert_eq!(engine.recover(at(200), 0.0).wait(), Ok(Vec::new()));
    change(&engine, 2, 0, 210);
}

#[test]
fn what_is_damaged_is_left_out_of_lists_and_counted() {
    let home = Home::new();
    let engine = home.open();
    for n in 0..3 {
        issue(&engine, n, 0);
    }
    change(&engine, 1, 0, 10);
    let [first, last] = ["A-0", "Z-0"].map(|id| AccountId::parse(id).unwrap());
    for id in [&first, &last] {
        home.spoil(keys::account(id));
    }
    let page = engine.accounts(None, 1).unwrap();
    assert_eq!((page.items.len(), page.damaged), (0, 1));
    assert_eq!(page.next, Some(first));
    let page = engine.accounts(page.next.as_ref(), 10).unwrap();
    assert_eq!((page.items.len(), page.damaged), (1, 1));
    assert_eq!(page.next, None);

    home.spoil(keys::delivery(DeliveryId::of_invoice(Sequence(2))));
    let page = engine.invoices(&Filter::default(), None, 10).unwrap();
    assert_eq!((page.items.len(), page.damaged), (2, 1));
    assert_eq!(page.next, None);
}

#[test]
fn an_attempt_whose_intent_is_damaged_is_named_as_in_flight() {
    let home = Home::new();
    let engine = home.open();
    change(&engine, 1, 0, 0);
    issue(&engine, 0, 0);
    home.spoil(keys::intent(DeliveryId::of_invoice(Sequence(1))));
    let answer = change(&engine, 2, 0, 10);
    let Deduplicated::New(ChangeAnswer::Accepted { in_flight, .. }) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(in_flight, [number(0)]);
}

#[test]
fn a_damaged_mark_keeps_only_its_accounts_rejections_from_being_forgotten() {
    let home = Home::new();
    let engine = home.open();
    let mark = Suppression {
        since: at(10),
        account_version: Version::parse(1).unwrap(),
        reply: "550 5.1.1 unknown".to_owned(),
    };
    let key = |account: &str, address: &str| {
        let address = EmailAddress::parse(address).unwrap();
        keys::suppression(&AccountId::parse(account).unwrap(), &address)
    };
    home.submit(move |tx| {
        for (account, address) in [("K-1", "b@x.example"), ("K-2", "c@x.example")] {
            tx.put(&key(account, address), &mark).unwrap();
        }
    });
    home.spoil(key("K-1", "a@x.example"));
    let actor = Actor::Operator("anna".to_owned());
    let forgotten = engine.forget_rejections(at(0), None, actor, at(20));
    assert_eq!(forgotten, Ok(1));
    let left = home.snapshot();
    assert!(left.contains_key(&key("K-1", "b@x.example")));
    assert!(!left.contains_key(&key("K-2", "c@x.example")));
}

/// Issues an invoice and withdraws it, after so many holds and releases.
pub(super) fn withdraw_after(engine: &Engine, n: usize, changes: usize) {
    issue(engine, n, 0);
    for change in 0..changes {
        let command = if change % 2 == 0 {
            Command::Hold { reason: "asked for".to_owned() }
        } else {
            Command::Release { now: false }
        };
        let anna = "anna".to_owned();
        engine.operate(&account(), &number(n), command.into(), anna, at(1)).wait().unwrap();
    }
    engine.withdraw(received(&format!("withdraw-{n}"), 1), account(), number(n)).wait().unwrap();
}

/// Invoices that did not change for ten seconds are removed, documents after a thousand.
pub(super) const SOON: Retention =
    Retention { unused_documents: Duration::from_secs(1_000), finished: Duration::from_secs(10) };

fn digest(bytes: &[u8]) -> Digest {
    Digest::from_bytes(<sha2::Sha256 as sha2::Digest>::digest(bytes).into())
}
