//! Built-in work, over a real registry.

mod demo;
mod queue;
mod upkeep;
