-- What the server does with jobs: one call each, in a transaction of its own.
--
-- Each function says first that it is the server who writes, for as long as its transaction lasts: then
-- the triggers for workers (`0003_workers.sql`) stay away.

-- Tells every node that listens. `node` is the one that did it, which need not be told. `+` in a job's place:
-- some are new, have another state or were removed, and the tables say which.
CREATE FUNCTION progressd.notify(node text, job_id text, seq bigint) RETURNS void
    LANGUAGE sql
    RETURN pg_notify('progressd', concat_ws(' ', node, seq, job_id));

-- Tells of jobs that a node has committed before, each with its seq.
--
-- PostgreSQL lets one transaction that notifies commit at a time, in the whole cluster, and each keeps
-- the next one waiting until its commit is on disk. So commits notify of nothing: the node does it right
-- after them, for many at a time and without waiting for the disk. Measured with eight writers and a disk
-- that takes 5 ms: 1,300 commits a second instead of 150.
CREATE FUNCTION progressd.announce(node text, job_ids text[], seqs bigint[]) RETURNS void
    LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM progressd.notify(node, c.job_id, c.seq) FROM unnest(job_ids, seqs) AS c (job_id, seq);
END $$;

-- Puts a new job unless one of its name is there: then that one comes back. One whose retention has
-- ended gives way. The seq is above those of all earlier jobs of the name. `patience_ms` as in
-- `commit`; without it the session's own setting counts.
CREATE FUNCTION progressd.create(
    origin json, face json, data json, result json, format text, content bytea,
    seq bigint, must_be_new boolean, now bigint, node text, patience_ms integer
) RETURNS TABLE (outcome text, first bigint, stored progressd.jobs, answers json)
    LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    wanted record;
    at timestamptz := progressd.moment(now);
    before_it bigint;
    removed uuid;
    created progressd.jobs;
BEGIN
    PERFORM set_config('progressd.writer', 'server', true),
        set_config('lock_timeout', coalesce(patience_ms || 'ms', current_setting('lock_timeout')), true);
    SELECT * INTO wanted FROM json_to_record(origin) AS o (
        job_id text, incarnation uuid, kind text, unit text, owner text, tags text[], parent_id text,
        created_at bigint, lease_seconds bigint, fail_stalled_after_seconds bigint, ttl_seconds bigint,
        abandon_after_seconds bigint, digest text
    );
    LOOP
        SELECT * INTO stored FROM progressd.jobs AS j WHERE j.job_id = wanted.job_id;
        IF FOUND AND (stored.expires_at IS NULL OR stored.expires_at > at) THEN
            outcome := 'exists';
            RETURN NEXT;
            RETURN;
        END IF;
        IF FOUND THEN
            PERFORM progressd.remove(stored.job_id, stored.incarnation, now, '', patience_ms);
        END IF;
        SELECT g.seq, g.incarnation INTO before_it, removed FROM progressd.gone AS g WHERE g.job_id = wanted.job_id;
        IF FOUND AND must_be_new THEN
            outcome := 'gone';
            RETURN NEXT;
            RETURN;
        END IF;
        first := coalesce(seq, greatest(before_it + 1, progressd.micros(clock_timestamp())));
        INSERT INTO progressd.jobs AS j (
            job_id, incarnation, kind, unit, owner, tags, parent_id, created_at, lease_seconds,
            fail_stalled_after_seconds, ttl_seconds, abandon_after_seconds, digest, seq, data, result,
            status, attempt, processed_count, total_count, progress_percentage, named_hundredths,
            highest_hundredths, step, message, error, rate_per_second, eta_seconds, stalled,
            cancel_requested, started_at, finished_at, updated_at, reported_at, estimator,
            deadline_at, due_at, expires_at, entered_by, former
        )
        SELECT
            wanted.job_id, wanted.incarnation, wanted.kind, wanted.unit, wanted.owner, wanted.tags,
            wanted.parent_id, progressd.moment(wanted.created_at), wanted.lease_seconds,
            wanted.fail_stalled_after_seconds, wanted.ttl_seconds, wanted.abandon_after_seconds,
            decode(wanted.digest, 'hex'), first, data, result,
            f.status, f.attempt, f.processed, f.total, trim_scale(f.shown / 100.0), f.named,
            f.highest, f.step, f.message, f.error, f.rate, f.eta, f.stalled,
            f.cancel_requested, progressd.moment(f.started_at), progressd.moment(f.finished_at),
            progressd.moment(f.updated_at), progressd.moment(f.reported_at), f.estimator,
            progressd.moment(f.deadline), progressd.moment(f.deadline), progressd.moment(f.expires_at), node,
            removed
        FROM progressd.read_face(face) AS f
        ON CONFLICT (job_id) DO NOTHING
        RETURNING * INTO created;
        EXIT WHEN FOUND;
        -- Another creation was quicker.
    END LOOP;
    DELETE FROM progressd.gone AS g WHERE g.job_id = wanted.job_id RETURNING g.incarnation INTO removed;
    IF removed = wanted.incarnation THEN
        -- Nobody has waited for this any more: it was made by a second call, and removed, before.
        RAISE EXCEPTION 'the job % was made and removed before', wanted.job_id;
    END IF;
    IF content IS NOT NULL THEN
        INSERT INTO progressd.inputs VALUES (created.job_no, format, content);
    END IF;
    outcome := 'done';
    stored := NULL;
    RETURN NEXT;
