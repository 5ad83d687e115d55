//! The API's own description: that it is whole, that it is true, and that its page shows it.

mod answers;
mod document;
mod page;
mod schemathesis;
mod truth;
