//! progressd: a standalone server for the progress of long-running jobs.
//!
//! Workers report over HTTP, or are tasks of the server; dashboards watch over server-sent
//! events, or poll. The modules, from the outside in: [`http`] routes and answers, [`stream`]
//! is what a watcher reads, [`registry`] holds this node's jobs and applies what happens to
//! them, [`hub`] fans a job's changes out, [`store`] keeps them, [`view`] puts them into other words, and
//! [`job`] is the pure domain.

pub mod auth;
pub mod cli;
pub mod config;
pub mod delivery;
pub mod frame;
pub mod http;
pub mod hub;
pub mod intake;
pub mod job;
pub mod metrics;
pub mod registry;
pub mod runner;
pub mod server;
pub mod store;
pub mod stream;
pub mod telemetry;
pub mod view;
