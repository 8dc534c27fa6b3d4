//! The use cases over a disk whose syncs wait as they are told: what comes at the same instant is judged
//! in one batch, and who writes a document keeps off who removes it.

#[path = "../../../../tests/support/figures.rs"]
mod figures;

use std::sync::atomic::AtomicBool;

use chrono::{DateTime, Utc};

use self::figures::count;
use super::super::super::documents::DocumentFiles;
use super::super::super::engine::Engine;
use super::super::super::engine::backend::Backend;
use super::super::super::testing::samples::{self, account, at, rules};
use super::super::super::{
    ChangeAnswer, ChangeResult, Commit, Deduplicated, DocumentAnswer, IssueAnswer, Received,
    Retention, Store as _, StoreId, WithdrawAnswer,
};
use super::*;
use crate::domain::change::{AccountChange, ChangeKind, Refused};
use crate::domain::delivery::Lane;
use crate::domain::id::{Digest, Version};
use crate::domain::invoice::{Invoice, Release};

/// So long a test looks whether something happens that must not.
const LOOK_OUT: Duration = Duration::from_millis(100);

/// The committer over the disk, as a backend.
struct Gated {
    disk: Arc<TestDisk>,
    committer: Committer,
    is_full: Arc<AtomicBool>,
    stop: Arc<Mutex<Option<Stop>>>,
}

/// Stops the next who has something new on the way to the committer.
struct Stop {
    reached: Sender<()>,
    go_on: Receiver<()>,
}

impl Backend for Gated {
    fn tree(&self) -> &dyn Tree {
        self.disk.as_ref()
    }

    fn submit(&self, priority: Priority, unit: Unit) -> Result<()> {
        if self.is_full.load(Ordering::Relaxed) {
            return Err(StoreError::DiskFull);
        }
        let stop = self.stop.lock().take();
        if let Some(stop) = stop {
            stop.reached.send(()).unwrap();
            stop.go_on.recv_timeout(PATIENCE).unwrap();
        }
        self.committer.submit(priority, unit)
    }

    fn room_for(&self, bytes: u64) -> Result<Option<Room>> {
        self.committer.room_for(bytes).map(Some)
    }

    fn id(&self) -> StoreId {
        StoreId::default()
    }

    fn health(&self) -> Health {
        self.committer.health()
    }

    fn close(&self) {
        self.committer.close();
    }

    fn last(&self, prefix: &[u8]) -> Result<Option<KeyValue>> {
        Ok(all(self.tree(), prefix).pop())
    }
}

/// A store whose every sync waits for the warden.
struct World {
    engine: Engine,
    disk: Arc<TestDisk>,
    /// Whether the disk has no room for anything new.
    is_full: Arc<AtomicBool>,
    stop: Arc<Mutex<Option<Stop>>>,
    warden: Warden,
    directory: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (disk, warden) = TestDisk::gated();
        let (disk, committer) = start(disk);
        let is_full = Arc::new(AtomicBool::new(false));
        let stop: Arc<Mutex<Option<Stop>>> = Arc::default();
        let backend = Gated {
            disk: Arc::clone(&disk),
            committer,
            is_full: Arc::clone(&is_full),
            stop: Arc::clone(&stop),
        };
        let documents = DocumentFiles::open(directory.path()).unwrap();
        Self {
            engine: Engine::new(backend, documents, rules()).unwrap(),
            disk,
            is_full,
            stop,
            warden,
            directory,
        }
    }

    /// Lets the sync under way, or the next one, end.
    fn sync(&self) {
        self.warden.wait();
        self.warden.results.send(Ok(())).unwrap();
    }

    /// Brings the account in its first version, and a document.
    fn with_account_and_document() -> Self {
        let world = Self::new();
        let account = world.change("first", 1, "alt@muster.example");
        world.sync();
        account.wait().unwrap();
        let document = world.put(b"%PDF", at(0));
        world.sync();
        document.wait().unwrap();
        world
    }

    fn change(&self, id: &str, version: u64, address: &str) -> Commit<Deduplicated<ChangeAnswer>> {
        let change = AccountChange {
            account: account(),
            version: Version::parse(version).unwrap(),
            timestamp: at(0),
            kind: ChangeKind::Updated(samples::profile(samples::contact([address]))),
        };
        self.engine.change_account(received(id), change)
    }

    fn put(&self, bytes: &[u8], at: DateTime<Utc>) -> Commit<DocumentAnswer> {
        put(&self.engine, bytes, at)
    }

    /// Has both evaluated in one batch behind another, and holds that batch in its sync until it is seen
    /// that neither is answered.
    fn at_once<T: Send>(&self, both: impl FnOnce() -> [Commit<T>; 2]) -> [T; 2] {
        let batches = || self.disk.batches.lock().len();
        let before = batches();
        let first = self.put(b"in front", at(0));
        self.warden.wait();
        let [one, other] = both();
        self.warden.results.send(Ok(())).unwrap();
        first.wait().unwrap();
        self.warden.wait();
        assert_eq!(batches(), before + 2, "both in one batch");
        count("races", &[("pairs of changes in one batch", 1)]);
        let (answered, answers) = mpsc::channel();
        let answered_too = answered.clone();
        thread::scope(|scope| {
            let one = scope.spawn(move || {
                let answer = one.wait().unwrap();
                answered.send(()).unwrap();
                answer
            });
            let other = scope.spawn(move || {
                let answer = other.wait().unwrap();
                answered_too.send(()).unwrap();
                answer
            });
            assert!(answers.recv_timeout(LOOK_OUT).is_err(), "before it is durable");
            self.warden.results.send(Ok(())).unwrap();
            [one.join().unwrap(), other.join().unwrap()]
        })
    }
}

