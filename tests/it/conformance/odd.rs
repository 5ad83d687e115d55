//! Odd names, odd texts and large values come back as they went in.

use progressd::{
    job::{Job, NewJob, State},
    store::{Filter, Input, InputFormat, Loaded},
};
use serde_json::json;

use super::{Backend, parts::*};

/// What has a meaning somewhere between here and the disk.
const ODD_TEXTS: [&str; 12] = [
    "ü ß € 漢字 🚀 \u{1F468}\u{200D}\u{1F469}",
    "\u{FEFF}\u{202E}\u{2028}\u{2029}\u{FFFF}",
    "\t\r\n\u{1}\u{1F}\u{7F}\u{85}",
    "' OR 1=1; --",
    r#"\ \\ \" \u0000 \n"#,
    "{\"json\": [1, 2]}",
    "%s %00 ${x} $1 {0} {} *?[a-z]",
    "*3\r\n$3\r\nSET\r\n",
    "  leading and trailing  ",
    "NULL",
    "true",
    "1e400",
];

pub(super) async fn names_of_every_letter_are_kept_apart(backend: &dyn Backend) {
    let store = &**backend.store();
    let names = [
        "a", "A", "a.", ".a", "a..b", "...", "a:b", "a:b:c", ":", "::", "a~", "~a", "a@b", "@",
        "-", "--", "_", "0", "00", "job:1", "job:1:e", "1e5",
    ];
    for name in &names {
        let job = created(store, name).await;
        let change = Proposal::on(&job)
            .message(name)
            .event("e", &json!(name))
            .row(&json!({"name": name}))
            .answer(name);
        commit(store, &change).await;
    }
    for name in &names {
        let found = stored(store, name).await.job;
        assert_eq!(found.face.message.as_deref(), Some(*name));
        assert_eq!(data_of(&kept(store, &found.origin).await), [json!(name)]);
        let row = json!({"name": name}).to_string();
        assert_eq!(all_rows(store, &found.origin).await, [row]);
    }
    let all = listed(store, &Filter::default(), None, 100).await;
    assert_eq!(all.len(), names.len());
    for name in names.iter().step_by(2) {
        remove(store, &stored(store, name).await.job.origin, later(60)).await;
    }
    for (place, name) in names.iter().enumerate() {
        let is_there = matches!(look_up(store, name).await, Loaded::Job(_));
        assert_eq!(is_there, place % 2 == 1, "{name}");
    }
}

pub(super) async fn the_longest_names_and_keys_are_kept(backend: &dyn Backend) {
    let store = &**backend.store();
    let long = |last: &str| format!("{}{last}", "n".repeat(127));
    for last in ["a", "b"] {
        let new_job = NewJob {
            parent_id: Some(id(&long("p"))),
            owner: Some("ö".repeat(255)),
            kind: Some("漢".repeat(64)),
            unit: Some("🚀".repeat(64)),
            tags: Some((0..20).map(|number| format!("{number:ß>64}")).collect()),
            ..NewJob::default()
        };
        let job = create(store, job_of(&long(last), new_job, now())).await;
        let longest = "r".repeat(255);
        let change = Proposal::on(&job)
            .message(&"ü".repeat(1_000))
            .event(&"e".repeat(64), &json!(last))
            .answer(&longest);
        let job = commit(store, &change).await;
        assert_holds(&stored(store, &long(last)).await, &job);
        let again = Proposal::on(&job).message("x").answer(&longest);
        let refused = conflict(store, &again).await;
        assert!(refused.ledger.find(&report_id(&longest), now()).is_some());
    }
    let filter = Filter {
        owner: Some("ö".repeat(255)),
        tag: Some(format!("{:ß>64}", 7)),
        kind: Some("漢".repeat(64)),
        parent_id: Some(id(&long("p"))),
        ..Filter::default()
    };
    assert_eq!(listed(store, &filter, None, 10).await.len(), 2);
    // An `Idempotency-Key` and what the server puts before it.
    let key = format!("{}:{}", "o".repeat(255), "k".repeat(255));
    for name in [long("a"), long("b")] {
        let bound = done("a key", store.reserve(&key, &id(&name), now())).await;
        assert_eq!(bound.as_str(), long("a"));
        let found = done(
            "a value",
            store.put_if_absent(&key, name.as_bytes(), None, now()),
        )
        .await;
        assert_eq!(&*found, long("a").as_bytes());
    }
}

