//! Stores that nodes share, as a test of faults puts a proxy in front of them.

use std::net::SocketAddr;

use crate::support::{
    postgres_server::{self, PostgresServer},
    redis_server::{RedisServer, own_prefix},
};

/// A store in a server that many tests share.
#[derive(Debug)]
pub(super) struct Backing {
    /// Where the server is.
    pub(super) address: SocketAddr,
    toml: String,
}

impl Backing {
    /// One in Redis.
    pub(super) async fn redis() -> Self {
        let server = RedisServer::shared().await;
        Self::of(&server.toml(&own_prefix()), &server.url())
    }

    /// One in PostgreSQL.
    pub(super) async fn postgres() -> Self {
        let database = postgres_server::database().await;
        Self::of(&database.keys(), &database.url)
    }

    /// One in a Redis of its own, which may be harmed.
    pub(super) fn private_redis(server: &RedisServer) -> Self {
        Self::of(&server.toml(&own_prefix()), &server.url())
    }

    /// One in a PostgreSQL of its own, which may be harmed.
    pub(super) async fn private_postgres(server: &PostgresServer) -> Self {
        let database = server.database().await;
        Self::of(&database.keys(), &database.url)
    }

    /// The configuration of a node, with more keys.
    pub(super) fn toml(&self, more: &str) -> String {
        self.toml_by(self.address, more)
    }

    fn of(toml: &str, url: &str) -> Self {
        let address = url
            .split(['@', '/'])
            .find(|part| part.starts_with("127.0.0.1:"));
        Self {
            address: address.and_then(|it| it.parse().ok()).expect("an address"),
            toml: toml.to_owned(),
        }
    }

    /// The configuration of a node that reaches the store at another address, with more keys.
    pub(super) fn toml_by(&self, address: SocketAddr, more: &str) -> String {
        let toml = self
            .toml
            .replace(&self.address.to_string(), &address.to_string());
        let mut table: toml::Table = toml.parse().expect("TOML");
        merge(&mut table, more.parse().expect("TOML"));
        table.to_string()
    }
}

fn merge(table: &mut toml::Table, more: toml::Table) {
    for (key, value) in more {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(inner)), toml::Value::Table(more)) => merge(inner, more),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}
