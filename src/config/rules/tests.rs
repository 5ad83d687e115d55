//! The rules, the default file and the required fields name the same keys.

use super::*;

#[test]
fn every_key_of_the_default_file_has_a_rule_and_keeps_it() {
    let defaults = Layer::from_toml(crate::config::DEFAULT_TOML, "the defaults")
        .expect("the embedded file is TOML");
    let mut problems = Vec::new();
    check(&defaults, &mut problems);
    assert_eq!(problems, Vec::<String>::new());
}

#[test]
fn every_rule_outside_of_lists_has_a_default() {
    let defaults = Layer::from_toml(crate::config::DEFAULT_TOML, "the defaults")
        .expect("the embedded file is TOML");
    let keys: BTreeSet<_> = defaults
        .settings()
        .into_iter()
        .map(|setting| setting.pattern)
        .collect();
    let without: Vec<_> = RULES
        .iter()
        .map(|(key, _)| *key)
        .filter(|key| !key.contains("[]") && !keys.contains(*key))
        .collect();
    assert_eq!(without, Vec::<&str>::new());
}

#[test]
fn the_required_fields_have_rules() {
    for (entry, fields) in REQUIRED {
        for field in fields {
            assert!(
                rule_of(&format!("{entry}.{field}")).is_some(),
                "{entry}.{field}"
            );
        }
    }
}