END $$;

-- The part of a job that reports change, as the server writes it.
CREATE FUNCTION progressd.read_face(face json) RETURNS TABLE (
    status text, attempt bigint, processed bigint, total bigint, named smallint, highest smallint,
    shown smallint, step text, message text, error json, rate double precision, eta bigint,
    stalled boolean, cancel_requested boolean, started_at bigint, finished_at bigint,
    updated_at bigint, reported_at bigint, estimator text, deadline bigint, expires_at bigint
)
    LANGUAGE sql IMMUTABLE
    AS $$ SELECT * FROM json_to_record(face) AS f (
        status text, attempt bigint, processed bigint, total bigint, named smallint, highest smallint,
        shown smallint, step text, message text, error json, rate double precision, eta bigint,
        stalled boolean, cancel_requested boolean, started_at bigint, finished_at bigint,
        updated_at bigint, reported_at bigint, estimator text, deadline bigint, expires_at bigint
    ) $$;

-- The answers among `wanted`, a list of report ids, that the job gave within the last day.
CREATE FUNCTION progressd.known_answers(the_job_no bigint, wanted text[], at timestamptz) RETURNS json
    LANGUAGE sql STABLE
    RETURN (
        SELECT json_agg(json_build_object(
            'report_id', a.report_id, 'seq', a.seq, 'status', a.status,
            'cancel_requested', a.cancel_requested, 'at', progressd.micros(a.answered_at)
        ) ORDER BY a.answer_no)
        FROM progressd.answers AS a
        WHERE a.job_no = the_job_no AND a.report_id = ANY (wanted)
            AND a.answered_at > at - interval '1 day'
    );

-- Applies a change that was made on `prev`: `done`, `entered` when the job has another state by it, `missing`,
-- or `conflict` with the job as it is.
--
-- One that comes a second time, since its first answer was lost, is a conflict too: its nonce is known.
-- Who waits for the row longer than `patience_ms` is told so, and nothing is done later behind its back.
CREATE FUNCTION progressd.commit(
    the_job_id text, the_incarnation uuid, prev bigint, positions bigint, the_nonce uuid, now bigint,
    face json, the_data json, the_result json, new_events json, new_rows json, new_answers json,
    most_events integer, most_event_bytes bigint, node text, patience_ms integer
) RETURNS TABLE (outcome text, first bigint, stored progressd.jobs, answers json)
    LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    job progressd.jobs;
    oldest record;
    leaving bigint;
    last bigint;
    most_answers CONSTANT bigint := 1000;
