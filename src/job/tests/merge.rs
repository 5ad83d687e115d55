//! `data` is patched as RFC 7396 says.

use serde_json::{Value, json};

use super::{after, applied, created, new_job, report, shown};
use crate::job::{Bounds, FieldError, Refusal, Report};

/// The examples of RFC 7396, appendix A, whose original and patch are both objects.
#[test]
fn the_examples_of_the_rfc_hold() {
    for (original, patch, merged) in [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (
            json!({"a": "b"}),
            json!({"b": "c"}),
            json!({"a": "b", "b": "c"}),
        ),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (
            json!({"a": "b", "b": "c"}),
            json!({"a": null}),
            json!({"b": "c"}),
        ),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
        (
            json!({"a": {"b": "c"}}),
            json!({"a": {"b": "d", "c": null}}),
            json!({"a": {"b": "d"}}),
        ),
        (
            json!({"a": [{"b": "c"}]}),
            json!({"a": [1]}),
            json!({"a": [1]}),
        ),
        (
            json!({"e": null}),
            json!({"a": 1}),
            json!({"e": null, "a": 1}),
        ),
        (
            json!({}),
            json!({"a": {"bb": {"ccc": null}}}),
            json!({"a": {"bb": {}}}),
        ),
    ] {
        let job = after(created(json!({"data": original})), [json!({"data": patch})]);
        assert_eq!(shown(&job, "data"), merged, "{original} with {patch}");
    }
}

/// The appendix also replaces an object by what is none; a job's `data` stays an object.
#[test]
fn a_patch_that_is_no_object_is_refused() {
    for patch in [json!(["c"]), json!(null), json!("bar"), json!(1)] {
        let body = json!({"data": patch}).to_string();
        let error = Report::parse(body.as_bytes(), &Bounds::default()).expect_err("no object");
        assert_eq!(error.field, "data", "{patch}");
    }
}

#[test]
fn the_first_patch_makes_the_object() {
    assert_eq!(shown(&new_job(), "data"), Value::Null);
    let job = after(new_job(), [json!({"data": {"a": 1, "b": null}})]);
    assert_eq!(shown(&job, "data"), json!({"a": 1}));
}

#[test]
fn clearing_one_key_leaves_the_order_of_the_others() {
    let job = created(json!({"data": {"a": 1, "b": {"x": 1, "y": 2, "z": 3}, "c": 3, "d": 4}}));
    let job = after(job, [json!({"data": {"a": null, "b": {"x": null}}})]);
    let data = serde_json::to_string(&job.face.data).expect("JSON");
    assert_eq!(data, r#"{"b":{"y":2,"z":3},"c":3,"d":4}"#);
}

#[test]
fn a_merge_that_grows_data_beyond_its_bound_is_refused_whole() {
    let half = "x".repeat(40_000);
    let job = created(json!({"data": {"a": half}}));
    let patch = report(json!({"data": {"b": half}, "processed_count": 1}));
    let refusal = applied(&job, &patch, 1).expect_err("80,000 bytes");
    let Refusal::Invalid(FieldError { field, rule }) = refusal else {
        panic!("unexpected {refusal}");
    };
    assert_eq!(field, "data");
    assert!(rule.contains("65536"), "{rule}");
    let nul = report(json!({"data": {"a\u{0}": 1}}));
    applied(&job, &nul, 1).expect_err("a NUL in a key");
    // Replacing instead of adding stays within.
    let patch = report(json!({"data": {"a": null, "b": half}}));
    let (job, _) = applied(&job, &patch, 1).expect("40,000 bytes");
    assert_eq!(shown(&job, "data"), json!({"b": half}));
}
