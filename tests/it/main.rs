//! The integration tests: one binary, one module for each behaviour.

mod joining_model;
mod registry;
mod support;
