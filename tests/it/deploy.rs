//! What is shipped to run progressd in production works as shipped.

mod nginx;
