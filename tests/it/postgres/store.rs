//! The store itself.
