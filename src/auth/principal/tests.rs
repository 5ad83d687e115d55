//! What each sort of principal reaches and may.

use super::*;

fn everybody() -> Principal {
    Principal::open(Admission::of_everybody())
}

fn token(owner: Option<&str>, scopes: &str, jobs: &[&str]) -> Principal {
    let jobs = jobs.iter().map(|text| JobPattern::new(text)).collect();
    Principal::of_token(
        owner.map(str::to_owned),
        scopes.parse().expect("known scopes"),
        jobs,
        2_000_000_000,
        Admission::of_everybody(),
    )
}

fn key(owner: Option<&str>, scopes: &str) -> Principal {
    Principal::of_api_key(
        "ci".into(),
        scopes.parse().expect("known scopes"),
        owner.map(str::to_owned),
        Admission::of_everybody(),
    )
}

#[test]
fn an_owner_reaches_its_own_jobs_alone() {
    for principal in [
        token(Some("ann"), "jobs:write", &[]),
        key(Some("ann"), "jobs:write"),
    ] {
        assert!(principal.may_act_on("a", Some("ann")));
        assert!(!principal.may_act_on("a", Some("bob")));
        assert!(!principal.may_act_on("a", None));
        assert!(!principal.may_act_on_all());
    }
}

#[test]
fn the_jobs_claim_adds_ids_and_prefixes() {
    let principal = token(Some("ann"), "jobs:read", &["import-*", "x"]);
    for (job, expected) in [
        ("import-", true),
        ("import-7", true),
        ("x", true),
        ("xy", false),
        ("impor", false),
    ] {
        assert_eq!(principal.may_act_on(job, Some("bob")), expected, "{job}");
    }
    assert!(principal.may_act_on("anything", Some("ann")));
}

#[test]
fn a_star_in_the_middle_is_no_pattern() {
    assert!(!token(None, "jobs:read", &["a*b"]).may_act_on("axb", None));
}

#[test]
fn a_key_without_an_owner_an_administrator_and_everybody_on_an_open_server_reach_all_jobs() {
    for principal in [
        key(None, "jobs:read"),
        key(Some("ann"), "admin"),
        token(None, "admin", &[]),
        everybody(),
    ] {
        assert!(principal.may_act_on("a", Some("bob")));
        assert!(principal.may_act_on("a", None));
        assert!(principal.may_act_on_all());
    }
}

#[test]
fn a_token_without_an_owner_does_not_own_the_jobs_without_one() {
    let principal = token(None, "jobs:read jobs:write", &["x"]);
    assert!(!principal.may_act_on("a", None));
    assert!(principal.may_act_on("x", None));
    assert_eq!(principal.may_create_for(None), Err(Forbidden));
}

#[test]
fn an_owner_creates_jobs_only_as_itself() {
    let principal = token(Some("ann"), "jobs:write", &["*"]);
    assert_eq!(principal.may_create_for(None), Ok(Some("ann".into())));
    assert_eq!(
        principal.may_create_for(Some("ann")),
        Ok(Some("ann".into()))
    );
    assert_eq!(principal.may_create_for(Some("bob")), Err(Forbidden));
}

#[test]
fn who_reaches_all_jobs_creates_them_for_anybody() {
    assert_eq!(key(None, "jobs:write").may_create_for(None), Ok(None));
    assert_eq!(
        key(None, "jobs:write").may_create_for(Some("bob")),
        Ok(Some("bob".into()))
    );
    assert_eq!(
        token(Some("ann"), "admin", &[]).may_create_for(None),
        Ok(Some("ann".into()))
    );
    assert_eq!(
        token(Some("ann"), "admin", &[]).may_create_for(Some("bob")),
        Ok(Some("bob".into()))
    );
    assert_eq!(everybody().may_create_for(None), Ok(None));
}

#[test]
fn a_pass_reads_its_one_job_and_does_nothing_else() {
    let bond = Bond {
        job_id: "a".to_owned(),
        incarnation: Uuid::now_v7(),
    };
    for principal in [
        Principal::of_watch_token(bond.clone()),
        Principal::of_pass(bond.clone(), Some(5), None, Admission::of_everybody()),
    ] {
        assert!(principal.may_act_on("a", Some("ann")) && principal.may_act_on("a", None));
        assert!(!principal.may_act_on("b", None) && !principal.may_act_on_all());
        assert!(principal.may(Scope::JobsRead) && principal.is_read_only());
        assert!(!principal.may(Scope::JobsWrite) && !principal.may(Scope::JobsCancel));
        assert_eq!(principal.may_create_for(None), Err(Forbidden));
        assert_eq!(principal.bond(), Some(&bond));
    }
}

#[tokio::test(start_paused = true)]
async fn a_principal_ends_with_its_token_or_with_its_entry() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("a clock after 1970").as_secs();
    let with_end = |end: u64| {
        let scopes = Scopes::from(Scope::JobsRead);
        Principal::of_token(None, scopes, Vec::new(), end, Admission::of_everybody())
    };
    with_end(0).ended().await;
    with_end(now + 600).ended().await;
    let endless = with_end(u64::MAX);
    let ended = endless.ended();
    endless.admission().expect("an entry").revoke();
    ended.await;
    let key = key(None, "jobs:read");
    let waiting = tokio::time::timeout(Duration::from_secs(86_400), key.ended());
    assert!(waiting.await.is_err(), "a key has no end of its own");
}
