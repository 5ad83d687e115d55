//! The HTTP interface, call by call, as clients meet it.

mod cancel;
mod events;
mod jobs;
mod list;
mod polling;
mod remove;
mod report;
mod reports;
mod results;
mod status;
