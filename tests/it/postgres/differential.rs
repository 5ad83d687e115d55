//! The rules exist twice, in `job::step` and in the trigger for workers: both must come to the same.

use progressd::{
    job::{Bounds, Command, Face, Job, NewJob, Refusal, Report, step},
    store::{Created, Loaded, Store},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::{Map, Value, json};
use sqlx::{PgConnection, Row as _};

use crate::support::postgres_server::{database, execute, try_execute};

/// How many jobs, and how many reports on each.
const JOBS: u64 = 60;
const REPORTS: usize = 25;

/// A report in both forms.
struct Twin {
    http: Value,
    /// What stands after `SET`.
    sql: String,
}

fn quoted(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::String(text) => format!("'{}'", text.replace('\'', "''")),
        value => value.to_string(),
    }
}

fn json_quoted(value: &Value) -> String {
    format!("'{}'", value.to_string().replace('\'', "''"))
}

/// A report as workers make them, right and wrong, on `job`.
fn random_report(random: &mut StdRng, job: &Job) -> Twin {
    let mut http = Map::new();
    let mut sql = Vec::new();
    let attempt = u64::from(job.face.attempt);
    let attempt = match random.random_range(0..20) {
        0 => Some(attempt - 1),
        1..=3 => Some(attempt + random.random_range(1..3)),
        4 => Some(attempt),
        _ => None,
    };
    if let Some(attempt) = attempt.filter(|attempt| *attempt > 0) {
        http.insert("attempt".to_owned(), attempt.into());
        sql.push(format!("attempt = {attempt}"));
    }
    let is_retry = attempt.is_some_and(|attempt| attempt > u64::from(job.face.attempt));
    if random.random_bool(0.3) {
        let states = [
            "pending",
            "processing",
            "processing",
            "processing",
            "completed",
            "failed",
            "cancelled",
        ];
        let state = states.choose(random).copied().unwrap_or_default();
        // The end comes late enough for something to happen before it.
        if state == "pending" || state == "processing" || random.random_bool(0.3) {
            http.insert("status".to_owned(), state.into());
            sql.push(format!("status = '{state}'"));
        }
    }
    if random.random_bool(0.5) {
        let count = random.random_range(0..12);
        if is_retry || random.random_bool(0.7) {
            http.insert("processed_count".to_owned(), count.into());
            sql.push(format!("processed_count = {count}"));
        } else {
            http.insert("processed_increment".to_owned(), (count + 1).into());
            sql.push(format!(
                "processed_count = coalesce(processed_count, 0) + {}",
                count + 1
            ));
        }
    }
    let mut field = |random: &mut StdRng, name: &str, values: &[Value]| {
        if random.random_bool(0.25) {
            let value = values.choose(random).cloned().unwrap_or_default();
            sql.push(format!("{name} = {}", quoted(&value)));
            http.insert(name.to_owned(), value);
        }
    };
    let totals = [
        json!(0),
        json!(3),
        json!(7),
        json!(10),
        json!(3_000_000_000_u64),
        Value::Null,
    ];
    field(random, "total_count", &totals);
    let percentages =
        [0.0, 0.004, 12.5, 33.33, 33.337, 50.0, 66.666, 99.999, 100.0].map(|number| json!(number));
    field(random, "progress_percentage", &percentages);
    field(
        random,
        "step",
        &[json!("one"), json!("two"), json!(""), Value::Null],
    );
    field(
        random,
        "message",
        &[json!("it's"), json!("\\ü\n"), Value::Null],
    );
    if random.random_bool(0.15) {
        let result = [json!({"z": 1, "a": "x'y"}), json!(0), json!("text")];
        let result = result.choose(random).cloned().unwrap_or_default();
        sql.push(format!("result = {}", json_quoted(&result)));
        http.insert("result".to_owned(), result);
    }
    if random.random_bool(0.15) {
        let error = [
            json!("why"),
            json!({"code": "X"}),
            json!({"message": "m"}),
            json!({}),
        ];
        let error = error.choose(random).cloned().unwrap_or_default();
        sql.push(format!("error = {}", json_quoted(&error)));
        http.insert("error".to_owned(), error);
    }
    if random.random_bool(0.2) {
        let data = [
            json!({}),
            json!({"a": 1}),
            json!({"b": [1], "a": 2}),
            json!({"c": "ü'"}),
        ];
        let data = data.choose(random).cloned().unwrap_or_default();
        sql.push(format!("data = {}", json_quoted(&data)));
        // The patch that leaves just this.
        let mut patch = Map::new();
        for key in job.face.data.iter().flat_map(|data| data.keys()) {
            patch.insert(key.clone(), Value::Null);
        }
        patch.extend(data.as_object().cloned().unwrap_or_default());
        http.insert("data".to_owned(), patch.into());
    }
    if sql.is_empty() {
        sql.push("message = message".to_owned());
    }
    Twin {
        http: http.into(),
        sql: sql.join(", "),
    }
}

