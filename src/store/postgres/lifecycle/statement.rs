//! The statement of a look, and what it finds.

use sqlx::{error::BoxDynError, postgres::PgRow};
use uuid::Uuid;

use super::super::{
    row::{Columns, JOB},
    sql,
};
use crate::{job::JobId, store::Notice};

/// How many jobs a look reads at a time.
const PAGE: usize = 500;

/// What is visible now.
pub(super) const NOW: &str = "SELECT pg_current_snapshot()::text";

/// Which transactions are visible: PostgreSQL's `pg_snapshot`, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snapshot(String);

/// Where a page ends: the transaction and the job.
#[derive(Debug)]
pub(super) struct Place {
    xid: String,
    job_id: String,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Page {
    /// What the look has seen.
    pub(super) snapshot: Snapshot,
    pub(super) notices: Vec<Notice>,
    /// Where there may be more.
    pub(super) end: Option<Place>,
}

impl Snapshot {
    /// That of [`NOW`].
    pub(super) fn read(row: &PgRow) -> Result<Self, BoxDynError> {
        Ok(Self(Columns::of(row).take()?))
    }

    /// Whether it is of a time before the other, which there is only when time was turned back.
    pub(super) fn is_before(&self, other: &Self) -> bool {
        self.oldest() < other.oldest()
    }

    /// The oldest transaction that may not be over.
    fn oldest(&self) -> Option<u64> {
        self.0.split(':').next()?.parse().ok()
    }
}

/// What was not visible to `since` and is now, above `after`, and is not of `node`; a job of its own only when
/// that has the name of one which others may have removed. There is a row also when nothing is found. What is
/// visible to no snapshot comes from another cluster, by a dump.
pub(super) fn of(since: &Snapshot, after: Option<&Place>, node: &str) -> String {
    let node = sql::text(node);
    let since = sql::text(&since.0);
    let slice = |table: &str, xid: &str, is_wanted: &str, removed: &str| {
        let after = after.map_or_else(String::new, |place| {
            let (xid_before, job_id) = (sql::text(&place.xid), sql::text(&place.job_id));
            format!("AND (o.{xid}, o.job_id) > ({xid_before}::xid8, {job_id} COLLATE \"C\")")
        });
        format!(
            "(SELECT o.{xid} AS xid, o.job_id, {removed} AS removed FROM progressd.{table} AS o, n \
             WHERE o.{xid} >= pg_snapshot_xmin({since}::pg_snapshot) {after} \
             AND NOT pg_visible_in_snapshot(o.{xid}, {since}::pg_snapshot) \
             AND pg_visible_in_snapshot(o.{xid}, n.snapshot) AND ({is_wanted}) \
             ORDER BY o.{xid}, o.job_id LIMIT {PAGE})"
        )
    };
    let of_others = format!("o.entered_by <> {node} OR o.former IS NOT NULL");
    let entered = slice("jobs", "entered_xid", &of_others, "NULL::uuid");
    let of_others = format!("o.removed_by <> {node}");
    let removed = slice("gone", "removed_xid", &of_others, "o.incarnation");
    format!(
        "WITH n AS (SELECT pg_current_snapshot() AS snapshot), \
         t AS (SELECT u.xid, u.job_id, u.removed FROM ({entered} UNION ALL {removed}) AS u \
         ORDER BY u.xid, u.job_id LIMIT {PAGE}) \
         SELECT n.snapshot::text, t.xid::text, t.job_id, coalesce(t.removed, j.former), \
         j.entered_by <> {node}, {JOB} FROM n \
         LEFT JOIN t ON true \
         LEFT JOIN progressd.jobs AS j ON j.job_id = t.job_id AND t.removed IS NULL \
         ORDER BY t.xid, t.job_id"
    )
}

impl Page {
    pub(super) fn read(rows: &[PgRow]) -> Result<Self, BoxDynError> {
        let first = rows.first().ok_or("no row")?;
        let mut page = Self {
            snapshot: Snapshot::read(first)?,
            notices: Vec::new(),
            end: None,
        };
        for row in rows {
            let mut columns = Columns::of(row);
            let _snapshot: &str = columns.take()?;
            let (Some(xid), Some(job_id)) = (
                columns.take::<Option<&str>>()?,
                columns.take::<Option<&str>>()?,
            ) else {
                break;
            };
            page.notices.extend(notices(columns, job_id));
            page.end = Some(Place {
                xid: xid.to_owned(),
                job_id: job_id.to_owned(),
            });
        }
        if rows.len() < PAGE {
            page.end = None;
        }
        Ok(page)
    }
}

/// What a row says. One that cannot be read keeps nobody from the others.
fn notices(mut columns: Columns<'_>, job_id: &str) -> Vec<Notice> {
    let mut read = || -> Result<_, BoxDynError> {
        let mut notices = Vec::new();
        let removed: Option<Uuid> = columns.take()?;
        if let Some(incarnation) = removed {
            let job_id = JobId::parse(job_id)?;
            notices.push(Notice::Removed {
                job_id,
                incarnation,
            });
        }
        let is_entry: Option<bool> = columns.take()?;
        if is_entry == Some(true) {
            notices.push(Notice::Entered(columns.job()?.0.into()));
        }
        Ok(notices)
    };
    read().unwrap_or_else(|error| {
        tracing::error!(job.id = job_id, %error, "a job in the database cannot be read");
        Vec::new()
    })
}
