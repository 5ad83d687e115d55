//! Creating a job: the request, its checks, and what stays fixed afterwards.

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    Bounds, Count, FieldError, Job, JobId, Json, Timestamp,
    field::{Object, check_json, check_name, check_text, parse_json},
    number::whole,
};

/// Longest `owner`; the contract names no bound, and subjects of tokens stay below 255 characters
/// (OpenID Connect Core, section 2).
const OWNER_CHARS: usize = 255;

/// Longest span that a request may ask for: ten years, far from where sums of times overflow.
const MOST_SECONDS: u64 = 10 * 365 * 86_400;

/// The body of `POST /jobs`; every field may be left out or null.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewJob {
    /// The name to use; otherwise the server makes a UUIDv7.
    pub job_id: Option<JobId>,
    /// What sort of work it is; may name a runner.
    pub kind: Option<String>,
    /// How many units there are to do.
    pub total_count: Option<Count>,
    /// What is counted, `emails` say.
    pub unit: Option<String>,
    /// Whose job it is.
    pub owner: Option<String>,
    /// Words to find the job by.
    pub tags: Option<Vec<String>>,
    /// The job that this one is part of.
    pub parent_id: Option<JobId>,
    /// The worker's own fields.
    pub data: Option<Map<String, Value>>,
    /// Seconds without a report until the job counts as stalled; 0 = never.
    #[serde(default, deserialize_with = "whole")]
    pub lease_seconds: Option<u64>,
    /// Seconds from stalling until the job fails.
    #[serde(default, deserialize_with = "whole")]
    pub fail_stalled_after_seconds: Option<u64>,
    /// Seconds that the job stays after its end.
    #[serde(default, deserialize_with = "whole")]
    pub ttl_seconds: Option<u64>,
    /// What a runner works on.
    pub input: Option<Json>,
    /// Whether the job is never given up, however long nobody reports: a feed of the server's own.
    #[serde(skip)]
    pub is_feed: bool,
}

/// What holds where a request says nothing; in seconds.
#[derive(Debug, Clone, Copy)]
pub struct Defaults {
    /// Lease of a job.
    pub lease_seconds: u64,
    /// Retention after the end.
    pub ttl_seconds: u64,
    /// Time without any report until a job is given up; 0 = never.
    pub abandon_after_seconds: u64,
}

/// SHA-256 over a creation request, to recognise its repetition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Digest([u8; 32]);

impl Digest {
    /// From its bytes, as a store keeps them.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// What is fixed when a job is created.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// The job's name.
    pub job_id: JobId,
    /// Tells the job from others that had its name before, or will have it later.
    pub incarnation: Uuid,
    /// What sort of work it is.
    pub kind: Option<Arc<str>>,
    /// What is counted.
    pub unit: Option<Arc<str>>,
    /// Whose job it is.
    pub owner: Option<Arc<str>>,
    /// Words to find the job by.
    pub tags: Vec<Arc<str>>,
    /// The job that this one is part of.
    pub parent_id: Option<JobId>,
    /// When it was created.
    pub created_at: Timestamp,
    /// Seconds without a report until the job is stalled; 0 = never.
    pub lease_seconds: u64,
    /// Seconds from stalling until the job fails.
    pub fail_stalled_after_seconds: Option<u64>,
    /// Seconds that the job stays after its end.
    pub ttl_seconds: u64,
    /// Seconds without any report until the job is given up; 0 = never.
    pub abandon_after_seconds: u64,
    /// The request that created it.
    pub digest: Digest,
}

impl NewJob {
    /// Reads and checks a JSON body; an empty one stands for `{}`.
    pub fn parse(body: &[u8], bounds: &Bounds) -> Result<Self, FieldError> {
        let new_job = if body.is_empty() {
            Self::default()
        } else {
            parse_json::<Object<Self>>(body)?.0
        };
        new_job.check(bounds)?;
        Ok(new_job)
    }

