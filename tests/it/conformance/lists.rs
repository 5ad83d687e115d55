//! Lists: filters, pages and order, and how many jobs there are.

use progressd::{
    job::{NewJob, State},
    store::{Filter, Position},
};

use super::{Backend, parts::*};

pub(super) async fn an_empty_store_lists_nothing(backend: &dyn Backend) {
    let store = &**backend.store();
    assert!(listed(store, &Filter::default(), None, 10).await.is_empty());
    let unfinished = done("a list", store.unfinished(None, None, 10)).await;
    assert!(unfinished.is_empty());
    let counts = done("counts", store.counts()).await;
    for state in State::ALL {
        assert_eq!(counts.of(state), 0);
    }
}

/// Five jobs in which every field differs, the newest named last.
async fn assorted(backend: &dyn Backend) {
    let store = &**backend.store();
    let tags = |tags: &[&str]| Some(tags.iter().map(|tag| (*tag).to_owned()).collect());
    let jobs = [
        (
            "a",
            NewJob {
                kind: some("k"),
                owner: some("o"),
                ..NewJob::default()
            },
            None,
        ),
        (
            "b",
            NewJob {
                tags: tags(&["t", "u"]),
                parent_id: Some(id("p")),
                ..NewJob::default()
            },
            Some(State::Processing),
        ),
        (
            "c",
            NewJob {
                kind: some("K"),
                tags: tags(&["u"]),
                ..NewJob::default()
            },
            Some(State::Completed),
        ),
        (
            "d",
            NewJob {
                owner: some("O"),
                kind: some("k"),
                tags: tags(&["T", "u", "u"]),
                ..NewJob::default()
            },
            Some(State::Failed),
        ),
        (
            "e",
            NewJob {
                parent_id: Some(id("a")),
                owner: some("o"),
                ..NewJob::default()
            },
            Some(State::Cancelled),
        ),
    ];
    for (age, (name, new_job, state)) in (0..10).rev().zip(jobs) {
        let job = create(store, job_of(name, new_job, ago(age))).await;
        if let Some(state) = state {
            commit(store, &Proposal::on(&job).state(state)).await;
        }
    }
}

pub(super) async fn every_filter_shows_its_jobs_alone(backend: &dyn Backend) {
    let store = &**backend.store();
    assorted(backend).await;
    let all = || Filter::default();
    let states = |states: &[State]| Filter {
        states: states.to_vec(),
        ..all()
    };
    let cases = [
        (all(), "edcba"),
        (states(&[State::Pending]), "a"),
        (states(&[State::Processing]), "b"),
        (states(&[State::Completed]), "c"),
        (states(&[State::Failed]), "d"),
        (states(&[State::Cancelled]), "e"),
        (
            Filter {
                kind: some("k"),
                ..all()
            },
            "da",
        ),
        (
            Filter {
                kind: some("K"),
                ..all()
            },
            "c",
        ),
        (
            Filter {
                kind: some("x"),
                ..all()
            },
            "",
        ),
        (
            Filter {
                tag: some("u"),
                ..all()
            },
            "dcb",
        ),
        (
            Filter {
                tag: some("t"),
                ..all()
            },
            "b",
        ),
        (
            Filter {
                tag: some("T"),
                ..all()
            },
            "d",
        ),
        (
            Filter {
                owner: some("o"),
                ..all()
            },
            "ea",
        ),
        (
            Filter {
                owner: some("O"),
                ..all()
            },
            "d",
        ),
        (
            Filter {
                parent_id: Some(id("p")),
                ..all()
            },
            "b",
        ),
        (
            Filter {
                parent_id: Some(id("a")),
                ..all()
            },
            "e",
        ),
        (
            Filter {
                parent_id: Some(id("b")),
                ..all()
            },
            "",
        ),
    ];
    for (filter, expected) in cases {
        let found = listed(store, &filter, None, 10).await.concat();
        assert_eq!(found, expected, "{filter:?}");
    }
}

