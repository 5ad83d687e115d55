//! Who may: tokens of every sort, what the server signs itself, and how access ends.

mod ends;
mod hidden;
mod issuers;
mod late;
mod query_tokens;
mod several;
mod tickets;
mod watch_tokens;
mod wrong_tokens;
