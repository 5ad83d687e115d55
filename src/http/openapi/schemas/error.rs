//! The one body of every error.

use serde_json::json;
use strum::VariantArray as _;
use utoipa::openapi::Schema;

use super::{
    super::{
        super::ErrorCode,
        shape::{named, one_of_words, shape, text},
    },
    Schemas,
};

pub(super) fn schemas() -> Schemas {
    vec![("Error", envelope().into()), ("ErrorCode", code().into())]
}

fn envelope() -> Schema {
    let error = shape("What is wrong.")
        .always("code", named("ErrorCode"))
        .always("message", text("A sentence for people.", 1, 500))
        .always(
            "request_id",
            text(
                "The request, as the log names it; also in `X-Request-Id`.",
                1,
                128,
            ),
        )
        .closed();
    let mut failed = super::super::shape::flag("Always false.");
    failed.enum_values = Some(vec![json!(false)]);
    shape("The body of every error.")
        .always("success", failed)
        .always("error", error.build())
        .closed()
        .build()
}

fn code() -> Schema {
    let words = ErrorCode::VARIANTS.iter().map(|code| code.as_str());
    one_of_words("The stable word that programs read.", words).into()
}
