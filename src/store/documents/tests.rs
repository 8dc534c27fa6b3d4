//! Documents come back as they were written, by one or by many at a time, or are reported damaged.

use std::sync::mpsc;
use std::thread;

use super::*;

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn digest(bytes: &[u8]) -> Digest {
    Digest::of(bytes)
}

fn open() -> (tempfile::TempDir, DocumentFiles) {
    let directory = tempfile::tempdir().unwrap();
    let documents = DocumentFiles::open(directory.path()).unwrap();
    (directory, documents)
}

fn incoming(directory: &tempfile::TempDir) -> usize {
    fs::read_dir(directory.path().join("documents/.incoming")).unwrap().count()
}

#[test]
fn a_document_lies_under_its_day_and_digest() {
    let (directory, documents) = open();
    let digest = digest(b"%PDF");
    documents.write(&digest, b"%PDF", day("2026-09-30")).unwrap();

    let path = format!("documents/2026-09-30/{digest}.sha256");
    assert_eq!(fs::read(directory.path().join(path)).unwrap(), b"%PDF");
    assert_eq!(incoming(&directory), 0);

    drop(documents);
    let documents = DocumentFiles::open(directory.path()).unwrap();
    assert_eq!(documents.read(&digest, day("2026-09-30")).unwrap(), b"%PDF");
}

#[test]
fn a_document_written_again_replaces_what_an_upload_without_a_record_left() {
    let (_directory, documents) = open();
    let digest = digest(b"%PDF");
    documents.write(&digest, b"%P", day("2026-09-30")).unwrap();
    documents.write(&digest, b"%PDF", day("2026-09-30")).unwrap();
    assert_eq!(documents.read(&digest, day("2026-09-30")).unwrap(), b"%PDF");
}

#[test]
fn a_changed_or_missing_file_is_damage() {
    let (_directory, documents) = open();
    let digest = digest(b"%PDF");
    let damaged = |cause: &str| {
        Err(StoreError::Damaged { key: format!("document {digest}"), cause: cause.to_owned() })
    };
    let read = || documents.read(&digest, day("2026-09-30"));
    assert_eq!(read(), damaged("its file is missing"));
    documents.write(&digest, b"%PDG", day("2026-09-30")).unwrap();
    assert_eq!(read(), damaged("its file has other bytes"));
    documents.remove(&digest, day("2026-09-30")).unwrap();
    std::os::unix::fs::symlink("nowhere", documents.path(&digest, day("2026-09-30"))).unwrap();
    assert_eq!(read(), damaged("its file is missing"));
    documents.remove(&digest, day("2026-09-30")).unwrap();
    fs::create_dir(documents.path(&digest, day("2026-09-30"))).unwrap();
    assert_eq!(read(), damaged("its file cannot be read: is a directory"));
}

#[test]
fn what_was_not_finished_and_days_without_documents_are_gone_after_a_start() {
    let (directory, documents) = open();
    let (digest, kept) = (digest(b"%PDF"), digest(b"kept"));
    documents.write(&digest, b"%PDF", day("2026-09-30")).unwrap();
    documents.write(&kept, b"kept", day("2026-10-01")).unwrap();
    documents.remove(&digest, day("2026-09-30")).unwrap();
    documents.remove(&digest, day("2026-09-30")).unwrap();
    fs::write(directory.path().join("documents/.incoming/half"), b"%P").unwrap();
    drop(documents);

    let documents = DocumentFiles::open(directory.path()).unwrap();
    assert_eq!(incoming(&directory), 0);
    assert!(!directory.path().join("documents/2026-09-30").exists());
    assert_eq!(documents.read(&kept, day("2026-10-01")).unwrap(), b"kept");
    documents.write(&digest, b"%PDF", day("2026-09-30")).unwrap();
}

#[test]
fn many_writers_at_a_time_all_find_their_document() {
    let (directory, documents) = open();
    thread::scope(|scope| {
        for writer in 0_u8..16 {
            let documents = &documents;
            scope.spawn(move || {
                for number in 0_u8..8 {
                    // Half of the documents are the same for all writers.
                    let bytes = [if number % 2 == 0 { 0 } else { writer }, number];
                    let digest = digest(&bytes);
                    let day = day(["2026-09-30", "2026-10-01"][usize::from(number / 4)]);
                    let _lock = documents.lock(digest);
                    documents.write(&digest, &bytes, day).unwrap();
                    assert_eq!(documents.read(&digest, day).unwrap(), bytes);
                }
            });
        }
    });
    assert_eq!(incoming(&directory), 0);
}