fn received(id: &str) -> Received {
    samples::received(id, id.as_bytes(), at(0))
}

fn invoice() -> Invoice {
    samples::invoice(account(), "R-1", Release::Immediately, digest(b"%PDF"), at(0))
}

fn digest(bytes: &[u8]) -> Digest {
    Digest::of(bytes)
}

fn put(engine: &Engine, bytes: &[u8], at: DateTime<Utc>) -> Commit<DocumentAnswer> {
    engine.put_document(digest(bytes), bytes, at)
}

/// Sweeps to the end; `tell` is told when that has happened.
fn sweep(engine: &Engine, tell: &Sender<()>) {
    while engine.sweep(&RETENTION, at(LATER)).unwrap() {}
    tell.send(()).unwrap();
}

fn result(answer: &ChangeAnswer) -> Result<ChangeResult, &Refused> {
    match answer {
        ChangeAnswer::Accepted { result, .. } => Ok(*result),
        ChangeAnswer::Refused(refused) => Err(refused),
    }
}

#[test]
fn of_two_changes_in_one_batch_the_second_sees_the_first() {
    let world = World::with_account_and_document();
    // The version after the first, as a delta, which nothing but the first one's commit allows.
    let second = AccountChange {
        account: account(),
        version: Version::parse(3).unwrap(),
        timestamp: at(0),
        kind: ChangeKind::Closed,
    };
    let answers = world.at_once(|| {
        [
            world.change("one", 2, "neu@muster.example"),
            world.engine.change_account(received("other"), second),
        ]
    });
    for answer in &answers {
        let Deduplicated::New(answer) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(result(answer), Ok(ChangeResult::Applied));
    }
    let account = world.engine.account(&account()).unwrap().unwrap().account;
    assert_eq!(account.version().get(), 3);
    let addresses = account.profile().main_contact.addresses.as_slice();
    assert_eq!(addresses[0].as_str(), "neu@muster.example");
}

#[test]
fn of_two_changes_to_one_version_in_one_batch_the_second_is_refused() {
    let world = World::with_account_and_document();
    let [one, other] = world.at_once(|| {
        [
            world.change("one", 2, "neu@muster.example"),
            world.change("other", 2, "anders@muster.example"),
        ]
    });
    let (Deduplicated::New(one), Deduplicated::New(other)) = (one, other) else {
        panic!("neither came before");
    };
    assert_eq!(result(&one), Ok(ChangeResult::Applied));
    assert!(result(&other).is_err(), "{other:?}");
}

#[test]
fn an_event_that_comes_twice_in_one_batch_is_applied_once_and_repeated_after_the_same_commit() {
    let world = World::with_account_and_document();
    let [one, other] =
        world.at_once(|| [0, 1].map(|_| world.change("twice", 2, "neu@muster.example")));
    let (Deduplicated::New(one), Deduplicated::Repeated(other)) = (one, other) else {
        panic!("one is the repetition of the other");
    };
    assert_eq!(result(&one), Ok(ChangeResult::Applied));
    assert_eq!(result(&other), Ok(ChangeResult::Duplicate));
    assert_eq!(world.engine.account_version(&account()).unwrap().get(), 2);
}

