//! The state directory as starts, crashes and mistakes leave it.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::engine::tx::{Records as _, Tx};
use super::super::record::CursorRow;
use super::super::testing::Memory;
use super::super::testing::samples::{all, commit, count, counted, rules, verify_trail};
use super::*;

fn settings(directory: &tempfile::TempDir) -> State {
    State { directory: directory.path().to_owned(), reserve_bytes: 0, cache_bytes: 8 << 20 }
}

fn open(directory: &tempfile::TempDir) -> Result<SledBackend, OpenError> {
    SledBackend::open(&settings(directory), rules())
}

fn cause(error: &OpenError) -> &'static str {
    let OpenError::Mismatch { cause, .. } = error else {
        panic!("{error}");
    };
    cause
}

#[test]
fn a_store_opens_again_as_soon_as_it_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    for round in 1..=20 {
        let backend = open(&directory).unwrap();
        commit(&backend, |tx| count(tx, "rounds")).unwrap();
        assert_eq!(counted(backend.tree(), "rounds"), round);
    }
}

#[test]
fn the_last_of_a_prefix_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let backend = open(&directory).unwrap();
    commit(&backend, |tx| {
        for key in ["p1", "p2", "q0"] {
            tx.mark(key.into());
        }
    })
    .unwrap();
    assert_eq!(backend.last(b"p").unwrap(), Some((b"p2".to_vec(), vec![0])));
    assert_eq!(backend.last(b"o").unwrap(), None);
}

#[test]
fn a_directory_in_use_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let backend = open(&directory).unwrap();
    assert!(matches!(open(&directory), Err(OpenError::InUse(_))));
    drop(backend);
    open(&directory).unwrap();
}

#[test]
fn a_store_is_created_in_an_empty_directory_only() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("documents"), b"").unwrap();
    let error = open(&directory).err().unwrap();
    assert!(error.needs_operator());
    assert!(matches!(error, OpenError::NotEmpty { found, .. } if found == "documents"));
}

#[test]
fn a_lost_current_is_no_reason_to_begin_anew() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(&directory).unwrap());
    fs::remove_file(directory.path().join(CURRENT)).unwrap();
    let error = open(&directory).err().unwrap();
    assert!(matches!(error, OpenError::NotEmpty { found, .. } if found == FIRST_DATABASE));
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(open(&directory).unwrap());
    drop(open(&other).unwrap());
    let current = directory.path().join(CURRENT);
    let own = fs::read(&current).unwrap();

    fs::copy(other.path().join(CURRENT), &current).unwrap();
    assert_eq!(
        cause(&open(&directory).err().unwrap()),
        "the database belongs to another store than CURRENT"
    );
    let elsewhere: &[u8] = b"format 1\ndatabase ../elsewhere\nid 0\n";
    let without_format = &own[b"format 1\n".len()..];
    for malformed in [elsewhere, without_format, b"format 01\n", b"format 2"] {
        fs::write(&current, malformed).unwrap();
        assert_eq!(cause(&open(&directory).err().unwrap()), "CURRENT is malformed");
    }
    fs::write(&current, &own).unwrap();
    let database = directory.path().join(FIRST_DATABASE);
    fs::rename(&database, directory.path().join("aside")).unwrap();
    assert_eq!(
        cause(&open(&directory).err().unwrap()),
        "the database that CURRENT names is missing"
    );
    assert!(!database.exists(), "nothing was created in its place");
}

#[test]
fn a_store_that_a_newer_program_wrote_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(&directory).unwrap());
    let current = directory.path().join(CURRENT);
    let own = fs::read_to_string(&current).unwrap();
    for rest in [&own["format 1\n".len()..], "something new\n", ""] {
        fs::write(&current, format!("format 2\n{rest}")).unwrap();
        let error = open(&directory).err().unwrap();
        assert!(error.needs_operator());
        let directory = directory.path().display();
        let expected = format!(
            "the store in {directory} has format 2, and this program reads formats up to 1: \
             install the version of invoice-router that wrote it, or restore a backup"
        );
        assert_eq!(error.to_string(), expected);
    }
    fs::write(&current, own).unwrap();
    open(&directory).unwrap();
}

#[test]
fn a_store_of_an_older_format_gets_the_newer_one() {
    let directory = tempfile::tempdir().unwrap();
    let backend = open(&directory).unwrap();
    commit(&backend, |tx| count(tx, "a")).unwrap();
    drop(backend);
    let own = fs::read_to_string(directory.path().join(CURRENT)).unwrap();
    let current = Current::parse(&own).unwrap();
    // What an interrupted start left.
    fs::write(directory.path().join(RAISING), "half").unwrap();
    Current { format: FORMAT - 1, ..current }.raise(directory.path()).unwrap();
    assert_eq!(fs::read_to_string(directory.path().join(CURRENT)).unwrap(), own);
    assert!(!directory.path().join(RAISING).exists());
    assert_eq!(counted(open(&directory).unwrap().tree(), "a"), 1);
}

#[test]
fn an_interrupted_creation_is_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(&directory).unwrap());
    let path = |name| directory.path().join(name);
    let before = fs::read(path(CURRENT)).unwrap();
    fs::remove_file(path("REACHED")).unwrap();
    fs::rename(path(CURRENT), path(CREATING)).unwrap();

    let backend = open(&directory).unwrap();
    commit(&backend, |tx| count(tx, "a")).unwrap();
    assert_ne!(fs::read(path(CURRENT)).unwrap(), before);
    assert!(!path(CREATING).exists());
}

