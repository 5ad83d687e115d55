//! Streams and waiting polls: how many there are, in all and by holder.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use dashmap::{DashMap, Entry};

use super::Holders;
use crate::{auth::Account, config::LimitsConfig, job::JobId};

/// The seats that are taken.
#[derive(Debug, Default)]
pub(super) struct Seats {
    taken: AtomicUsize,
    by_holder: DashMap<Holder, usize>,
}

/// One seat, free again when it is dropped.
#[derive(Debug)]
pub(in crate::http) struct Seat {
    seats: Arc<Seats>,
    /// Under whom it is counted.
    holders: Vec<Holder>,
}

/// Whose seats are all taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// The server's.
    Server,
    /// Those of the principal.
    Account,
    /// Those of the address.
    Network,
    /// Those of the job.
    Job,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Holder {
    Account(Account),
    Network(IpAddr),
    Job(JobId),
}

impl Seats {
    /// Takes a seat, counted under each of the holders.
    pub(super) fn take(
        seats: &Arc<Self>,
        limits: &LimitsConfig,
        holders: Holders,
    ) -> Result<Seat, Full> {
        let more = |taken: usize| (taken < limits.max_streams).then_some(taken + 1);
        if seats
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_err()
        {
            return Err(Full::Server);
        }
        // From here on a refusal drops the seat, and with it what was counted already.
        let mut seat = Seat {
            seats: Arc::clone(seats),
            holders: Vec::with_capacity(3),
        };
        if let Some(account) = holders.account {
            seat.count(Holder::Account(account), limits.max_streams_per_principal)
                .ok_or(Full::Account)?;
        }
        seat.count(
            Holder::Network(holders.client.network()),
            limits.max_streams_per_address,
        )
        .ok_or(Full::Network)?;
        if let Some(job_id) = holders.job_id {
            seat.count_at(job_id, Some(limits))?;
        }
        Ok(seat)
    }

    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Gives back the room of holders that have left.
    pub(super) fn shrink(&self) {
        self.by_holder.shrink_to_fit();
    }
}

impl Seat {
    /// Counts it under a job; without limits in any case.
    pub(super) fn count_at(
        &mut self,
        job_id: JobId,
        limits: Option<&LimitsConfig>,
    ) -> Result<(), Full> {
        let most = limits.map_or(0, |limits| limits.max_streams_per_job);
        self.count(Holder::Job(job_id), most).ok_or(Full::Job)
    }

    /// Counted even where there is no limit, so that one which comes with a reload holds at once.
    fn count(&mut self, holder: Holder, most: usize) -> Option<()> {
        let mut taken = self.seats.by_holder.entry(holder.clone()).or_insert(0);
        if most > 0 && *taken >= most {
            return None;
        }
        *taken += 1;
        drop(taken);
        self.holders.push(holder);
        Some(())
    }
}

impl Full {
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::Server => "Too many streams",
            Self::Account => "Too many streams with this credential",
            Self::Network => "Too many streams from this address",
            Self::Job => "Too many streams on this job",
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        for holder in self.holders.drain(..) {
            if let Entry::Occupied(mut entry) = self.seats.by_holder.entry(holder) {
                *entry.get_mut() -= 1;
                if *entry.get() == 0 {
                    entry.remove();
                }
            }
        }
        self.seats.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Config, http::client::Client};

    fn limits(toml: &str) -> LimitsConfig {
        let config = Config::from_toml(&format!("[limits]\n{toml}"));
        config.expect("a valid configuration").limits
    }

    fn holders(account: u64, address: &str, job_id: &str) -> Holders {
        Holders {
            account: Some(Account::of_owner(&account.to_string())),
            client: Client {
                address: address.parse().expect("an address"),
                is_https: false,
            },
            job_id: Some(JobId::parse(job_id).expect("a name")),
        }
    }

    #[test]
    fn each_limit_refuses_for_itself_and_a_refusal_counts_nothing() {
        let (one, two, three) = ("192.0.2.1", "192.0.2.2", "192.0.2.3");
        for (toml, allowed, refused, full) in [
            (
                "max_streams = 2",
                (2, two, "b"),
                (3, three, "c"),
                Full::Server,
            ),
            (
                "max_streams_per_principal = 2",
                (1, two, "b"),
                (1, three, "c"),
                Full::Account,
            ),
            (
                "max_streams_per_address = 2",
                (2, one, "b"),
                (3, one, "c"),
                Full::Network,
            ),
            (
                "max_streams_per_job = 2",
                (2, two, "a"),
                (3, three, "a"),
                Full::Job,
            ),
        ] {
            let (limits, seats) = (limits(toml), Arc::new(Seats::default()));
            let take = |(account, address, job_id)| {
                Seats::take(&seats, &limits, holders(account, address, job_id))
            };
            let first = take((1, one, "a")).expect("the first");
            let _second = take(allowed).expect("the second");
            assert_eq!(take(refused).expect_err(toml), full);
            assert_eq!(seats.taken(), 2, "{toml}");
            drop(first);
            drop(take(refused).expect("a seat is free again"));
            assert_eq!(seats.taken(), 1, "{toml}");
        }
    }

    #[test]
    fn a_limit_that_comes_later_counts_those_who_are_there() {
        let seats = Arc::new(Seats::default());
        let held: Vec<_> = (0..3)
            .map(|_| Seats::take(&seats, &limits(""), holders(1, "192.0.2.1", "a")))
            .collect();
        let limits = limits("max_streams_per_job = 2");
        let take = || Seats::take(&seats, &limits, holders(2, "192.0.2.2", "a"));
        assert_eq!(take().expect_err("three are there"), Full::Job);
        drop(held);
        take().expect("nobody is there");
    }

    #[test]
    fn nothing_is_left_of_those_who_have_gone() {
        let (limits, seats) = (
            limits("max_streams_per_address = 50"),
            Arc::new(Seats::default()),
        );
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (limits, seats) = (&limits, &seats);
                scope.spawn(move || {
                    for round in 0..1_000 {
                        let job_id = format!("{}", round % 7);
                        drop(Seats::take(
                            seats,
                            limits,
                            holders(thread, "192.0.2.1", &job_id),
                        ));
                    }
                });
            }
        });
        assert_eq!((seats.taken(), seats.by_holder.len()), (0, 0));
    }
}
