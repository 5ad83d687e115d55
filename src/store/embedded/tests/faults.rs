//! Files that cannot be used, and disks that fail.

use std::{fs, io::ErrorKind};

use super::*;

/// What is wrong with the file at a path.
fn refusal(path: &Path) -> String {
    let error = Embedded::open(settings(path), at(50)).expect_err("a file that cannot be used");
    let sentence = error.to_string();
    assert!(sentence.contains(&*path.to_string_lossy()), "{sentence}");
    assert!(!sentence.contains('\n'), "{sentence}");
    sentence
}

/// A file with something in it, well closed.
async fn filled(path: &Path) -> Job {
    let store = Embedded::open(settings(path), at(1)).expect("a new file");
    let mut job = put(&store, new_job("a", NewJob::default(), at(10)), None).await;
    for number in 0..50 {
        let more = Change {
            events: vec![event(&"e".repeat(300))],
            rows: vec![row(&"r".repeat(300))],
            answers: vec![report_id(&format!("report-{number}"))],
            ..Change::count(number)
        };
        job = change(&store, &job, &more, at(11)).await;
    }
    job
}

#[tokio::test]
async fn a_file_is_used_by_one_process_at_a_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("jobs.redb");
    let store = Embedded::open(settings(&path), at(1)).expect("a new file");
    let sentence = refusal(&path);
    assert!(
        sentence.ends_with("is in use by another process"),
        "{sentence}"
    );
    drop(store);
    Embedded::open(settings(&path), at(2)).expect("nobody has it any more");
    // Nothing is left beside it of how it was made.
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("jobs.redb");
    filled(&path).await;
    let file = Database::open(&path).expect("a database");
    let transaction = file.begin_write().expect("begun");
    let mut numbers = transaction.open_table(NUMBERS).expect("a table");
    numbers.insert("format", FORMAT + 1).expect("inserted");
    drop(numbers);
    transaction.commit().expect("committed");
    drop(file);
    let sentence = refusal(&path);
    assert!(
        sentence.ends_with("was written by a newer version of progressd"),
        "{sentence}"
    );
    // The database's own version of the file, in both of its headers.
    let mut bytes = fs::read(&path).expect("the file");
    for header in [64, 192] {
        bytes[header] = 9;
    }
    fs::write(&path, bytes).expect("written");
    let sentence = refusal(&path);
    assert!(
        sentence.ends_with("was written by a newer version of progressd"),
        "{sentence}"
    );
}

#[tokio::test]
async fn a_file_that_is_none_of_ours_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("jobs.redb");
    for garbage in [
        b"no database".to_vec(),
        vec![0; 100_000],
        vec![0xa5; 3_000_000],
    ] {
        fs::write(&path, &garbage).expect("written");
        let sentence = refusal(&path);
        assert!(
            sentence.contains("is damaged, or no file of progressd's"),
            "{sentence}"
        );
        assert_eq!(
            fs::read(&path).expect("the file"),
            garbage,
            "it is left as it is"
        );
    }
    fs::remove_file(&path).expect("removed");
    let file = Database::create(&path).expect("a database");
    drop(file);
    let sentence = refusal(&path);
    assert!(sentence.ends_with("its tables are missing"), "{sentence}");
}

#[tokio::test]
async fn a_file_that_was_cut_short_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("jobs.redb");
    filled(&path).await;
    let whole = fs::read(&path).expect("the file");
    for length in [10, 100, 4_096, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).expect("written");
        let sentence = refusal(&path);
        assert!(
            sentence.contains("is damaged, or no file of progressd's"),
            "{length}: {sentence}"
        );
    }
    // An empty file is one that is still to be filled.
    fs::write(&path, b"").expect("written");
    let store = Embedded::open(settings(&path), at(50)).expect("an empty file");
    put(&store, new_job("a", NewJob::default(), at(51)), None).await;
}

#[tokio::test]
async fn a_file_with_flipped_bytes_is_refused_or_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("jobs.redb");
    let job = filled(&path).await;
    let whole = fs::read(&path).expect("the file");
    let mut refused = 0;
    for place in (0..whole.len()).step_by(whole.len() / 60) {
        let mut bytes = whole.clone();
        for byte in &mut bytes[place..(place + 7).min(whole.len())] {
            *byte ^= 0xff;
        }
        fs::write(&path, bytes).expect("written");
        let Ok(store) = Embedded::open(settings(&path), at(50)) else {
            refusal(&path);
            refused += 1;
            continue;
        };
        // A place where nothing stood.
        assert_eq!(stored(&store, "a").await.job.face, job.face, "byte {place}");
        audit(&store);
    }
    assert!(refused > 5, "{refused} of 60 refused");
}