BEGIN
    PERFORM set_config('progressd.writer', 'server', true),
        set_config('lock_timeout', patience_ms || 'ms', true);
    SELECT * INTO job FROM progressd.jobs AS j
        WHERE j.job_id = the_job_id AND j.incarnation = the_incarnation FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        outcome := 'missing';
        RETURN NEXT;
        RETURN;
    END IF;
    -- Only now, under the lock: nobody adds another.
    IF new_answers IS NOT NULL THEN
        answers := progressd.known_answers(
            job.job_no, ARRAY(SELECT a ->> 'id' FROM json_array_elements(new_answers) AS a),
            progressd.moment(now));
    END IF;
    IF job.seq <> prev OR job.nonce = the_nonce OR answers IS NOT NULL THEN
        outcome := 'conflict';
        stored := job;
        RETURN NEXT;
        RETURN;
    END IF;
    first := greatest(prev + 1, progressd.micros(clock_timestamp()));
    last := CASE positions WHEN 0 THEN prev ELSE first + positions - 1 END;

    IF new_events IS NOT NULL THEN
        INSERT INTO progressd.events (job_no, seq, name, data)
            SELECT job.job_no, first + e.place - 1, e.name, e.data
            FROM json_to_recordset(new_events) AS e (place bigint, name text, data text);
        SELECT job.event_count + count(*), job.event_bytes + coalesce(sum(progressd.weight(e.name, e.data)), 0)
            INTO job.event_count, job.event_bytes
            FROM json_to_recordset(new_events) AS e (name text, data text);
        IF job.event_count > most_events OR job.event_bytes > most_event_bytes THEN
            FOR oldest IN
                SELECT e.seq, progressd.weight(e.name, e.data) AS weight
                FROM progressd.events AS e WHERE e.job_no = job.job_no ORDER BY e.seq
            LOOP
                EXIT WHEN job.event_count <= most_events AND job.event_bytes <= most_event_bytes;
                job.event_count := job.event_count - 1;
                job.event_bytes := job.event_bytes - oldest.weight;
                leaving := oldest.seq;
            END LOOP;
            DELETE FROM progressd.events AS e WHERE e.job_no = job.job_no AND e.seq <= leaving;
            -- One that was put back has lost later events than those that it still has.
            job.dropped_seq := greatest(job.dropped_seq, leaving);
        END IF;
    END IF;

    IF new_rows IS NOT NULL THEN
        INSERT INTO progressd.result_rows (job_no, place, content)
            SELECT job.job_no, job.row_count + r.number - 1, r.content
            FROM json_array_elements_text(new_rows) WITH ORDINALITY AS r (content, number);
        job.row_count := job.row_count + json_array_length(new_rows);
    END IF;

    IF new_answers IS NOT NULL THEN
        INSERT INTO progressd.answers AS a
            (job_no, report_id, answer_no, seq, status, cancel_requested, answered_at)
            SELECT job.job_no, n.id, job.answer_count + n.number,
                CASE n.place WHEN 0 THEN prev ELSE first + n.place - 1 END,
                n.status, n.cancel_requested, progressd.moment(now)
            FROM ROWS FROM (
                json_to_recordset(new_answers) AS (id text, place bigint, status text, cancel_requested boolean)
            ) WITH ORDINALITY AS n (id, place, status, cancel_requested, number)
            ON CONFLICT (job_no, report_id) DO UPDATE SET
                answer_no = excluded.answer_no, seq = excluded.seq, status = excluded.status,
                cancel_requested = excluded.cancel_requested, answered_at = excluded.answered_at;
        job.answer_count := job.answer_count + json_array_length(new_answers);
        DELETE FROM progressd.answers AS a
            WHERE a.job_no = job.job_no AND a.answer_no <= job.answer_count - most_answers;
    END IF;

    UPDATE progressd.jobs AS j SET
        status = f.status, attempt = f.attempt, processed_count = f.processed, total_count = f.total,
        progress_percentage = trim_scale(f.shown / 100.0), named_hundredths = f.named,
        highest_hundredths = f.highest, step = f.step, message = f.message, error = f.error,
        rate_per_second = f.rate, eta_seconds = f.eta, stalled = f.stalled,
        cancel_requested = f.cancel_requested, started_at = progressd.moment(f.started_at),
        finished_at = progressd.moment(f.finished_at), updated_at = progressd.moment(f.updated_at),
        -- A later sign of life that another node took stands, and every deadline is counted from it.
        reported_at = greatest(j.reported_at, progressd.moment(f.reported_at)), estimator = f.estimator,
        -- What is the same stays where it is, which matters when it is large.
        data = CASE WHEN j.data::text = the_data::text THEN j.data ELSE the_data END,
        result = CASE WHEN j.result::text = the_result::text THEN j.result ELSE the_result END,
        deadline_at = progressd.moment(f.deadline)
            + greatest(j.reported_at - progressd.moment(f.reported_at), interval '0'),
        due_at = progressd.next_due(j.due_at, progressd.moment(f.deadline)
            + greatest(j.reported_at - progressd.moment(f.reported_at), interval '0')),
        expires_at = progressd.moment(f.expires_at),
        entered_xid = CASE j.status WHEN f.status THEN j.entered_xid ELSE pg_current_xact_id() END,
        entered_by = CASE j.status WHEN f.status THEN j.entered_by ELSE node END,
        seq = last, nonce = the_nonce, event_count = job.event_count, event_bytes = job.event_bytes,
        dropped_seq = job.dropped_seq, row_count = job.row_count, answer_count = job.answer_count
    FROM progressd.read_face(face) AS f
    WHERE j.job_id = the_job_id
    RETURNING CASE j.status WHEN job.status THEN 'done' ELSE 'entered' END INTO outcome;
    RETURN NEXT;
