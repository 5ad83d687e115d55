//! Whether a domain takes mail, by DNS: MX, the null MX (RFC 7505), and the fallback to address
//! records.

use std::time::Duration;

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig},
    net::{DnsError, NetError, NoRecords, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{Name, RData, RecordType},
    },
};
use tokio::sync::Semaphore;

use crate::config::DnsSource;

/// What DNS says of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MailHosts {
    /// It has mail exchangers.
    Exchangers,
    /// It has no MX record, but an address to which mail goes (RFC 5321, 5.1).
    AddressOnly,
    /// Its only MX record says that it takes no mail.
    NullMx,
    /// It exists, but mail has nowhere to go.
    Nowhere,
    /// It does not exist.
    NoDomain,
    /// DNS was not asked.
    NotAsked,
    /// No answer in time.
    Timeout,
    /// DNS cannot be reached, or says that it failed.
    Failure,
}

/// Asks DNS, at most `concurrency` questions at a time over all jobs that share it.
pub(super) struct MailHostLookup {
    resolver: Resolver,
    permits: Semaphore,
    timeout: Duration,
}

enum Resolver {
    Off,
    /// The machine has no usable DNS configuration: every question fails, and the job still
    /// finishes.
    Broken,
    /// Boxed, since the other two hold nothing.
    On(Box<TokioResolver>),
}

impl MailHostLookup {
    pub(super) fn new(dns: DnsSource, concurrency: usize, timeout: Duration) -> Self {
        let resolver = match dns {
            DnsSource::Off => Resolver::Off,
            DnsSource::System => TokioResolver::builder_tokio()
                .and_then(|builder| build(builder, timeout))
                .into(),
            DnsSource::Server(address) => {
                let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
                for connection in &mut connections {
                    connection.port = address.port();
                }
                let server = NameServerConfig::new(address.ip(), true, connections);
                let config = ResolverConfig::from_name_servers(vec![server]);
                build(
                    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()),
                    timeout,
                )
                .into()
            }
        };
        Self {
            resolver,
            permits: Semaphore::new(concurrency.clamp(1, Semaphore::MAX_PERMITS)),
            timeout,
        }
    }

    /// Whether questions leave the machine at all.
    pub(super) fn is_on(&self) -> bool {
        !matches!(self.resolver, Resolver::Off)
    }

    /// Looks a domain (A-label form) up. Dropping the future ends the lookup.
    pub(super) async fn mail_hosts(&self, domain: &str) -> MailHosts {
        let resolver = match &self.resolver {
            Resolver::Off => return MailHosts::NotAsked,
            Resolver::Broken => return MailHosts::Failure,
            Resolver::On(resolver) => resolver,
        };
        // The final dot keeps the search list of the machine out.
        let Ok(name) = Name::from_ascii(format!("{domain}.")) else {
            return MailHosts::NoDomain;
        };
        let _permit = self
            .permits
            .acquire()
            .await
            .expect("the semaphore is never closed");
        // The time begins with the question, not with the wait for the permit.
        tokio::time::timeout(self.timeout, ask(resolver, name))
            .await
            .unwrap_or(MailHosts::Timeout)
    }
}

impl From<Result<TokioResolver, NetError>> for Resolver {
    fn from(resolver: Result<TokioResolver, NetError>) -> Self {
        resolver.map_or_else(
            |error| {
                tracing::warn!(%error, "cannot set up DNS: e-mail domains will be reported as dns_error");
                Self::Broken
            },
            |resolver| Self::On(Box::new(resolver)),
        )
    }
}

fn build(
    mut builder: hickory_resolver::ResolverBuilder<TokioRuntimeProvider>,
    timeout: Duration,
) -> Result<TokioResolver, NetError> {
    let options = builder.options_mut();
    // Half the time for the first try leaves half for another, since UDP loses packets.
    options.timeout = timeout / 2;
    options.attempts = 1;
    // Each job keeps what it asked for (see `checker`); a second cache would answer the next job
    // with old news.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    builder.build()
}

async fn ask(resolver: &TokioResolver, name: Name) -> MailHosts {
    let lookup = match resolver.lookup(name.clone(), RecordType::MX).await {
        Ok(lookup) => lookup,
        Err(error) => match Absence::of(&error) {
            Absence::NoRecords => return ask_for_address(resolver, name).await,
            other => return other.mail_hosts(),
        },
    };
    let mut exchangers = lookup
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::MX(mx) => Some(&mx.exchange),
            _ => None,
        });
    match exchangers.next() {
        None => ask_for_address(resolver, name).await,
        // RFC 7505 (3) has a null MX stand alone; beside real exchangers it says nothing.
        Some(first) if first.is_root() && exchangers.all(Name::is_root) => MailHosts::NullMx,
        Some(_) => MailHosts::Exchangers,
    }
}

async fn ask_for_address(resolver: &TokioResolver, name: Name) -> MailHosts {
    for record_type in [RecordType::A, RecordType::AAAA] {
        match resolver.lookup(name.clone(), record_type).await {
            Ok(lookup)
                if lookup
                    .answers()
                    .iter()
                    .any(|record| record.record_type() == record_type) =>
            {
                return MailHosts::AddressOnly;
            }
            Ok(_) => {}
            Err(error) => match Absence::of(&error) {
                Absence::NoRecords => {}
                other => return other.mail_hosts(),
            },
        }
    }
    MailHosts::Nowhere
}

/// Why a question brought no records.
enum Absence {
    NoDomain,
    NoRecords,
    Timeout,
    Failure,
}

impl Absence {
    fn of(error: &NetError) -> Self {
        match error {
            NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code, .. })) => {
                match response_code {
                    ResponseCode::NXDomain => Self::NoDomain,
                    ResponseCode::NoError => Self::NoRecords,
                    _ => Self::Failure,
                }
            }
            NetError::Timeout => Self::Timeout,
            _ => Self::Failure,
        }
    }

    fn mail_hosts(self) -> MailHosts {
        match self {
            Self::NoDomain => MailHosts::NoDomain,
            Self::NoRecords => MailHosts::Nowhere,
            Self::Timeout => MailHosts::Timeout,
            Self::Failure => MailHosts::Failure,
        }
    }
}
