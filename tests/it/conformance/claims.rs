//! Which node runs a job, which jobs time changes, and how lost ones come back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use progressd::{
    job::{Job, NewJob, Seq, State},
    store::{Loaded, Shared, Store},
};
use serde_json::json;
use uuid::Uuid;

use super::{Backend, parts::*};
use crate::support::until;

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(600);

/// What another node reads and writes by.
async fn other(backend: &dyn Backend) -> Arc<dyn Store> {
    backend
        .another_node()
        .await
        .expect("a store that nodes share")
}

fn shared(store: &dyn Store) -> &dyn Shared {
    store.shared().expect("a store that nodes share")
}

async fn claim(store: &dyn Store, job: &Job, node: Uuid, ttl: Duration) -> Option<u64> {
    done("a claim", shared(store).claim(&job.origin, node, ttl)).await
}

pub(super) async fn one_node_at_a_time_has_a_job(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    let (a, b) = (Uuid::new_v4(), Uuid::new_v4());
    let first = created(here, "first").await;
    let second = created(here, "second").await;
    assert_eq!(claim(here, &first, a, LONG).await, Some(1));
    assert_eq!(claim(there, &first, b, LONG).await, None);
    assert_eq!(claim(there, &second, b, LONG).await, Some(1));
    assert_eq!(claim(here, &second, a, LONG).await, None);
    // Changes of the job do not touch it.
    commit(there, &Proposal::on(&first).message("x")).await;
    assert_eq!(claim(there, &first, b, LONG).await, None);
}

pub(super) async fn a_claim_is_renewed_by_its_node_alone(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    let (a, b) = (Uuid::new_v4(), Uuid::new_v4());
    let job = created(here, "a").await;
    let short = Duration::from_millis(600);
    let begin = Instant::now();
    assert_eq!(claim(here, &job, a, short).await, Some(1));
    assert_eq!(claim(here, &job, a, LONG).await, Some(1));
    // Past the end of the first claim it is the second that counts.
    until("the end of the first claim", async || {
        begin.elapsed() > short
    })
    .await;
    assert_eq!(claim(there, &job, b, LONG).await, None);
    assert_eq!(claim(here, &job, a, LONG).await, Some(1));
}

pub(super) async fn a_claim_that_ran_out_is_taken_with_a_higher_number(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    let (a, b) = (Uuid::new_v4(), Uuid::new_v4());
    let job = created(here, "a").await;
    let short = Duration::from_millis(300);
    let mut last = 0;
    for (store, node) in [(here, a), (there, b), (here, a), (there, b)] {
        let begin = Instant::now();
        let taken = std::sync::Mutex::new(None);
        until("the end of the claim before", async || {
            let number = claim(store, &job, node, short).await;
            *taken.lock().expect("no panic") = number;
            number.is_some()
        })
        .await;
        let number = taken.lock().expect("no panic").expect("a number");
        assert!(number > last, "{number} after {last}");
        if last > 0 {
            assert!(
                begin.elapsed() > short / 2,
                "taken before its time was over"
            );
        }
        last = number;
    }
    assert_eq!(last, 4);
}

pub(super) async fn a_claim_that_was_let_go_is_taken_at_once(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    let (a, b) = (Uuid::new_v4(), Uuid::new_v4());
    let job = created(here, "a").await;
    assert_eq!(claim(here, &job, a, LONG).await, Some(1));
    done("letting go", shared(here).release(&job.origin, a)).await;
    assert_eq!(claim(there, &job, b, LONG).await, Some(2));
    assert_eq!(claim(here, &job, a, LONG).await, None);
    done("letting go", shared(there).release(&job.origin, b)).await;
    assert_eq!(claim(here, &job, a, LONG).await, Some(3));
}

pub(super) async fn letting_go_of_anothers_claim_changes_nothing(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    let (a, b) = (Uuid::new_v4(), Uuid::new_v4());
    let job = created(here, "a").await;
    done("letting go", shared(there).release(&job.origin, b)).await;
    assert_eq!(claim(here, &job, a, LONG).await, Some(1));
    done("letting go", shared(there).release(&job.origin, b)).await;
    assert_eq!(claim(there, &job, b, LONG).await, None);
    assert_eq!(claim(here, &job, a, LONG).await, Some(1));
}

pub(super) async fn claims_are_of_that_very_job(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    let (a, b) = (Uuid::new_v4(), Uuid::new_v4());
    let old = created(here, "a").await;
    assert_eq!(claim(here, &old, a, LONG).await, Some(1));
    remove(here, &old.origin, later(60)).await;
    let new = created(there, "a").await;
    assert_eq!(claim(there, &new, b, LONG).await, Some(1));
    // Whoever had the first one cannot let go of the second.
    done("letting go", shared(here).release(&old.origin, a)).await;
    assert_eq!(claim(here, &new, a, LONG).await, None);
}

