//! `progressd watch`.