/// What both must agree on: not on speed, which SQL does not know, and not on the microsecond.
fn comparable(face: &Face) -> Face {
    let mut face = face.clone();
    face.rate_per_second = None;
    face.eta_seconds = None;
    for moment in [&mut face.started_at, &mut face.finished_at] {
        *moment = moment.map(|_| progressd::job::Timestamp::from_micros(1));
    }
    face
}

fn sqlstate(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Finished(_) => "PD001",
        Refusal::StaleAttempt { .. } => "PD002",
        Refusal::Invalid(_) => "PD003",
    }
}

async fn load(store: &dyn Store, job: &Job) -> Job {
    match store.load(job.id(), job.origin.created_at).await {
        Ok(Loaded::Job(stored)) => (*stored.job).clone(),
        other => panic!("{other:?}"),
    }
}

/// The columns by which deadlines and expiry are found, in microseconds.
async fn indexed(worker: &mut PgConnection, job: &Job) -> (Option<u64>, Option<u64>, Option<u64>) {
    let sql = format!(
        "SELECT progressd.micros(deadline_at), progressd.micros(due_at), progressd.micros(expires_at) \
         FROM progressd.jobs WHERE job_id = '{}'",
        job.id()
    );
    let rows = execute(worker, &sql).await;
    let column = |index| {
        rows[0]
            .get::<Option<i64>, _>(index)
            .map(|micros| micros as u64)
    };
    (column(0), column(1), column(2))
}

async fn compare_one(seed: u64, store: &dyn Store, worker: &mut PgConnection) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut new_job = json!({"job_id": format!("job-{seed}"), "lease_seconds": 60});
    for (name, value) in [
        ("total_count", json!(10)),
        ("data", json!({"a": 0})),
        ("fail_stalled_after_seconds", json!(5)),
    ] {
        if random.random_bool(0.5) {
            new_job[name] = value;
        }
    }
    let new_job = NewJob::parse(new_job.to_string().as_bytes(), &Bounds::default()).expect("valid");
    let job_id = new_job.job_id.clone().expect("a name");
    let defaults = progressd::job::Defaults {
        lease_seconds: 60,
        ttl_seconds: 3_600,
        abandon_after_seconds: [0, 30, 600][random.random_range(0..3)],
    };
    let now = store
        .shared()
        .expect("shared")
        .now()
        .await
        .expect("a clock");
    let job = new_job.into_job(job_id, None, None, &defaults, uuid::Uuid::new_v4(), now);
    let Ok(Created::Done(_)) = store.create(&job, None).await else {
        panic!("not created")
    };
    let mut model = job.clone();
    let mut stored = load(store, &job).await;
    for number in 0..REPORTS {
        let twin = random_report(&mut random, &model);
        let context = format!("seed {seed}, report {number}: {} | {}", twin.http, twin.sql);
        let report = Report::parse(twin.http.to_string().as_bytes(), &Bounds::default());
        let report = report.unwrap_or_else(|error| panic!("{context}: {error}"));
        let command = Command::Report(Box::new(report.report));
        let expected = step(&model, &command, &Bounds::default(), now);
        let sql = format!(
            "UPDATE progressd.jobs SET {} WHERE job_id = '{}'",
            twin.sql,
            job.id()
        );
        let outcome = try_execute(worker, &sql).await;
        let before = std::mem::replace(&mut stored, load(store, &job).await);
        match (expected, outcome) {
            (Err(refusal), Err((code, message))) => {
                assert_eq!(
                    sqlstate(&refusal),
                    code,
                    "{context}: {refusal}, but {message}"
                );
                assert_eq!(before, stored, "{context}");
            }
            (Ok(change), Ok(_)) => {
                let is_change = comparable(&change.job.face) != comparable(&model.face);
                assert_eq!(stored.seq > before.seq, is_change, "{context}");
                assert_eq!(
                    stored.updated_at > before.updated_at,
                    is_change,
                    "{context}"
                );
                model = change.job;
            }
            (expected, outcome) => panic!("{context}: {expected:?}, but {outcome:?}"),
        }
        assert_eq!(
            comparable(&stored.face),
            comparable(&model.face),
            "{context}"
        );
        assert_eq!(stored.percentage(), model.percentage(), "{context}");
        let (deadline, due, expires) = indexed(worker, &job).await;
        let micros = |moment: Option<progressd::job::Timestamp>| moment.map(|at| at.as_micros());
        assert_eq!(deadline, micros(stored.next_deadline()), "{context}");
        assert_eq!(expires, micros(stored.expires_at()), "{context}");
        assert_eq!(due.is_some(), deadline.is_some(), "{context}");
        assert!(due <= deadline, "{context}");
    }
}

#[tokio::test]
async fn sql_and_http_come_to_the_same() {
    let database = database().await;
    let store = database.store().await;
    let mut worker = database.connect().await;
    let first = std::env::var("PROGRESSD_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let first = first.unwrap_or_else(|| rand::random_range(0..u64::MAX / 2));
    for seed in first..first + JOBS {
        compare_one(seed, &store, &mut worker).await;
    }
}
