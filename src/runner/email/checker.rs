//! Checks a list: one row per address, in input order, with bounded read-ahead.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    num::{NonZeroU32, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

use futures_util::{FutureExt, Stream, StreamExt, stream};
use moka::future::Cache;
use tokio::time::{Instant, sleep_until};

use super::{
    AddressList, Reason, Row, disposable,
    dns::{MailHostLookup, MailHosts},
    reserved::{self, Reserved},
    role,
    syntax::{self, Address},
    typo,
};
use crate::config::DnsSource;

/// How many domains' answers one list keeps; a list with more asks again for those that it has
/// forgotten. Half the domains that a list of the default length can have, for about 10 MB.
const CACHED_DOMAINS: u64 = 50_000;

/// How a [`Checker`] works.
#[derive(Debug, Clone, Copy)]
pub struct CheckerConfig {
    /// Where DNS questions go.
    pub dns: DnsSource,
    /// How many DNS questions may wait for an answer at a time, over all lists of this checker.
    pub concurrency: NonZeroUsize,
    /// How long one domain may take before its addresses are `unknown`.
    pub timeout: Duration,
    /// How many addresses of one list are begun in a second; `None` is as many as possible.
    pub max_per_second: Option<NonZeroU32>,
}

/// Checks lists; a cheap handle, to be shared by all jobs so that they also share the bound on DNS
/// questions.
#[derive(Clone)]
pub struct Checker {
    lookup: Arc<MailHostLookup>,
    config: CheckerConfig,
}

impl Checker {
    /// Sets DNS up. When the machine has no usable DNS configuration, that is logged, and domains
    /// get `dns_error`.
    pub fn new(config: CheckerConfig) -> Self {
        let lookup = MailHostLookup::new(config.dns, config.concurrency.get(), config.timeout);
        Self {
            lookup: Arc::new(lookup),
            config,
        }
    }

    /// The rows of a list from position `from` (counted from 0), in order.
    ///
    /// They are the rows that a run from the start gives there: what stands before `from` is not
    /// checked again, but still makes later addresses duplicates. (Only what DNS says may have
    /// changed.) Every domain is asked for once, however many addresses it has; at most a few
    /// hundred rows are worked on ahead of the reader. Needs a tokio runtime.
    ///
    /// Work happens only while the stream is polled, and dropping it ends all lookups. A stream that
    /// is neither polled nor dropped keeps its share of the allowed questions from other lists.
    pub fn rows(
        &self,
        list: Arc<AddressList>,
        from: usize,
    ) -> impl Stream<Item = Row> + Send + use<> {
        let job = Arc::new(ListCheck {
            lookup: Arc::clone(&self.lookup),
            answers: Cache::new(CACHED_DOMAINS),
        });
        // One slow domain holds up the rows behind it, which have to wait for their turn. Reading
        // on further than there are lookups keeps these busy meanwhile.
        let read_ahead = self.config.concurrency.get().saturating_mul(4);
        let max_per_second = self.config.max_per_second;
        SeenAddresses::before(Arc::clone(&list), from)
            .map(move |mut seen| {
                let pace = max_per_second.map(Pace::start);
                stream::iter(from..list.len())
                    // Before the work rather than behind it: rows that nobody takes would keep
                    // their share of the allowed questions from other lists.
                    .then(move |index| async move {
                        if let Some(pace) = pace {
                            pace.wait_for(index - from).await;
                        }
                        index
                    })
                    .map(move |index| {
                        let email = list.get(index).unwrap_or_default().to_owned();
                        let parsed = syntax::parse(&email);
                        // Here, not in the future below, since futures finish out of order.
                        let is_duplicate =
                            parsed.as_ref().is_ok_and(|address| !seen.insert(address));
                        let job = Arc::clone(&job);
                        async move {
                            // Rows that need no lookup are always ready; this lets other tasks have
                            // their turn.
                            tokio::task::coop::consume_budget().await;
                            match parsed {
                                Ok(address) => job.check(email, &address, is_duplicate).await,
                                Err(reason) => refuse(email, reason),
                            }
                        }
                    })
                    .buffered(read_ahead)
            })
            .flatten_stream()
    }
}

/// The row of a text that is not an address.
fn refuse(email: String, reason: Reason) -> Row {
    let suggestion = syntax::suggest(&email, reason);
    Row {
        email,
        normalized: None,
        verdict: reason.verdict(),
        reason,
        suggestion,
    }
}

