//! What blocks of one job and of many come to.

use super::*;

fn block(event: &str, data: &str, id: Option<&str>) -> Block {
    Block {
        event: event.to_owned(),
        data: data.to_owned(),
        retry: None,
        id: id.map(str::to_owned),
    }
}

fn status(job_id: &str, status: &str, seq: u64) -> Block {
    let data = format!("{{\"job_id\":\"{job_id}\",\"status\":\"{status}\",\"seq\":{seq}}}");
    block("status", &data, Some(&seq.to_string()))
}

fn event(name: &str, job_id: &str, seq: u64) -> Block {
    let data = format!("{{\"job_id\":\"{job_id}\",\"seq\":{seq},\"data\":1}}");
    block(name, &data, None)
}

fn one() -> Feed {
    let server = Url::parse("http://127.0.0.1:1/").expect("a URL");
    Feed::new(&Subject::Job(JobAddress {
        server,
        job_id: crate::job::JobId::parse("a").expect("a name"),
        credential: None,
    }))
}

fn many(names: &[&str]) -> Feed {
    let server = Url::parse("http://127.0.0.1:1/").expect("a URL");
    let query = names
        .iter()
        .map(|name| ("job".to_owned(), (*name).to_owned()));
    let query = query.collect();
    let mut feed = Feed::new(&Subject::Many { server, query });
    feed.begin();
    feed
}

/// What a block comes to, in short.
#[track_caller]
fn take(feed: &mut Feed, block: Block) -> Vec<String> {
    let taken = feed.take(block).expect("words of a server");
    let news = match taken {
        Taken::End(code) => return vec![format!("end {code}")],
        Taken::News(news) => news,
    };
    let words = news.into_iter().map(|news| match news {
        News::Status(status) => format!("{} {}", status.face.job_id, status.face.status),
        News::Event(event) => format!("{} {} {}", event.job_id, event.name, event.seq),
        News::Removed(removed) => format!("{} removed {:?}", removed.job_id, removed.code),
        News::Line(_) | News::Ended(_) => unreachable!("not of a feed"),
    });
    words.collect()
}

#[test]
fn one_jobs_own_error_is_an_event_and_the_streams_is_its_end() {
    let mut feed = one();
    assert_eq!(
        take(&mut feed, status("a", "processing", 1)),
        ["a processing"]
    );
    assert_eq!(
        take(&mut feed, block("error", "1", Some("2"))),
        ["a error 2"]
    );
    assert_eq!(
        take(&mut feed, block("error", r#"{"code":"DRAINING"}"#, None)),
        ["end DRAINING"]
    );
    // The same again, and what a later server may say, is nothing new.
    for known in [
        block("error", "1", Some("2")),
        status("a", "processing", 1),
        block("news", "{}", None),
        block("heartbeat", "{}", None),
    ] {
        assert!(take(&mut feed, known).is_empty());
    }
    let gap = r#"{"job_id":"a","status":"processing","seq":1,"gap":true}"#;
    assert_eq!(
        take(&mut feed, block("status", gap, None)),
        ["a processing"]
    );
    assert!(!feed.is_over());
    assert_eq!(take(&mut feed, status("a", "failed", 3)), ["a failed"]);
    assert!(feed.is_over());
}

#[test]
fn why_one_of_many_failed_is_told_by_its_status_alone() {
    let mut feed = many(&["a", "b"]);
    take(&mut feed, status("a", "processing", 1));
    take(&mut feed, status("b", "processing", 1));
    assert!(take(&mut feed, event("error", "a", 5)).is_empty());
    assert!(feed.is_holding());
    assert_eq!(take(&mut feed, status("a", "failed", 5)), ["a failed"]);
    assert!(!feed.is_holding());
    // That of a worker goes on, with the next block or without one.
    assert!(take(&mut feed, event("error", "b", 6)).is_empty());
    assert_eq!(
        take(&mut feed, event("log", "b", 7)),
        ["b error 6", "b log 7"]
    );
    assert!(take(&mut feed, event("error", "b", 8)).is_empty());
    assert!(matches!(feed.release(), Some(News::Event(event)) if event.seq == 8));
    assert!(take(&mut feed, event("error", "b", 9)).is_empty());
    assert_eq!(
        take(&mut feed, status("b", "completed", 10)),
        ["b error 9", "b completed"]
    );
    assert!(feed.is_over());
}

#[test]
fn what_a_new_snapshot_does_not_tell_of_is_gone() {
    let mut feed = many(&[]);
    for job_id in ["a", "b"] {
        take(&mut feed, status(job_id, "processing", 1));
    }
    let synced = || block("synced", "{\"jobs\":1}", Some("2"));
    assert!(take(&mut feed, synced()).is_empty());
    feed.begin();
    assert!(take(&mut feed, status("b", "processing", 1)).is_empty());
    assert_eq!(take(&mut feed, synced()), ["a removed None"]);
    assert!(!feed.is_over());
}

#[test]
fn a_named_job_that_has_ended_may_go() {
    let removed = |job_id, code: &str| {
        let data = format!("{{\"job_id\":\"{job_id}\"{code}}}");
        block("removed", &data, None)
    };
    let mut feed = many(&["a", "b"]);
    let unknown = removed("b", ",\"code\":\"JOB_NOT_FOUND\"");
    assert_eq!(
        take(&mut feed, unknown),
        ["b removed Some(\"JOB_NOT_FOUND\")"]
    );
    take(&mut feed, status("a", "completed", 1));
    assert!(feed.is_over());
    assert!(take(&mut feed, removed("a", "")).is_empty());
}

#[test]
fn other_words_are_refused_and_jobs_are_bounded() {
    for data in [
        "",
        "{",
        "[]",
        "{\"job_id\":\"a\"}",
        "{\"status\":\"failed\"}",
    ] {
        let taken = one().take(block("status", data, None));
        assert!(matches!(taken, Err(Unreadable::Words(_))), "{data}");
    }
    let mut feed = many(&[]);
    for number in 0..MOST_JOBS {
        take(&mut feed, status(&number.to_string(), "pending", 1));
    }
    let taken = feed.take(status("another", "pending", 1));
    assert!(matches!(taken, Err(Unreadable::TooMany)));
}
