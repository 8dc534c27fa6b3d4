//! The committer over a disk that fails and waits as it is told.

mod races;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};

use super::super::engine::keys::{self, Object, kind};
use super::super::engine::tx::{BATCH_OPERATIONS, KeyValue, Tx, Visit};
use super::super::record::CounterRow;
use super::super::testing::samples::{
    Answer, Map, all, count, counted, entry, rules, unit, verify_trail,
};
use super::*;
use crate::domain::id::AccountId;

/// After which a test that waits has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A disk that keeps what it has in a map, and syncs when it is let to.
struct TestDisk {
    map: Mutex<Map>,
    /// The size of each batch.
    batches: Mutex<Vec<usize>>,
    /// Each sync is announced, and waits for what to return.
    gate: Option<Mutex<Gate>>,
    write_failure: Mutex<Option<StoreError>>,
    free_bytes: AtomicU64,
}

struct Gate {
    began: Sender<()>,
    results: Receiver<io::Result<()>>,
}

/// The test's end of a gate.
struct Warden {
    began: Receiver<()>,
    results: Sender<io::Result<()>>,
}

impl Warden {
    /// Waits until a sync has begun.
    fn wait(&self) {
        self.began.recv_timeout(PATIENCE).expect("a sync begins");
    }
}

impl TestDisk {
    fn new() -> Self {
        Self {
            map: Mutex::default(),
            batches: Mutex::default(),
            gate: None,
            write_failure: Mutex::default(),
            free_bytes: AtomicU64::new(u64::MAX),
        }
    }

    fn gated() -> (Self, Warden) {
        let (began, has_begun) = mpsc::channel();
        let (results, awaited) = mpsc::channel();
        let gate = Gate { began, results: awaited };
        let disk = Self { gate: Some(Mutex::new(gate)), ..Self::new() };
        let warden = Warden { began: has_begun, results };
        (disk, warden)
    }
}

impl Tree for TestDisk {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.map.lock().get(key).cloned())
    }

    fn range(&self, from: &[u8], to: Option<&[u8]>, visit: Visit<'_>) -> Result<()> {
        let map = self.map.lock().clone();
        Tree::range(&map, from, to, visit)
    }
}

impl Disk for TestDisk {
    fn write(&self, writes: Writes) -> Result<()> {
        if let Some(failure) = self.write_failure.lock().clone() {
            return Err(failure);
        }
        self.batches.lock().push(writes.len());
        let mut map = self.map.lock();
        for (key, value) in writes {
            match value {
                Some(value) => map.insert(key, value),
                None => map.remove(&key),
            };
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let Some(gate) = &self.gate else {
            return Ok(());
        };
        let gate = gate.lock();
        // A test that ended lets everything through.
        let _ = gate.began.send(());
        gate.results.recv_timeout(PATIENCE).unwrap_or(Ok(()))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.free_bytes.load(Ordering::Relaxed))
    }
}

fn start(disk: TestDisk) -> (Arc<TestDisk>, Committer) {
    let disk = Arc::new(disk);
    let shared: Arc<dyn Disk> = Arc::clone(&disk) as _;
    let committer = Committer::start(shared, TrailHead::default(), rules(), 1_000).unwrap();
    (disk, committer)
}

