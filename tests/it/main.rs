//! The integration tests: one binary, a module for each behaviour.

mod api;
mod clients;
mod connection;
mod email_engine;
mod endings;
mod lifecycle;
mod readme;
mod pace;
mod resume;
mod runner;
mod stream_body;
mod stream_wire;
mod support;
