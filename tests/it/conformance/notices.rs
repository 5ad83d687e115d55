//! What one node learns of what another does.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::{FutureExt as _, future::join_all};
use progressd::{
    job::{Event, Job, JobId, NewJob, Seq, State},
    store::{Committed, Created, Loaded, Notice, Shared, Store},
};
use serde_json::json;

use super::{
    Backend,
    parts::*,
    races::{checked_count, count_on},
};
use crate::support::in_time;

/// What another node reads and writes by.
pub(super) async fn other(backend: &dyn Backend) -> Arc<dyn Store> {
    backend
        .another_node()
        .await
        .expect("a store that nodes share")
}

pub(super) fn shared(store: &dyn Store) -> &dyn Shared {
    store.shared().expect("a store that nodes share")
}

/// The next notice, which must come.
pub(super) async fn notice(store: &dyn Store) -> Notice {
    in_time("a notice", shared(store).next_notice()).await
}

/// Nothing that asks for a reading of a job that is followed; checks that it is nothing wrong either.
fn quiet(notice: &Notice) -> bool {
    assert!(matches!(notice, Notice::LifecycleMissed), "{notice:?}");
    false
}

/// Takes notices until they have told that the job reached `seq`, by themselves or by a reading
/// that they asked for.
async fn told_of(store: &dyn Store, name: &str, seq: Seq) {
    loop {
        let is_reading_asked = match notice(store).await {
            Notice::Change { job, .. } if job.id().as_str() == name => {
                assert!(job.seq <= seq, "ahead of what was committed");
                if job.seq == seq {
                    return;
                }
                false
            }
            Notice::Change { .. } => false,
            Notice::Touched(job_id) => job_id.as_str() == name,
            Notice::Missed => true,
            other => quiet(&other),
        };
        if is_reading_asked && stored(store, name).await.job.seq >= seq {
            return;
        }
    }
}

/// Takes notices until one asks for a reading after which the job is not there.
async fn told_of_removal(store: &dyn Store, name: &str) {
    loop {
        match notice(store).await {
            Notice::Touched(job_id) if job_id.as_str() != name => {}
            Notice::Touched(_) | Notice::Missed => {
                if matches!(look_up(store, name).await, Loaded::Gone(_)) {
                    return;
                }
            }
            Notice::Change { .. } => {}
            other => assert!(!quiet(&other)),
        }
    }
}

pub(super) async fn what_one_node_commits_the_other_reads(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    let mut job = created(here, "a").await;
    for (number, (writer, reader)) in [(there, here), (here, there)].repeat(5).iter().enumerate() {
        assert_holds(&stored(*reader, "a").await, &job);
        let change = Proposal::on(&job)
            .event("e", &json!(number))
            .row(&json!(number));
        job = commit(*writer, &change).await;
        assert_holds(&stored(*reader, "a").await, &job);
        assert_eq!(kept(*reader, &job.origin).await.len(), number + 1);
        assert_eq!(all_rows(*reader, &job.origin).await.len(), number + 1);
    }
    remove(there, &job.origin, later(60)).await;
    let gone = look_up(here, "a").await;
    assert!(matches!(gone, Loaded::Gone(_)), "{gone:?}");
    let bound = done("a key", here.reserve("k", &id("a"), now())).await;
    assert_eq!(
        done("a key", there.reserve("k", &id("b"), now())).await,
        bound
    );
    let put = done("a value", here.put_if_absent("k", b"1", None, now())).await;
    assert_eq!(
        done("a value", there.put_if_absent("k", b"2", None, now())).await,
        put
    );
}

pub(super) async fn a_node_on_an_old_seq_gets_the_conflict_with_its_answers(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    let old = created(here, "a").await;
    let change = Proposal::on(&old).message("there").answer("r");
    let new = commit(there, &change).await;
    let late = Proposal::on(&old).message("here").answer("r");
    let refused = conflict(here, &late).await;
    assert_holds(&refused, &new);
    assert_eq!(refused.nonce, Some(change.nonce));
    let answer = refused.ledger.find(&report_id("r"), now());
    assert_eq!(answer.expect("the answer given there").seq, new.seq);
}

pub(super) async fn two_nodes_that_write_one_job_lose_nothing(backend: &dyn Backend) {
    let nodes = [Arc::clone(backend.store()), other(backend).await];
    created(&*nodes[0], "a").await;
    let writers = (0..6).map(|writer| {
        let store = Arc::clone(&nodes[writer % 2]);
        tokio::spawn(async move {
            for number in 0..15 {
                let id = format!("r{writer}-{number}");
                // Reported twice, as after an answer that was lost.
                let who = json!([writer, number]);
                assert!(count_on(&*store, "a", &who, Some(&id)).await);
                assert!(!count_on(&*store, "a", &who, Some(&id)).await);
            }
        })
    });
    for writer in join_all(writers).await {
        writer.expect("no panic");
    }
    for node in &nodes {
        assert_eq!(checked_count(&**node, "a").await, 90);
    }
}

