//! Jobs in PostgreSQL: what only this store does, beside what all do (`conformance`).

mod differential;
mod notices;
mod workers;