#[test]
fn an_invoice_and_its_withdrawal_that_come_twice_in_one_batch_count_once() {
    let world = World::with_account_and_document();
    let [one, other] =
        world.at_once(|| [0, 1].map(|_| world.engine.issue(received("R"), invoice())));
    assert!(matches!(one, Deduplicated::New(IssueAnswer::Applied(_))), "{one:?}");
    assert!(matches!(other, Deduplicated::Repeated(IssueAnswer::Duplicate(_))), "{other:?}");
    let [one, other] = world.at_once(|| {
        [0, 1].map(|_| world.engine.withdraw(received("W"), account(), invoice().number))
    });
    assert_eq!(one, Deduplicated::New(WithdrawAnswer::Withdrawn));
    assert!(matches!(other, Deduplicated::Repeated(WithdrawAnswer::Duplicate { .. })), "{other:?}");
    for lane in Lane::ALL {
        assert!(world.engine.due(lane, at(1), None, 10).unwrap().is_empty());
    }
}

const RETENTION: Retention = Retention {
    unused_documents: Duration::from_secs(7 * 86_400),
    finished: Duration::from_secs(7 * 86_400),
};
/// When a document that was put at 0 is to be collected.
const LATER: i64 = 8 * 86_400;

impl World {
    fn is_kept(&self) -> bool {
        self.engine.document(&digest(b"%PDF")).unwrap().as_deref() == Some(b"%PDF")
    }
}

#[test]
fn a_collector_that_comes_between_an_uploads_file_and_its_commit_removes_nothing() {
    let world = World::with_account_and_document();
    let (reached, has_reached) = mpsc::channel();
    let (let_go, go_on) = mpsc::channel();
    *world.stop.lock() = Some(Stop { reached, go_on });
    let (tell, swept) = mpsc::channel();
    thread::scope(|scope| {
        let engine = &world.engine;
        let uploading = scope.spawn(move || put(engine, b"%PDF", at(LATER)).wait());
        // Its file is in its place, and what is known of that is as old as it was.
        has_reached.recv_timeout(PATIENCE).unwrap();
        scope.spawn(move || sweep(engine, &tell));
        assert!(swept.recv_timeout(LOOK_OUT).is_err());
        let_go.send(()).unwrap();
        world.sync();
        assert_eq!(uploading.join().unwrap(), Ok(DocumentAnswer::Duplicate));
        swept.recv_timeout(PATIENCE).unwrap();
    });
    assert!(world.is_kept());
    count("races", &[("uploads against the collector", 1)]);
}

#[test]
fn an_upload_that_comes_while_the_collector_removes_the_same_bytes_waits_and_keeps_them_anew() {
    let world = World::with_account_and_document();
    let (tell, swept) = mpsc::channel();
    let (submit, submitted) = mpsc::channel();
    thread::scope(|scope| {
        let engine = &world.engine;
        scope.spawn(move || sweep(engine, &tell));
        // The record's removal is written and not durable; the file is still there.
        world.warden.wait();
        scope.spawn(move || submit.send(put(engine, b"%PDF", at(LATER))).unwrap());
        let early = submitted.recv_timeout(LOOK_OUT);
        world.warden.results.send(Ok(())).unwrap();
        let has_waited = early.is_err();
        let uploaded = early.unwrap_or_else(|_| submitted.recv_timeout(PATIENCE).unwrap());
        world.sync();
        assert_eq!(uploaded.wait(), Ok(DocumentAnswer::Stored));
        swept.recv_timeout(PATIENCE).unwrap();
        assert!(world.is_kept(), "a record without its file");
        assert!(has_waited);
        count("races", &[("uploads against the collector", 1)]);
    });
}

#[test]
fn a_document_that_would_take_the_reserve_is_not_even_written() {
    let world = World::new();
    world.disk.free_bytes.store(1_003, Ordering::Relaxed);
    // Writing would fail at this, if it were tried.
    std::fs::remove_dir_all(world.directory.path().join("documents")).unwrap();
    let refused = world.put(b"%PDF", at(0));
    assert_eq!(refused.wait(), Err(StoreError::DiskFull));
}

#[test]
fn an_upload_that_is_refused_leaves_the_file_of_one_that_is_about_to_be_committed() {
    let world = World::new();
    let front = world.put(b"in front", at(0));
    world.warden.wait();
    // Its file lies there, and its record waits behind the batch in front.
    let uploaded = world.put(b"%PDF", at(0));
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        let engine = &world.engine;
        world.is_full.store(true, Ordering::Relaxed);
        scope.spawn(move || tell.send(put(engine, b"%PDF", at(0)).wait()).unwrap());
        let early = told.recv_timeout(LOOK_OUT);
        world.warden.results.send(Ok(())).unwrap();
        front.wait().unwrap();
        world.sync();
        assert_eq!(uploaded.wait(), Ok(DocumentAnswer::Stored));
        let has_waited = early.is_err();
        let refused = early.unwrap_or_else(|_| told.recv_timeout(PATIENCE).unwrap());
        assert_eq!(refused, Err(StoreError::DiskFull));
        assert!(world.is_kept(), "a record without its file");
        assert!(has_waited);
    });
}
