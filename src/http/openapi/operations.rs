//! What each call takes and answers: the long part of its description.
//!
//! The short part, its path, summary and scope, stands at its handler, which names the type here:
//! `params(op::Create), responses(op::Create)`.

mod jobs;
mod results;
mod server;
mod watching;

pub(in crate::http) use jobs::{Cancel, Create, Events, List, Remove, Report, Reports};
pub(in crate::http) use results::{AppendResults, Download, ResultsPage};
pub(in crate::http) use server::{Document, Liveness, Metrics, Page, PageFile, Readiness};
pub(in crate::http) use watching::{MultiStream, Status, Stream, Ticket};

/// A call's parameters and answers as the attribute at its handler wants them.
macro_rules! describe {
    ($(#[$doc:meta])* $name:ident { params: $params:expr, answers: $answers:expr $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(in crate::http) enum $name {}

        impl utoipa::IntoParams for $name {
            fn into_params(
                _: impl Fn() -> Option<utoipa::openapi::path::ParameterIn>,
            ) -> Vec<utoipa::openapi::path::Parameter> {
                $params
            }
        }

        impl utoipa::IntoResponses for $name {
            fn responses() -> $crate::http::openapi::answers::Responses {
                $answers.build()
            }
        }
    };
}
use describe;
