//! Jobs in PostgreSQL: what only this store does, beside what all do (`conformance`).

mod between;
mod cost;
mod differential;
mod faults;
mod notices;
mod opening;
mod workers;