/// When the addresses of one list may begin.
#[derive(Clone, Copy)]
struct Pace {
    start: Instant,
    per_second: NonZeroU32,
}

impl Pace {
    fn start(per_second: NonZeroU32) -> Self {
        Self {
            start: Instant::now(),
            per_second,
        }
    }

    /// Waits for the turn of the address at a place, counted from 0. A pace that was held up is
    /// caught up with.
    async fn wait_for(self, place: usize) {
        let due = place as f64 / f64::from(self.per_second.get());
        sleep_until(self.start + Duration::from_secs_f64(due)).await;
    }
}

/// What the rows of one list share.
struct ListCheck {
    lookup: Arc<MailHostLookup>,
    /// By domain. Concurrent questions for one domain wait for the first one's answer. A missing
    /// answer is kept too: a dead domain with thousands of addresses costs its timeout once.
    answers: Cache<String, MailHosts>,
}

impl ListCheck {
    async fn check(&self, email: String, address: &Address, is_duplicate: bool) -> Row {
        let suggestion = if address.is_literal() {
            None
        } else {
            typo::suggest(address.domain()).map(|domain| address.with_domain(&domain))
        };
        let reason = self
            .reason(address, is_duplicate, suggestion.is_some())
            .await;
        Row {
            email,
            normalized: Some(address.as_str().to_owned()),
            verdict: reason.verdict(),
            reason,
            suggestion,
        }
    }

    /// The first reason that applies, in the order that the documentation of [`super`] gives.
    async fn reason(&self, address: &Address, is_duplicate: bool, is_typo: bool) -> Reason {
        if address.is_literal() {
            return if is_duplicate {
                Reason::Duplicate
            } else {
                Reason::AddressLiteral
            };
        }
        let domain = address.domain();
        match reserved::reserved(domain) {
            Some(Reserved::Always) => return Reason::ReservedDomain,
            Some(Reserved::WithoutDns) if !self.lookup.is_on() => return Reason::ReservedDomain,
            _ => {}
        }
        // Asked for even when something else already makes the address risky: that nothing can
        // arrive weighs more.
        let from_dns = match self.mail_hosts(domain).await {
            MailHosts::NoDomain => return Reason::DomainNotFound,
            MailHosts::NullMx => return Reason::NullMx,
            MailHosts::Nowhere => return Reason::NoMailHost,
            MailHosts::Exchangers => Reason::Accepted,
            MailHosts::AddressOnly => Reason::AcceptedNoMx,
            MailHosts::NotAsked => Reason::DnsNotChecked,
            MailHosts::Timeout => Reason::DnsTimeout,
            MailHosts::Failure => Reason::DnsError,
        };
        if is_duplicate {
            Reason::Duplicate
        } else if is_typo {
            // Before `disposable`, whose list has many slips too, because this can be mended.
            Reason::Typo
        } else if disposable::is_disposable(domain) {
            Reason::Disposable
        } else if role::is_role(address.local()) {
            Reason::RoleAccount
        } else {
            from_dns
        }
    }

    async fn mail_hosts(&self, domain: &str) -> MailHosts {
        if !self.lookup.is_on() {
            return MailHosts::NotAsked;
        }
        self.answers
            .entry_by_ref(domain)
            .or_insert_with(self.lookup.mail_hosts(domain))
            .await
            .into_value()
    }
}

/// Which addresses a list had so far.
struct SeenAddresses {
    /// Keyed hashes instead of texts, since a list may be long: the chance that any two of 100,000
    /// addresses collide is about 3 in 10^10, and without the random key nobody can make them.
    hashes: HashSet<u64>,
    hasher: RandomState,
}

impl SeenAddresses {
    /// Everything before position `end`.
    async fn before(list: Arc<AddressList>, end: usize) -> Self {
        let mut seen = Self {
            hashes: HashSet::new(),
            hasher: RandomState::new(),
        };
        for email in list.iter().take(end) {
            if let Ok(address) = syntax::parse(email) {
                seen.insert(&address);
            }
            tokio::task::coop::consume_budget().await;
        }
        seen
    }

    /// Whether the address is new.
    fn insert(&mut self, address: &Address) -> bool {
        self.hashes
            .insert(self.hasher.hash_one(address.duplicate_key()))
    }
}
