//! What calls cost: statements, each of which is a round trip, and the ways on which rows are found.

use std::{sync::Arc, time::Duration};

use progressd::{
    job::{EventName, Job, JobId, Json, NewEvent, NewJob, Origin, Seq, State, Timestamp},
    store::{
        Commit, Committed, Created, Filter, Notice, Position, Postgres, PostgresSettings, Store,
    },
};
use uuid::Uuid;

use crate::support::{
    in_time,
    postgres_server::{Database, PostgresServer},
    until,
};

/// A server that logs what it is asked and how it finds it.
async fn talkative() -> (PostgresServer, Database) {
    let server = tokio::task::spawn_blocking(|| {
        PostgresServer::start(&[
            "fsync=off",
            "log_statement=all",
            "session_preload_libraries=auto_explain",
            "auto_explain.log_min_duration=0",
            "auto_explain.log_nested_statements=on",
        ])
    });
    let server = server.await.expect("a server");
    let database = server.database().await;
    (server, database)
}

/// A store that asks for nothing but what a test asks for: announcements wait for a commit.
async fn quiet(database: &Database) -> Postgres {
    let settings = PostgresSettings {
        max_connections: 1,
        ..database.settings()
    };
    Postgres::open(settings).await.expect("a store")
}

fn job(name: &str, created_at: Timestamp) -> Job {
    let new_job = NewJob {
        kind: Some("import".to_owned()),
        tags: Some(vec!["t1".to_owned()]),
        owner: Some("ann".to_owned()),
        ..NewJob::default()
    };
    let defaults = progressd::job::Defaults {
        lease_seconds: 60,
        ttl_seconds: 3_600,
        abandon_after_seconds: 0,
    };
    let owner = new_job.owner.clone();
    let job_id = JobId::parse(name).expect("a name");
    new_job.into_job(job_id, owner, None, &defaults, Uuid::new_v4(), created_at)
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
    let micros = since.expect("a clock after 1970").as_micros();
    Timestamp::from_micros(u64::try_from(micros).expect("64 bits"))
}

/// The statements that clients have sent, without those that go round by themselves.
fn statements(server: &PostgresServer) -> Vec<String> {
    let log = server.log();
    let sent = log
        .lines()
        .filter_map(|line| line.split_once("LOG:  statement: "));
    sent.map(|(_, statement)| statement.to_owned())
        .filter(|statement| !statement.contains("announce") && !statement.starts_with("LISTEN"))
        .collect()
}

