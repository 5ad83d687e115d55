//! The status as strangers see it, to the byte.

use serde_json::{Value, json};

use super::{TICK, after, applied, created, new_job, report, shown};
use crate::job::{Command, Job, Seq, Status};

fn with_seq(job: &Job, seq: u64) -> Job {
    Job {
        seq: Seq::new(seq).expect("below 2^53"),
        ..job.clone()
    }
}

/// What is on the wire, one field a line.
fn pretty(job: &Job) -> String {
    let status: Value = serde_json::from_str(&Status(job).to_json()).expect("a status is JSON");
    serde_json::to_string_pretty(&status).expect("JSON serializes")
}

#[test]
fn a_new_job_shows_every_field_and_null_where_it_knows_nothing() {
    insta::assert_snapshot!(pretty(&new_job()), @r#"
    {
      "job_id": "job-1",
      "kind": null,
      "status": "pending",
      "total_count": null,
      "processed_count": null,
      "unit": null,
      "progress_percentage": null,
      "step": null,
      "message": null,
      "rate_per_second": null,
      "eta_seconds": null,
      "attempt": 1,
      "stalled": false,
      "cancel_requested": false,
      "data": null,
      "result": null,
      "error": null,
      "owner": null,
      "tags": [],
      "parent_id": null,
      "created_at": "2026-11-21T19:00:00.000Z",
      "started_at": null,
      "updated_at": "2026-11-21T19:00:00.000Z",
      "finished_at": null,
      "seq": 0
    }
    "#);
}

#[test]
fn a_job_under_way_shows_what_its_reports_said() {
    let body = json!({
        "kind": "email-validation", "total_count": 1_000, "unit": "emails", "owner": "user-456",
        "tags": ["import"], "parent_id": "batch-7", "data": {"geo_score": 78.5},
    });
    let counts = (1..=75).map(|second| {
        json!({
            "processed_count": second * 10, "step": "Checking mail servers", "message": "gmail.com",
        })
    });
    let job = after(created(body), counts);
    insta::assert_snapshot!(pretty(&with_seq(&job, 1_795_287_600_123_456)), @r#"
    {
      "job_id": "job-1",
      "kind": "email-validation",
      "status": "processing",
      "total_count": 1000,
      "processed_count": 750,
      "unit": "emails",
      "total_emails": 1000,
      "progress_percentage": 75,
      "step": "Checking mail servers",
      "message": "gmail.com",
      "rate_per_second": 10,
      "eta_seconds": 25,
      "attempt": 1,
      "stalled": false,
      "cancel_requested": false,
      "data": {
        "geo_score": 78.5
      },
      "result": null,
      "error": null,
      "owner": "user-456",
      "tags": [
        "import"
      ],
      "parent_id": "batch-7",
      "created_at": "2026-11-21T19:00:00.000Z",
      "started_at": "2026-11-21T19:00:01.000Z",
      "updated_at": "2026-11-21T19:01:15.000Z",
      "finished_at": null,
      "seq": 1795287600123456
    }
    "#);
}

#[test]
fn a_failed_job_shows_why_and_when() {
    let error = json!({"code": "DISK_FULL", "message": "No space left"});
    let job = after(
        created(json!({"total_count": 3})),
        [
            json!({"processed_count": 1}),
            json!({"status": "failed", "error": error, "result": {"partial": true}}),
        ],
    );
    insta::assert_snapshot!(pretty(&job), @r#"
    {
      "job_id": "job-1",
      "kind": null,
      "status": "failed",
      "total_count": 3,
      "processed_count": 1,
      "unit": null,
      "progress_percentage": 33.33,
      "step": null,
      "message": null,
      "rate_per_second": null,
      "eta_seconds": null,
      "attempt": 1,
      "stalled": false,
      "cancel_requested": false,
      "data": null,
      "result": {
        "partial": true
      },
      "error": {
        "code": "DISK_FULL",
        "message": "No space left"
      },
      "owner": null,
      "tags": [],
      "parent_id": null,
      "created_at": "2026-11-21T19:00:00.000Z",
      "started_at": "2026-11-21T19:00:01.000Z",
      "updated_at": "2026-11-21T19:00:02.000Z",
      "finished_at": "2026-11-21T19:00:02.000Z",
      "seq": 0
    }
    "#);
}

#[test]
fn the_status_is_one_line_without_spaces_between_tokens() {
    let text = "a\nb\r\u{2028} \"\\\u{1}";
    let job = after(
        new_job(),
        [json!({"message": text, "step": text, "data": {text: text}})],
    );
    let json = Status(&job).to_json();
    assert!(!json.contains(['\n', '\r']), "{json}");
    assert!(
        json.starts_with(
            r#"{"job_id":"job-1","kind":null,"status":"processing","total_count":null,"#
        )
    );
    assert!(json.ends_with(r#","seq":0}"#));
    assert_eq!(shown(&job, "message"), text);
    assert_eq!(shown(&job, "data"), json!({text: text}));
}

#[test]
fn every_status_has_the_same_fields_in_the_same_order() {
    let fields = |job: &Job| -> Vec<String> {
        let status: Value = serde_json::from_str(&Status(job).to_json()).expect("a status is JSON");
        status
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect()
    };
    let expected = fields(&new_job());
    let (stalled, _) = applied(&after(new_job(), [json!({})]), &TICK, 500).expect("time passes");
    let (cancelled, _) = applied(&new_job(), &Command::Cancel, 1).expect("allowed");
    for job in [
        stalled,
        cancelled,
        after(new_job(), [json!({"status": "failed"})]),
    ] {
        assert_eq!(fields(&job), expected);
    }
}

#[test]
fn the_total_stands_once_more_under_the_name_of_its_unit() {
    let job = created(json!({"unit": "emails"}));
    assert_eq!(shown(&job, "total_emails"), Value::Null);
    let job = after(job, [json!({"total_count": 7})]);
    assert_eq!(shown(&job, "total_emails"), 7);
    assert_eq!(shown(&job, "total_count"), 7);
    // A hostile unit stays a name within the object.
    let job = created(json!({"unit": "x\":1,\"status", "total_count": 2}));
    assert_eq!(shown(&job, "total_x\":1,\"status"), 2);
    assert_eq!(shown(&job, "status"), "pending");
}

#[test]
fn no_unit_makes_a_name_stand_twice() {
    let job = created(json!({"unit": "count", "total_count": 2}));
    assert_eq!(Status(&job).to_json().matches("\"total_count\"").count(), 1);
}

#[test]
fn whole_rates_have_no_fraction_and_others_are_short() {
    let mut job = new_job();
    for (rate, expected) in [
        (40.0, "40"),
        (41.7, "41.7"),
        (0.004_17, "0.00417"),
        (0.0, "0"),
        (1e15, "1000000000000000"),
    ] {
        job.face.rate_per_second = Some(rate);
        let json = Status(&job).to_json();
        assert!(
            json.contains(&format!(r#""rate_per_second":{expected},"#)),
            "{json}"
        );
    }
}

#[test]
fn equal_jobs_have_equal_bytes_also_after_a_store_has_kept_them() {
    let counts = (1..=33).map(
        |count| json!({"processed_count": count, "data": {"z": 1.0, "a": [count]}, "result": 1}),
    );
    let job = after(created(json!({"total_count": 99, "unit": "rows"})), counts);
    let kept: Job = serde_json::from_str(&serde_json::to_string(&job).expect("a job serializes"))
        .expect("a job is read back");
    assert_eq!(kept, job);
    assert_eq!(Status(&kept).to_json(), Status(&job).to_json());
    // And the rules go on from it as from the original.
    let next = report(json!({"processed_count": 40}));
    assert_eq!(applied(&kept, &next, 50), applied(&job, &next, 50));
}
