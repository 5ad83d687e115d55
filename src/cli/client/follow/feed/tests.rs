//! What blocks of one job and of many come to.
