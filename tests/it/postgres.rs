//! Jobs in PostgreSQL: what only this store does, beside what all do (`conformance`).

mod between;
mod cost;
mod differential;
mod faults;
mod goes_back;
mod held_rows;
mod notices;
mod opening;
mod patience;
mod start;
mod workers;
