//! What is answered at once, what waits for the disk, and who waits for whom.

use futures_util::{FutureExt as _, future::join_all};

use super::*;

/// A job that the front knows: its next progress need not wait.
async fn known(store: &Embedded, name: &str) -> Job {
    let job = put(store, new_job(name, NewJob::default(), at(10)), None).await;
    change(store, &job, &Change::to(State::Processing), at(11)).await
}

/// Commits progress, which is answered on the spot.
fn progress(store: &Embedded, job: &Job, processed: u64, seconds: u64) -> Job {
    let proposal = Proposal::of(job, &Change::count(processed), at(seconds));
    assert!(proposal.is_replaceable);
    match store.commit(proposal.commit()).now_or_never() {
        Some(Ok(Committed::Done { prev, first })) => proposal.done(prev, first),
        other => panic!("unexpected {other:?}"),
    }
}

#[tokio::test]
async fn progress_is_answered_and_visible_before_it_is_on_disk() {
    let machine = machine();
    let settings = EmbeddedSettings {
        flush: Duration::from_secs(3_600),
        ..settings("machine")
    };
    let store = on(&machine, settings, at(1));
    let job = known(&store, "a").await;
    let syncs = machine.syncs();
    let job = progress(&store, &job, 7, 11);
    let job = progress(&store, &job, 8, 11);
    assert_eq!(*stored(&store, "a").await.job, job);
    let listed = store.list(&Filter::default(), None, 10, at(12)).await;
    assert_eq!(*listed.expect("a list")[0], job);
    let unfinished = store.unfinished(None, None, 10).await.expect("a list");
    assert_eq!(*unfinished[0], job);
    assert_eq!(machine.syncs(), syncs);
    // What is made on a state before it is refused.
    let late = Proposal::of(
        &Job {
            seq: Seq::ZERO,
            ..job.clone()
        },
        &Change::count(9),
        at(12),
    );
    match store.commit(late.commit()).await {
        Ok(Committed::Conflict(stored)) => assert_eq!(*stored.job, job),
        other => panic!("unexpected {other:?}"),
    }
    // What must be on disk is made on it, and takes its place.
    let ended = change(&store, &job, &Change::to(State::Completed), at(12)).await;
    assert_eq!(
        ended.face.progress.processed(),
        job.face.progress.processed()
    );
    assert_eq!(*stored(&store, "a").await.job, ended);
    assert!(machine.syncs() > syncs);
    assert!(store.inner.front.dirty(&id("a")).is_none());
    audit(&store);
}

#[tokio::test]
async fn progress_reaches_the_disk_although_nobody_asks() {
    let machine = machine();
    let store = on(&machine, settings("machine"), at(1));
    let job = known(&store, "a").await;
    let job = progress(&store, &job, 7, 11);
    let on_disk = until("the progress on the disk", || async {
        let disk = Machine::new(machine.synced(), 1);
        let other = on(&disk, settings("machine"), at(20));
        let found = stored(&other, "a").await.job;
        (found.face.progress == job.face.progress).then_some(found)
    });
    assert!(on_disk.await.seq > job.seq);
}

#[tokio::test]
async fn nothing_is_answered_before_it_is_on_disk_when_all_is_to_be_durable() {
    let machine = machine();
    let settings = EmbeddedSettings {
        is_all_durable: true,
        ..settings("machine")
    };
    let store = on(&machine, settings, at(1));
    let mut job = known(&store, "a").await;
    for processed in 1..5 {
        let syncs = machine.syncs();
        job = change(&store, &job, &Change::count(processed), at(12)).await;
        assert!(machine.syncs() > syncs);
    }
}

#[tokio::test]
async fn progress_waits_for_the_disk_when_the_disk_is_far_behind() {
    let machine = machine();
    let store = on(&machine, settings("machine"), at(1));
    let job = known(&store, "a").await;
    let soon = progress(&store, &job, 1, 11);
    // The newest seq that the disk knows of is some seconds old.
    let proposal = Proposal::of(&soon, &Change::count(2), at(20));
    machine.stick(true);
    let mut late = store.commit(proposal.commit());
    assert!((&mut late).now_or_never().is_none());
    machine.stick(false);
    assert!(matches!(late.await, Ok(Committed::Done { .. })));
    progress(
        &store,
        &proposal.done(soon.seq, stored(&store, "a").await.job.seq),
        3,
        20,
    );
}

