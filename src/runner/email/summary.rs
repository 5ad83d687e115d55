//! Counts over the rows of one list: the `result` of a finished job.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Reason, Row, Verdict};

/// Rows counted by verdict and by reason, for example
/// `{"total":3,"valid":2,"invalid":1,"risky":0,"unknown":0,"reasons":{"accepted":2,"syntax_missing_at":1}}`.
///
/// Grows row by row, and can be stored with a position and taken up again from there. Reasons that
/// did not occur are left out; the others stand in the order of [`Reason`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// All rows.
    pub total: u64,
    /// Rows with verdict `valid`.
    pub valid: u64,
    /// Rows with verdict `invalid`.
    pub invalid: u64,
    /// Rows with verdict `risky`.
    pub risky: u64,
    /// Rows with verdict `unknown`.
    pub unknown: u64,
    /// Rows by reason.
    pub reasons: BTreeMap<Reason, u64>,
}

impl Summary {
    /// Counts one more row.
    pub fn add(&mut self, row: &Row) {
        self.total += 1;
        match row.verdict {
            Verdict::Valid => self.valid += 1,
            Verdict::Invalid => self.invalid += 1,
            Verdict::Risky => self.risky += 1,
            Verdict::Unknown => self.unknown += 1,
        }
        *self.reasons.entry(row.reason).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(reason: Reason) -> Row {
        Row {
            email: "ann@mx.test".to_owned(),
            normalized: None,
            verdict: reason.verdict(),
            reason,
            suggestion: None,
        }
    }

    #[test]
    fn summary_survives_being_stored_between_two_rows() {
        let reasons = [
            Reason::RoleAccount,
            Reason::Accepted,
            Reason::SyntaxEmpty,
            Reason::Accepted,
            Reason::DnsTimeout,
        ];
        let mut summary = Summary::default();
        for reason in reasons {
            summary.add(&row(reason));
            let stored = serde_json::to_string(&summary).expect("a summary is plain JSON");
            summary = serde_json::from_str(&stored).expect("it reads what it wrote");
        }
        assert_eq!(
            serde_json::to_string(&summary).expect("a summary is plain JSON"),
            r#"{"total":5,"valid":2,"invalid":1,"risky":1,"unknown":1,"reasons":{"accepted":2,"syntax_empty":1,"role_account":1,"dns_timeout":1}}"#
        );
    }
}