END $$;

-- What a kept event weighs against the bounds: its text, and what a row costs besides.
CREATE FUNCTION progressd.weight(name text, data text) RETURNS bigint
    LANGUAGE sql IMMUTABLE
    RETURN 128 + octet_length(name) + octet_length(data);

-- Puts a job back as it is, unless another of its name, or a newer state, is there, or it was removed.
CREATE FUNCTION progressd.put_back(
    origin json, face json, the_data json, the_result json, the_seq bigint, the_nonce uuid, now bigint,
    node text, patience_ms integer
) RETURNS void
    LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    the_job_id text := origin ->> 'job_id';
    the_incarnation uuid := origin ->> 'incarnation';
    met record;
BEGIN
    SELECT c.outcome, (c.stored).incarnation AS incarnation, (c.stored).seq AS seq INTO met
        FROM progressd.create(origin, face, the_data, the_result, NULL, NULL, the_seq, true, now,
            node, patience_ms) AS c;
    IF met.outcome = 'exists' AND met.incarnation = the_incarnation AND met.seq < the_seq THEN
        -- A copy that was behind took its place: the state that it had not heard of comes on top.
        SELECT c.outcome INTO met
            FROM progressd.commit(the_job_id, the_incarnation, met.seq, 1, the_nonce, now, face, the_data,
                the_result, NULL, NULL, NULL, 0, 0, node, patience_ms) AS c;
    END IF;
    IF met.outcome IN ('done', 'entered') THEN
        -- Which events it had of late nobody knows any more: whoever asks for some is told of a gap.
        UPDATE progressd.jobs AS j SET seq = the_seq, dropped_seq = the_seq
            WHERE j.job_id = the_job_id;
        PERFORM progressd.notify(node, the_job_id, the_seq), progressd.notify(node, '+', 0);
    END IF;
END $$;

