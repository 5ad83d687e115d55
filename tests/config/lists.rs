//! Lists of plain values: origins, hosts, proxies.

use super::*;

#[test]
fn lists_are_separated_by_commas_in_the_environment() {
    let stdout = assert_valid(
        None,
        &[
            (
                "PROGRESSD__CORS__ALLOWED_ORIGINS",
                "https://a.example, http://b.example:81,",
            ),
            ("PROGRESSD__SERVER__HOSTS", "box.internal"),
            ("PROGRESSD__SERVER__TRUSTED_PROXIES", "10.0.0.0/8,fd00::1"),
        ],
    );
    insta::assert_snapshot!(stdout, @r#"
    configuration is valid
    access: open, no credential is asked for
    cors.allowed_origins = ["https://a.example", "http://b.example:81"]  # the variable `PROGRESSD__CORS__ALLOWED_ORIGINS`
    server.hosts = ["box.internal"]  # the variable `PROGRESSD__SERVER__HOSTS`
    server.trusted_proxies = ["10.0.0.0/8", "fd00::1"]  # the variable `PROGRESSD__SERVER__TRUSTED_PROXIES`
    "#);
}

#[test]
fn mistakes_in_lists_say_what_an_entry_must_be() {
    let file = "[cors]\nallowed_origins = ['https://a.example', '*']\n\
                [server]\nhosts = ['http://box.internal']\ntrusted_proxies = ['proxy.internal']\n";
    let variables = [("PROGRESSD__CORS__ALLOWED_ORIGINS", "https://A.example/")];
    insta::assert_snapshot!(mistakes(Some(file), &variables).join("\n"), @r#"
    `cors.allowed_origins` must name each origin whole: its pages act with their readers' credentials, so that "*" is refused, but `p.toml` says ["https://a.example", "*"]
    `server.hosts` must hold hosts, such as "progress.internal" or "10.0.0.5:8080", but `p.toml` says ["http://box.internal"]
    `server.trusted_proxies` must hold addresses or networks, such as "127.0.0.1" or "10.0.0.0/8", but `p.toml` says ["proxy.internal"]
    `cors.allowed_origins` must hold origins as browsers send them, such as "https://app.example:8443": http or https, in lower case, without a path and without the scheme's own port, but the variable `PROGRESSD__CORS__ALLOWED_ORIGINS` says ["https://A.example/"]
    "#);
    for text in [
        "null",
        "https://*.example",
        "https://a.example/path",
        "a.example",
        "https://a.example:443",
    ] {
        let refused = Config::from_toml(&format!("cors.allowed_origins = ['{text}']"));
        let error = refused.expect_err(text).to_string();
        assert!(error.starts_with("`cors.allowed_origins` must"), "{error}");
    }
}
