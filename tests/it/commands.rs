//! The commands that are clients, as processes of their own against real servers.

mod doctor;
mod run;
mod watch;