-- Removes a job; says whether it was there. `patience_ms` as in `create`.
CREATE FUNCTION progressd.remove(
    the_job_id text, the_incarnation uuid, gone_until bigint, node text, patience_ms integer
) RETURNS boolean
    LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    job progressd.jobs;
    -- When retention ends everybody knows without being told.
    told_by xid8;
BEGIN
    PERFORM set_config('progressd.writer', 'server', true),
        set_config('lock_timeout', coalesce(patience_ms || 'ms', current_setting('lock_timeout')), true);
    DELETE FROM progressd.jobs AS j
        WHERE j.job_id = the_job_id AND j.incarnation = the_incarnation
        RETURNING * INTO job;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM progressd.events AS e WHERE e.job_no = job.job_no;
    DELETE FROM progressd.result_rows AS r WHERE r.job_no = job.job_no;
    DELETE FROM progressd.answers AS a WHERE a.job_no = job.job_no;
    DELETE FROM progressd.inputs AS i WHERE i.job_no = job.job_no;
    told_by := CASE WHEN job.expires_at <= clock_timestamp() THEN NULL ELSE pg_current_xact_id() END;
    INSERT INTO progressd.gone AS g
        VALUES (job.job_id, job.incarnation, job.owner, job.seq, progressd.moment(gone_until), told_by, node)
        ON CONFLICT (job_id) DO UPDATE SET
            incarnation = excluded.incarnation, owner = excluded.owner, seq = excluded.seq,
            gone_until = excluded.gone_until, removed_xid = excluded.removed_xid,
            removed_by = excluded.removed_by;
    PERFORM progressd.notify(node, job.job_id, job.seq);
    IF told_by IS NOT NULL THEN
        PERFORM progressd.notify(node, '+', 0);
    END IF;
    RETURN true;
END $$;

-- Removes up to `most` jobs whose retention has ended, and forgets names, keys and values whose time is
-- over; says how many jobs it removed. What another node is at is left to it.
CREATE FUNCTION progressd.expire(
    now bigint, gone_seconds bigint, most integer, node text, patience_ms integer
) RETURNS bigint
    LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    at timestamptz := progressd.moment(now);
    removed bigint;
BEGIN
    PERFORM set_config('lock_timeout', patience_ms || 'ms', true);
    DELETE FROM progressd.gone AS g WHERE g.job_id IN (
        SELECT o.job_id FROM progressd.gone AS o WHERE o.gone_until <= at
        ORDER BY o.gone_until LIMIT most FOR UPDATE SKIP LOCKED);
    DELETE FROM progressd.reservations AS r WHERE r.reservation IN (
        SELECT o.reservation FROM progressd.reservations AS o WHERE o.reserved_until <= at
        ORDER BY o.reserved_until LIMIT most FOR UPDATE SKIP LOCKED);
    DELETE FROM progressd.put_values AS v WHERE v.key IN (
        SELECT o.key FROM progressd.put_values AS o WHERE o.kept_until <= at
        ORDER BY o.kept_until LIMIT most FOR UPDATE SKIP LOCKED);
    WITH outdated AS MATERIALIZED (
        SELECT j.job_id, j.incarnation, j.expires_at FROM progressd.jobs AS j WHERE j.expires_at <= at
        ORDER BY j.expires_at LIMIT most FOR UPDATE SKIP LOCKED
    )
    SELECT count(*) INTO removed FROM outdated AS o
        WHERE progressd.remove(o.job_id, o.incarnation,
            progressd.micros(o.expires_at) + gone_seconds * 1000000, node, patience_ms);
    RETURN removed;
END $$;

-- Unfinished jobs whose deadline is not after `now`. Those that were indexed too early are indexed anew.
-- One whose row somebody holds is left out: nobody could change it now, and whoever tried would keep the
-- others waiting.
CREATE FUNCTION progressd.due(now bigint, most integer) RETURNS SETOF text
    LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    at timestamptz := progressd.moment(now);