pub(super) async fn odd_texts_come_back_letter_by_letter(backend: &dyn Backend) {
    let store = &**backend.store();
    for (number, text) in ODD_TEXTS.into_iter().enumerate() {
        let new_job = NewJob {
            kind: some(text),
            unit: some(text),
            owner: some(text),
            tags: Some(vec![text.to_owned(), "x".to_owned()]),
            data: json!({text: text}).as_object().cloned(),
            ..NewJob::default()
        };
        let name = format!("job-{number}");
        let job = create(store, job_of(&name, new_job, now())).await;
        let change = Proposal::on(&job).report(json!({
            "step": text,
            "message": text,
            "data": {"more": {text: [text]}},
            "result": [text],
            "error": {"code": "X", "message": text},
        }));
        let change = change
            .event("e", &json!({text: text}))
            .row(&json!({text: text}))
            .answer("r");
        let job = commit(store, &change).await;
        assert_holds(&stored(store, &name).await, &job);
        assert_eq!(
            data_of(&kept(store, &job.origin).await),
            [json!({text: text})]
        );
        let row = json!({text: text}).to_string();
        assert_eq!(all_rows(store, &job.origin).await, [row]);
        for filter in [
            Filter {
                kind: some(text),
                ..Filter::default()
            },
            Filter {
                owner: some(text),
                ..Filter::default()
            },
            Filter {
                tag: some(text),
                ..Filter::default()
            },
        ] {
            assert_eq!(listed(store, &filter, None, 10).await, [&*name], "{text:?}");
        }
        let unfinished = done("a list", store.unfinished(Some(text), None, 10)).await;
        assert_eq!(names(&unfinished), [&*name]);
    }
}

pub(super) async fn odd_json_comes_back_byte_by_byte(backend: &dyn Backend) {
    let store = &**backend.store();
    let texts = [
        r#"{"b":1,"a":2,"b":3}"#,
        r#""\u0000\u001f\/\ud83d\ude80""#,
        "1.0",
        "-0.0",
        "1e10",
        "123456789012345678901234567890",
        "0.1000000000000000055511151231257827",
        "[[[[[[[[[[]]]]]]]]]]",
        "{}",
        "null",
    ];
    let mut job = created(store, "a").await;
    for text in texts {
        let json: progressd::job::Json = serde_json::from_str(text).expect("JSON");
        let change = Proposal::on(&job).verbatim(&json);
        job = commit(store, &change).await;
        let found = stored(store, "a").await;
        assert_holds(&found, &job);
        let result = found.job.face.result.as_ref();
        assert_eq!(result.map_or("null", |result| result.as_str()), text);
        let events = kept(store, &job.origin).await;
        assert_eq!(events.last().expect("an event").data.as_str(), text);
        let rows = all_rows(store, &job.origin).await;
        assert_eq!(rows.last().expect("a row"), text);
    }
    // `data` is a tree; a NUL may stand in its values.
    let data = json!({"z": "\u{0}", "a": [1.5, -0.0, 1e-300, 9007199254740993_u64, i64::MIN]});
    let change = Proposal::on(&job).report(json!({"data": data}));
    let job = commit(store, &change).await;
    let found = stored(store, "a").await;
    assert_holds(&found, &job);
    let found = serde_json::to_string(&found.job.face.data).expect("JSON");
    let expected = serde_json::to_string(&job.face.data).expect("JSON");
    assert_eq!(found, expected, "in the order in which it was written");
}

pub(super) async fn the_largest_data_and_result_come_back(backend: &dyn Backend) {
    let store = &**backend.store();
    let job = created(store, "a").await;
    let text = "ü".repeat(30_000);
    let change = Proposal::on(&job)
        .report(json!({"data": {"text": text}, "result": text, "status": "completed"}))
        .event("e", &json!(text))
        .row(&json!({"text": "x".repeat(200_000)}));
    let job = commit(store, &change).await;
    assert_holds(&stored(store, "a").await, &job);
    assert_eq!(data_of(&kept(store, &job.origin).await), [json!(text)]);
    assert_eq!(all_rows(store, &job.origin).await[0].len(), 200_000 + 11);
}

pub(super) async fn a_mebibyte_of_events_comes_back(backend: &dyn Backend) {
    let store = &**backend.store();
    let job = created(store, "a").await;
    // One request's worth, a little below the bound.
    let change = (0..16).fold(Proposal::on(&job), |change, number| {
        change.event("e", &json!([number, "x".repeat(64_000)]))
    });
    let job: Job = commit(store, &change.state(State::Failed)).await;
    let events = kept(store, &job.origin).await;
    assert_eq!(events.len(), 16);
    for (number, data) in data_of(&events).into_iter().enumerate() {
        assert_eq!(data, json!([number, "x".repeat(64_000)]));
    }
}

pub(super) async fn the_largest_input_comes_back(backend: &dyn Backend) {
    let store = &**backend.store();
    let content: Vec<u8> = (0..32 << 20)
        .map(|place: u32| (place % 251) as u8)
        .collect();
    let input = Input {
        format: InputFormat::Csv,
        content: content.into(),
    };
    let job = job("a");
    done("a creation", store.create(&job, Some(&input))).await;
    let found = done("an input", store.input(&job.origin)).await;
    assert!(found == Some(input));
}

pub(super) async fn ten_thousand_rows_come_back(backend: &dyn Backend) {
    let store = &**backend.store();
    let mut job = created(store, "a").await;
    for thousand in 0..10 {
        let change = (0..1_000).fold(Proposal::on(&job), |change, number| {
            change.row(&json!({"n": thousand * 1_000 + number}))
        });
        job = commit(store, &change).await;
    }
    for page in 0..10_u64 {
        let found = rows(store, &job.origin, page * 1_000, 1_000).await;
        let found = found.expect("a job");
        assert_eq!((found.total, found.rows.len()), (10_000, 1_000));
        let first = json!({"n": page * 1_000}).to_string();
        assert_eq!(found.rows[0].as_str(), first);
    }
}
