//! Views: those that ship, those of the operator's own, and what is said of mistakes.

use super::*;

#[test]
fn shipped_views_are_switched_on_by_name_in_the_environment_too() {
    let variables = [("PROGRESSD__SERVER__VIEWS", "audits, process")];
    insta::assert_snapshot!(assert_valid(None, &variables), @r#"
    configuration is valid
    access: open, no credential is asked for
    view audits: /api/v1/sse/audits/{audit_id}/progress, /api/v1/audits/{audit_id}/status
    view process: /api/v1/process/stream, /api/v1/process/{id}/stream
    server.views = ["audits", "process"]  # the variable `PROGRESSD__SERVER__VIEWS`
    "#);
}

#[test]
fn the_file_of_a_shipped_view_is_a_configuration_and_goes_before_it() {
    for (name, text) in progressd::config::SHIPPED_VIEWS {
        let moved = text.replace("\"/", "\"/moved/");
        let file = format!("server.views = ['{name}']\n{moved}");
        let stdout = assert_valid(Some(&file), &[]);
        assert!(
            stdout.contains(&format!("view {name}: /moved/")),
            "{stdout}"
        );
        assert_eq!(stdout.matches("\nview ").count(), 1, "{stdout}");
    }
}

#[test]
fn mistakes_in_views_stop_the_start_with_sentences_that_name_the_key() {
    let file = "server.views = ['audit', 'process']\n\
                [views.mine]\nkinds = ['build']\n[[views.mine.paths]]\nstream = '/api/v1/process/stream'\n\
                newest = true\n[views.mine.fields]\nx = 'status'\n[views.mine.states]\npending = 'p'\n";
    insta::assert_snapshot!(mistakes(Some(file), &[]).join("\n"), @r#"
    `server.views` must list views that ship with the server (audits, recommendations, orders, inventory, process), or that have a section here, but says "audit"
    `views.mine.states.processing` in `p.toml` must be the view's word for this state
    `views.mine.states.completed` in `p.toml` must be the view's word for this state
    `views.mine.states.failed` in `p.toml` must be the view's word for this state
    `views.mine.states.cancelled` in `p.toml` must be the view's word for this state
    "#);
    let taken = file
        .replace("'audit', ", "")
        .replace("= 'status'", "= 'step'")
        .replace("[views.mine.states]\npending = 'p'\n", "");
    insta::assert_snapshot!(mistakes(Some(&taken), &[]).join("\n"), @r#"`views.process.paths[0]` in the shipped view must be a path of its own: /api/v1/process/stream is one of `views.mine` already"#);
    for (file, sentence) in [
        (
            "views = 1",
            "`views` in `p.toml` must be a section: write `[views.NAME]`",
        ),
        (
            "views.mine = 1",
            "`views.mine` in `p.toml` must be a section: write `[views.mine]`",
        ),
    ] {
        assert_eq!(mistakes(Some(file), &[]), [sentence]);
    }
    let variables = [("PROGRESSD__VIEWS__MINE__KINDS", "a")];
    assert_eq!(
        mistakes(None, &variables),
        ["unknown key `views.mine.kinds` in the variable `PROGRESSD__VIEWS__MINE__KINDS`"]
    );
}

#[test]
fn a_change_of_a_view_needs_a_new_start() {
    let config = |word: &str| {
        let file = format!(
            "[views.mine]\nkinds = ['{word}']\n[[views.mine.paths]]\nstream = '/x'\nnewest = true\n[views.mine.fields]\n"
        );
        Config::from_toml(&file).expect("a view that is right")
    };
    assert_eq!(
        config("a").keys_for_a_restart(&config("a")),
        Vec::<String>::new()
    );
    assert_eq!(config("a").keys_for_a_restart(&config("b")), ["views.mine"]);
}