BEGIN
    PERFORM set_config('progressd.writer', 'server', true);
    UPDATE progressd.jobs AS j SET due_at = j.deadline_at WHERE j.job_id IN (
        SELECT o.job_id FROM progressd.jobs AS o WHERE o.due_at <= at AND o.deadline_at > at
        ORDER BY o.due_at LIMIT 10000 FOR NO KEY UPDATE SKIP LOCKED);
    RETURN QUERY SELECT j.job_id FROM progressd.jobs AS j
        WHERE j.due_at <= at AND j.deadline_at <= at ORDER BY j.due_at LIMIT most
        FOR NO KEY UPDATE SKIP LOCKED;
END $$;

-- Binds a key to a job's name unless it is bound already; what it is bound to.
CREATE FUNCTION progressd.reserve(key text, the_job_id text, now bigint, until bigint) RETURNS text
    LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    bound text;
BEGIN
    LOOP
        INSERT INTO progressd.reservations AS r (reservation, job_id, reserved_until)
            VALUES (key, the_job_id, progressd.moment(until))
            ON CONFLICT (reservation) DO UPDATE SET
                job_id = excluded.job_id, reserved_until = excluded.reserved_until
                WHERE r.reserved_until <= progressd.moment(now)
            RETURNING r.job_id INTO bound;
        IF FOUND THEN
            RETURN bound;
        END IF;
        SELECT r.job_id INTO bound FROM progressd.reservations AS r WHERE r.reservation = key;
        IF FOUND THEN
            RETURN bound;
        END IF;
        -- It was forgotten between the two.
    END LOOP;
END $$;

-- Puts a value unless there is one; the value that is there then. Without an end it stays.
CREATE FUNCTION progressd.put_if_absent(the_key text, value bytea, now bigint, until bigint) RETURNS bytea
    LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    found_value bytea;
BEGIN
    LOOP
        INSERT INTO progressd.put_values AS v (key, content, kept_until)
            VALUES (the_key, value, coalesce(progressd.moment(until), 'infinity'))
            ON CONFLICT (key) DO UPDATE SET content = excluded.content, kept_until = excluded.kept_until
                WHERE v.kept_until <= progressd.moment(now)
            RETURNING v.content INTO found_value;
        IF FOUND THEN
            RETURN found_value;
        END IF;
        SELECT v.content INTO found_value FROM progressd.put_values AS v WHERE v.key = the_key;
        IF FOUND THEN
            RETURN found_value;
        END IF;
    END LOOP;
END $$;

-- Takes a job for a node's runner, or renews what was taken; NULL while another node has it. The number
-- rises with each node that takes it after another.
CREATE FUNCTION progressd.claim(
    the_job_id text, the_incarnation uuid, the_node uuid, ttl_micros bigint
) RETURNS bigint
    LANGUAGE sql AS $$
    INSERT INTO progressd.claims AS c (job_no, node, fence, claimed_until)
        SELECT j.job_no, the_node, 1, clock_timestamp() + ttl_micros * interval '1 microsecond'
        FROM progressd.jobs AS j
        WHERE j.job_id = the_job_id AND j.incarnation = the_incarnation
        ON CONFLICT (job_no) DO UPDATE SET
            node = excluded.node, claimed_until = excluded.claimed_until,
            fence = c.fence + CASE WHEN c.node = excluded.node THEN 0 ELSE 1 END
            WHERE c.node = excluded.node OR c.claimed_until <= clock_timestamp()
        RETURNING c.fence
$$;

CREATE FUNCTION progressd.release(the_job_id text, the_incarnation uuid, the_node uuid) RETURNS void
    LANGUAGE sql AS $$
    UPDATE progressd.claims AS c SET claimed_until = '-infinity'
        FROM progressd.jobs AS j
        WHERE j.job_id = the_job_id AND j.incarnation = the_incarnation AND c.job_no = j.job_no
            AND c.node = the_node
$$;