fn submit(committer: &Committer, work: impl FnOnce(&mut Tx<'_>) + Send + 'static) -> Answer {
    let (unit, answer) = unit(work);
    committer.submit(Priority::Intake, unit).unwrap();
    answer
}

/// Holds a first batch in its sync, so that all that `then` submits waits for the second.
fn behind_a_first_batch(committer: &Committer, warden: &Warden, then: impl FnOnce()) {
    submit(committer, |tx| count(tx, "first"));
    warden.wait();
    then();
    warden.results.send(Ok(())).unwrap();
}

#[test]
fn units_of_one_batch_see_each_other_and_a_refused_one_adds_nothing() {
    let (disk, warden) = TestDisk::gated();
    let (disk, committer) = start(disk);
    let mut answers = Vec::new();
    behind_a_first_batch(&committer, &warden, || {
        answers.push(submit(&committer, |tx| count(tx, "a")));
        answers.push(submit(&committer, |tx| {
            count(tx, "a");
            assert_eq!(counted(tx, "a"), 2);
            tx.roll_back();
        }));
        answers.push(submit(&committer, |tx| {
            assert_eq!(counted(tx, "a"), 1);
            count(tx, "a");
        }));
    });
    warden.wait();
    warden.results.send(Ok(())).unwrap();
    for answer in answers {
        assert_eq!(answer.recv().unwrap(), Ok(()));
    }
    assert_eq!(counted(disk.as_ref(), "a"), 2);
    assert_eq!(disk.batches.lock().len(), 2);
    assert_eq!(verify_trail(disk.as_ref()), 2);
}

#[test]
fn no_answer_comes_before_the_sync() {
    let (disk, warden) = TestDisk::gated();
    let (disk, committer) = start(disk);
    let answer = submit(&committer, |tx| count(tx, "a"));
    warden.wait();
    assert_eq!(counted(disk.as_ref(), "a"), 1, "written, yet not durable");
    assert_eq!(answer.try_recv(), Err(TryRecvError::Empty));
    assert!(committer.health().committing_for.is_some());

    warden.results.send(Ok(())).unwrap();
    assert_eq!(answer.recv().unwrap(), Ok(()));
    let health = committer.health();
    assert_eq!((health.commits, health.committing_for), (1, None));
}

/// How many batches were written; none of them is larger than it may be.
fn batches_within_the_limit(disk: &TestDisk) -> u64 {
    let batches = disk.batches.lock();
    assert!(batches.iter().all(|size| *size <= BATCH_OPERATIONS), "{batches:?}");
    batches.len() as u64
}

#[test]
fn a_batch_keeps_its_limit_and_nothing_is_lost_between_two() {
    let (disk, warden) = TestDisk::gated();
    let (disk, committer) = start(disk);
    drop(warden);
    let answers: Vec<Answer> = (0..200)
        .map(|at| {
            submit(&committer, move |tx| {
                for part in 0..5 {
                    tx.mark(format!("k{at:03}-{part}").into_bytes());
                }
                count(tx, "units");
            })
        })
        .collect();
    for answer in answers {
        assert_eq!(answer.recv().unwrap(), Ok(()));
    }
    let batches = batches_within_the_limit(&disk);
    assert_eq!(counted(disk.as_ref(), "units"), 200);
    let kept = disk.map.lock();
    assert_eq!(kept.keys().filter(|key| key[0] == b'k').count(), 1_000);
    drop(kept);
    assert_eq!(verify_trail(disk.as_ref()), batches);
}

#[test]
fn a_batch_of_stories_alone_keeps_its_limit() {
    let long = AccountId::parse("\u{1f600}".repeat(128)).unwrap();
    for (object, what) in [
        (Object::Daemon, "line".to_owned()),
        (Object::Account(long.clone()), "line".to_owned()),
        (Object::Account(long), "line".repeat(2_000)),
    ] {
        let (disk, warden) = TestDisk::gated();
        let (disk, committer) = start(disk);
        let mut answers = Vec::new();
        behind_a_first_batch(&committer, &warden, || {
            for _ in 0..300 {
                let (object, entry) = (object.clone(), entry(&what));
                answers.push(submit(&committer, move |tx| tx.tell(object, entry)));
            }
        });
        drop(warden);
        for answer in answers {
            assert_eq!(answer.recv().unwrap(), Ok(()));
        }
        let batches = batches_within_the_limit(&disk);
        assert_eq!(verify_trail(disk.as_ref()), batches);
    }
}

#[test]
fn what_a_unit_leaves_for_later_comes_after_those_who_wait() {
    let (disk, warden) = TestDisk::gated();
    let (disk, committer) = start(disk);
    let (first, then) = unit(|tx| {
        count(tx, "a");
        tx.leave(unit(|tx| count(tx, "a")).0);
    });
    let mut last = None;
    behind_a_first_batch(&committer, &warden, || {
        committer.submit(Priority::Intake, first).unwrap();
        last = Some(submit(&committer, |tx| {
            assert_eq!(counted(tx, "a"), 1);
            count(tx, "a");
        }));
    });
    drop(warden);
    assert_eq!(then.recv().unwrap(), Ok(()));
    assert_eq!(last.unwrap().recv().unwrap(), Ok(()));
    assert_eq!(counted(disk.as_ref(), "a"), 3);
}

/// Writes one key, and leaves the same for later.
fn chain(left: u64) -> Unit {
    let (unit, _answer) = unit(move |tx| {
        tx.put(&keys::counter("chain"), &CounterRow(left)).unwrap();
        if let Some(left) = left.checked_sub(1) {
            tx.leave(chain(left));
        }
    });
    unit
}

#[test]
fn units_that_follow_each_other_for_long_do_not_make_one_endless_batch() {
    let (disk, warden) = TestDisk::gated();
    let (disk, committer) = start(disk);
    let mut other = None;
    behind_a_first_batch(&committer, &warden, || {
        committer.submit(Priority::Intake, chain(100_000)).unwrap();
        other = Some(submit(&committer, |tx| count(tx, "other")));
    });
    warden.wait();
    assert!(counted(disk.as_ref(), "chain") > 0, "most are still to come");
    warden.results.send(Ok(())).unwrap();
    assert_eq!(other.unwrap().recv().unwrap(), Ok(()));
    drop(warden);
}

#[test]
fn a_failed_sync_is_told_to_all_and_ends_the_store() {
    let (disk, warden) = TestDisk::gated();
    let (_disk, committer) = start(disk);
    let failure = StoreError::sync_failed("broken disk");
    let first = submit(&committer, |tx| count(tx, "a"));
    warden.wait();
    let waiting = submit(&committer, |tx| count(tx, "a"));
    warden.results.send(Err(io::Error::other("broken disk"))).unwrap();

    assert_eq!(first.recv().unwrap(), Err(failure.clone()));
    assert!(waiting.recv().is_err(), "it was dropped, unevaluated");
    assert_eq!(committer.health().failure, Some(failure.clone()));
    let (late, _answer) = unit(|_| ());
    assert_eq!(committer.submit(Priority::Settlement, late), Err(failure));
}

#[test]
fn closing_waits_for_what_was_taken_and_takes_nothing_more() {
    let (disk, warden) = TestDisk::gated();
    let (disk, committer) = start(disk);
    let first = submit(&committer, |tx| count(tx, "a"));
    warden.wait();
    let second = submit(&committer, |tx| count(tx, "a"));
    thread::scope(|scope| {
        let closing = scope.spawn(|| committer.close());
        while committer.health().refuses_new.is_none() {
            thread::yield_now();
        }
        let (late, _answer) = unit(|_| ());
        assert_eq!(committer.submit(Priority::Settlement, late), Err(StoreError::Closed));
        assert!(!closing.is_finished());
        drop(warden);
    });
    assert_eq!(first.recv().unwrap(), Ok(()));
    assert_eq!(second.recv().unwrap(), Ok(()));
    assert_eq!(counted(disk.as_ref(), "a"), 2);
}

#[test]
fn closing_leaves_what_follows_to_the_next_start() {
    let (disk, committer) = start(TestDisk::new());
    committer.submit(Priority::Settlement, chain(100_000)).unwrap();
    committer.close();
    assert!(counted(disk.as_ref(), "chain") > 0);
}

#[test]
fn a_failure_that_comes_while_the_store_is_closed_is_told() {
    let (disk, warden) = TestDisk::gated();
    let (_disk, committer) = start(disk);
    let _answer = submit(&committer, |tx| count(tx, "a"));
    warden.wait();
    thread::scope(|scope| {
        scope.spawn(|| committer.close());
        let broken = io::Error::other("broken disk");
        warden.results.send(Err(broken)).unwrap();
    });
    let failure = StoreError::sync_failed("broken disk");
    assert_eq!(committer.health().failure, Some(failure));
}

#[test]
fn one_that_was_evaluated_for_the_next_batch_is_told_of_the_failure_too() {
    let (disk, warden) = TestDisk::gated();
    let (_disk, committer) = start(disk);
    let mut answers = Vec::new();
    behind_a_first_batch(&committer, &warden, || {
        for letter in [b'x', b'y'] {
            answers.push(submit(&committer, move |tx| {
                (0..100).for_each(|number| tx.mark(vec![letter, number]));
            }));
        }
    });
    warden.wait();
    warden.results.send(Err(io::Error::other("broken disk"))).unwrap();
    for answer in answers {
        let failure = StoreError::sync_failed("broken disk");
        assert_eq!(answer.recv().unwrap(), Err(failure));
    }
}

#[test]
fn a_failed_write_ends_the_store() {
    let (disk, committer) = start(TestDisk::new());
    let failure = StoreError::failed("writing a batch", "damaged");
    *disk.write_failure.lock() = Some(failure.clone());
    let answer = submit(&committer, |tx| count(tx, "a"));
    assert_eq!(answer.recv().unwrap(), Err(failure.clone()));
    assert_eq!(committer.health().failure, Some(failure));
}

#[test]
fn a_unit_that_panics_leaves_nobody_waiting() {
    let (_disk, committer) = start(TestDisk::new());
    let answer = submit(&committer, |_| panic!("a fault"));
    assert!(answer.recv().is_err());
    while committer.health().failure.is_none() {
        thread::yield_now();
    }
    let (late, _answer) = unit(|_| ());
    assert!(committer.submit(Priority::Settlement, late).is_err());
}

#[test]
fn a_unit_that_writes_nothing_needs_no_sync() {
    let (disk, warden) = TestDisk::gated();
    let (disk, committer) = start(disk);
    let answer = submit(&committer, |_| ());
    assert_eq!(answer.recv().unwrap(), Ok(()));
    assert_eq!(warden.began.try_recv(), Err(TryRecvError::Empty));
    assert!(disk.batches.lock().is_empty());
}

fn refusals(committer: &Committer) -> [Option<StoreError>; 3] {
    [Priority::Intake, Priority::Attempt, Priority::Settlement].map(|priority| {
        let (unit, _answer) = unit(|_| ());
        committer.submit(priority, unit).err()
    })
}

#[test]
fn a_full_disk_stops_accepting_then_intents_and_never_settling() {
    for (free_bytes, expected) in [
        (1_000, [None, None, None]),
        (999, [Some(StoreError::DiskFull), None, None]),
        (500, [Some(StoreError::DiskFull), None, None]),
        (499, [Some(StoreError::DiskFull), Some(StoreError::DiskFull), None]),
    ] {
        let disk = TestDisk::new();
        disk.free_bytes.store(free_bytes, Ordering::Relaxed);
        let (_disk, committer) = start(disk);
        assert_eq!(refusals(&committer), expected, "{free_bytes}");
    }
}

#[test]
fn what_is_being_written_is_not_promised_to_anybody_else() {
    let (disk, committer) = start(TestDisk::new());
    let look_again = |free_bytes| {
        disk.free_bytes.store(free_bytes, Ordering::Relaxed);
        committer.shared.space.lock().looked = None;
    };
    look_again(3_000);
    assert_eq!(committer.room_for(2_001).err(), Some(StoreError::DiskFull));
    let room = committer.room_for(1_500).unwrap();
    assert_eq!(committer.room_for(501).err(), Some(StoreError::DiskFull));
    let more = committer.room_for(500).unwrap();
    assert_eq!(refusals(&committer), [None, None, None]);
    look_again(2_999);
    assert_eq!(refusals(&committer)[0], Some(StoreError::DiskFull));

    // Written after the last measurement.
    look_again(3_000);
    assert_eq!(refusals(&committer)[0], None);
    drop((room, more));
    assert_eq!(refusals(&committer)[0], None);
    assert_eq!(committer.room_for(1).err(), Some(StoreError::DiskFull));
    look_again(1_001);
    drop(committer.room_for(1).unwrap());
}

#[test]
fn free_space_is_looked_at_again_after_a_second() {
    let (disk, committer) = start(TestDisk::new());
    assert_eq!(refusals(&committer), [None, None, None]);
    disk.free_bytes.store(0, Ordering::Relaxed);
    committer.shared.space.lock().looked = Instant::now().checked_sub(LOOK);
    assert_eq!(refusals(&committer)[0], Some(StoreError::DiskFull));
}

#[test]
fn a_slow_batch_keeps_intents_away_and_nothing_else() {
    let (_disk, committer) = start(TestDisk::new());
    let long_ago = Instant::now().checked_sub(SLOW_BATCH + LOOK);
    for (priority, expected) in
        [(Priority::Attempt, Err(StoreError::Busy)), (Priority::Intake, Ok(()))]
    {
        committer.shared.state.lock().began = long_ago;
        let (unit, _answer) = unit(|_| ());
        assert_eq!(committer.submit(priority, unit), expected);
    }
}

#[test]
fn a_full_queue_refuses_all_but_settlements() {
    let (disk, warden) = TestDisk::gated();
    let (_disk, committer) = start(disk);
    behind_a_first_batch(&committer, &warden, || {
        for _ in 0..WAITING_UNITS {
            submit(&committer, |_| ());
        }
        let busy = Some(StoreError::Busy);
        assert_eq!(refusals(&committer), [busy.clone(), busy, None]);
    });
}

#[test]
fn a_batch_is_stuck_after_a_minute() {
    let began = Instant::now();
    assert!(!is_stuck(None, began));
    assert!(!is_stuck(Some(began), began + STUCK_BATCH));
    assert!(is_stuck(Some(began), began + STUCK_BATCH + LOOK));
}

#[test]
fn closing_waits_for_all_that_was_taken() {
    let (disk, committer) = start(TestDisk::new());
    let answers: Vec<Answer> = (0..300).map(|_| submit(&committer, |tx| count(tx, "a"))).collect();
    drop(committer);
    for answer in answers {
        assert_eq!(answer.try_recv(), Ok(Ok(())));
    }
    assert_eq!(counted(disk.as_ref(), "a"), 300);
    assert_eq!(
        TrailHead::of(disk.as_ref(), last_link(&disk)).unwrap().batch,
        verify_trail(disk.as_ref())
    );
}

fn last_link(disk: &TestDisk) -> Option<KeyValue> {
    all(disk, &[kind::CHAIN]).pop()
}
