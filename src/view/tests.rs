//! What a view's table may say, and what is said of one that is wrong.

use std::collections::BTreeSet;

use super::*;
use crate::job::{Bounds, Defaults, JobId, NewJob, Status, Timestamp};

const DEFAULTS: Defaults = Defaults {
    lease_seconds: 60,
    ttl_seconds: 60,
    abandon_after_seconds: 0,
};

/// A view that is right.
const GOOD: &str = r#"
kinds = ["build"]
event = "progress"
[[paths]]
stream = "/builds/{id}/stream"
[states]
pending = "queued"
processing = "running"
completed = "passed"
failed = "broken"
cancelled = "stopped"
[fields]
id = "job_id"
state = "status"
"#;

fn definitions(texts: &[(&str, &str)]) -> Vec<Definition> {
    let definition = |&(name, text): &(&str, &str)| Definition {
        name: name.to_owned(),
        table: text.parse().expect("TOML"),
        origin: "`p.toml`".to_owned(),
    };
    texts.iter().map(definition).collect()
}

fn job(body: &str) -> Job {
    let new_job = NewJob::parse(body.as_bytes(), &Bounds::default()).expect("a valid body");
    let now = Timestamp::from_micros(1_795_287_600_000_000);
    let job_id = JobId::parse("7").expect("a valid name");
    new_job.into_job(job_id, None, None, &DEFAULTS, uuid::Uuid::nil(), now)
}

/// The one view of a text.
fn view(text: &str) -> Arc<View> {
    let views = compile(&definitions(&[("mine", text)])).expect("a view that is right");
    Arc::clone(views.iter().next().expect("one view"))
}

#[test]
fn a_view_may_take_every_field_of_a_status_and_no_other() {
    let status = Status(&job("{}")).to_json();
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    let names = status.as_object().expect("an object").keys();
    let mut names: BTreeSet<_> = names.map(String::as_str).collect();
    // Only there when events are missing.
    names.insert(sources::GAP);
    assert_eq!(BTreeSet::from(sources::STATUS_FIELDS), names);
}

