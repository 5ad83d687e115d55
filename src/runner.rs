//! Built-in workers.

pub mod email;
