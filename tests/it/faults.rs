//! Nothing is lost, nothing comes twice and nothing goes back, whatever dies meanwhile.

mod check;
mod record;
