//! What an operator can change while the server runs.

use std::{sync::Arc, time::Duration};

use axum::http::Extensions;

use super::Origins;
use crate::{
    auth::Authenticator,
    config::{Config, LimitsConfig},
};

/// Who may, and how much. Immutable: a reload puts another one in its place.
#[derive(Debug)]
pub struct Policy {
    /// Who may.
    pub authenticator: Authenticator,
    /// Whether somebody else's job looks as if it were not there.
    pub hides_foreign_jobs: bool,
    /// The longest that a token in a query may still live.
    pub query_token_max: Duration,
    /// From where.
    pub origins: Origins,
    /// What one client may send.
    pub limits: LimitsConfig,
}

impl Policy {
    /// What a checked configuration says.
    pub fn new(config: &Config) -> Self {
        Self::with(config, Authenticator::new(&config.auth))
    }

    /// What a newer configuration says, in which unchanged keys stay the same ones.
    #[must_use]
    pub fn renewed(&self, config: &Config) -> Self {
        Self::with(config, self.authenticator.renewed(&config.auth))
    }

    /// That of a request, from its beginning to its end, whatever is reloaded meanwhile.
    pub(super) fn of(extensions: &Extensions) -> Arc<Self> {
        let policy = extensions.get::<Arc<Self>>();
        Arc::clone(policy.expect("the entrance has put it there"))
    }

    fn with(config: &Config, authenticator: Authenticator) -> Self {
        Self {
            authenticator,
            hides_foreign_jobs: config.auth.hide_foreign_jobs,
            query_token_max: Duration::from_secs(config.auth.query_token_max_seconds),
            origins: Origins::new(config),
            limits: config.limits.clone(),
        }
    }
}