    /// Checks every bound; the error names the first field that breaks one.
    pub fn check(&self, bounds: &Bounds) -> Result<(), FieldError> {
        if let Some(kind) = &self.kind {
            check_name("kind", kind, bounds.kind_chars)?;
        }
        if let Some(unit) = &self.unit {
            check_name("unit", unit, bounds.unit_chars)?;
        }
        if let Some(owner) = &self.owner {
            check_name("owner", owner, OWNER_CHARS)?;
        }
        let tags = self.tags.as_deref().unwrap_or_default();
        if tags.len() > bounds.tags {
            let rule = format!("must have at most {} entries", bounds.tags);
            return Err(FieldError::new("tags", rule));
        }
        for (index, tag) in tags.iter().enumerate() {
            check_name(&format!("tags[{index}]"), tag, bounds.tag_chars)?;
        }
        if let Some(data) = &self.data {
            check_data(data, bounds)?;
        }
        for (field, seconds) in [
            ("lease_seconds", self.lease_seconds),
            (
                "fail_stalled_after_seconds",
                self.fail_stalled_after_seconds,
            ),
            ("ttl_seconds", self.ttl_seconds),
        ] {
            if seconds.is_some_and(|seconds| seconds > MOST_SECONDS) {
                let rule = format!("must be at most {MOST_SECONDS} seconds");
                return Err(FieldError::new(field, rule));
            }
        }
        Ok(())
    }

    /// The job that the request asks for. `owner` is whose it will be, `input` the format and the
    /// content of what a runner will read.
    pub fn into_job(
        self,
        job_id: JobId,
        owner: Option<String>,
        input: Option<(&str, &[u8])>,
        defaults: &Defaults,
        incarnation: Uuid,
        now: Timestamp,
    ) -> Job {
        let digest = self.digest(owner.as_deref(), input);
        let origin = Origin {
            job_id,
            incarnation,
            kind: self.kind.map(Arc::from),
            unit: self.unit.map(Arc::from),
            owner: owner.map(Arc::from),
            tags: self.tags.into_iter().flatten().map(Arc::from).collect(),
            parent_id: self.parent_id,
            created_at: now,
            lease_seconds: self.lease_seconds.unwrap_or(defaults.lease_seconds),
            fail_stalled_after_seconds: self.fail_stalled_after_seconds,
            ttl_seconds: self.ttl_seconds.unwrap_or(defaults.ttl_seconds),
            abandon_after_seconds: match self.is_feed {
                true => 0,
                false => defaults.abandon_after_seconds,
            },
            digest,
        };
        Job::new(origin, self.total_count, self.data)
    }

    /// Every field that the client chose, hashed in a fixed order.
    fn digest(&self, owner: Option<&str>, input: Option<(&str, &[u8])>) -> Digest {
        let format = input.map(|(format, _)| format);
        let fields = (
            (&self.job_id, &self.kind, self.total_count, &self.unit),
            (owner, &self.tags, &self.parent_id, &self.data, format),
            (
                self.lease_seconds,
                self.fail_stalled_after_seconds,
                self.ttl_seconds,
            ),
        );
        let fields = serde_json::to_vec(&fields).expect("strings, numbers and JSON serialize");
        let mut hash = Context::new(&SHA256);
        // The length keeps the fields and the input apart.
        hash.update(&fields.len().to_be_bytes());
        hash.update(&fields);
        hash.update(input.map_or(&[], |(_, content)| content));
        let digest = hash.finish();
        Digest(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

/// Refuses a `data` object that is larger than allowed, or whose keys the stores cannot hold.
pub(super) fn check_data(data: &Map<String, Value>, bounds: &Bounds) -> Result<(), FieldError> {
    for key in data.keys() {
        check_text("data", key, usize::MAX)?;
    }
    let bytes = serde_json::to_vec(data)
        .expect("a JSON object serializes")
        .len();
    check_json("data", bytes, bounds.data_bytes)
}