#[tokio::test]
async fn a_file_that_cannot_be_made_or_opened_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let sentence = refusal(&folder.path().join("missing").join("jobs.redb"));
    assert!(
        sentence.contains("cannot be created: No such file or directory"),
        "{sentence}"
    );
    let sentence = refusal(folder.path());
    assert!(
        sentence.contains("cannot be opened: Is a directory"),
        "{sentence}"
    );
    // Nobody can make files there, not even the superuser.
    let sentence = refusal(Path::new("/proc/jobs.redb"));
    assert!(
        sentence.contains("/proc/jobs.redb cannot be created: "),
        "{sentence}"
    );
}

/// A job with progress that waits, on a machine whose disk fails from then on.
async fn failing(machine: &Machine, failure: ErrorKind) -> (Embedded, Job) {
    let settings = EmbeddedSettings {
        flush: Duration::from_secs(3_600),
        ..settings("machine")
    };
    let store = on(machine, settings, at(1));
    let job = put(&store, new_job("a", NewJob::default(), at(10)), None).await;
    let job = change(&store, &job, &Change::to(State::Processing), at(11)).await;
    let job = change(&store, &job, &Change::count(5), at(11)).await;
    machine.fail_with(Some(failure));
    (store, job)
}

#[tokio::test]
async fn a_disk_that_fails_loses_nothing_and_heals_without_a_restart() {
    for failure in [ErrorKind::StorageFull, ErrorKind::Other] {
        let machine = machine();
        let (store, job) = failing(&machine, failure).await;
        let ended = Proposal::of(&job, &Change::to(State::Completed), at(12));
        let answer = store.commit(ended.commit()).await;
        assert!(
            matches!(answer, Err(StoreError::Unavailable(_))),
            "{answer:?}"
        );
        assert!(store.ping().await.is_err());
        // From now on progress is refused too, since nobody knows when it will reach the disk.
        let more = Proposal::of(&job, &Change::count(6), at(11));
        assert!(store.commit(more.commit()).await.is_err());
        assert!(store.put_if_absent("k", b"v", None, at(12)).await.is_err());

        machine.fail_with(None);
        until("the store's recovery", || async { store.ping().await.ok() }).await;
        let found = stored(&store, "a").await.job;
        assert!(found.seq >= job.seq, "what was answered is there");
        assert_eq!(found.face.progress, job.face.progress);
        let done = change(&store, &found, &Change::count(7), at(13)).await;
        drop(store);
        let store = on(&machine, settings("machine"), at(20));
        assert_eq!(stored(&store, "a").await.job.face, done.face);
        audit(&store);
    }
}

#[tokio::test]
async fn what_was_answered_can_be_read_while_the_disk_is_full() {
    let machine = machine();
    let (store, job) = failing(&machine, ErrorKind::StorageFull).await;
    let ended = Proposal::of(&job, &Change::to(State::Completed), at(12));
    assert!(store.commit(ended.commit()).await.is_err());
    // The disk can be read, and what has its place on it can be written anew.
    machine.fail_with(None);
    machine.set_room(machine.synced().len() as u64);
    let found = until("a read", || async {
        match store.load(&id("a"), at(13)).await {
            Ok(Loaded::Job(stored)) => Some(stored.job),
            _ => None,
        }
    });
    assert_eq!(found.await.face.progress, job.face.progress);
}

#[tokio::test]
async fn a_store_that_ends_while_the_disk_fails_keeps_what_was_on_it() {
    let machine = machine();
    let (store, job) = failing(&machine, ErrorKind::Other).await;
    assert!(store.flush().await.is_err());
    drop(store);
    machine.fail_with(None);
    let store = on(&machine, settings("machine"), at(20));
    let found = stored(&store, "a").await.job;
    assert_eq!(found.face.state, job.face.state);
    assert!(found.seq > job.seq);
}

#[tokio::test]
async fn the_file_stays_locked_while_it_is_opened_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("jobs.redb");
    let store = Embedded::open(settings(&path), at(1)).expect("a new file");
    put(&store, new_job("a", NewJob::default(), at(10)), None).await;
    store.inner.break_down("for this test");
    let sentence = refusal(&path);
    assert!(
        sentence.ends_with("is in use by another process"),
        "{sentence}"
    );
    drop(store);
    Embedded::open(settings(&path), at(2)).expect("nobody has it any more");
}