pub(super) async fn filters_are_and_between_fields_and_or_between_states(backend: &dyn Backend) {
    let store = &**backend.store();
    assorted(backend).await;
    let open = vec![State::Pending, State::Processing];
    let cases = [
        (
            Filter {
                states: open.clone(),
                ..Filter::default()
            },
            "ba",
        ),
        (
            Filter {
                states: open.clone(),
                kind: some("k"),
                ..Filter::default()
            },
            "a",
        ),
        (
            Filter {
                states: State::ALL.to_vec(),
                tag: some("u"),
                ..Filter::default()
            },
            "dcb",
        ),
        (
            Filter {
                kind: some("k"),
                owner: some("O"),
                tag: some("T"),
                ..Filter::default()
            },
            "d",
        ),
        (
            Filter {
                kind: some("k"),
                owner: some("O"),
                tag: some("t"),
                ..Filter::default()
            },
            "",
        ),
        (
            Filter {
                states: vec![State::Cancelled],
                parent_id: Some(id("a")),
                owner: some("o"),
                ..Filter::default()
            },
            "e",
        ),
    ];
    for (filter, expected) in cases {
        let found = listed(store, &filter, None, 10).await.concat();
        assert_eq!(found, expected, "{filter:?}");
        // A page of one is the first of them.
        let first = listed(store, &filter, None, 1).await.concat();
        assert_eq!(first, expected[..expected.len().min(1)], "{filter:?}");
    }
}

pub(super) async fn a_list_follows_a_change_of_state(backend: &dyn Backend) {
    let store = &**backend.store();
    let mut job = created(store, "a").await;
    let of = |state| Filter {
        states: vec![state],
        ..Filter::default()
    };
    let mut last = State::Pending;
    for state in [State::Processing, State::Completed] {
        job = commit(store, &Proposal::on(&job).state(state)).await;
        assert!(listed(store, &of(last), None, 10).await.is_empty());
        assert_eq!(listed(store, &of(state), None, 10).await, ["a"]);
        last = state;
    }
}

pub(super) async fn pages_show_every_job_once_newest_first(backend: &dyn Backend) {
    let store = &**backend.store();
    let mut expected = Vec::new();
    for number in 0..57 {
        let name = format!("job-{number}");
        create(store, job_of(&name, NewJob::default(), ago(100 - number))).await;
        expected.insert(0, name);
    }
    for limit in [1, 7, 19, 57, 100] {
        let mut before = None;
        let mut found = Vec::new();
        loop {
            let all = Filter::default();
            let page = done("a page", store.list(&all, before.as_ref(), limit, now())).await;
            assert!(page.len() <= limit);
            found.extend(names(&page));
            match page.last() {
                Some(job) if page.len() == limit => before = Some(Position::of(job)),
                _ => break,
            }
        }
        assert_eq!(found, expected, "pages of {limit}");
    }
}

pub(super) async fn jobs_of_one_moment_are_paged_by_name(backend: &dyn Backend) {
    let store = &**backend.store();
    let moment = ago(5);
    let mut expected: Vec<_> = [
        "b", "a", "B", "aa", "a:", "a-", "~", "@", ".a", "0", "10", "9",
    ]
    .map(str::to_owned)
    .into();
    for name in &expected {
        create(store, job_of(name, NewJob::default(), moment)).await;
    }
    // By bytes, whatever language the machine speaks.
    expected.sort();
    let mut after = None;
    let mut oldest_first = Vec::new();
    while let [job] = &done("a page", store.unfinished(None, after.as_ref(), 1)).await[..] {
        oldest_first.push(job.id().to_string());
        after = Some(Position::of(job));
    }
    assert_eq!(oldest_first, expected);
    expected.reverse();
    let mut before = None;
    let mut newest_first = Vec::new();
    while let [job] = &done(
        "a page",
        store.list(&Filter::default(), before.as_ref(), 1, now()),
    )
    .await[..]
    {
        newest_first.push(job.id().to_string());
        before = Some(Position::of(job));
    }
    assert_eq!(newest_first, expected);
}