pub(super) async fn one_of_many_nodes_that_claim_at_once_has_the_job(backend: &dyn Backend) {
    let nodes = [Arc::clone(backend.store()), other(backend).await];
    for round in 0..10 {
        let job = created(&*nodes[0], &format!("job-{round}")).await;
        let tasks = (0..8).map(|number| {
            let (store, job) = (Arc::clone(&nodes[number % 2]), job.clone());
            tokio::spawn(async move { claim(&*store, &job, Uuid::new_v4(), LONG).await })
        });
        let taken = join_all(tasks).await.into_iter();
        let taken: Vec<_> = taken.filter_map(|task| task.expect("no panic")).collect();
        assert_eq!(taken, [1]);
    }
}

/// The names of jobs that time changes by then.
async fn due(store: &dyn Store, seconds: u64) -> Vec<String> {
    let due = done("what is due", shared(store).due(later(seconds), 100)).await;
    due.iter().map(ToString::to_string).collect()
}

/// A job whose lease of five seconds began so long ago.
async fn leased(store: &dyn Store, name: &str, seconds: u64) -> Job {
    let new_job = NewJob {
        lease_seconds: Some(5),
        fail_stalled_after_seconds: Some(1_000),
        ..NewJob::default()
    };
    let job = create(store, job_of(name, new_job, ago(seconds))).await;
    let begin = Proposal::on(&job).at(ago(seconds)).state(State::Processing);
    commit(store, &begin).await
}

pub(super) async fn jobs_are_due_at_their_deadline(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    let late = leased(here, "late", 100).await;
    leased(here, "soon", 0).await;
    created(here, "pending").await;
    for store in [here, there] {
        assert_eq!(due(store, 0).await, ["late"]);
        let mut both = due(store, 60).await;
        both.sort();
        assert_eq!(both, ["late", "soon"]);
        let limited = done("what is due", shared(store).due(later(60), 1)).await;
        assert_eq!(limited.len(), 1);
    }
    // A sign of life, which takes no position, moves the deadline.
    let mut sign = Proposal::on(&late);
    sign.job.reported_at = now();
    let late = commit(there, &sign).await;
    until("the new deadline", async || due(here, 0).await.is_empty()).await;
    assert!(due(here, 60).await.contains(&"late".to_owned()));
    // A stalled job's next deadline is that of its failure.
    let mut stalled = Proposal::on(&late).message("x");
    stalled.job.face.stalled = true;
    commit(here, &stalled).await;
    until("the deadline after", async || {
        due(here, 60).await == ["soon"]
    })
    .await;
    assert_eq!(due(here, 2_000).await.len(), 2);
}

pub(super) async fn a_finished_or_removed_job_is_not_due(backend: &dyn Backend) {
    let store = &**backend.store();
    let finished = leased(store, "finished", 100).await;
    let removed = leased(store, "removed", 100).await;
    leased(store, "due", 100).await;
    commit(store, &Proposal::on(&finished).state(State::Completed)).await;
    remove(store, &removed.origin, later(60)).await;
    until("the others", async || due(store, 0).await == ["due"]).await;
}

pub(super) async fn a_lost_job_is_put_back_as_it_was(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    for (name, state) in [("a", State::Processing), ("b", State::Completed)] {
        // Held by this node, and nothing of it in the store.
        let report = json!({"processed_count": 7, "message": "ü", "data": {"a": 1}});
        let held = Proposal::on(&job(name)).report(report).state(state).job;
        let held = Job {
            seq: Seq::new(now().as_micros() + 5_000).expect("a seq"),
            ..held
        };
        done("putting back", shared(here).restore(&held)).await;
        assert_holds(&stored(there, name).await, &held);
        // The other node holds it too, and is too late.
        done("putting back", shared(there).restore(&held)).await;
        assert_holds(&stored(there, name).await, &held);
        // Which events it had nobody knows.
        let kept = kept_after(there, &held.origin, Seq::ZERO).await;
        assert_eq!((kept.events.len(), kept.dropped), (0, held.seq));
        assert_eq!(listed(there, &Default::default(), None, 1).await, [name]);
        let next = commit(there, &Proposal::on(&held).row(&json!({}))).await;
        assert_eq!(next.seq, held.seq);
        let next = commit(here, &Proposal::on(&next).event("e", &json!(1))).await;
        assert!(next.seq > held.seq);
    }
    let unfinished = done("a list", there.unfinished(None, None, 10)).await;
    assert_eq!(names(&unfinished), ["a"]);
}

