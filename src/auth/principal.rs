//! Who asks: identity, scopes, and the jobs within reach.

use std::{
    future::pending,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use uuid::Uuid;

use super::{Account, Admission, Revoked, Scope, Scopes};

/// An authenticated caller. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    name: Arc<str>,
    owner: Option<Arc<str>>,
    scopes: Scopes,
    reach: Reach,
    expires_at: Option<u64>,
    account: Option<Account>,
    /// `None` for a watch token, which no entry of the configuration has let in.
    admission: Option<Admission>,
}

/// One very job: a later one of the same name is another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bond {
    /// Its id.
    pub job_id: String,
    /// What tells it from others that had its id before, or will have it later.
    pub incarnation: Uuid,
}

/// A job id, or the beginning of some followed by `*`: the entries of a token's `jobs` claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobPattern {
    /// This id alone.
    Id(String),
    /// Every id that begins so; the empty one is every id.
    Prefix(String),
}

/// The job belongs, or would belong, to somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the job belongs to another owner")]
pub struct Forbidden;

/// The jobs that a principal may act on, as far as its scopes go.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reach {
    /// All, with or without an owner.
    All,
    /// Its own, and those that the patterns name.
    Own(Arc<[JobPattern]>),
    /// One job, as the bearer of a pass or of a watch token.
    One(Arc<Bond>),
}

impl Principal {
    /// Everybody, on a server that runs open: all scopes, all jobs, no owner.
    pub fn open(admission: Admission) -> Self {
        Self {
            name: "anonymous".into(),
            owner: None,
            scopes: Scope::ALL.into_iter().collect(),
            reach: Reach::All,
            expires_at: None,
            account: None,
            admission: Some(admission),
        }
    }

    /// The bearer of an API key; without an owner it reaches all jobs.
    pub fn of_api_key(
        name: String,
        scopes: Scopes,
        owner: Option<String>,
        admission: Admission,
    ) -> Self {
        let reach = if owner.is_none() {
            Reach::All
        } else {
            Reach::Own(Arc::default())
        };
        Self {
            account: Some(Account::of_api_key(&name)),
            name: name.into(),
            owner: owner.map(Arc::from),
            scopes,
            reach,
            expires_at: None,
            admission: Some(admission),
        }
    }

    /// The bearer of a token; without an owner it reaches only what `jobs` names.
    pub fn of_token(
        owner: Option<String>,
        scopes: Scopes,
        jobs: Vec<JobPattern>,
        expires_at: u64,
        admission: Admission,
    ) -> Self {
        let owner = owner.map(Arc::<str>::from);
        let name = owner.clone().unwrap_or_else(|| "token".into());
        Self {
            account: owner.as_deref().map(Account::of_owner),
            name,
            owner,
            scopes,
            reach: Reach::Own(jobs.into()),
            expires_at: Some(expires_at),
            admission: Some(admission),
        }
    }

    /// The bearer of a ticket or of its cookie: reads one job, as long as the buyer might.
    pub fn of_pass(
        bond: Bond,
        expires_at: Option<u64>,
        account: Option<Account>,
        admission: Admission,
    ) -> Self {
        Self {
            expires_at,
            account,
            admission: Some(admission),
            ..Self::of_watch_token(bond)
        }
    }

    /// The bearer of a watch token: reads one job, until an hour after its end.
    pub fn of_watch_token(bond: Bond) -> Self {
        Self {
            name: "watcher".into(),
            owner: None,
            scopes: Scope::JobsRead.into(),
            reach: Reach::One(Arc::new(bond)),
            expires_at: None,
            account: None,
            admission: None,
        }
    }

    /// Whom limits count it as: its API key, the owner of its token, or who bought its ticket. `None`
    /// when it cannot be told from others: everybody on an open server, the bearers of tokens without
    /// an owner, and those of watch tokens.
    pub fn account(&self) -> Option<Account> {
        self.account
    }

    /// For logs: the API key's name or the token's owner. Not a secret, and not unique.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many jobs its token names, or beginnings of their ids.
    pub(super) fn patterns(&self) -> usize {
        match &self.reach {
            Reach::Own(jobs) => jobs.len(),
            _ => 0,
        }
    }

    /// The owner of the jobs that it creates and acts on.
    pub fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    /// What it may do.
    pub fn scopes(&self) -> Scopes {
        self.scopes
    }