pub(super) async fn one_of_two_nodes_that_create_a_name_wins(backend: &dyn Backend) {
    let nodes = [Arc::clone(backend.store()), other(backend).await];
    for round in 0..20 {
        let tasks = nodes.iter().map(|store| {
            let (store, job) = (Arc::clone(store), job(&format!("job-{round}")));
            tokio::spawn(async move {
                let created = done("a creation", store.create(&job, None)).await;
                matches!(created, Created::Done(_))
            })
        });
        let made = join_all(tasks).await.into_iter();
        let made: Vec<_> = made.map(|task| task.expect("no panic")).collect();
        assert_eq!(made.iter().filter(|is_new| **is_new).count(), 1);
    }
}

pub(super) async fn a_change_elsewhere_of_a_followed_job_is_noticed(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    let mut job = created(here, "a").await;
    let _following = done("following", shared(here).follow(job.id())).await;
    for number in 0..20 {
        let change = Proposal::on(&job).message(&number.to_string());
        job = commit(there, &change).await;
        told_of(here, "a", job.seq).await;
    }
    // Also when it was this node that wrote in between.
    job = commit(here, &Proposal::on(&job).message("here")).await;
    job = commit(there, &Proposal::on(&job).message("there")).await;
    told_of(here, "a", job.seq).await;
}

pub(super) async fn every_change_of_many_is_noticed_or_told_as_missed(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), other(backend).await);
    let mut followings = Vec::new();
    let mut jobs = Vec::new();
    for number in 0..20 {
        let job = created(here, &format!("job-{number}")).await;
        followings.push(done("following", shared(here).follow(job.id())).await);
        jobs.push(job);
    }
    let writers = jobs.iter().map(|job| {
        let (there, mut job) = (Arc::clone(&there), job.clone());
        tokio::spawn(async move {
            for number in 0..30 {
                let change = Proposal::on(&job).event("e", &json!(number));
                job = commit(&*there, &change).await;
            }
            job
        })
    });
    let wanted = join_all(writers).await.into_iter();
    let mut wanted: BTreeMap<JobId, Seq> = wanted
        .map(|job| job.expect("no panic"))
        .map(|job| (job.id().clone(), job.seq))
        .collect();
    while !wanted.is_empty() {
        match notice(here).await {
            Notice::Change { job, .. } => {
                if wanted.get(job.id()) == Some(&job.seq) {
                    wanted.remove(job.id());
                }
            }
            // Whoever reads now finds the last change.
            Notice::Touched(job_id) => {
                wanted.remove(&job_id);
            }
            Notice::Missed => wanted.clear(),
            other => assert!(!quiet(&other)),
        }
    }
}

pub(super) async fn a_change_with_events_and_answers_is_noticed(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    let job = created(here, "a").await;
    let _following = done("following", shared(here).follow(job.id())).await;
    let change = Proposal::on(&job)
        .event("log", &json!({"text": "ü\n"}))
        .report(json!({"processed_count": 3, "data": {"a": [1, 2]}}))
        .event("error", &json!("x".repeat(60_000)))
        .answer("r")
        .row(&json!({}));
    let after = commit(there, &change).await;
    let expected: Vec<Event> = kept(there, &job.origin).await;
    match notice(here).await {
        Notice::Change {
            prev,
            job: found,
            events,
        } => {
            assert_eq!(prev, job.seq);
            assert_eq!(*found, after);
            assert_eq!(events, expected);
        }
        // Large changes need not travel whole.
        Notice::Touched(job_id) => assert_eq!(job_id, *job.id()),
        Notice::Missed => {}
        other => assert!(!quiet(&other)),
    }
    assert_holds(&stored(here, "a").await, &after);
    assert_eq!(kept(here, &job.origin).await, expected);
}

pub(super) async fn a_removal_elsewhere_of_a_followed_job_is_noticed(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    let job = created(there, "a").await;
    let _following = done("following", shared(here).follow(job.id())).await;
    remove(there, &job.origin, later(60)).await;
    told_of_removal(here, "a").await;
    // The next one of the name is noticed by the same subscription.
    let job = created(there, "a").await;
    let job = commit(there, &Proposal::on(&job).message("anew")).await;
    told_of(here, "a", job.seq).await;
    // Expiry is a removal too.
    let end = Proposal::on(&job).at(ago(10_000)).state(State::Completed);
    commit(there, &end).await;
    done("an expiry", there.expire(now(), 86_400, 10)).await;
    told_of_removal(here, "a").await;
}

pub(super) async fn an_end_elsewhere_of_a_followed_job_is_noticed(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    for (name, state) in [
        ("a", State::Completed),
        ("b", State::Failed),
        ("c", State::Cancelled),
    ] {
        let job = created(here, name).await;
        let _following = done("following", shared(here).follow(job.id())).await;
        let job = commit(there, &Proposal::on(&job).state(state)).await;
        told_of(here, name, job.seq).await;
        assert_eq!(stored(here, name).await.job.face.state, state);
    }
}