pub(super) async fn a_job_that_is_there_is_not_put_back(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    let old = created(here, "a").await;
    let new = commit(there, &Proposal::on(&old).message("newer")).await;
    done("putting back", shared(here).restore(&old)).await;
    assert_holds(&stored(here, "a").await, &new);
    // Nor one of another job of the name.
    done("putting back", shared(here).restore(&job("a"))).await;
    assert_holds(&stored(here, "a").await, &new);
}

pub(super) async fn a_job_that_was_removed_is_not_put_back(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    let job = created(here, "a").await;
    remove(there, &job.origin, later(60)).await;
    done("putting back", shared(here).restore(&job)).await;
    let gone = look_up(here, "a").await;
    assert!(matches!(gone, Loaded::Gone(_)), "{gone:?}");
    assert!(listed(here, &Default::default(), None, 1).await.is_empty());
}

pub(super) async fn an_older_state_of_a_job_gives_way_to_the_one_that_is_put_back(
    backend: &dyn Backend,
) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    let old = created(here, "a").await;
    // What this node has answered, and the store has lost since.
    let held = Proposal::on(&old).report(json!({"processed_count": 7})).job;
    let held = Job {
        seq: Seq::new(old.seq.get() + 5_000).expect("a seq"),
        ..held
    };
    done("putting back", shared(there).restore(&held)).await;
    let back = stored(here, "a").await.job;
    assert_eq!(back.seq, held.seq, "equal seq, equal bytes");
    assert_eq!(back.face, held.face);
    let next = commit(here, &Proposal::on(&back).event("e", &json!(1))).await;
    assert!(next.seq > back.seq);
}

pub(super) async fn events_that_were_lost_with_a_jobs_newest_state_count_as_dropped(
    backend: &dyn Backend,
) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    let old = created(here, "a").await;
    let old = commit(here, &Proposal::on(&old).event("e", &json!("kept"))).await;
    let held = Proposal::on(&old)
        .message("after an event that is lost")
        .job;
    let held = Job {
        seq: Seq::new(old.seq.get() + 5_000).expect("a seq"),
        ..held
    };
    done("putting back", shared(there).restore(&held)).await;
    for (after, is_lost) in [(Seq::ZERO, true), (old.seq, true), (held.seq, false)] {
        let kept = kept_after(here, &old.origin, after).await;
        assert_eq!(kept.dropped > after, is_lost);
    }
    // Also when older ones leave, of which the store knows.
    let back = stored(here, "a").await.job;
    let events = (0..1_000).fold(Proposal::on(&back), |proposal, number| {
        proposal.event("e", &json!(number))
    });
    commit(here, &events).await;
    let kept = kept_after(here, &old.origin, old.seq).await;
    assert_eq!((kept.events.len(), kept.dropped), (1_000, held.seq));
}

pub(super) async fn a_later_sign_of_life_stands(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    let begun = leased(here, "a", 0).await;
    // The other node takes a sign of life, which has no seq.
    let alive = Proposal::on(&begun).at(later(20)).sign_of_life();
    assert!(alive.job.reported_at > begun.reported_at);
    let alive = commit(there, &alive).await;
    assert_eq!(alive.seq, begun.seq);
    let changed = Proposal::on(&begun).message("of a node that knows nothing of it");
    commit(here, &changed).await;
    let stored = stored(there, "a").await.job;
    assert_eq!(stored.reported_at, alive.reported_at);
    assert!(due(here, 15).await.is_empty());
    until("its deadline", async || due(here, 30).await == ["a"]).await;
}

pub(super) async fn answers_are_found_by_their_report_ids(backend: &dyn Backend) {
    let (here, there) = (&**backend.store(), &*other(backend).await);
    let job = created(here, "a").await;
    let job = commit(here, &Proposal::on(&job).message("b").answer("one")).await;
    let end = Proposal::on(&job).state(State::Completed).answer("two");
    commit(here, &end).await;
    let wanted = [report_id("one"), report_id("other"), report_id("two")];
    let ledger = done("answers", shared(there).answers(&job.origin, &wanted)).await;
    let found = wanted.each_ref().map(|id| ledger.find(id, now()).is_some());
    assert_eq!(found, [true, false, true]);
    assert_eq!(ledger.find(&wanted[0], now()).expect("known").seq, job.seq);
    remove(here, &job.origin, later(60)).await;
    let ledger = done("answers", shared(there).answers(&job.origin, &wanted)).await;
    assert!(ledger.find(&wanted[0], now()).is_none());
}
