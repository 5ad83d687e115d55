//! The integration tests: one binary, a module for each behaviour.

mod api;
mod connection;
mod email_engine;
mod lifecycle;
mod readme;
mod runner;
mod support;
