//! What is shipped to run progressd in production works as shipped.

mod files;
mod health;
mod nginx;
