//! What the inbox is built on, so that a model checker can put its own in place.

pub(super) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering},
};

pub(super) use super::HandOver as Arrival;