    /// Unix time in seconds at which its streams end; `None` is never.
    ///
    /// Any number at all, since it stands in a token: in the past by the leeway, or further ahead than a clock
    /// can count.
    pub fn expires_at(&self) -> Option<u64> {
        self.expires_at
    }

    /// The one job that it may read, when it came with a ticket, a cookie or a watch token.
    pub fn bond(&self) -> Option<&Bond> {
        match &self.reach {
            Reach::One(bond) => Some(bond),
            Reach::All | Reach::Own(_) => None,
        }
    }

    /// Whether it came with a watch token, whose time is that of the job.
    pub fn is_watch_token(&self) -> bool {
        self.admission.is_none()
    }

    /// Whether it may do nothing but read.
    pub fn is_read_only(&self) -> bool {
        self.scopes.iter().all(|scope| scope == Scope::JobsRead)
    }

    /// The entry of the configuration that let it in; `None` for a watch token.
    pub fn admission(&self) -> Option<&Admission> {
        self.admission.as_ref()
    }

    /// Ready when that entry leaves the configuration; `None` for a watch token.
    pub fn revoked(&self) -> Option<Revoked> {
        self.admission.as_ref().map(Admission::revoked)
    }

    /// How long until its streams end; `None` is never.
    pub fn expires_in(&self) -> Option<Duration> {
        self.expires_at.map(time_until)
    }

    /// Whether what let it in holds no longer.
    pub fn has_ended(&self) -> bool {
        self.expires_in().is_some_and(|span| span.is_zero())
            || self.admission().is_some_and(Admission::is_revoked)
    }

    /// Ready when what let it in holds no longer.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let (expires_in, revoked) = (self.expires_in(), self.revoked());
        let expiry = async move {
            match expires_in {
                Some(span) => tokio::time::sleep(span).await,
                None => pending().await,
            }
        };
        let revocation = async move {
            match revoked {
                Some(revoked) => revoked.await,
                None => pending().await,
            }
        };
        async move {
            tokio::select! {
                () = expiry => {}
                () = revocation => {}
            }
        }
    }

    /// Whether its scopes allow the call; whose job it is remains to be asked.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(scope)
    }

    /// Whether it reaches every job, also those without an owner: no list needs to be filtered for it.
    pub fn may_act_on_all(&self) -> bool {
        self.reach == Reach::All || self.may(Scope::Admin)
    }

    /// Whether the job is within reach: it owns the job, its token names the job, or it reaches all of them.
    pub fn may_act_on(&self, job_id: &str, job_owner: Option<&str>) -> bool {
        let owns = || self.owner.is_some() && self.owner.as_deref() == job_owner;
        match &self.reach {
            _ if self.may_act_on_all() => true,
            Reach::All => true,
            Reach::Own(jobs) => owns() || jobs.iter().any(|pattern| pattern.matches(job_id)),
            Reach::One(bond) => bond.job_id == job_id,
        }
    }

    /// The owner of a job that it creates, when the request asks for `requested`.
    ///
    /// # Errors
    /// The request names another owner, or the principal has none and does not reach all jobs.
    pub fn may_create_for(&self, requested: Option<&str>) -> Result<Option<String>, Forbidden> {
        let effective = requested.or(self.owner());
        if self.may_act_on_all() || (effective.is_some() && effective == self.owner()) {
            Ok(effective.map(str::to_owned))
        } else {
            Err(Forbidden)
        }
    }
}

impl JobPattern {
    /// Reads an entry of the claim: `import-7` or `import-*`.
    pub fn new(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(prefix) => Self::Prefix(prefix.to_owned()),
            None => Self::Id(text.to_owned()),
        }
    }

    /// Whether the id is meant.
    pub fn matches(&self, job_id: &str) -> bool {
        match self {
            Self::Id(id) => id == job_id,
            Self::Prefix(prefix) => job_id.starts_with(prefix),
        }
    }
}

/// How long until a moment in Unix seconds; nothing when it has passed.
fn time_until(moment: u64) -> Duration {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    // A token without end in sight: far more than the longest stream, and no overflow.
    let most = Duration::from_secs(366 * 86_400);
    Duration::from_secs(moment).saturating_sub(now).min(most)
}

#[cfg(test)]
mod tests;
