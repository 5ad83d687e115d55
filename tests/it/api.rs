//! The HTTP interface, call by call, as clients meet it.

mod jobs;
mod list;
mod report;
