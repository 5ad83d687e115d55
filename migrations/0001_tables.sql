-- Jobs and what belongs to them. The schema `progressd` is made before this.
--
-- Whoever names a job means that very one, not another that has its name later: `job_no` tells them
-- apart inside the database, `incarnation` outside. Texts compare by bytes, as they do in the server.

CREATE TABLE progressd.jobs (
    job_id text COLLATE "C" PRIMARY KEY,

    -- What a worker may UPDATE. `0003_workers.sql` says what comes of it.
    status text COLLATE "C" NOT NULL
        CHECK (status IN ('pending', 'processing', 'completed', 'failed', 'cancelled')),
    processed_count bigint CHECK (processed_count BETWEEN 0 AND 9007199254740991),
    total_count bigint CHECK (total_count BETWEEN 0 AND 9007199254740991),
    progress_percentage numeric CHECK (progress_percentage BETWEEN 0 AND 100),
    step text,
    message text,
    -- `json` and no `jsonb`: keys stay in the worker's order, and numbers as they were written.
    data json,
    result json,
    error json,
    attempt bigint NOT NULL DEFAULT 1 CHECK (attempt BETWEEN 1 AND 4294967295),

    -- What else a status shows.
    rate_per_second double precision,
    eta_seconds bigint,
    stalled boolean NOT NULL DEFAULT false,
    cancel_requested boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL,
    started_at timestamptz,
    updated_at timestamptz NOT NULL,
    finished_at timestamptz CHECK ((finished_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled'))),
    seq bigint NOT NULL CHECK (seq BETWEEN 0 AND 9007199254740991),
    kind text COLLATE "C",
    unit text,
    owner text COLLATE "C",
    tags text[] COLLATE "C" NOT NULL DEFAULT '{}',
    parent_id text COLLATE "C",

    -- What no status shows.
    job_no bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    incarnation uuid NOT NULL,
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    lease_seconds bigint NOT NULL CHECK (lease_seconds >= 0),
    fail_stalled_after_seconds bigint CHECK (fail_stalled_after_seconds >= 0),
    ttl_seconds bigint NOT NULL CHECK (ttl_seconds >= 0),
    abandon_after_seconds bigint NOT NULL CHECK (abandon_after_seconds >= 0),
    reported_at timestamptz NOT NULL,
    -- In hundredths of a per cent: what the worker named, and the highest that the attempt has shown.
    named_hundredths smallint,
    highest_hundredths smallint NOT NULL DEFAULT 0,
    estimator text,
    -- Of the newest commit of the server's own.
    nonce uuid,
    -- When time alone changes an unfinished job, and a time not after it, which alone is indexed: it
    -- follows when it has come, so that a report changes no index.
    deadline_at timestamptz,
    due_at timestamptz,
    expires_at timestamptz,
    -- The transaction in which the job came into its state, and the node that did it; none is ''.
    entered_xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    entered_by text NOT NULL DEFAULT '',
    -- The job before it of the name, whose removal is no more to be found.
    former uuid,
    event_count integer NOT NULL DEFAULT 0,
    event_bytes bigint NOT NULL DEFAULT 0,
    -- The highest seq of an event that is kept no more.
    dropped_seq bigint NOT NULL DEFAULT 0,
    row_count bigint NOT NULL DEFAULT 0,
    answer_count bigint NOT NULL DEFAULT 0,
    -- Which columns the present UPDATE names; 0 between UPDATEs.
    named_columns smallint NOT NULL DEFAULT 0
) WITH (
    -- Room for the next versions of a row on its own page: then an UPDATE touches no index.
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.05
);

-- Lists, newest first: all, and by each filter.
CREATE INDEX jobs_by_age ON progressd.jobs (created_at, job_id);
CREATE INDEX jobs_by_status ON progressd.jobs (status, created_at, job_id);
CREATE INDEX jobs_by_kind ON progressd.jobs (kind, created_at, job_id) WHERE kind IS NOT NULL;
CREATE INDEX jobs_by_owner ON progressd.jobs (owner, created_at, job_id) WHERE owner IS NOT NULL;
CREATE INDEX jobs_by_parent ON progressd.jobs (parent_id, created_at, job_id) WHERE parent_id IS NOT NULL;
CREATE INDEX jobs_by_tag ON progressd.jobs USING gin (tags);
-- What a start and the runners look for.
CREATE INDEX jobs_unfinished ON progressd.jobs (created_at, job_id) WHERE finished_at IS NULL;
CREATE INDEX jobs_unfinished_by_kind ON progressd.jobs (kind, created_at, job_id)
    WHERE finished_at IS NULL AND kind IS NOT NULL;
-- What the sweeps look for.
CREATE INDEX jobs_due ON progressd.jobs (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX jobs_expiring ON progressd.jobs (expires_at) WHERE expires_at IS NOT NULL;
-- What nodes tell streams of many jobs by. It changes with the state alone, as the one above by status.
CREATE INDEX jobs_entered ON progressd.jobs (entered_xid, job_id);

-- The next four have no foreign key: they are written under the lock of the job's row alone, and leave
-- with it; a key would cost a look at that row for each of theirs.
CREATE TABLE progressd.events (
    job_no bigint NOT NULL,
    seq bigint NOT NULL,
    name text NOT NULL,
    data text NOT NULL,
    PRIMARY KEY (job_no, seq)
);

CREATE TABLE progressd.result_rows (
    job_no bigint NOT NULL,
    place bigint NOT NULL,
    content text NOT NULL,
    PRIMARY KEY (job_no, place)
);

-- Answers to reports that had an id, numbered in the order in which they were given.
CREATE TABLE progressd.answers (
    job_no bigint NOT NULL,
    report_id text COLLATE "C" NOT NULL,
    answer_no bigint NOT NULL,
    seq bigint NOT NULL,
    status text NOT NULL,
    cancel_requested boolean NOT NULL,
    answered_at timestamptz NOT NULL,
    PRIMARY KEY (job_no, report_id)
);
CREATE INDEX answers_by_age ON progressd.answers (job_no, answer_no);

CREATE TABLE progressd.inputs (
    job_no bigint PRIMARY KEY,
    format text NOT NULL,
    content bytea NOT NULL
);

-- Which node's runner works on a job. A node that is not there any more keeps its number, so that the
-- next one gets a higher.
CREATE TABLE progressd.claims (
    job_no bigint PRIMARY KEY REFERENCES progressd.jobs (job_no) ON DELETE CASCADE,
    node uuid NOT NULL,
    fence bigint NOT NULL,
    claimed_until timestamptz NOT NULL
);

-- Names of jobs that were removed.
CREATE TABLE progressd.gone (
    job_id text COLLATE "C" PRIMARY KEY,
    incarnation uuid NOT NULL,
    owner text,
    -- Its last: a later job of the name begins above it.
    seq bigint NOT NULL,
    gone_until timestamptz NOT NULL,
    -- As for a job's state; NULL where retention was over, of which everybody knows.
    removed_xid xid8,
    removed_by text
);
CREATE INDEX gone_removed ON progressd.gone (removed_xid, job_id) WHERE removed_xid IS NOT NULL;
CREATE INDEX gone_outdated ON progressd.gone (gone_until);

-- Keys of creations, and the job that each is bound to.
CREATE TABLE progressd.reservations (
    reservation text COLLATE "C" PRIMARY KEY,
    job_id text NOT NULL,
    reserved_until timestamptz NOT NULL
);
CREATE INDEX reservations_outdated ON progressd.reservations (reserved_until);

-- Values that were put once: secrets, used tickets.
CREATE TABLE progressd.put_values (
    key text COLLATE "C" PRIMARY KEY,
    content bytea NOT NULL,
    -- `infinity` for those that stay.
    kept_until timestamptz NOT NULL
);
CREATE INDEX put_values_outdated ON progressd.put_values (kept_until);

-- The server's moments are whole microseconds since 1970; here they are moments to read.
CREATE FUNCTION progressd.moment(micros bigint) RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN timestamptz 'epoch' + micros * interval '1 microsecond';

CREATE FUNCTION progressd.micros(moment timestamptz) RETURNS bigint
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (extract(epoch FROM moment) * 1000000)::bigint;

-- When time alone changes a job next, NULL when it does not; as `Job::next_deadline` in the server.
CREATE FUNCTION progressd.next_deadline(job progressd.jobs) RETURNS timestamptz
    LANGUAGE sql STABLE
    RETURN CASE WHEN job.finished_at IS NULL THEN least(
        CASE WHEN job.status = 'processing' AND job.lease_seconds > 0 AND NOT job.stalled
            THEN job.reported_at + job.lease_seconds * interval '1 second' END,
        CASE WHEN job.status = 'processing' AND job.lease_seconds > 0 AND job.stalled
            THEN job.reported_at + (job.lease_seconds + job.fail_stalled_after_seconds) * interval '1 second' END,
        CASE WHEN job.abandon_after_seconds > 0
            THEN job.reported_at + job.abandon_after_seconds * interval '1 second' END
    ) END;

-- The indexed time for this deadline: the one before as long as it is not too late.
CREATE FUNCTION progressd.next_due(before timestamptz, deadline timestamptz) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE
    RETURN CASE WHEN deadline IS NOT NULL THEN least(before, deadline) END;
