//! What an operator can change while the server runs.

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
    /// From where.
    pub origins: Origins,
    /// What one client may send.
    pub limits: LimitsConfig,
}

impl Policy {
    /// What a checked configuration says.
    pub fn new(config: &Config) -> Self {
        Self {
            authenticator: Authenticator::new(&config.auth),
            origins: Origins::new(config),
            limits: config.limits.clone(),
        }
    }
}
