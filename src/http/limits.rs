//! How much: what clients hold and spend at present, and what they are refused beyond the limits.
//!
//! What is counted here outlives a reload, while the limits themselves come with the policy. Nothing
//! here has a lock of its own over all clients: totals are atomic, and what is counted by client
//! stands in maps of many parts. A rate that is not set costs one atomic load.

mod bodies;
mod rates;
mod seats;

use std::{net::IpAddr, sync::Arc, time::Duration};

use self::{
    bodies::BodyBudget,
    rates::{Excess, Rate},
    seats::{Full, Seats},
};
use super::{ApiError, ErrorCode, client::Client};
use crate::{auth::Account, config::LimitsConfig, job::JobId};

pub(super) use self::{bodies::BodyShare, seats::Seat};

/// How often clients that have left are forgotten.
pub(crate) const FORGET_INTERVAL: Duration = Duration::from_secs(60);

/// Of an address that asks too often, how many streams are looked at for each request that it may
/// make: whether a credential holds costs a signature's verification, or the store's time.
const LOOKS_PER_REQUEST: u32 = 10;

/// What clients hold and spend.
#[derive(Debug)]
pub struct Usage {
    seats: Arc<Seats>,
    bodies: Arc<BodyBudget>,
    requests_by_address: Rate<IpAddr>,
    /// Of requests that were too many already.
    looks_by_address: Rate<IpAddr>,
    requests_by_account: Rate<Account>,
    reports_by_account: Rate<Account>,
}

/// For whom a seat is taken.
#[derive(Debug)]
pub(super) struct Holders {
    pub(super) account: Option<Account>,
    pub(super) client: Client,
    /// `None` when it is about many.
    pub(super) job_id: Option<JobId>,
}

impl Usage {
    /// Nothing yet.
    pub fn new(limits: &LimitsConfig) -> Self {
        Self {
            seats: Arc::default(),
            bodies: Arc::default(),
            requests_by_address: Rate::new(limits.requests_per_second_per_address),
            looks_by_address: Rate::new(looks_per_second(limits)),
            requests_by_account: Rate::new(limits.requests_per_second_per_principal),
            reports_by_account: Rate::new(limits.reports_per_second_per_principal),
        }
    }

    /// Takes over other rates; whoever has used up the old one begins anew with a changed one.
    pub fn set_limits(&self, limits: &LimitsConfig) {
        self.requests_by_address
            .set(limits.requests_per_second_per_address);
        self.looks_by_address.set(looks_per_second(limits));
        self.requests_by_account
            .set(limits.requests_per_second_per_principal);
        self.reports_by_account
            .set(limits.reports_per_second_per_principal);
    }

    /// Forgets whoever has not come for a while.
    pub fn forget_the_idle(&self) {
        self.requests_by_address.forget_the_idle();
        self.looks_by_address.forget_the_idle();
        self.requests_by_account.forget_the_idle();
        self.reports_by_account.forget_the_idle();
        self.seats.shrink();
    }

    /// Streams and waiting polls at this moment.
    pub fn seats_taken(&self) -> usize {
        self.seats.taken()
    }

    /// Bytes of request bodies that are held at this moment.
    pub fn body_bytes_held(&self) -> usize {
        self.bodies.held()
    }

    /// Counts a request of an address, whoever it says that it is.
    ///
    /// # Errors
    /// `RATE_LIMITED`.
    pub(super) fn take_request_of_address(&self, client: Client) -> Result<(), ApiError> {
        let taken = self.requests_by_address.take(&client.network(), 1);
        taken.map_err(|excess| excess.refusal("Too many requests from this address"))
    }

    /// Whether somebody whose address asks too often is still looked at, to be told inside a stream.
    pub(super) fn take_look(&self, client: Client) -> bool {
        self.looks_by_address.take(&client.network(), 1).is_ok()
    }

    /// Counts a request of a principal.
    ///
    /// # Errors
    /// `RATE_LIMITED`.
    pub(super) fn take_request(&self, account: Option<Account>) -> Result<(), ApiError> {
        let taken = account.map_or(Ok(()), |account| self.requests_by_account.take(&account, 1));
        taken.map_err(|excess| excess.refusal("Too many requests"))
    }

    /// Counts reports, or events, that stand in one request.
    ///
    /// # Errors
    /// `RATE_LIMITED`; `PAYLOAD_TOO_LARGE` for more than may ever come at once.
    pub(super) fn take_reports(
        &self,
        account: Option<Account>,
        number: usize,
    ) -> Result<(), ApiError> {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let taken = account.map_or(Ok(()), |account| {
            self.reports_by_account.take(&account, number)
        });
        taken.map_err(|excess| excess.refusal("Too many reports"))
    }

    /// Counts one report, or says how long it has to wait.
    pub(super) fn take_report_or_wait(&self, account: Option<Account>) -> Option<Duration> {
        match self.reports_by_account.take(&account?, 1) {
            Ok(()) | Err(Excess::Never(_)) => None,
            Err(Excess::Later(wait)) => Some(wait),
        }
    }

    /// Takes the place of a stream or of a waiting poll, until it is dropped.
    ///
    /// # Errors
    /// `TOO_MANY_STREAMS`.
    pub(super) fn take_seat(
        &self,
        limits: &LimitsConfig,
        holders: Holders,
    ) -> Result<Seat, ApiError> {
        Seats::take(&self.seats, limits, holders).map_err(refusal)
    }

    /// Counts a seat that was taken before its job was known under that job too; without limits in any case.
    ///
    /// # Errors
    /// `TOO_MANY_STREAMS`.
    pub(super) fn place(
        &self,
        seat: &mut Seat,
        job_id: &JobId,
        limits: Option<&LimitsConfig>,
    ) -> Result<(), ApiError> {
        let placed = seat.count_at(job_id.clone(), limits);
        placed.map_err(refusal)
    }

    /// A share of what all bodies may hold, empty yet.
    pub(super) fn body_share(&self) -> BodyShare {
        BodyShare::empty(Arc::clone(&self.bodies))
    }
}

fn refusal(full: Full) -> ApiError {
    ApiError::new(ErrorCode::TooManyStreams).because(full.message())
}

fn looks_per_second(limits: &LimitsConfig) -> u32 {
    let requests = limits.requests_per_second_per_address;
    requests.saturating_mul(LOOKS_PER_REQUEST)
}

impl Excess {
    fn refusal(self, message: &'static str) -> ApiError {
        match self {
            Self::Later(wait) => ApiError::new(ErrorCode::RateLimited)
                .because(message)
                .retry_after(wait),
            Self::Never(most) => ApiError::new(ErrorCode::PayloadTooLarge).because(format!(
                "At most {most} reports or events are taken at once"
            )),
        }
    }
}
