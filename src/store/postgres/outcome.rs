//! What becomes of a change: the functions of `migrations/0002_server.sql` that make one answer alike.

use sqlx::{error::BoxDynError, postgres::PgRow};

use super::{
    client::{Client, Repeat},
    row::{Columns, JOB, stored, unreadable},
};
use crate::{
    job::Seq,
    store::{StoreError, Stored},
};

/// What became of it.
pub(super) enum Outcome {
    /// It was done.
    Done {
        /// The seq of its first position.
        first: Seq,
        /// Whether the job has another state by it; of a creation it goes without saying.
        has_entered: bool,
    },
    /// This stood in the way.
    Met(Box<Stored>),
    /// There is no such job.
    Missing,
}

impl Outcome {
    /// Calls a function that makes a change.
    pub(super) async fn of(
        client: &Client,
        call: &str,
        repeat: Repeat,
    ) -> Result<Self, StoreError> {
        let row = client.write_one(statement(call), repeat).await?;
        Self::read(&row).map_err(unreadable)
    }

    fn read(row: &PgRow) -> Result<Self, BoxDynError> {
        let mut columns = Columns::of(row);
        let word: &str = columns.take()?;
        let first: Option<i64> = columns.take()?;
        let answers: Option<&str> = columns.take()?;
        match (word, first) {
            ("done" | "entered", Some(first)) => {
                let first = Seq::new(u64::try_from(first)?).unwrap_or(Seq::MAX);
                let has_entered = word == "entered";
                Ok(Self::Done { first, has_entered })
            }
            ("exists" | "conflict", _) => Ok(Self::Met(Box::new(stored(&mut columns, answers)?))),
            ("missing", _) => Ok(Self::Missing),
            (word, _) => Err(format!("the outcome {word:?}").into()),
        }
    }
}

fn statement(call: &str) -> String {
    format!(
        "SELECT r.outcome, r.first, r.answers::text, {JOB} FROM {call} AS r, \
         LATERAL (SELECT (r.stored).*) AS j"
    )
}
