//! The store in memory behaves as one on a disk would.

use super::super::engine::tx::{Records as _, VALUE_BYTES};
use super::super::record::CursorRow;
use super::samples::{all, commit, count, counted, rules, unit};
use super::*;

fn backend() -> MemoryBackend {
    Memory::new("").unwrap().reopen(rules())
}

#[test]
fn what_a_unit_leaves_for_later_is_done_before_submit_returns() {
    let backend = backend();
    let (first, answer) = unit(|tx| {
        count(tx, "a");
        tx.leave(unit(|tx| count(tx, "a")).0);
    });
    backend.submit(Priority::Intake, first).unwrap();
    assert_eq!(answer.recv().unwrap(), Ok(()));
    assert_eq!(counted(&backend, "a"), 2);
}

#[test]
fn a_record_takes_its_parts_along_and_another_value_has_none() {
    let backend = backend();
    commit(&backend, |tx| {
        tx.put(b"long", &CursorRow(vec![7; 3 * VALUE_BYTES])).unwrap();
        tx.put_bytes(b"raw".to_vec(), vec![0xFF; 16]);
    })
    .unwrap();
    assert_eq!(all(&backend, b"").len(), 5);
    let long = backend.read(b"long").unwrap();
    assert_eq!(long, Some(CursorRow(vec![7; 3 * VALUE_BYTES])));

    commit(&backend, |tx| {
        tx.remove(b"raw").unwrap();
        assert_eq!(tx.operations(), 1);
        tx.put(b"long", &CursorRow(vec![7; VALUE_BYTES])).unwrap();
    })
    .unwrap();
    assert_eq!(all(&backend, b"").len(), 2);

    commit(&backend, |tx| tx.remove(b"long").unwrap()).unwrap();
    assert_eq!(all(&backend, b""), []);
}

#[test]
fn a_visitor_may_read_while_it_visits() {
    let backend = backend();
    commit(&backend, |tx| {
        count(tx, "a");
        count(tx, "b");
    })
    .unwrap();
    let prefix = [kind::COUNTER];
    let same = backend.scan(&prefix, None, usize::MAX, |key, value| {
        assert_eq!(backend.get(key).unwrap().as_deref(), Some(value));
        Some(())
    });
    assert_eq!(same.unwrap().len(), 2);
    assert_eq!(backend.last(&prefix).unwrap().as_ref(), all(&backend, &prefix).last());
    assert_eq!(backend.last(b"nothing").unwrap(), None);
}