pub(super) async fn a_job_may_be_followed_before_it_is_there(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    let _following = done("following", shared(here).follow(&id("a"))).await;
    let job = created(there, "a").await;
    let job = commit(there, &Proposal::on(&job).message("x")).await;
    told_of(here, "a", job.seq).await;
}

pub(super) async fn a_job_followed_twice_is_noticed_until_both_have_ended(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    let job = created(here, "a").await;
    let first = done("following", shared(here).follow(job.id())).await;
    let second = done("following", shared(here).follow(job.id())).await;
    drop(first);
    let job = commit(there, &Proposal::on(&job).message("one left")).await;
    told_of(here, "a", job.seq).await;
    drop(second);
    // Ended and followed again at once: nothing of what comes now may be missed.
    for number in 0..20 {
        let following = done("following", shared(here).follow(job.id())).await;
        let base = (*stored(there, "a").await.job).clone();
        let change = Proposal::on(&base).message(&number.to_string());
        let job = commit(there, &change).await;
        told_of(here, "a", job.seq).await;
        drop(following);
    }
}

pub(super) async fn a_job_that_nobody_follows_any_more_is_quiet(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    let mut quiet = created(here, "quiet").await;
    let mut loud = created(here, "loud").await;
    drop(done("following", shared(here).follow(quiet.id())).await);
    let _following = done("following", shared(here).follow(loud.id())).await;
    // The end of following reaches the store some time; from then on there are no notices.
    let until_quiet = async {
        loop {
            quiet = commit(there, &Proposal::on(&quiet).event("e", &json!(1))).await;
            loud = commit(there, &Proposal::on(&loud).event("e", &json!(1))).await;
            let mut is_quiet = true;
            loop {
                match notice(here).await {
                    Notice::Change { job, .. } if *job.id() == *loud.id() => break,
                    Notice::Touched(job_id) if job_id == *loud.id() => break,
                    Notice::Missed => break,
                    _ => is_quiet = false,
                }
            }
            if is_quiet {
                return;
            }
        }
    };
    in_time("quiet", until_quiet).await;
}

pub(super) async fn waiting_for_a_notice_may_be_given_up(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    let mut job = created(here, "a").await;
    let _following = done("following", shared(here).follow(job.id())).await;
    for number in 0..10 {
        let given_up = shared(here).next_notice().now_or_never();
        assert!(
            !matches!(given_up, Some(Notice::Emptied)),
            "nothing was emptied"
        );
        let change = Proposal::on(&job).message(&number.to_string());
        job = commit(there, &change).await;
        told_of(here, "a", job.seq).await;
    }
}

pub(super) async fn seqs_are_those_of_the_jobs_asked_for(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    let mut jobs: Vec<Job> = Vec::new();
    for number in 0..250 {
        let job = create(
            here,
            job_of(&format!("job-{number}"), NewJob::default(), now()),
        )
        .await;
        jobs.push(job);
    }
    jobs[7] = commit(there, &Proposal::on(&jobs[7]).message("x")).await;
    remove(there, &jobs[3].origin, later(60)).await;
    remove(there, &jobs[5].origin, later(60)).await;
    created(there, "job-5").await;
    let ended = Proposal::on(&jobs[9]).state(State::Completed);
    jobs[9] = commit(there, &ended).await;
    let never = job("never");
    let mut asked: Vec<_> = jobs.iter().map(|job| &*job.origin).collect();
    asked.push(&never.origin);
    // The same one twice is answered twice.
    asked.push(&jobs[7].origin);
    let mut expected: Vec<_> = jobs.iter().map(|job| Some(job.seq)).collect();
    (expected[3], expected[5]) = (None, None);
    expected.extend([None, Some(jobs[7].seq)]);
    assert_eq!(done("seqs", shared(here).seqs(&asked)).await, expected);
    assert_eq!(done("seqs", shared(here).seqs(&[])).await, []);
    // What they say is what a commit is compared with.
    let change = Proposal::on(&jobs[7]).message("y");
    let committed = done("a commit", here.commit(change.commit())).await;
    assert!(matches!(committed, Committed::Done { .. }));
}

pub(super) async fn the_clock_is_that_of_both_nodes(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    let before = now();
    let first = done("the clock", shared(here).now()).await;
    let second = done("the clock", shared(there).now()).await;
    let third = done("the clock", shared(here).now()).await;
    assert!(first <= second && second <= third);
    // The same machine's, hence the same.
    let tolerance = 1_000_000;
    assert!(first.as_micros() + tolerance >= before.as_micros());
    assert!(third.as_micros() <= now().as_micros() + tolerance);
    let job = created(here, "a").await;
    assert!(job.seq.get() >= third.as_micros());
}