#[test]
fn fields_are_in_the_order_of_the_configuration_and_without_white_space() {
    let text = GOOD.replace(
        "[fields]",
        r#"[fields]
zebra = { from = ["data.a.b", "data.c"], type = "string", absent = "omit" }
apple = { from = "data.list" }
"m\"q" = { from = [{ value = { x = [1, 2.5], a = true }, in = ["pending"] }] }
gap = { from = "gap", absent = "omit" }
none = { from = "result.x", default = 0 }"#,
    );
    let view = view(&text);
    let job = job(r#"{"data": {"a": {"b": 7}, "list": [1, {"z": 1, "a": 2}], "c": "d"}}"#);
    let json = Status(&job).to_json();
    assert_eq!(
        view.data(&job, &json, false),
        r#"{"zebra":"7","apple":[1,{"z":1,"a":2}],"m\"q":{"x":[1,2.5],"a":true},"none":0,"id":"7","state":"queued"}"#
    );
    assert!(view.tells_gaps() && view.data(&job, &json, true).contains(r#""gap":true,"#));
    assert_eq!(
        view.status_block("{}", Some(5), Some(job.seq)),
        "event: progress\ndata: {}\nretry: 5\nid: 0\n\n"
    );
}

#[test]
fn each_mistake_is_one_sentence_that_names_the_key() {
    let with = |from: &str, to: &str| {
        assert!(GOOD.contains(from), "{from}");
        GOOD.replace(from, to)
    };
    let path = |more: &str| with("stream = \"/builds/{id}/stream\"", more);
    let field = |more: &str| with("id = \"job_id\"", &format!("x = {more}"));
    for (text, key, says) in [
        (
            with("kinds = [\"build\"]", ""),
            "kinds",
            "must name the kinds",
        ),
        (with("[\"build\"]", "[]"), "kinds", "list of strings"),
        (with("kinds", "kind"), "kind", "did you mean `kinds`"),
        (
            with("event =", "colour = 1\nevent ="),
            "colour",
            "unknown key",
        ),
        (with("\"progress\"", "\"a b\""), "event", "at most 64"),
        (
            with("\"progress\"", "\"open\""),
            "event",
            "must not be \"open\"",
        ),
        (
            with("event =", "access = \"all\"\nevent ="),
            "access",
            "\"as_usual\" or \"public\"",
        ),
        (
            with("event =", "replay = 1\nevent ="),
            "replay",
            "must be a string",
        ),
        (
            with("event =", "status = \"none\"\nevent ="),
            "event",
            "does not send",
        ),
        (with("[fields]", "[poll_fields]"), "fields", "must say what"),
        (
            with("[[paths]]", "[paths]"),
            "paths",
            "write `[[views.mine.paths]]`",
        ),
        (
            with("[[paths]]\nstream", "# stream"),
            "paths",
            "must have a path",
        ),
        (
            path("newest = true"),
            "paths[0]",
            "must have a path: `stream`",
        ),
        (
            path("stream = \"builds\""),
            "paths[0].stream",
            "begins with",
        ),
        (
            path("stream = \"/builds/{id\""),
            "paths[0].stream",
            "segments",
        ),
        (
            path("stream = \"/api/v1/jobs/{id}/mine\""),
            "paths[0].stream",
            "/api/v1/jobs is the server's",
        ),
        (
            path("stream = \"/healthz\"\nnewest = true"),
            "paths[0].stream",
            "is the server's",
        ),
        (
            path("stream = \"/builds\""),
            "paths[0]",
            "must say which job",
        ),
        (
            path("stream = \"/b/{id}\"\njob_id = \"x y\""),
            "paths[0].job_id",
            "must be an id",
        ),
        (
            path("stream = \"/b/{id}\"\njob_id = \"x-{n}\""),
            "paths[0]",
            "{id}, by which no job is found",
        ),
        (
            path("stream = \"/b/{id}\"\nnewest = true"),
            "paths[0]",
            "by which no job is found",
        ),
        (
            path("stream = \"/b\"\nnewest = true\njob_id = \"x\""),
            "paths[0].job_id",
            "must not stand beside",
        ),
        (
            path("stream = \"/b\"\njob_id = \"x\"\nowner_from = \"u\""),
            "paths[0].owner_from",
            "beside `newest = true`",
        ),
        (
            path("stream = \"/b\"\nnewest = true\nowner_from = \"u u\""),
            "paths[0].owner_from",
            "name of a parameter",
        ),
        (
            path("stream = \"/b\"\nstart = true\nowner_from = \"u\""),
            "paths[0].owner_from",
            "begun for the caller",
        ),
        (
            path("stream = \"/b/{id}\"\ncreate = true"),
            "paths[0].create",
            "without names",
        ),
        (
            path("stream = \"/b\"\ncreate = \"x\"\njob_id = \"x\""),
            "paths[0].create",
            "true or false",
        ),
        (
            path("stream = \"/b\"\nstream_ = \"/c\"\njob_id = \"x\""),
            "paths[0].stream_",
            "did you mean `stream`",
        ),
        (
            with(
                "[fields]",
                "[[paths]]\nstream = \"/builds/{other}/stream\"\n[fields]",
            ),
            "paths[1]",
            "a path of its own",
        ),
        (
            with("failed = \"broken\"", ""),
            "states.failed",
            "the view's word",
        ),
        (
            with("failed = \"broken\"", "failed = 1"),
            "states.failed",
            "must be a string",
        ),
        (
            with("[states]", "[states]\nqueued = \"x\""),
            "states.queued",
            "unknown key",
        ),
        (
            field("\"datta.x\""),
            "fields.x",
            "must name a field of a status",
        ),
        (
            field("\"error.stack\""),
            "fields.x",
            "nothing that can be known",
        ),
        (field("\"step.x\""), "fields.x", "nothing that can be known"),
        (field("7"), "fields.x", "must be a source"),
        (
            field("{ form = \"step\" }"),
            "fields.x.from",
            "must say where",
        ),
        (
            field("{ from = \"step\", type = \"int\" }"),
            "fields.x.type",
            "\"integer\", \"number\" or \"string\"",
        ),
        (
            field("{ from = \"step\", absent = \"\" }"),
            "fields.x.absent",
            "\"omit\" or \"null\"",
        ),
        (
            field("{ from = \"step\", absent = \"omit\", default = 1 }"),
            "fields.x.default",
            "beside `absent`",
        ),
        (
            field("{ from = [{ path = \"step\", in = [\"done\"] }] }"),
            "fields.x.from[0].in",
            "says \"done\"",
        ),
        (
            field("{ from = [{ path = \"step\", value = 1 }] }"),
            "fields.x.from[0]",
            "either `path` or `value`",
        ),
        (
            field("{ from = [1] }"),
            "fields.x.from[0]",
            "`path` or `value`",
        ),
        (
            with("[fields]", "[events]\nstatus = \"x\"\n[fields]"),
            "events.status",
            "no name that a worker",
        ),
        (
            with("[fields]", "[events]\nline = \"x\\n\"\n[fields]"),
            "events.line",
            "at most 64",
        ),
        (
            with("[fields]", "[final]\ndata = \"result\"\n[fields]"),
            "final.event",
            "must name the last block",
        ),
        (
            with("[fields]", "[final]\nevent = \"end\"\n[fields]"),
            "final",
            "either `fields` or `data`",
        ),
        (
            with(
                "[fields]",
                "[final]\nevent = \"end\"\ndata = \"result\"\nin = [\"pending\"]\n[fields]",
            ),
            "final.in",
            "says \"pending\"",
        ),
        (
            with("[fields]", "[control]\ntimeout = 1\n[fields]"),
            "control.timeout",
            "must be a table",
        ),
        (
            with("[fields]", "[control.timeout]\nevent = \"x\"\n[fields]"),
            "control.timeout.data",
            "what the block says",
        ),
        (
            with("[fields]", "[control]\nend = 1\n[fields]"),
            "control.end",
            "unknown key",
        ),
    ] {
        let mistakes = compile(&definitions(&[("mine", &text)])).expect_err(&text);
        let begins = format!("`views.mine.{key}` in `p.toml` ");
        let fitting = mistakes
            .iter()
            .any(|it| it.starts_with(&begins) && it.contains(says));
        assert!(fitting, "{begins}… {says}: {mistakes:#?}");
        assert!(
            mistakes.iter().all(|it| !it.contains('\n')),
            "{mistakes:#?}"
        );
    }
}

#[test]
fn strangers_begin_no_work() {
    let text = GOOD
        .replace("event =", "access = \"public\"\nevent =")
        .replace("{id}/stream\"", "stream\"\nstart = true");
    let mistakes = compile(&definitions(&[("mine", &text)])).expect_err("a mistake");
    assert!(
        mistakes[0].starts_with("`views.mine.paths[0].start`"),
        "{mistakes:?}"
    );
}

#[test]
fn two_views_share_no_path_and_a_fixed_one_goes_before_a_named_one() {
    let other = GOOD.replace("{id}", "{build}");
    let mistakes = compile(&definitions(&[("one", GOOD), ("two", &other)])).expect_err("a mistake");
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    assert!(mistakes[0].contains("`views.two.paths[0]`") && mistakes[0].contains("`views.one`"));
    let newest = GOOD.replace("{id}/stream\"", "newest/stream\"\nnewest = true");
    let views = compile(&definitions(&[("one", GOOD), ("two", &newest)])).expect("two views");
    let at = |path: &str| views.at(path).map(|route| route.view().name());
    assert_eq!(at("/builds/newest/stream"), Some("two"));
    assert_eq!(at("/builds/7/stream"), Some("one"));
    assert_eq!(at("/builds/7"), None);
}

#[test]
fn a_view_without_state_blocks_needs_no_words_for_states() {
    let text = r#"
kinds = ["order"]
status = "none"
[[paths]]
stream = "/orders/{id}"
[events]
step = ""
[final]
event = "complete"
data = "result"
"#;
    let view = view(text);
    let job = job("{}");
    assert!(!view.has_status() && view.has_last_block(State::Failed));
    let last = view.last_block(&job, &Status(&job).to_json(), false);
    assert_eq!(last, None, "an unfinished job has no end");
}
