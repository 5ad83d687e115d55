//! What one node learns of jobs that another makes, moves to another state, or removes.

use std::{collections::BTreeSet, sync::Arc};

use progressd::{
    job::{Job, JobId, NewJob, State},
    store::{Following, Loaded, Notice, Store},
};
use serde_json::json;
use uuid::Uuid;

use super::{
    Backend,
    notices::{notice, other, shared},
    parts::*,
};

async fn follow(store: &dyn Store) -> Following {
    done("following", shared(store).follow_lifecycle()).await
}

/// What is told next of a job's lifecycle.
#[derive(Debug, PartialEq)]
enum Told {
    Entered(Arc<Job>),
    Removed(JobId, Uuid),
}

/// The next of it, read where no notice says what it is.
async fn told(store: &dyn Store) -> Told {
    loop {
        match notice(store).await {
            Notice::Entered(job) => return Told::Entered(job),
            Notice::Removed {
                job_id,
                incarnation,
            } => return Told::Removed(job_id, incarnation),
            Notice::Moved(job_id) => match look_up(store, job_id.as_str()).await {
                Loaded::Job(stored) => return Told::Entered(stored.job),
                Loaded::Gone(former) => return Told::Removed(job_id, former.incarnation),
                Loaded::Unknown => {}
            },
            // Of jobs that are followed.
            Notice::Missed | Notice::Touched(_) | Notice::Change { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn told_of_entry(store: &dyn Store) -> Job {
    match told(store).await {
        Told::Entered(job) => Arc::unwrap_or_clone(job),
        removed @ Told::Removed(..) => panic!("{removed:?}"),
    }
}

pub(super) async fn a_creation_elsewhere_is_noticed(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    created(there, "before").await;
    let _following = follow(here).await;
    for number in 0..10 {
        let new_job = NewJob {
            kind: some("import"),
            tags: Some(vec!["a".to_owned(), "ü\n".to_owned()]),
            owner: some("ann"),
            parent_id: Some(id("before")),
            total_count: count(9),
            ..NewJob::default()
        };
        let job = create(there, job_of(&format!("job-{number}"), new_job, now())).await;
        assert_eq!(told_of_entry(here).await, job);
    }
}

pub(super) async fn every_change_of_state_elsewhere_is_noticed(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    let _following = follow(here).await;
    for state in [State::Completed, State::Failed, State::Cancelled] {
        let job = created(there, state.as_str()).await;
        assert_eq!(told_of_entry(here).await, job);
        let job = commit(there, &Proposal::on(&job).message("begun")).await;
        assert_eq!(told_of_entry(here).await, job);
        // A retry, with an event that comes along.
        let again = Proposal::on(&job).event("e", &json!(1));
        let again = again.report(json!({"status": "pending", "attempt": 2}));
        let job = commit(there, &again).await;
        assert_eq!(told_of_entry(here).await, job);
        let job = commit(there, &Proposal::on(&job).state(state).answer("r")).await;
        assert_eq!(told_of_entry(here).await, job);
    }
}

pub(super) async fn a_removal_elsewhere_is_noticed(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    let fresh = created(here, "fresh").await;
    let over = ended(here, "over", 3_600, 0).await;
    let _following = follow(here).await;
    for job in [fresh, over] {
        remove(there, &job.origin, later(60)).await;
        let removed = Told::Removed(job.id().clone(), job.origin.incarnation);
        assert_eq!(told(here).await, removed);
    }
}

pub(super) async fn a_name_that_is_given_anew_elsewhere_is_noticed(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    for (remover, maker) in [(there, there), (there, here)] {
        let old = created(here, "a").await;
        let following = follow(here).await;
        remove(remover, &old.origin, later(60)).await;
        let new = created(maker, "a").await;
        let removal = Told::Removed(id("a"), old.origin.incarnation);
        assert_eq!(told(here).await, removal);
        if std::ptr::eq(maker, there) {
            let mut next = told(here).await;
            if next == removal {
                // Found before the new one was there, and with it.
                next = told(here).await;
            }
            assert_eq!(next, Told::Entered(Arc::new(new.clone())));
        }
        drop(following);
        remove(here, &new.origin, later(60)).await;
    }
}

pub(super) async fn a_job_that_is_put_back_elsewhere_is_noticed(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    let _following = follow(here).await;
    let job = created(here, "a").await;
    let job = Proposal::on(&job).message("x").job;
    let lost = Job {
        seq: job.seq.plus(5),
        ..job
    };
    // A newer state than the one that is there.
    done("a return", shared(there).restore(&lost)).await;
    assert_eq!(told_of_entry(here).await.seq, lost.seq);
    let lost = Job {
        seq: lost.seq,
        ..self::job("b")
    };
    done("a return", shared(there).restore(&lost)).await;
    let back = told_of_entry(here).await;
    assert_eq!((back.id(), back.seq), (lost.id(), lost.seq));
}

pub(super) async fn the_largest_jobs_are_noticed_too(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    let _following = follow(here).await;
    let data = json!({"text": "x".repeat(60_000)});
    let new_job = NewJob::parse(
        json!({"data": data}).to_string().as_bytes(),
        &progressd::job::Bounds::default(),
    );
    let new_job = new_job.expect("a job");
    let job = create(there, job_of("a", new_job, now())).await;
    assert_eq!(told_of_entry(here).await, job);
    let end = Proposal::on(&job).report(json!({"status": "completed", "result": data}));
    let job = commit(there, &end).await;
    assert_eq!(told_of_entry(here).await, job);
    remove(there, &job.origin, later(60)).await;
    assert!(matches!(told(here).await, Told::Removed(..)));
}

pub(super) async fn what_changes_no_state_is_not_noticed(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    let old = created(there, "a").await;
    let mut job = commit(there, &Proposal::on(&old).message("begun")).await;
    let _following = follow(here).await;
    for number in 0..20 {
        let change = match number % 4 {
            0 => Proposal::on(&job).message(&number.to_string()),
            1 => Proposal::on(&job).event("e", &json!(number)),
            2 => Proposal::on(&job).row(&json!(number)),
            _ => Proposal::on(&job).sign_of_life(),
        };
        job = commit(there, &change).await;
    }
    conflict(there, &Proposal::on(&old).state(State::Completed)).await;
    // Nothing comes before this.
    let job = commit(there, &Proposal::on(&job).state(State::Failed)).await;
    assert_eq!(told_of_entry(here).await, job);
}

pub(super) async fn the_end_of_retention_is_not_noticed(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    ended(here, "a", 10, 100).await;
    let _following = follow(here).await;
    assert_eq!(done("an expiry", there.expire(now(), 60, 10)).await, 1);
    let next = created(there, "b").await;
    assert_eq!(told_of_entry(here).await, next);
}

pub(super) async fn what_a_node_does_itself_it_is_not_told(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    let _following = follow(here).await;
    for number in 0..5 {
        let job = created(here, &format!("job-{number}")).await;
        let job = commit(here, &Proposal::on(&job).state(State::Completed)).await;
        remove(here, &job.origin, later(60)).await;
    }
    let job = created(there, "a").await;
    assert_eq!(told_of_entry(here).await, job);
}

pub(super) async fn many_jobs_are_noticed_each(backend: &dyn Backend) {
    const EACH: usize = 175;
    let (here, there) = (&**backend.store(), other(backend).await);
    let _following = follow(here).await;
    // At once, so that they are not told one by one; and more than one reading takes.
    let makers = (0..4).map(|maker| {
        let there = Arc::clone(&there);
        tokio::spawn(async move {
            for number in 0..EACH {
                created(&*there, &format!("{maker}-{number}")).await;
            }
        })
    });
    for maker in futures_util::future::join_all(makers).await {
        maker.expect("no panic");
    }
    let mut seen = BTreeSet::new();
    while seen.len() < 4 * EACH {
        let job = told_of_entry(here).await;
        assert!(seen.insert(job.id().clone()), "{} comes twice", job.id());
    }
}

pub(super) async fn a_lifecycle_followed_twice_is_noticed_until_both_have_ended(
    backend: &dyn Backend,
) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    let first = follow(here).await;
    let second = follow(here).await;
    let job = created(there, "a").await;
    assert_eq!(told_of_entry(here).await, job);
    drop(first);
    let job = created(there, "b").await;
    assert_eq!(told_of_entry(here).await, job);
    drop(second);
    // Ended and followed again at once: nothing of what comes now may be missed.
    for number in 0..20 {
        let following = follow(here).await;
        let job = created(there, &format!("job-{number}")).await;
        assert_eq!(told_of_entry(here).await, job);
        drop(following);
    }
}

pub(super) async fn a_lifecycle_that_nobody_follows_any_more_is_quiet(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    let mut loud = created(here, "loud").await;
    let _following = done("following", shared(here).follow(loud.id())).await;
    drop(follow(here).await);
    // The end of following reaches the store some time; from then on there are no notices.
    for number in 0.. {
        created(there, &format!("job-{number}")).await;
        loud = commit(there, &Proposal::on(&loud).event("e", &json!(1))).await;
        let mut is_quiet = true;
        loop {
            match notice(here).await {
                Notice::Change { .. } | Notice::Touched(_) | Notice::Missed => break,
                _ => is_quiet = false,
            }
        }
        if is_quiet {
            break;
        }
    }
    // What was done meanwhile is not told to whoever follows then.
    let _following = follow(here).await;
    let job = created(there, "a").await;
    assert_eq!(told_of_entry(here).await, job);
}
