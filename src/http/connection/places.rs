//! How many connections a listener has, and whose: whoever has one frees it where it ends.

use std::collections::{HashMap, hash_map::Entry};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::http::client::network_of;
use crate::metrics::ConnectionMetrics;

/// The places of a listener.
pub(super) struct Places {
    taken: Mutex<Taken>,
    freed: Notify,
    metrics: Arc<ConnectionMetrics>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    /// How many each client has, by its network.
    by_network: HashMap<IpAddr, usize>,
}

/// The place of one connection, free again when it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    network: IpAddr,
}

impl Places {
    pub(super) fn new(metrics: &Arc<ConnectionMetrics>) -> Arc<Self> {
        Arc::new(Self {
            taken: Mutex::default(),
            freed: Notify::new(),
            metrics: Arc::clone(metrics),
        })
    }

    /// Takes one; none when the address, with its network, has as many as it may.
    pub(super) fn take(places: &Arc<Self>, address: IpAddr, most: Option<usize>) -> Option<Place> {
        let network = network_of(address);
        let mut taken = places.lock();
        let of_network = taken.by_network.entry(network).or_insert(0);
        if most.is_some_and(|most| *of_network >= most) {
            return None;
        }
        *of_network += 1;
        taken.all += 1;
        places.metrics.open.increment(1);
        Some(Place {
            places: Arc::clone(places),
            network,
        })
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.lock().all
    }

    /// Waits until one was freed, maybe before this was asked. For one that waits at a time.
    pub(super) async fn freed(&self) {
        self.freed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // Nothing in here panics between two changes that belong together.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all -= 1;
        if let Entry::Occupied(mut of_network) = taken.by_network.entry(self.network) {
            *of_network.get_mut() -= 1;
            if *of_network.get() == 0 {
                of_network.remove();
            }
        }
        self.places.metrics.open.decrement(1);
        self.places.freed.notify_one();
    }
}
