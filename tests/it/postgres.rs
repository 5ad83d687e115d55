//! Jobs in PostgreSQL.

mod store;