pub(super) async fn expired_and_removed_jobs_are_not_listed(backend: &dyn Backend) {
    let store = &**backend.store();
    ended(store, "over", 60, 100).await;
    ended(store, "still", 200, 100).await;
    let removed = created(store, "removed").await;
    remove(store, &removed.origin, later(60)).await;
    created(store, "new").await;
    assert_eq!(
        listed(store, &Filter::default(), None, 10).await,
        ["new", "still"]
    );
    let of = |state| Filter {
        states: vec![state],
        ..Filter::default()
    };
    assert_eq!(
        listed(store, &of(State::Completed), None, 10).await,
        ["still"]
    );
    let tomorrow = done(
        "a list",
        store.list(&Filter::default(), None, 10, later(150)),
    )
    .await;
    assert_eq!(names(&tomorrow), ["new"]);
    let unfinished = done("a list", store.unfinished(None, None, 10)).await;
    assert_eq!(names(&unfinished), ["new"]);
}

pub(super) async fn unfinished_jobs_come_oldest_first(backend: &dyn Backend) {
    let store = &**backend.store();
    assorted(backend).await;
    created(store, "f").await;
    let unfinished = done("a list", store.unfinished(None, None, 10)).await;
    assert_eq!(names(&unfinished), ["a", "b", "f"]);
    assert_eq!(*unfinished[1], *stored(store, "b").await.job);
    let b = (*unfinished[1]).clone();
    commit(store, &Proposal::on(&b).state(State::Failed)).await;
    let unfinished = done("a list", store.unfinished(None, None, 10)).await;
    assert_eq!(names(&unfinished), ["a", "f"]);
}

pub(super) async fn unfinished_jobs_are_paged_and_known_by_kind(backend: &dyn Backend) {
    let store = &**backend.store();
    for number in 0..30 {
        let new_job = NewJob {
            kind: (number % 3 > 0).then(|| format!("kind {}", number % 3)),
            ..NewJob::default()
        };
        let job = create(
            store,
            job_of(&format!("{number}"), new_job, ago(100 - number)),
        )
        .await;
        if number % 5 == 0 {
            commit(store, &Proposal::on(&job).state(State::Completed)).await;
        }
    }
    for (kind, rest) in [
        (None, None),
        (Some("kind 1"), Some(1)),
        (Some("kind 2"), Some(2)),
        (Some("x"), Some(3)),
    ] {
        let is_expected =
            |number: &u64| !number.is_multiple_of(5) && rest.is_none_or(|rest| number % 3 == rest);
        let expected: Vec<_> = (0..30)
            .filter(is_expected)
            .map(|number| number.to_string())
            .collect();
        for limit in [1, 4, 30] {
            let mut found = Vec::new();
            let mut after = None;
            loop {
                let page = done("a page", store.unfinished(kind, after.as_ref(), limit)).await;
                assert!(page.len() <= limit);
                let Some(last) = page.last() else { break };
                after = Some(Position::of(last));
                found.extend(names(&page));
            }
            assert_eq!(found, expected, "{kind:?}, pages of {limit}");
        }
    }
}

pub(super) async fn counts_follow_every_change_of_state(backend: &dyn Backend) {
    let store = &**backend.store();
    assorted(backend).await;
    let job = created(store, "f").await;
    let until = async |expected: [u64; 5]| {
        // Counts may be some seconds old.
        crate::support::until("the counts", async || {
            let counts = done("counts", store.counts()).await;
            State::ALL.map(|state| counts.of(state)) == expected
        })
        .await;
    };
    let index = |state: State| State::ALL.iter().position(|other| *other == state);
    let mut expected = [1; 5];
    expected[index(State::Pending).expect("a state")] = 2;
    until(expected).await;
    let job = commit(store, &Proposal::on(&job).state(State::Completed)).await;
    expected[index(State::Pending).expect("a state")] = 1;
    expected[index(State::Completed).expect("a state")] = 2;
    until(expected).await;
    remove(store, &job.origin, later(60)).await;
    expected[index(State::Completed).expect("a state")] = 1;
    until(expected).await;
}
