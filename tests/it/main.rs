//! The integration tests: one binary, a module for each behaviour.

mod access;
mod api;
mod clients;
mod connection;
mod deploy;
mod email_engine;
mod endings;
mod hostile;
mod joining_model;
mod lifecycle;
mod limits;
mod metrics;
mod openapi;
mod origins;
mod pace;
mod postgres;
mod readme;
mod registry;
mod reload;
mod resume;
mod runner;
mod stream_body;
mod stream_wire;
mod support;
mod tls;
