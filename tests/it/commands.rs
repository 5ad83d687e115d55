//! The commands that talk to a server, as processes.

mod doctor;
