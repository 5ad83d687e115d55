//! Tables: what was seen, and what it means.
