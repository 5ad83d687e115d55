//! Lists against a model: a plain vector that is filtered and sorted.

use std::sync::atomic::{AtomicUsize, Ordering};

use progressd::{
    job::{Job, NewJob, State},
    store::{Filter, Position, Store},
};
use proptest::{
    prelude::*,
    sample::select,
    test_runner::{Config, TestCaseError, TestRunner},
};
use tokio::{runtime::Handle, task::block_in_place};

use super::{Backend, parts::*};

/// What decides where a job is shown.
#[derive(Debug, Clone)]
struct Traits {
    kind: Option<&'static str>,
    owner: Option<&'static str>,
    tags: Vec<&'static str>,
    parent: Option<&'static str>,
    state: State,
    age: u64,
    is_removed: bool,
}

fn word() -> impl Strategy<Value = Option<&'static str>> {
    select(vec![None, Some("x"), Some("y"), Some("x y")])
}

fn state() -> impl Strategy<Value = State> {
    select(State::ALL.to_vec())
}

fn traits() -> impl Strategy<Value = Traits> {
    let tags = proptest::collection::vec(select(vec!["x", "y", "z"]), 0..3);
    let rest = (state(), 0_u64..5, proptest::bool::weighted(0.1));
    (word(), word(), tags, word(), rest).prop_map(
        |(kind, owner, tags, parent, (state, age, is_removed))| Traits {
            kind,
            owner,
            tags,
            parent: parent.filter(|name| !name.contains(' ')),
            state,
            age,
            is_removed,
        },
    )
}

fn filter() -> impl Strategy<Value = Filter> {
    let states = proptest::collection::vec(state(), 0..3);
    (states, word(), word(), word(), word()).prop_map(|(states, kind, owner, tag, parent)| Filter {
        states,
        kind: kind.map(str::to_owned),
        tag: tag.map(str::to_owned),
        owner: owner.map(str::to_owned),
        parent_id: parent.filter(|name| !name.contains(' ')).map(id),
    })
}

pub(super) async fn lists_show_what_a_model_shows(backend: &dyn Backend) {
    let config = Config {
        cases: 10,
        failure_persistence: None,
        max_shrink_iters: 50,
        ..Config::default()
    };
    let cases = (
        proptest::collection::vec(traits(), 0..40),
        proptest::collection::vec(filter(), 8),
        1_usize..12,
    );
    // Every case adds its jobs to those of the cases before, which stay in the model.
    let shown = std::sync::Mutex::new(Vec::new());
    let names = AtomicUsize::new(0);
    block_in_place(|| {
        let outcome = TestRunner::new(config).run(&cases, |(jobs, filters, limit)| {
            let mut shown = shown.lock().expect("no case panics");
            Handle::current().block_on(check(backend, &jobs, &filters, limit, &names, &mut shown))
        });
        outcome.unwrap_or_else(|error| panic!("{error}"));
    });
}

async fn check(
    backend: &dyn Backend,
    jobs: &[Traits],
    filters: &[Filter],
    limit: usize,
    names: &AtomicUsize,
    shown: &mut Vec<Job>,
) -> Result<(), TestCaseError> {
    let store = &**backend.store();
    let base = ago(100);
    for traits in jobs {
        let name = format!("job-{}", names.fetch_add(1, Ordering::Relaxed));
        let new_job = NewJob {
            kind: traits.kind.map(str::to_owned),
            owner: traits.owner.map(str::to_owned),
            tags: Some(traits.tags.iter().map(|tag| (*tag).to_owned()).collect()),
            parent_id: traits.parent.map(id),
            ..NewJob::default()
        };
        let mut job = create(store, job_of(&name, new_job, base.plus_seconds(traits.age))).await;
        if traits.state != State::Pending {
            job = commit(store, &Proposal::on(&job).state(traits.state)).await;
        }
        if traits.is_removed {
            remove(store, &job.origin, later(60)).await;
        } else {
            shown.push(job);
        }
    }
    shown.sort_by_key(|job| std::cmp::Reverse(Position::of(job)));
    for filter in filters {
        let expected: Vec<_> = shown.iter().filter(|job| filter.matches(job)).collect();
        let found = pages(store, filter, limit).await;
        let found: Vec<_> = found.iter().collect();
        prop_assert_eq!(found, expected, "{:?}", filter);
    }
    Ok(())
}

/// A whole list, so many jobs at a time.
async fn pages(store: &dyn Store, filter: &Filter, limit: usize) -> Vec<Job> {
    let mut found = Vec::new();
    let mut before = None;
    loop {
        let page = done("a page", store.list(filter, before.as_ref(), limit, now())).await;
        found.extend(page.iter().map(|job| (**job).clone()));
        match page.last() {
            Some(job) if page.len() == limit => before = Some(Position::of(job)),
            _ => return found,
        }
    }
}
