//! A job's whole present state as JSON: the wire format of `/status` and of `status` blocks.

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{Job, Timestamp};

/// A job as strangers see it: one flat object, every field always present, null where unknown.
///
/// Only `total_<unit>` depends: with `"unit": "emails"` the total stands once more as
/// `total_emails`. Equal seq means equal bytes.
#[derive(Debug, Clone, Copy)]
pub struct Status<'job>(pub &'job Job);

struct Rfc3339(Timestamp);

impl Status<'_> {
    /// A status's JSON with more fields, `"gap":true` say, at its end.
    pub fn json_with(json: &str, fields: &str) -> String {
        let open = json.strip_suffix('}').expect("a status is a JSON object");
        format!("{open},{fields}}}")
    }

    /// The JSON text, on one line.
    pub fn to_json(self) -> String {
        serde_json::to_string(&self).expect("a job consists of JSON, strings and finite numbers")
    }
}

impl Serialize for Status<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Job { origin, face, .. } = self.0;
        let total = face.progress.total();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("job_id", &origin.job_id)?;
        map.serialize_entry("kind", &origin.kind)?;
        map.serialize_entry("status", &face.state)?;
        map.serialize_entry("total_count", &total)?;
        map.serialize_entry("processed_count", &face.progress.processed())?;
        map.serialize_entry("unit", &origin.unit)?;
        // With the unit "count" the two names are one, and an object has no name twice.
        if let Some(unit) = origin.unit.as_deref().filter(|unit| *unit != "count") {
            map.serialize_entry(&format!("total_{unit}"), &total)?;
        }
        map.serialize_entry("progress_percentage", &self.0.percentage())?;
        map.serialize_entry("step", &face.step)?;
        map.serialize_entry("message", &face.message)?;
        map.serialize_entry("rate_per_second", &face.rate_per_second.map(Plain))?;
        map.serialize_entry("eta_seconds", &face.eta_seconds)?;
        map.serialize_entry("attempt", &face.attempt)?;
        map.serialize_entry("stalled", &face.stalled)?;
        map.serialize_entry("cancel_requested", &face.cancel_requested)?;
        map.serialize_entry("data", &face.data)?;
        map.serialize_entry("result", &face.result)?;
        map.serialize_entry("error", &face.error)?;
        map.serialize_entry("owner", &origin.owner)?;
        map.serialize_entry("tags", &origin.tags)?;
        map.serialize_entry("parent_id", &origin.parent_id)?;
        map.serialize_entry("created_at", &Rfc3339(origin.created_at))?;
        map.serialize_entry("started_at", &face.started_at.map(Rfc3339))?;
        map.serialize_entry("updated_at", &Rfc3339(self.0.updated_at))?;
        map.serialize_entry("finished_at", &face.finished_at.map(Rfc3339))?;
        map.serialize_entry("seq", &self.0.seq)?;
        map.end()
    }
}

/// A number that is written without a fraction when it has none: `40`, not `40.0`.
struct Plain(f64);

impl Serialize for Plain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let whole = self.0 as u64;
        if whole as f64 == self.0 {
            serializer.serialize_u64(whole)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}
