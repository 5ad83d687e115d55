//! Waiting for a runner, and leaving the queue.

use std::{sync::Arc, time::Duration};

use progressd::{
    job::{Command, State},
    registry::RegistryError,
    runner::{Runner, Runners},
};

use crate::support::{
    gated_runner::Gated,
    jobs::{create, finished, memory, registry, wait_until},
};

fn gated(concurrency: usize) -> (Arc<Gated>, Runners) {
    let runner = Arc::new(Gated::new(concurrency));
    let runners = Runners::of([Arc::clone(&runner) as Arc<dyn Runner>]);
    (runner, runners)
}

#[tokio::test]
async fn job_of_a_foreign_kind_is_left_alone() {
    let registry = registry(memory());
    let (_, runners) = gated(1);
    let job = create(&registry, "crawl", None).await;
    assert!(!runners.start(job.clone()));
    assert!(!runners.knows("crawl") && runners.knows("gated"));
    assert_eq!(job.job().face.state, State::Pending);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn jobs_begin_in_the_order_in_which_they_came() {
    let registry = registry(memory());
    let (runner, runners) = gated(1);
    let mut jobs = Vec::new();
    for _ in 0..50 {
        jobs.push(create(&registry, "gated", None).await);
    }
    // On tokio's own thread, as a request is: there the task that was spawned last runs first.
    let queued = jobs.clone();
    let starting = tokio::spawn(async move { queued.into_iter().all(|job| runners.start(job)) });
    assert!(starting.await.expect("nothing panics"));
    runner.wait_for(|book| book.running == 1).await;
    wait_until(&jobs[0], |job| job.face.state == State::Processing).await;
    assert!(
        jobs[1..]
            .iter()
            .all(|job| job.job().face.state == State::Pending)
    );
    runner.open(jobs.len());
    for job in &jobs {
        assert_eq!(finished(job).await.face.state, State::Completed);
    }
    let book = runner.book.borrow();
    assert!(book.begun.iter().eq(jobs.iter().map(|job| job.id())));
    assert_eq!(book.most, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_more_jobs_are_at_work_than_allowed() {
    let registry = registry(memory());
    let (runner, runners) = gated(3);
    let mut jobs = Vec::new();
    for _ in 0..30 {
        let job = create(&registry, "gated", None).await;
        assert!(runners.start(job.clone()));
        jobs.push(job);
    }
    runner.wait_for(|book| book.running == 3).await;
    runner.open(jobs.len());
    for job in &jobs {
        assert_eq!(finished(job).await.face.state, State::Completed);
    }
    assert_eq!(runner.book.borrow().most, 3);
}

#[tokio::test]
async fn job_that_is_cancelled_or_removed_in_the_queue_never_begins() {
    let registry = registry(memory());
    let (runner, runners) = gated(1);
    let [first, cancelled, removed, last] = [
        create(&registry, "gated", None).await,
        create(&registry, "gated", None).await,
        create(&registry, "gated", None).await,
        create(&registry, "gated", None).await,
    ];
    for job in [&first, &cancelled, &removed, &last] {
        assert!(runners.start(job.clone()));
    }
    runner.wait_for(|book| book.running == 1).await;
    let answer = cancelled.apply(Command::Cancel, None).await;
    assert_eq!(answer.expect("it is pending").status, State::Cancelled);
    removed.remove().await.expect("the store answers");
    runner.open(2);
    assert_eq!(finished(&first).await.face.state, State::Completed);
    assert_eq!(finished(&last).await.face.state, State::Completed);
    assert_eq!(
        runner.book.borrow().begun,
        [first.id().clone(), last.id().clone()]
    );
    assert_eq!(cancelled.job().face.started_at, None);
    let found = registry.find(removed.id()).await;
    assert!(matches!(found, Err(RegistryError::Gone)), "{found:?}");
}

#[tokio::test]
async fn job_that_leaves_the_queue_is_let_go_at_once() {
    let registry = registry(memory());
    let (runner, runners) = gated(1);
    let first = create(&registry, "gated", None).await;
    let second = create(&registry, "gated", None).await;
    assert!(runners.start(first) && runners.start(second.clone()));
    runner.wait_for(|book| book.running == 1).await;
    second.apply(Command::Cancel, None).await.expect("pending");
    // Nothing tells when a task has ended; on one thread it needs a turn or two.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(runners.jobs(), 1);
    assert_eq!(runner.book.borrow().running, 1);
}

#[tokio::test]
async fn cancelled_and_removed_jobs_stop_their_runner() {
    let registry = registry(memory());
    let (runner, runners) = gated(2);
    let cancelled = create(&registry, "gated", None).await;
    let removed = create(&registry, "gated", None).await;
    assert!(runners.start(cancelled.clone()) && runners.start(removed.clone()));
    runner.wait_for(|book| book.running == 2).await;
    removed.remove().await.expect("the store answers");
    runner.wait_for(|book| book.running == 1).await;
    let answer = cancelled.apply(Command::Cancel, None).await;
    assert_eq!(answer.expect("it runs").status, State::Processing);
    assert_eq!(finished(&cancelled).await.face.state, State::Cancelled);
    runner.wait_for(|book| book.running == 0).await;
}

#[tokio::test]
async fn drain_leaves_jobs_unfinished_and_the_next_runners_take_them_up() {
    let registry = registry(memory());
    let (runner, runners) = gated(1);
    let running = create(&registry, "gated", None).await;
    let queued = create(&registry, "gated", None).await;
    assert!(runners.start(running.clone()) && runners.start(queued.clone()));
    runner.wait_for(|book| book.running == 1).await;
    runners.drain(Duration::from_secs(10)).await;
    assert_eq!(runners.jobs(), 0);
    assert_eq!(running.job().face.state, State::Processing);
    assert_eq!(queued.job().face.state, State::Pending);

    let (runner, runners) = gated(1);
    runner.open(2);
    assert!(runners.start(running.clone()) && runners.start(queued.clone()));
    let (running, queued) = (finished(&running).await, finished(&queued).await);
    assert_eq!(
        (running.face.state, running.face.attempt),
        (State::Completed, 2)
    );
    assert_eq!(
        (queued.face.state, queued.face.attempt),
        (State::Completed, 1)
    );
}
