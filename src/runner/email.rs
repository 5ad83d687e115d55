//! The e-mail validation engine: a list in, one row with a verdict per address out.
//!
//! [`input`] turns an upload into an [`AddressList`], [`Checker::rows`] turns the list into
//! [`Row`]s in input order, and [`Summary`] counts them. Nothing here knows of jobs, HTTP or
//! stores; it shares with them the types that say where to ask DNS and how a list is written.
//!
//! An address gets exactly one reason, the first that applies, and its verdict follows from the
//! reason:
//!
//! 1. its syntax is wrong, or its domain is set aside by a standard (`invalid`);
//! 2. DNS says that the domain takes no mail (`invalid`);
//! 3. it repeats an earlier address, looks like a typing slip, is disposable, or is a role
//!    (`risky`);
//! 4. DNS was not asked or did not answer (`unknown`);
//! 5. nothing speaks against it (`valid`).
//!
//! No mail server is ever contacted: `valid` means that mail for the domain has somewhere to go,
//! not that the mailbox exists.

mod checker;
mod disposable;
mod dns;
pub mod input;
mod reserved;
mod role;
mod summary;
pub mod syntax;
mod typo;
mod verdict;

pub use self::{
    checker::{Checker, CheckerConfig},
    input::{AddressList, InputError},
    summary::Summary,
    verdict::{Reason, Row, Verdict},
};
