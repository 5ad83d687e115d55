//! Reading requests: bounds and types name the field, unknown fields are named, null clears only what it may.

use serde_json::{Value, json};

use crate::job::{Bounds, Count, FieldError, NewJob, Patch, Report, State, parse_events};

fn parsed(body: &Value) -> Result<Report, FieldError> {
    Report::parse(body.to_string().as_bytes(), &Bounds::default()).map(|addressed| addressed.report)
}

fn refused(body: Value) -> FieldError {
    parsed(&body).expect_err(&body.to_string())
}

fn creation(body: Value) -> Result<NewJob, FieldError> {
    NewJob::parse(body.to_string().as_bytes(), &Bounds::default())
}

fn text(chars: usize) -> String {
    // Two bytes each: bounds count characters.
    "ä".repeat(chars)
}

fn json_of(bytes: usize) -> Value {
    // The quotes count.
    Value::String("x".repeat(bytes - 2))
}

#[test]
fn a_whole_report_is_read() {
    let body = json!({
        "job_id": "j", "report_id": "r", "status": "processing", "processed_count": 5,
        "total_count": 10, "progress_percentage": 50, "step": "S", "message": "M",
        "data": {"k": null}, "result": {"a": [1]}, "error": "E", "attempt": 2,
    });
    let addressed =
        Report::parse(body.to_string().as_bytes(), &Bounds::default()).expect("a valid report");
    assert_eq!(addressed.job_id.expect("named").as_str(), "j");
    assert_eq!(addressed.report_id.expect("named").as_str(), "r");
    let report = addressed.report;
    assert_eq!(report.status, Some(State::Processing));
    assert_eq!(report.processed_count, Some(Count::saturating(5)));
    assert_eq!(report.total_count, Patch::Set(Count::saturating(10)));
    assert_eq!(report.step, Patch::Set("S".to_owned()));
    assert_eq!(report.result.expect("given").as_str(), r#"{"a":[1]}"#);
    assert_eq!(report.error.expect("given").message, "E");
    assert_eq!(report.attempt, Some(2));
}

#[test]
fn an_empty_body_stands_for_an_empty_object() {
    let addressed = Report::parse(b"", &Bounds::default()).expect("a sign of life");
    assert_eq!(
        addressed.report,
        parsed(&json!({})).expect("a sign of life")
    );
    NewJob::parse(b"", &Bounds::default()).expect("a job without wishes");
}

#[test]
fn null_clears_step_message_and_total_and_is_refused_elsewhere() {
    let report = parsed(&json!({"step": null, "message": null, "total_count": null}))
        .expect("these can be cleared");
    assert_eq!(report.step, Patch::Clear);
    assert_eq!(report.message, Patch::Clear);
    assert_eq!(report.total_count, Patch::Clear);
    for field in [
        "job_id",
        "report_id",
        "status",
        "processed_count",
        "processed_increment",
        "progress_percentage",
        "data",
        "result",
        "error",
        "attempt",
    ] {
        assert_eq!(refused(json!({field: null})).field, field);
    }
}

#[test]
fn null_clears_exactly_the_field_that_it_names() {
    let reports = [
        json!({"step": "S", "message": "M", "total_count": 5, "data": {"a": 1, "b": 2}}),
        json!({"step": null, "data": {"a": null}}),
    ];
    let job = super::after(super::new_job(), reports);
    assert_eq!(super::shown(&job, "step"), Value::Null);
    assert_eq!(super::shown(&job, "message"), "M");
    assert_eq!(super::shown(&job, "total_count"), 5);
    assert_eq!(super::shown(&job, "data"), json!({"b": 2}));
    let job = super::after(job, [json!({"message": null, "total_count": null})]);
    assert_eq!(super::shown(&job, "message"), Value::Null);
    assert_eq!(super::shown(&job, "total_count"), Value::Null);
}

#[test]
fn a_wrong_value_names_its_field() {
    for (field, value) in [
        ("status", json!("running")),
        ("status", json!("Processing")),
        ("processed_count", json!(-1)),
        ("processed_count", json!(1.5)),
        ("processed_count", json!("7")),
        ("processed_count", json!(9_007_199_254_740_992_u64)),
        ("processed_increment", json!(0)),
        ("total_count", json!(-1)),
        ("progress_percentage", json!(100.01)),
        ("progress_percentage", json!(-0.01)),
        ("progress_percentage", json!("50%")),
        ("step", json!(1)),
        ("step", json!(text(201))),
        ("step", json!("a\u{0}b")),
        ("message", json!(text(1_001))),
        ("data", json!([1])),
        ("result", json_of(64 * 1024 + 1)),
        ("error", json!(7)),
        ("error.code", json!({"code": ""})),
        ("error.code", json!({"code": text(65)})),
        ("error.code", json!({"code": 5})),
        ("error.message", json!({"message": text(1_001)})),
        ("error.cause", json!({"cause": "x"})),
        ("attempt", json!(0)),
        ("attempt", json!(4_294_967_296_u64)),
        ("job_id", json!("a b")),
        ("report_id", json!("")),
        ("report_id", json!("a\nb")),
    ] {
        let top = field.split('.').next().expect("a name");
        let error = refused(json!({top: value}));
        assert_eq!(error.field, field, "{value} gave {error}");
        assert!(!error.rule.is_empty());
    }
}

#[test]
fn the_largest_allowed_values_are_taken() {
    for body in [
        json!({"processed_count": 9_007_199_254_740_991_u64}),
        json!({"step": text(200), "message": text(1_000)}),
        json!({"result": json_of(64 * 1024)}),
        json!({"error": {"code": text(64), "message": text(1_000)}}),
        json!({"attempt": u32::MAX}),
        json!({"progress_percentage": 0}),
        json!({"progress_percentage": 100.0}),
    ] {
        parsed(&body).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn a_whole_number_may_be_written_with_a_fraction_of_zero() {
    let report = parsed(&json!({"processed_count": 3.0, "total_count": 4e3, "attempt": 2.0}));
    let report = report.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(report.processed_count, Some(Count::saturating(3)));
    assert_eq!(report.total_count, Patch::Set(Count::saturating(4_000)));
    assert_eq!(report.attempt, Some(2));
    let new_job = creation(json!({"ttl_seconds": 60.0})).expect("a whole number");
    assert_eq!(new_job.ttl_seconds, Some(60));
    for (field, value) in [
        ("processed_count", 0.5),
        ("processed_count", -1.0),
        ("processed_count", 9_007_199_254_740_992.0),
        ("attempt", 1.5),
    ] {
        assert_eq!(refused(json!({field: value})).field, field);
    }
}

#[test]
fn a_count_and_an_increment_together_are_refused() {
    let error = refused(json!({"processed_count": 1, "processed_increment": 1}));
    assert_eq!(error.field, "processed_increment");
}

#[test]
fn unknown_fields_are_refused_by_name() {
    for error in [
        refused(json!({"progress": 5})),
        creation(json!({"progress": 5})).expect_err("unknown"),
        parse_events(br#"{"event": "e", "progress": 1}"#, &Bounds::default()).expect_err("unknown"),
    ] {
        assert!(error.to_string().contains("progress"), "{error}");
    }
    let error = parse_events(
        br#"[{"event": "e"}, {"event": "e", "dat": 1}]"#,
        &Bounds::default(),
    )
    .expect_err("unknown");
    assert!(error.field.starts_with("[1]"), "{error}");
    assert!(error.to_string().contains("dat"), "{error}");
}

#[test]
fn malformed_json_is_said_to_be_so() {
    for body in [
        &b"{"[..],
        b"nonsense",
        b"{\"step\": \"\xff\"}",
        b"{} {}",
        b"[]",
        b"{\"result\": [1,}",
        b"{\"step\": \"a\nb\"}",
        b" ",
    ] {
        let error = Report::parse(body, &Bounds::default()).expect_err("malformed");
        assert!(!error.rule.is_empty());
    }
    let deep = format!(
        r#"{{"data": {}1{}}}"#,
        r#"{"a":"#.repeat(500),
        "}".repeat(500)
    );
    assert!(Report::parse(deep.as_bytes(), &Bounds::default()).is_err());
}

#[test]
fn an_array_is_no_object_with_its_names_left_out() {
    let bounds = Bounds::default();
    for body in [&b"[]"[..], br#"["job-1"]"#] {
        let error = Report::parse(body, &bounds).expect_err("an array");
        assert!(error.rule.contains("expected an object"), "{error}");
        NewJob::parse(body, &bounds).expect_err("an array");
    }
    let error = parse_events(br#"[["note", 1, null]]"#, &bounds).expect_err("an array");
    assert_eq!(error.field, "[0]");
}

#[test]
fn a_creation_that_breaks_a_bound_names_the_field() {
    for (field, body) in [
        ("kind", json!({"kind": text(65)})),
        ("kind", json!({"kind": ""})),
        ("unit", json!({"unit": text(65)})),
        ("owner", json!({"owner": ""})),
        ("tags", json!({"tags": vec!["t"; 21]})),
        ("tags[1]", json!({"tags": ["a", text(65)]})),
        ("tags[0]", json!({"tags": [""]})),
        ("data", json!({"data": {"a": json_of(64 * 1024)}})),
        ("lease_seconds", json!({"lease_seconds": 315_360_001})),
        ("ttl_seconds", json!({"ttl_seconds": u64::MAX})),
        (
            "fail_stalled_after_seconds",
            json!({"fail_stalled_after_seconds": u64::MAX}),
        ),
        ("total_count", json!({"total_count": -5})),
        ("job_id", json!({"job_id": ".."})),
        ("parent_id", json!({"parent_id": "a/b"})),
    ] {
        let error = creation(body).expect_err(field);
        assert_eq!(error.field, field, "{error}");
    }
    creation(json!({
        "kind": text(64), "unit": text(64), "tags": vec![text(64); 20], "input": {"any": "thing"},
        "owner": null, "lease_seconds": 0, "job_id": null,
    }))
    .expect("all at their bounds");
}

#[test]
fn events_come_one_or_up_to_a_thousand_at_a_time() {
    let bounds = Bounds::default();
    let (events, report_id) =
        parse_events(br#" {"event": "a", "report_id": "r"}"#, &bounds).expect("one");
    assert_eq!(events[0].data.as_str(), "null");
    assert_eq!(report_id.expect("named").as_str(), "r");

    let many =
        |count: usize| Value::from(vec![json!({"event": "a", "data": 1}); count]).to_string();
    let (events, _) = parse_events(many(1_000).as_bytes(), &bounds).expect("a thousand");
    assert_eq!(events.len(), 1_000);
    for count in [0, 1_001] {
        parse_events(many(count).as_bytes(), &bounds).expect_err("too few or too many");
    }
}

#[test]
fn a_bad_event_in_an_array_names_its_place() {
    let bounds = Bounds::default();
    let large = json_of(64 * 1024 + 1);
    for (field, body) in [
        ("[1].event", json!([{"event": "a"}, {"event": "status"}])),
        ("[0].data", json!([{"event": "a", "data": large}])),
        ("[0].report_id", json!([{"event": "a", "report_id": "r"}])),
        ("event", json!({"event": "a b"})),
        ("data", json!({"event": "a", "data": large})),
    ] {
        let error = parse_events(body.to_string().as_bytes(), &bounds).expect_err(field);
        assert_eq!(error.field, field, "{error}");
    }
    let fits = json!({"event": "a", "data": json_of(64 * 1024)});
    parse_events(fits.to_string().as_bytes(), &bounds).expect("at the bound");
}
