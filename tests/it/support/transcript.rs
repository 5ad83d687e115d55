//! What a stranger sees on the wire, with what differs from run to run replaced by words.

use serde_json::Value;

/// Replaces seqs by their order of appearance, times, jittered retries, and a head's id and date.
///
/// The same seq gets the same word everywhere, so that a snapshot shows which `id` is which status's.
pub(crate) fn redact(transcript: &str) -> String {
    let mut seqs = Seqs::default();
    let mut lines = Vec::new();
    for line in transcript.split('\n') {
        let mut volatile = ["date: ", "x-request-id: "].into_iter();
        let line = if let Some(name) = volatile.find(|name| line.starts_with(name)) {
            format!("{name}[redacted]\r")
        } else if let Some(id) = line.strip_prefix("id: ") {
            format!("id: {}", seqs.word(id.parse().expect("an id is a seq")))
        } else if let Some(retry) = line.strip_prefix("retry: ").filter(|it| *it != "3600000") {
            let retry: u64 = retry.parse().expect("retry is a number");
            assert!((4_000..=6_000).contains(&retry), "{retry} ms");
            "retry: [5000 ± 20 %]".to_owned()
        } else if let Some(data) = line.strip_prefix("data: ") {
            let mut json = serde_json::from_str(data).expect("data is JSON");
            redact_json(&mut json, &mut seqs);
            format!("data: {json}")
        } else {
            line.to_owned()
        };
        lines.push(line);
    }
    lines.join("\n").replace('\r', "␍")
}

#[derive(Default)]
struct Seqs(Vec<u64>);

impl Seqs {
    fn word(&mut self, seq: u64) -> String {
        let place = self.0.iter().position(|known| *known == seq);
        let place = place.unwrap_or_else(|| {
            self.0.push(seq);
            self.0.len() - 1
        });
        format!("[seq {}]", place + 1)
    }
}

fn redact_json(json: &mut Value, seqs: &mut Seqs) {
    let Value::Object(fields) = json else {
        return;
    };
    for (name, value) in fields {
        if name == "seq"
            && let Some(seq) = value.as_u64()
        {
            *value = seqs.word(seq).into();
        } else if name.ends_with("_at") && value.is_string() {
            *value = "[time]".into();
        }
    }
}
