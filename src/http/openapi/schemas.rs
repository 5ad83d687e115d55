//! Every named schema of the document.
//!
//! They are descriptions beside the types that they describe, since the domain knows nothing of
//! HTTP. Bounds come from the code; `tests/it/openapi` holds real answers against them.

mod block;
mod error;
mod job;
mod request;
mod results;
mod server;

use utoipa::openapi::{RefOr, Schema};

pub(super) use job::JOB_ID;
pub(super) use request::report_id;

/// Name and content of each, in the order in which a reader meets them.
pub(super) fn all() -> Vec<(&'static str, RefOr<Schema>)> {
    let groups = [
        job::schemas(),
        request::schemas(),
        block::schemas(),
        results::schemas(),
        error::schemas(),
        server::schemas(),
    ];
    groups.into_iter().flatten().collect()
}

/// A group of named schemas.
type Schemas = Vec<(&'static str, RefOr<Schema>)>;
