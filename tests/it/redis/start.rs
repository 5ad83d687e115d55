//! What the start says when Redis cannot be used, and how long it waits for one that is away.

use std::time::Duration;

use progressd::store::{Redis, RedisSettings};
use reqwest::StatusCode;
use serde_json::json;

use crate::support::{
    certificate::Certificate,
    in_time,
    ports::free_address,
    redis_server::{Options, RedisServer, own_prefix},
    scrape::Scrape,
    secrets,
    server::TestServer,
};

/// Why a store cannot be opened.
async fn refusal(settings: RedisSettings) -> String {
    secrets::watch_the_log();
    let opened = in_time("an answer", Redis::open(settings)).await;
    opened.expect_err("it cannot be used").to_string()
}

#[tokio::test]
async fn a_wrong_password_ends_the_start_with_a_sentence_and_is_not_told() {
    let options = Options {
        password: Some("the-right-password"),
        ..Options::default()
    };
    let redis = RedisServer::with(options).await;
    let patient = RedisSettings {
        start_patience: Duration::from_secs(3_600),
        ..redis.settings(&own_prefix())
    };
    let url = redis.url();
    let wrong = url.replace("the-right-password", "the-wrong-password");
    secrets::register("the-wrong-password");
    let told = refusal(RedisSettings {
        url: wrong,
        ..patient.clone()
    })
    .await;
    assert_eq!(told, "Redis: it refuses the user or the password");
    let none = url.replace("default:the-right-password@", "");
    let told = refusal(RedisSettings {
        url: none,
        ..patient.clone()
    })
    .await;
    assert_eq!(told, "Redis: it wants a password");
}

#[tokio::test]
async fn a_user_of_its_own_who_may_little_is_enough() {
    let redis = RedisServer::start().await;
    let prefix = own_prefix();
    let rights = "+@all -@dangerous +info +role";
    assert!(include_str!("../../../README.md").contains(rights));
    let password = "the-password-of-ann";
    let () = redis
        .ask(&format!(
            "ACL SETUSER ann on >{password} ~{prefix}* &{prefix}* &{prefix}report:* {rights}"
        ))
        .await;
    secrets::register(password);
    let url = redis
        .url()
        .replace("redis://", &format!("redis://ann:{password}@"));
    let toml = redis.toml(&prefix).replace(&redis.url(), &url);
    let server = TestServer::with(&toml).await;
    server.create(json!({"job_id": "j", "tags": ["a"]})).await;
    let mut stream = server.watch("j").await;
    // What is pushed comes by other commands than what is reported here.
    let pushed = format!("XADD {prefix}reports * report {{\"job_id\":\"j\",\"message\":\"x\"}}");
    let _: String = redis.ask(&pushed).await;
    stream.status_where(|status| status["message"] == "x").await;
    server.report("j", json!({"status": "completed"})).await;
    let last = stream.rest().await.pop().expect("an end");
    assert_eq!(last.json()["status"], "completed");
    assert_eq!(
        server.get("/api/v1/jobs?tag=a").await.json()["jobs"][0]["job_id"],
        "j"
    );
    server
        .delete("/api/v1/jobs/j")
        .await
        .expect(StatusCode::NO_CONTENT);
    let counted = Scrape::of(&server)
        .await
        .sum("progressd_store_errors_total");
    assert_eq!(counted, 0.0);
}

#[tokio::test]
async fn a_certificate_of_somebody_else_ends_the_start() {
    let options = Options {
        tls: true,
        ..Options::default()
    };
    let redis = RedisServer::with(options).await;
    let settings = RedisSettings {
        start_patience: Duration::from_secs(3_600),
        ..redis.settings(&own_prefix())
    };
    let other = Certificate::new();
    let told = refusal(RedisSettings {
        ca: Some(other.cert()),
        ..settings.clone()
    })
    .await;
    assert!(
        told.starts_with("Redis: no TLS session with 127.0.0.1:"),
        "{told}"
    );
    let missing = other.cert().with_file_name("none.pem");
    let told = refusal(RedisSettings {
        ca: Some(missing),
        ..settings.clone()
    })
    .await;
    assert!(told.contains("store.redis.ca"), "{told}");
    let told = refusal(RedisSettings {
        ca: Some(other.key()),
        ..settings
    })
    .await;
    assert!(told.contains("it holds no certificate"), "{told}");
}

#[tokio::test]
async fn a_database_that_is_not_there_ends_the_start() {
    let redis = RedisServer::shared().await;
    let settings = RedisSettings {
        url: redis.url_of(99),
        start_patience: Duration::from_secs(3_600),
        ..redis.settings(&own_prefix())
    };
    let told = refusal(settings).await;
    assert!(told.contains("out of range"), "{told}");
}

#[tokio::test]
async fn nobody_there_is_told_after_some_patience() {
    let address = free_address();
    let settings = RedisSettings {
        url: format!("redis://:the-password-for-nobody@{address}/0"),
        start_patience: Duration::from_millis(200),
        ..RedisServer::shared().await.settings(&own_prefix())
    };
    secrets::register("the-password-for-nobody");
    let told = refusal(settings).await;
    assert!(
        told.starts_with(&format!("Redis: cannot connect to {address}: ")),
        "{told}"
    );
}

#[tokio::test]
async fn a_redis_that_comes_late_is_waited_for() {
    let mut redis = RedisServer::start().await;
    let settings = RedisSettings {
        start_patience: Duration::from_secs(3_600),
        ..redis.settings(&own_prefix())
    };
    redis.kill().await;
    let opening = tokio::spawn(Redis::open(settings));
    tokio::task::yield_now().await;
    redis.restart().await;
    let opened = in_time("the store", opening).await.expect("no panic");
    opened.expect("it is there now");
}

#[tokio::test]
async fn a_replica_is_no_store() {
    let redis = RedisServer::start().await;
    let master = free_address();
    let () = redis
        .ask(&format!("REPLICAOF 127.0.0.1 {}", master.port()))
        .await;
    let told = refusal(redis.settings(&own_prefix())).await;
    assert_eq!(told, "Redis: it is a replica, which takes no changes");
}

#[tokio::test]
async fn a_right_that_is_missing_ends_the_start_and_is_named() {
    let redis = RedisServer::start().await;
    let prefix = own_prefix();
    let password = "the-password-of-bob";
    secrets::register(password);
    let url = redis
        .url()
        .replace("redis://", &format!("redis://bob:{password}@"));
    let cases = [
        (format!("~{prefix}*"), format!("+publish &{prefix}*")),
        (
            format!("~{prefix}* &{prefix}* -subscribe"),
            format!("+subscribe &{prefix}*"),
        ),
        (
            format!("~{prefix}* &{prefix}*"),
            format!("+psubscribe &{prefix}report:*"),
        ),
        // Half a change would be done where only half of it may be told.
        (
            format!("~{prefix}* &{prefix}changes:* &{prefix}report:*"),
            format!("+publish &{prefix}*"),
        ),
    ];
    for (rights, wanted) in cases {
        // What is taken away comes last.
        let () = redis
            .ask(&format!(
                "ACL SETUSER bob reset on >{password} +@all {rights}"
            ))
            .await;
        let settings = RedisSettings {
            url: url.clone(),
            start_patience: Duration::from_secs(3_600),
            ..redis.settings(&prefix)
        };
        let told = refusal(settings).await;
        assert!(
            told.ends_with(&format!("it needs the rights `{wanted}`")),
            "{told}"
        );
    }
}