#[test]
fn a_database_that_has_not_come_as_far_as_was_noted_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name| directory.path().join(name);
    let database = path(FIRST_DATABASE).join("db");
    let backend = open(&directory).unwrap();
    for _ in 0..20 {
        commit(&backend, |tx| count(tx, "a")).unwrap();
    }
    let earlier = fs::read(&database).unwrap();
    commit(&backend, |tx| count(tx, "a")).unwrap();
    backend.close();
    drop(backend);
    open(&directory).unwrap();

    let lost = "the database has lost commits: it is behind the position in REACHED";
    let noted = fs::read_to_string(path("REACHED")).unwrap();
    let (batch, _) = noted.split_once("hash ").unwrap();
    fs::write(path("REACHED"), format!("{batch}hash {}\n", "0".repeat(64))).unwrap();
    assert_eq!(cause(&open(&directory).err().unwrap()), lost);
    // Where nothing was noted, as by an earlier version, nothing is missed.
    fs::remove_file(path("REACHED")).unwrap();
    open(&directory).unwrap();

    // sled takes a flipped bit for the end of what was written; an older file stands for that.
    fs::write(path("REACHED"), noted).unwrap();
    for file in fs::read_dir(path(FIRST_DATABASE)).unwrap() {
        let file = file.unwrap();
        if file.file_name().to_string_lossy().starts_with("snap.") {
            fs::remove_file(file.path()).unwrap();
        }
    }
    fs::write(&database, earlier).unwrap();
    assert_eq!(cause(&open(&directory).err().unwrap()), lost);
}

#[test]
fn a_store_that_was_in_use_is_not_taken_for_an_interrupted_creation() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(&directory).unwrap());
    let path = |name| directory.path().join(name);
    fs::create_dir(path("documents")).unwrap();
    fs::remove_file(path("REACHED")).unwrap();
    fs::rename(path(CURRENT), path(CREATING)).unwrap();
    assert!(matches!(
        open(&directory),
        Err(OpenError::NotEmpty { found, .. }) if found == "documents"
    ));
    assert!(path(FIRST_DATABASE).join("db").exists());
    fs::rename(path(CREATING), path(CURRENT)).unwrap();
    open(&directory).unwrap();
}

#[test]
fn an_unfinished_snapshot_is_removed_before_it_makes_the_open_fail() {
    let directory = tempfile::tempdir().unwrap();
    let backend = open(&directory).unwrap();
    commit(&backend, |tx| count(tx, "a")).unwrap();
    drop(backend);
    let snapshot = directory.path().join(FIRST_DATABASE).join("snap.FFFFFFFFFFFFFFFF.generating");
    fs::write(&snapshot, b"half").unwrap();

    let backend = open(&directory).unwrap();
    assert!(!snapshot.exists());
    assert_eq!(counted(backend.tree(), "a"), 1);
}

#[test]
fn current_leads_nowhere_else() {
    let current = Current { format: FORMAT, database: "sled-2".to_owned(), id: [7; 16] };
    let text = current.text();
    assert_eq!(Current::parse(&text), Some(current));
    for changed in [
        text.replace("sled-2", "sled-"),
        text.replace("sled-2", "sled-2/../x"),
        text.replace("sled-2", "../x"),
        text.replace("format 1", "format 0"),
        text.replace("format 1\n", ""),
        text.replace("format 1\n", "format 1\n\n"),
        text.replace("id 0", "id +"),
        text.replace("id 07", "id 7"),
        text.trim_end().to_owned(),
        format!("{text}\n"),
        String::new(),
    ] {
        assert_eq!(Current::parse(&changed), None, "{changed:?}");
    }
}

/// What a unit of the comparison does, one after the other.
#[derive(Debug, Clone)]
enum Deed {
    Put(u8, usize),
    Remove(u8),
    RollBack,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => (0_u8..12, 0_usize..9_000).prop_map(|(key, length)| Deed::Put(key, length)),
        2 => (0_u8..12).prop_map(Deed::Remove),
        1 => Just(Deed::RollBack),
    ]
}

/// Does them, and writes down what the unit sees in the end.
fn act(tx: &mut Tx<'_>, deeds: &[Deed]) {
    for deed in deeds {
        match deed {
            Deed::Put(key, length) => tx.put(&[b'k', *key], &CursorRow(vec![*key; *length])),
            Deed::Remove(key) => tx.remove(&[b'k', *key]),
            Deed::RollBack => {
                tx.roll_back();
                Ok(())
            }
        }
        .unwrap();
    }
    let mut seen = Vec::new();
    for (key, value) in all(tx, b"k") {
        let CursorRow(content) = tx.decode(&key, &value).unwrap();
        seen.extend(key);
        seen.extend(content.len().to_be_bytes());
    }
    tx.put(b"seen", &CursorRow(seen)).unwrap();
    count(tx, "units");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn sled_and_memory_hold_the_same_whatever_is_done(
        before in vec(vec(deed(), 1..6), 1..8),
        after in vec(vec(deed(), 1..6), 1..8),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let memory = Memory::new("").unwrap().reopen(rules());
        for units in [before, after] {
            let backend = open(&directory).unwrap();
            for deeds in units {
                let same = deeds.clone();
                commit(&memory, move |tx| act(tx, &same)).unwrap();
                commit(&backend, move |tx| act(tx, &deeds)).unwrap();
            }
            // All but the stories, whose salts are random, and the store's id.
            for prefix in [b"k".as_slice(), b"c", b"seen", &keys::counter("units")] {
                prop_assert_eq!(all(backend.tree(), prefix), all(&memory, prefix));
            }
            prop_assert_eq!(verify_trail(backend.tree()), verify_trail(&memory));
        }
    }
}