/// What a call sends.
async fn sent_by<T>(server: &PostgresServer, call: impl Future<Output = T>) -> (Vec<String>, T) {
    let before = statements(server).len();
    let answer = in_time("an answer", call).await;
    let sent = statements(server).split_off(before);
    (sent, answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_is_one_round_trip() {
    let (server, database) = talkative().await;
    let store = quiet(&database).await;
    let job = job("j", now());
    let (sent, created) = sent_by(&server, store.create(&job, None)).await;
    assert_eq!(sent.len(), 1, "{sent:?}");
    let Ok(Created::Done(seq)) = created else {
        panic!("not created")
    };
    let job = Job { seq, ..job };
    let event = NewEvent {
        name: EventName::parse("e").expect("a name"),
        data: Json::of(&1).expect("JSON"),
    };
    let rows = vec![Json::of("x").expect("JSON"); 100];
    let commit = Commit {
        job: &job,
        positions: 2,
        events: &[(1, event.clone()), (2, event)],
        rows: &rows,
        answers: &[],
        now: now(),
        nonce: Uuid::new_v4(),
        is_replaceable: false,
    };
    let (sent, committed) = sent_by(&server, store.commit(commit)).await;
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert!(matches!(committed, Ok(Committed::Done { .. })));
    let again = Commit {
        nonce: Uuid::new_v4(),
        ..commit
    };
    let (sent, committed) = sent_by(&server, store.commit(again)).await;
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert!(matches!(committed, Ok(Committed::Conflict(_))));
    let shared = store.shared().expect("shared");
    let (filter, node) = (Filter::default(), Uuid::new_v4());
    let origins: Vec<&Origin> = vec![&job.origin; 500];
    let counts = [
        sent_by(&server, store.load(job.id(), now())).await.0,
        sent_by(&server, store.events_after(&job.origin, Seq::ZERO))
            .await
            .0,
        sent_by(&server, store.rows(&job.origin, 10, 50)).await.0,
        sent_by(&server, store.list(&filter, None, 50, now()))
            .await
            .0,
        sent_by(&server, store.unfinished(None, None, 50)).await.0,
        sent_by(&server, store.expire(now(), 60, 100)).await.0,
        sent_by(&server, store.put_if_absent("k", b"v", None, now()))
            .await
            .0,
        sent_by(&server, store.reserve("k", job.id(), now()))
            .await
            .0,
        sent_by(&server, store.counts()).await.0,
        sent_by(&server, store.ping()).await.0,
        sent_by(&server, shared.now()).await.0,
        sent_by(&server, shared.seqs(&origins)).await.0,
        sent_by(&server, shared.due(now(), 10)).await.0,
        sent_by(
            &server,
            shared.claim(&job.origin, node, Duration::from_secs(1)),
        )
        .await
        .0,
        sent_by(&server, shared.release(&job.origin, node)).await.0,
        sent_by(&server, store.remove(&job.origin, now())).await.0,
    ];
    for sent in counts {
        assert_eq!(sent.len(), 1, "{sent:?}");
    }
    // The numbers of jobs are some seconds old at most.
    let (sent, _) = sent_by(&server, store.counts()).await;
    assert_eq!(sent.len(), 0, "{sent:?}");
    // Following a job costs nothing there.
    let (sent, following) = sent_by(&server, shared.follow(job.id())).await;
    assert_eq!(sent.len(), 0, "{sent:?}");
    drop(following);
    // Beginning to follow the lifecycle of all costs one look, however many do.
    let (sent, following) = sent_by(&server, shared.follow_lifecycle()).await;
    assert_eq!(sent.len(), 1, "{sent:?}");
    let (sent, another) = sent_by(&server, shared.follow_lifecycle()).await;
    assert_eq!(sent.len(), 0, "{sent:?}");
    drop((following, another));
}

/// A hundred thousand jobs of a few kinds, tags, owners and states.
const FILL: &str = "
    SET progressd.writer = 'server';
    INSERT INTO progressd.jobs (job_id, incarnation, kind, owner, tags, parent_id, created_at, lease_seconds,
        ttl_seconds, abandon_after_seconds, digest, seq, status, updated_at, reported_at, finished_at,
        deadline_at, due_at, expires_at)
    SELECT 'job-' || n, gen_random_uuid(), 'kind' || n % 300, 'owner' || n % 500, ARRAY['tag' || n % 400],
        'parent-' || n % 1000, at, 60, 86400, 0, sha256('x'), n, status, at, at,
        CASE WHEN status NOT IN ('pending', 'processing') THEN at END,
        CASE WHEN status = 'processing' THEN at + interval '1 hour' END,
        CASE WHEN status = 'processing' THEN at + interval '1 hour' END,
        CASE WHEN status NOT IN ('pending', 'processing') THEN at + interval '1 day' END
    FROM generate_series(1, 100000) AS n,
        LATERAL (SELECT now() - n * interval '1 second' AS at, CASE
            WHEN n % 100 = 0 THEN 'pending' WHEN n % 100 = 1 THEN 'processing'
            WHEN n % 100 = 2 THEN 'failed' WHEN n % 1000 = 3 THEN 'cancelled' ELSE 'completed' END AS status) AS x;
    INSERT INTO progressd.events SELECT n % 1000, n, 'e', '1' FROM generate_series(1, 100000) AS n;
    INSERT INTO progressd.result_rows SELECT n % 1000, n, '1' FROM generate_series(1, 100000) AS n;
    INSERT INTO progressd.answers SELECT n % 1000, n, n, n, 'pending', false, now()
        FROM generate_series(1, 100000) AS n;
    INSERT INTO progressd.inputs SELECT job_no, 'json', '' FROM progressd.jobs;
    INSERT INTO progressd.claims SELECT job_no, gen_random_uuid(), 1, now() FROM progressd.jobs;
    INSERT INTO progressd.gone SELECT 'gone-' || n, gen_random_uuid(), NULL, 1, now() + n * interval '1 second'
        FROM generate_series(1, 10000) AS n;
    INSERT INTO progressd.reservations SELECT 'key-' || n, 'j', now() + n * interval '1 second'
        FROM generate_series(1, 10000) AS n;
    INSERT INTO progressd.put_values SELECT 'key-' || n, '', now() + n * interval '1 second'
        FROM generate_series(1, 10000) AS n;
    ANALYZE";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_looked_for_from_one_end_to_the_other() {
    let (server, database) = talkative().await;
    let store = quiet(&database).await;
    for statement in FILL.split(";\n") {
        database
            .execute(&format!("SET progressd.writer = 'server'; {statement}"))
            .await;
    }
    let other = quiet(&database).await;
    let begin = server.log().len();
    let some = |text: &str| Some(text.to_owned());
    let before = Position {
        created_at: Timestamp::from_micros(now().as_micros() - 50_000_000_000),
        job_id: JobId::parse("job-7").expect("a name"),
    };
    let filters = [
        Filter::default(),
        Filter {
            states: vec![State::Processing],
            ..Filter::default()
        },
        Filter {
            states: vec![State::Pending, State::Processing],
            ..Filter::default()
        },
        Filter {
            states: vec![State::Failed, State::Cancelled],
            ..Filter::default()
        },
        Filter {
            kind: some("kind7"),
            ..Filter::default()
        },
        Filter {
            owner: some("owner7"),
            ..Filter::default()
        },
        Filter {
            tag: some("tag7"),
            ..Filter::default()
        },
        Filter {
            parent_id: JobId::parse("parent-7").ok(),
            ..Filter::default()
        },
        Filter {
            kind: some("kind2"),
            states: vec![State::Failed],
            ..Filter::default()
        },
    ];
    for filter in &filters {
        for before in [None, Some(&before)] {
            let listed = store.list(filter, before, 50, now()).await;
            assert!(!listed.expect("a list").is_empty(), "{filter:?}");
        }
    }
    store.unfinished(None, None, 50).await.expect("a list");
    store
        .unfinished(Some("kind1"), Some(&before), 50)
        .await
        .expect("a list");
    let job = job("j", now());
    let Ok(Created::Done(seq)) = store.create(&job, None).await else {
        panic!("not created")
    };
    let job = Arc::new(Job { seq, ..job });
    let event = NewEvent {
        name: EventName::parse("e").expect("a name"),
        data: Json::of(&1).expect("JSON"),
    };
    let commit = Commit {
        job: &job,
        positions: 1,
        events: &[(1, event)],
        rows: &[Json::of(&1).expect("JSON")],
        answers: &[],
        now: now(),
        nonce: Uuid::new_v4(),
        is_replaceable: false,
    };
    let committed = store.commit(commit).await;
    assert!(
        matches!(committed, Ok(Committed::Done { .. })),
        "{committed:?}"
    );
    let shared = store.shared().expect("shared");
    shared.due(now(), 10).await.expect("jobs");
    shared.seqs(&[&job.origin]).await.expect("seqs");
    shared
        .claim(&job.origin, Uuid::new_v4(), Duration::from_secs(1))
        .await
        .expect("a claim");
    store.load(job.id(), now()).await.expect("a job");
    store
        .events_after(&job.origin, Seq::ZERO)
        .await
        .expect("events");
    store.rows(&job.origin, 0, 10).await.expect("rows");
    store.expire(now(), 60, 100).await.expect("an expiry");
    let _following = shared.follow_lifecycle().await.expect("a snapshot");
    other.remove(&job.origin, now()).await.expect("a removal");
    while !matches!(
        in_time("a notice", shared.next_notice()).await,
        Notice::Removed { .. }
    ) {}
    let is_told = async || server.log()[begin..].contains("progressd.remove");
    until("the plan of the last call", is_told).await;
    let log = server.log();
    let plans = &log[begin..];
    assert!(
        plans.contains("Index Scan using jobs_by_tag")
            || plans.contains("Bitmap Index Scan on jobs_by_tag")
    );
    assert!(plans.contains("Index Scan using jobs_entered"));
    assert!(plans.contains("Index Scan using gone_removed"));
    let walks: Vec<_> = plans
        .lines()
        .filter(|line| line.contains("Seq Scan on "))
        .collect();
    assert!(walks.is_empty(), "{walks:#?}");
    // Counting alone goes through all jobs, along their index.
    assert!(
        !plans.contains("external merge"),
        "no list is sorted on disk"
    );
}