#[test]
fn a_digest_is_locked_until_its_guard_is_dropped_elsewhere() {
    let (_directory, documents) = open();
    let (one, other) = (digest(b"one"), digest(b"other"));
    let guard = documents.lock(one);
    drop(documents.lock(other));

    thread::scope(|scope| {
        let (entered, has_entered) = mpsc::channel();
        let documents = &documents;
        scope.spawn(move || {
            let _guard = documents.lock(one);
            entered.send(()).unwrap();
        });
        assert_eq!(has_entered.try_recv(), Err(mpsc::TryRecvError::Empty));
        // The guard goes with the commit's answer, to another thread.
        scope.spawn(move || drop(guard));
        has_entered.recv().unwrap();
    });
}

#[test]
fn those_who_come_during_a_sync_share_the_next_one() {
    let group = SyncGroup::default();
    let syncs = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let (release, released) = mpsc::channel::<()>();
        let (group, syncs) = (&group, &syncs);
        scope.spawn(move || {
            group.wait_durable(day("2026-09-30"), |days| {
                syncs.lock().push(days.clone());
                released.recv().unwrap();
                Ok(())
            })
        });
        while syncs.lock().is_empty() {
            thread::yield_now();
        }
        for at in 0..6 {
            scope.spawn(move || {
                let day = day(["2026-09-30", "2026-10-01"][at % 2]);
                group
                    .wait_durable(day, |days| {
                        syncs.lock().push(days.clone());
                        Ok(())
                    })
                    .unwrap();
            });
        }
        while group.state.lock().arrived < 7 {
            thread::yield_now();
        }
        release.send(()).unwrap();
    });
    assert_eq!(
        *syncs.lock(),
        [
            BTreeSet::from([day("2026-09-30")]),
            BTreeSet::from([day("2026-09-30"), day("2026-10-01")]),
        ]
    );
}

#[test]
fn after_a_failed_sync_nobody_is_told_that_something_is_durable() {
    let group = SyncGroup::default();
    let day = day("2026-09-30");
    let failure = Err(StoreError::sync_failed("broken disk"));
    assert_eq!(group.wait_durable(day, |_| Err(io::Error::other("broken disk"))), failure);
    assert_eq!(group.wait_durable(day, |_| Ok(())), failure);
}

#[test]
fn what_is_no_day_and_no_document_is_left_out_and_named() {
    let (directory, documents) = open();
    let (kept, stray) = (digest(b"kept"), digest(b"stray"));
    documents.write(&kept, b"kept", day("2026-09-30")).unwrap();
    let root = directory.path().join("documents");
    let shouted = kept.to_string().to_uppercase();
    let paths = [
        root.join(".incoming/directory/file"),
        root.join("2020-01-01"),
        root.join("2020-1-1/file"),
        root.join("2026-09-30").join(format!("{shouted}.sha256")),
        root.join("2026-09-30").join(format!("{stray}.sha256/file")),
        root.join("lost+found/file"),
        root.join("notes.txt"),
    ];
    for path in &paths {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"").unwrap();
    }
    drop(documents);

    let documents = DocumentFiles::open(directory.path()).unwrap();
    assert_eq!(documents.days().unwrap(), [day("2026-09-30")]);
    assert_eq!(documents.of_day(day("2026-09-30")).unwrap(), [kept]);
    let mut expected = paths
        .map(|path| if path.ends_with("file") { path.parent().unwrap().to_owned() } else { path });
    expected.sort();
    assert_eq!(documents.strays().unwrap(), expected);
}

#[test]
fn a_failure_to_open_the_documents_names_the_path() {
    let directory = tempfile::tempdir().unwrap();
    let incoming = directory.path().join("documents/.incoming");
    fs::create_dir(incoming.parent().unwrap()).unwrap();
    fs::write(&incoming, b"").unwrap();
    let error = DocumentFiles::open(directory.path()).unwrap_err().in_full();
    assert!(error.contains(&incoming.display().to_string()), "{error}");
}
