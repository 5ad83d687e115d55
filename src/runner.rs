//! Built-in workers: none is registered yet; the engine of the first one stands in [`email`].

pub mod email;

use crate::{config::RunnerConfig, registry::JobHandle};

/// The built-in workers of a server.
#[derive(Debug, Clone)]
pub struct Runners;

impl Runners {
    /// The workers that the configuration describes.
    pub fn new(_: &RunnerConfig) -> Self {
        Self
    }

    /// Whether jobs of this kind are run here.
    pub fn knows(&self, _: &str) -> bool {
        false
    }

    /// What a job of this kind counts, unless it says so itself.
    pub fn unit(&self, _: &str) -> Option<&'static str> {
        None
    }

    /// Runs a job of a known kind.
    pub fn start(&self, _: JobHandle) {}

    /// Lets every job stop at its next step.
    pub async fn drain(&self) {}
}
