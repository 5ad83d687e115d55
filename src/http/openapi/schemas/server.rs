//! What the server says of itself.

use utoipa::openapi::Schema;

use super::{
    super::shape::{one_of_words, shape, word},
    Schemas,
};

pub(super) fn schemas() -> Schemas {
    vec![
        (
            "Health",
            shape("The process answers.")
                .always("status", word("Always `ok`.", "ok"))
                .closed()
                .build()
                .into(),
        ),
        ("Readiness", readiness().into()),
    ]
}

fn readiness() -> Schema {
    let verdict = |description: &str| one_of_words(description, ["ok", "failed"]);
    let checks = shape("Each part by itself.")
        .always("store", verdict("The store answers."))
        .always("accepting", verdict("The server is not shutting down."))
        .closed();
    shape("Whether the server can do its work.")
        .always("status", verdict("All of it."))
        .always("checks", checks.build())
        .closed()
        .build()
}
