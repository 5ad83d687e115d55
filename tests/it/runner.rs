//! Built-in work, over a real registry.

mod demo;
mod email;
mod queue;
mod upkeep;
