//! Addresses and TLS.

use super::*;

#[test]
fn a_certificate_needs_its_key_and_both_are_looked_at() {
    insta::assert_snapshot!(mistakes(Some("[server.tls]\ncert = 'c.pem'"), &[]).join("\n"), @"`server.tls.cert` is set without `server.tls.key`: TLS needs the certificate and its private key");
    insta::assert_snapshot!(mistakes(Some("[server.tls]\nkey = 'k.pem'"), &[]).join("\n"), @"`server.tls.key` is set without `server.tls.cert`: TLS needs the private key and its certificate");
    let both = "[server.tls]\ncert = 'c.pem'\nkey = 'k.pem'";
    insta::assert_snapshot!(mistakes(Some(both), &[]).join("\n"), @"cannot read `server.tls.cert`, the file `c.pem`: No such file or directory (os error 2)");
}

#[test]
fn streams_over_tls_cannot_be_handed_over() {
    let wanted = "server.delivery = 'handover'\n[server.tls]\ncert = 'c.pem'\nkey = 'k.pem'";
    let mistakes = mistakes(Some(wanted), &[]);
    let found = mistakes
        .iter()
        .find(|mistake| mistake.contains("server.delivery"));
    insta::assert_snapshot!(found.expect("it is refused"), @r#"`server.delivery` is "handover", but streams over TLS cannot be handed over: use "auto", or leave `server.tls` to a proxy"#);
}

#[test]
fn the_second_address_is_an_address_of_its_own() {
    let variable = "PROGRESSD__SERVER__ADMIN_LISTEN";
    assert_valid(None, &[(variable, "0.0.0.0:9090")]);
    insta::assert_snapshot!(mistakes(None, &[(variable, "9090")]).join("\n"), @r#"`server.admin_listen` must be an IP address and a port, such as "127.0.0.1:9090", or empty, but the variable `PROGRESSD__SERVER__ADMIN_LISTEN` says "9090""#);
    insta::assert_snapshot!(mistakes(None, &[(variable, "127.0.0.1:8080")]).join("\n"), @"`server.admin_listen` must not be the address of `server.listen`: leave it empty to serve metrics there");
}

#[test]
fn a_server_that_others_reach_takes_over_no_configuration_without_a_key() {
    let open = Config::from_toml("").expect("open on loopback");
    let public = "192.0.2.1:8080".parse().expect("an address");
    let refused = open.listening_on(public).expect_err("nobody is let in");
    assert!(refused.to_string().contains("192.0.2.1"), "{refused}");
    let meant = Config::from_toml("auth.mode = 'none'").expect("open on purpose");
    assert_eq!(
        meant.listening_on(public).expect("as meant").server.listen,
        public
    );
}
