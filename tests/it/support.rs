//! What the integration tests share.

pub(crate) mod gated_store;