#[tokio::test]
async fn many_changes_share_a_sync() {
    let machine = machine();
    let store = on(&machine, settings("machine"), at(1));
    let mut jobs = Vec::new();
    for number in 0..64 {
        jobs.push(known(&store, &format!("job-{number}")).await);
    }
    let syncs = machine.syncs();
    machine.stick(true);
    let proposals: Vec<_> = jobs
        .iter()
        .map(|job| Proposal::of(job, &Change::to(State::Completed), at(20)))
        .collect();
    let mut commits = join_all(
        proposals
            .iter()
            .map(|proposal| store.commit(proposal.commit())),
    );
    assert!((&mut commits).now_or_never().is_none());
    machine.stick(false);
    for committed in commits.await {
        assert!(matches!(committed, Ok(Committed::Done { .. })));
    }
    // The first one alone, perhaps, and all that gathered meanwhile.
    assert!(
        machine.syncs() - syncs <= 4,
        "{} syncs",
        machine.syncs() - syncs
    );
    assert_eq!(
        store.counts().await.expect("counts").of(State::Completed),
        64
    );
}

#[tokio::test]
async fn reads_do_not_wait_for_a_disk_that_is_busy_writing() {
    let machine = machine();
    let store = on(&machine, settings("machine"), at(1));
    let job = known(&store, "a").await;
    machine.stick(true);
    let proposal = Proposal::of(&job, &Change::to(State::Completed), at(20));
    let mut commit = store.commit(proposal.commit());
    assert!((&mut commit).now_or_never().is_none());
    // Not committed, hence not visible.
    assert_eq!(*stored(&store, "a").await.job, job);
    assert_eq!(
        store.counts().await.expect("counts").of(State::Processing),
        1
    );
    assert!(
        store
            .rows(&job.origin, 0, 10)
            .await
            .expect("rows")
            .is_some()
    );
    machine.stick(false);
    assert!(matches!(commit.await, Ok(Committed::Done { .. })));
    assert!(stored(&store, "a").await.job.is_finished());
}

#[tokio::test]
async fn a_change_that_nobody_waits_for_is_done_all_the_same() {
    let machine = machine();
    let store = on(&machine, settings("machine"), at(1));
    let job = known(&store, "a").await;
    machine.stick(true);
    let proposal = Proposal::of(&job, &Change::to(State::Completed), at(20));
    assert!(store.commit(proposal.commit()).now_or_never().is_none());
    machine.stick(false);
    store.flush().await.expect("the disk is well");
    let found = stored(&store, "a").await;
    assert_eq!(found.nonce, Some(proposal.nonce));
    assert!(found.job.is_finished());
}

#[tokio::test]
async fn a_removed_job_takes_its_waiting_progress_with_it() {
    let machine = machine();
    let store = on(&machine, settings("machine"), at(1));
    let job = known(&store, "a").await;
    progress(&store, &job, 7, 11);
    store.remove(&job.origin, at(100)).await.expect("removed");
    assert!(matches!(load(&store, "a", at(20)).await, Loaded::Gone(_)));
    let again = put(&store, new_job("a", NewJob::default(), at(12)), None).await;
    assert!(again.seq > job.seq);
    store.flush().await.expect("the disk is well");
    assert_eq!(*stored(&store, "a").await.job, again);
    let late = Proposal::of(&job, &Change::count(9), at(12));
    assert!(matches!(
        store.commit(late.commit()).await,
        Ok(Committed::Missing)
    ));
    audit(&store);
}

#[tokio::test]
async fn a_list_shows_progress_that_is_taken_to_the_disk_meanwhile() {
    let machine = machine();
    let store = Arc::new(on(&machine, settings("machine"), at(1)));
    let mut job = known(&store, "a").await;
    let reader = Arc::clone(&store);
    let (sender, mut shown) = tokio::sync::watch::channel(Seq::ZERO);
    let reading = tokio::spawn(async move {
        while shown.has_changed().is_ok() {
            let least = *shown.borrow_and_update();
            let listed = reader.list(&Filter::default(), None, 10, at(12)).await;
            let found = listed.expect("a list")[0].seq;
            assert!(
                found >= least,
                "{found} was read after {least} had been answered"
            );
        }
    });
    for processed in 1..2_000 {
        job = change(&store, &job, &Change::count(processed), at(11)).await;
        sender.send_replace(job.seq);
        if processed % 20 == 0 {
            tokio::task::yield_now().await;
        }
    }
    drop(sender);
    reading.await.expect("no read was out of date");
}
