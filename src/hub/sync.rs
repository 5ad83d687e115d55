//! The lock that the joining core is built on, so that a model checker can put its own in place.

pub(super) use std::sync::{Arc, Mutex, MutexGuard};
