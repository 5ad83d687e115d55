//! Result rows: in order, page by page, with the commit that brought them.

use progressd::job::{Job, State};
use serde_json::json;

use super::{Backend, parts::*};

fn texts(numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers
        .map(|number| json!({"n": number}).to_string())
        .collect()
}

/// A job with so many rows, from three commits.
async fn with_rows(backend: &dyn Backend, count: u64) -> Job {
    let mut job = created(&**backend.store(), "a").await;
    for third in 0..3 {
        let numbers = count * third / 3..count * (third + 1) / 3;
        let change = numbers.fold(Proposal::on(&job), |change, number| {
            change.row(&json!({"n": number}))
        });
        job = commit(&**backend.store(), &change).await;
    }
    job
}

pub(super) async fn rows_come_back_in_order_page_by_page(backend: &dyn Backend) {
    let store = &**backend.store();
    let job = with_rows(backend, 250).await;
    assert_eq!(all_rows(store, &job.origin).await, texts(0..250));
    for (from, limit) in [
        (0, 1),
        (0, 100),
        (100, 100),
        (200, 100),
        (249, 1),
        (17, 130),
    ] {
        let page = rows(store, &job.origin, from, limit).await.expect("a job");
        assert_eq!(page.total, 250);
        let found: Vec<_> = page.rows.iter().map(|row| row.as_str()).collect();
        let to = 250.min(from + limit as u64);
        assert_eq!(found, texts(from..to), "{from} {limit}");
    }
}

pub(super) async fn rows_and_state_come_together(backend: &dyn Backend) {
    let store = &**backend.store();
    let mut job = created(store, "a").await;
    for number in 0..5 {
        let change = Proposal::on(&job)
            .report(json!({"processed_increment": 1}))
            .row(&json!({"n": number}));
        job = commit(store, &change).await;
        assert_eq!(all_rows(store, &job.origin).await, texts(0..number + 1));
    }
    // The last rows come with the end, and stay.
    let change = Proposal::on(&job)
        .row(&json!({"n": 5}))
        .state(State::Completed);
    let job = commit(store, &change).await;
    assert_eq!(all_rows(store, &job.origin).await, texts(0..6));
    assert_holds(&stored(store, "a").await, &job);
}

pub(super) async fn a_job_without_rows_has_none_and_a_removed_one_is_not_there(
    backend: &dyn Backend,
) {
    let store = &**backend.store();
    let job = created(store, "a").await;
    let page = rows(store, &job.origin, 0, 10).await.expect("a job");
    assert_eq!((page.total, page.rows.len()), (0, 0));
    remove(store, &job.origin, later(60)).await;
    assert!(rows(store, &job.origin, 0, 10).await.is_none());
    let never = super::parts::job("b");
    assert!(rows(store, &never.origin, 0, 10).await.is_none());
}

pub(super) async fn a_page_beyond_the_end_is_empty_and_knows_the_total(backend: &dyn Backend) {
    let store = &**backend.store();
    let job = with_rows(backend, 9).await;
    for (from, limit) in [(9, 10), (1_000_000, 10), (u64::MAX, 10), (0, 0)] {
        let page = rows(store, &job.origin, from, limit).await.expect("a job");
        assert_eq!((page.total, page.rows.len()), (9, 0), "{from} {limit}");
    }
    let page = rows(store, &job.origin, 5, usize::MAX)
        .await
        .expect("a job");
    assert_eq!((page.total, page.rows.len()), (9, 4));
}

pub(super) async fn rows_of_a_refused_commit_are_not_there(backend: &dyn Backend) {
    let store = &**backend.store();
    let job = with_rows(backend, 3).await;
    let new = commit(store, &Proposal::on(&job).message("moved on")).await;
    conflict(store, &Proposal::on(&job).row(&json!({"n": 3}))).await;
    assert_eq!(all_rows(store, &new.origin).await, texts(0..3));
    // The order is that of the commits, with nothing in the refused ones' place.
    commit(store, &Proposal::on(&new).row(&json!({"n": 3}))).await;
    assert_eq!(all_rows(store, &new.origin).await, texts(0..4));
}
