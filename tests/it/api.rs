//! The HTTP interface, call by call, as clients meet it.

mod append;
mod auth_owners;
mod auth_scopes;
mod auth_tokens;
mod cancel;
mod create_and_watch;
mod envelope;
mod errors;
mod events;
mod jobs;
mod list;
mod log;
mod open_reports;
mod polling;
mod remove;
mod repetition;
mod report;
mod reports;
mod results;
mod status;
mod trouble;
mod upload;
