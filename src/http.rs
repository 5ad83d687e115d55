//! HTTP: routes, thin handlers, the error envelope, and the connections below them.

pub mod connection;
