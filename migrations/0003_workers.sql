-- Workers that write plain SQL: what an UPDATE of `progressd.jobs` does, and how a job is made.
--
-- An UPDATE is a report, by the same rules as over HTTP (`src/job/step.rs`): the columns that it names
-- are the fields that it brings. What differs: `data` is put as it is, not merged, since whoever writes
-- SQL can read what is there; rate and remaining time are not known; bounds are the defaults, whatever
-- the server is configured with. What is refused, and the SQLSTATE:
--
--   PD001  the job has ended
--   PD002  a later attempt has replaced the one that the report is about
--   PD003  a value, or a change of state, that no report may bring
--   PD004  a column that is the server's own, or a statement that is

-- Notes that the UPDATE names a column, also one whose value stays the same. The bits: 1 status,
-- 2 processed_count, 4 progress_percentage, 8 step, 16 message, 32 error.
CREATE FUNCTION progressd.note_column() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.named_columns := NEW.named_columns | TG_ARGV[0]::smallint;
    RETURN NEW;
END $$;

-- The percentage in hundredths by the counts, or what the worker named; as `Progress` in the server.
CREATE FUNCTION progressd.hundredths(total bigint, processed bigint, named smallint) RETURNS smallint
    LANGUAGE sql IMMUTABLE
    RETURN CASE
        WHEN total IS NULL OR (processed IS NULL AND named IS NOT NULL) THEN named
        WHEN coalesce(processed, 0) = 0 THEN 0::smallint
        WHEN processed >= total THEN 10000::smallint
        ELSE div(processed::numeric * 10000, total::numeric)::smallint
    END;

CREATE FUNCTION progressd.refuse(sqlstate_of_it text, reason text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = sqlstate_of_it, MESSAGE = reason;
END $$;

-- Refuses what common parsers of JSON do not read, or what is too large: `data` and `result` are handed
-- to every watcher.
CREATE FUNCTION progressd.check_json(field text, value json) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    -- Refuses lone surrogates and NUL by itself.
    tree jsonb := value::jsonb;
BEGIN
    IF octet_length(value::text) > 65536 THEN
        PERFORM progressd.refuse('PD003', field || ' must have at most 65536 bytes as JSON');
    END IF;
    IF jsonb_path_exists(tree, 'strict $.**{127 to last}') THEN
        PERFORM progressd.refuse('PD003', field || ' must be less than 128 levels deep');
    END IF;
    IF jsonb_path_exists(tree,
        'strict $.** ? (@.type() == "number" && (@ > 1.7976931348623157e308 || @ < -1.7976931348623157e308))')
    THEN
        PERFORM progressd.refuse('PD003', field || ' must have no number that a double cannot hold');
    END IF;
END $$;

CREATE FUNCTION progressd.check_text(field text, value text, most integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF char_length(value) > most THEN
        PERFORM progressd.refuse('PD003', format('%s must have at most %s characters', field, most));
    END IF;
END $$;

-- An error as it is kept: an object with code and message, either of which may be left out, or a string,
-- which is the message.
CREATE FUNCTION progressd.read_error(error json) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    code text := 'JOB_FAILED';
    message text := 'Job failed';
BEGIN
    IF json_typeof(error) = 'string' THEN
        message := error #>> '{}';
    ELSIF json_typeof(error) = 'object' THEN
        IF EXISTS (
            SELECT FROM json_each(error) AS e
            WHERE e.key NOT IN ('code', 'message') OR json_typeof(e.value) <> 'string')
        THEN
            PERFORM progressd.refuse('PD003', 'error must have no fields but code and message, which are strings');
        END IF;
        code := coalesce(error ->> 'code', code);
        message := coalesce(error ->> 'message', message);
    ELSE
        PERFORM progressd.refuse('PD003', 'error must be an object with code and message, or a string');
    END IF;
    IF code = '' THEN
        PERFORM progressd.refuse('PD003', 'error.code must not be empty');
    END IF;
    PERFORM progressd.check_text('error.code', code, 64), progressd.check_text('error.message', message, 1000);
    RETURN json_build_object('code', code, 'message', message);
END $$;

-- Applies the rules to a worker's UPDATE.
CREATE FUNCTION progressd.take_report() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    at timestamptz := clock_timestamp();
    names_status CONSTANT boolean := NEW.named_columns & 1 > 0;
    names_count CONSTANT boolean := NEW.named_columns & 2 > 0 AND NEW.processed_count IS NOT NULL;
    names_percentage CONSTANT boolean := NEW.named_columns & 4 > 0 AND NEW.progress_percentage IS NOT NULL;
    names_step CONSTANT boolean := NEW.named_columns & 8 > 0;
    names_message CONSTANT boolean := NEW.named_columns & 16 > 0;
    names_error CONSTANT boolean := NEW.named_columns & 32 > 0 AND NEW.error IS NOT NULL;
    is_retry CONSTANT boolean := NEW.attempt > OLD.attempt;
    most_count CONSTANT bigint := 9007199254740991;
    processed bigint;
    named smallint;
    highest smallint;
BEGIN
    NEW.named_columns := 0;
    IF ROW(
        NEW.job_id, NEW.rate_per_second, NEW.eta_seconds, NEW.stalled, NEW.cancel_requested, NEW.created_at,
        NEW.started_at, NEW.updated_at, NEW.finished_at, NEW.seq, NEW.kind, NEW.unit, NEW.owner, NEW.tags,
        NEW.parent_id, NEW.job_no, NEW.incarnation, NEW.digest, NEW.lease_seconds,
        NEW.fail_stalled_after_seconds, NEW.ttl_seconds, NEW.abandon_after_seconds, NEW.reported_at,
        NEW.named_hundredths, NEW.highest_hundredths, NEW.estimator, NEW.nonce, NEW.deadline_at, NEW.due_at,
        NEW.expires_at, NEW.entered_xid, NEW.entered_by, NEW.event_count, NEW.event_bytes, NEW.dropped_seq,
        NEW.row_count, NEW.answer_count, NEW.former
    ) IS DISTINCT FROM ROW(
        OLD.job_id, OLD.rate_per_second, OLD.eta_seconds, OLD.stalled, OLD.cancel_requested, OLD.created_at,
        OLD.started_at, OLD.updated_at, OLD.finished_at, OLD.seq, OLD.kind, OLD.unit, OLD.owner, OLD.tags,
        OLD.parent_id, OLD.job_no, OLD.incarnation, OLD.digest, OLD.lease_seconds,
        OLD.fail_stalled_after_seconds, OLD.ttl_seconds, OLD.abandon_after_seconds, OLD.reported_at,
        OLD.named_hundredths, OLD.highest_hundredths, OLD.estimator, OLD.nonce, OLD.deadline_at, OLD.due_at,
        OLD.expires_at, OLD.entered_xid, OLD.entered_by, OLD.event_count, OLD.event_bytes, OLD.dropped_seq,
        OLD.row_count, OLD.answer_count, OLD.former
    ) THEN
        PERFORM progressd.refuse('PD004', 'a worker writes status, processed_count, total_count, '
            'progress_percentage, step, message, data, result, error and attempt; the rest is the server''s');
    END IF;

    IF OLD.finished_at IS NOT NULL AND names_status AND NEW.status = OLD.status THEN
        -- The same end once more: a worker that does not know of its success asks again.
        RETURN OLD;
    END IF;
    IF OLD.finished_at IS NOT NULL THEN
        PERFORM progressd.refuse('PD001', format('the job %s has ended: it is %s', OLD.job_id, OLD.status));
    END IF;

    -- Values. What a column's own check would refuse too is refused here in words.
    IF NEW.attempt IS NULL OR NEW.attempt NOT BETWEEN 1 AND 4294967295 THEN
        PERFORM progressd.refuse('PD003', 'attempt must be an integer from 1 to 4294967295');
    END IF;
    IF NEW.attempt < OLD.attempt THEN
        PERFORM progressd.refuse('PD002',
            format('attempt %s was replaced by attempt %s', NEW.attempt, OLD.attempt));
    END IF;
    IF NEW.status IS NULL OR NEW.status NOT IN ('pending', 'processing', 'completed', 'failed', 'cancelled') THEN
        PERFORM progressd.refuse('PD003', 'status must be pending, processing, completed, failed or cancelled');
    END IF;
    IF names_status AND NEW.status = 'pending' AND OLD.status = 'processing' AND NOT is_retry THEN
        PERFORM progressd.refuse('PD003', 'a processing job becomes pending only with a higher attempt');
    END IF;
    IF NOT is_retry AND (
        (NEW.processed_count IS NULL AND OLD.processed_count IS NOT NULL)
        OR (NEW.progress_percentage IS NULL AND OLD.progress_percentage IS NOT NULL)
        OR (NEW.error IS NULL AND OLD.error IS NOT NULL))
        OR (NEW.result IS NULL AND OLD.result IS NOT NULL)
    THEN
        PERFORM progressd.refuse('PD003', 'only step, message, total_count and data can be cleared');
    END IF;
    IF NEW.processed_count NOT BETWEEN 0 AND most_count OR NEW.total_count NOT BETWEEN 0 AND most_count THEN
        PERFORM progressd.refuse('PD003', 'counts must be integers from 0 to 9007199254740991');
    END IF;
    -- NaN is above every number.
    IF NEW.progress_percentage NOT BETWEEN 0 AND 100 THEN
        PERFORM progressd.refuse('PD003', 'progress_percentage must be a number from 0 to 100');
    END IF;
    PERFORM progressd.check_text('step', NEW.step, 200), progressd.check_text('message', NEW.message, 1000);
    IF NEW.data::text IS DISTINCT FROM OLD.data::text THEN
        PERFORM progressd.check_json('data', NEW.data);
        IF json_typeof(NEW.data) <> 'object' THEN
            PERFORM progressd.refuse('PD003', 'data must be an object');
        END IF;
    END IF;
    IF NEW.result::text IS DISTINCT FROM OLD.result::text THEN
        PERFORM progressd.check_json('result', NEW.result);
        IF json_typeof(NEW.result) = 'null' THEN
            PERFORM progressd.refuse('PD003', 'result must not be null');
        END IF;
    END IF;

    -- A sign of life.
    NEW.reported_at := greatest(OLD.reported_at, at);
    NEW.stalled := false;

    -- A new attempt begins anew, but for the total and data.
    IF is_retry THEN
        processed := NULL;
        named := NULL;
        highest := 0;
        IF NOT names_step THEN NEW.step := NULL; END IF;
        IF NOT names_message THEN NEW.message := NULL; END IF;
    ELSE
        processed := OLD.processed_count;
        named := OLD.named_hundredths;
        highest := OLD.highest_hundredths;
    END IF;
    -- Neither counts nor the percentage go down: each value counts before the next is looked at.
    IF NEW.total_count IS DISTINCT FROM OLD.total_count THEN
        highest := greatest(highest, progressd.hundredths(NEW.total_count, processed, named));
    END IF;
    IF names_count THEN
        processed := greatest(processed, NEW.processed_count);
        highest := greatest(highest, progressd.hundredths(NEW.total_count, processed, named));
    END IF;
    IF names_percentage THEN
        named := greatest(named, floor(NEW.progress_percentage * 100)::smallint);
        highest := greatest(highest, progressd.hundredths(NEW.total_count, processed, named));
    END IF;
    NEW.processed_count := processed;
    NEW.named_hundredths := named;
    NEW.highest_hundredths := highest;
    NEW.progress_percentage := trim_scale(
        greatest(highest, progressd.hundredths(NEW.total_count, processed, named)) / 100.0);
    IF progressd.hundredths(NEW.total_count, processed, named) IS NULL THEN
        NEW.progress_percentage := NULL;
    END IF;

    IF NOT names_status THEN
        NEW.status := 'processing';
    END IF;
    IF NEW.status <> 'pending' THEN
        NEW.started_at := coalesce(OLD.started_at, at);
    END IF;
    IF names_error THEN
        NEW.error := progressd.read_error(NEW.error);
    ELSIF is_retry OR NEW.status = 'completed' THEN
        -- A reason that an earlier attempt failed is no part of a success.
        NEW.error := NULL;
    END IF;
    IF NEW.status = 'failed' AND NEW.error IS NULL THEN
        NEW.error := progressd.read_error('{}');
    END IF;
    IF NEW.status IN ('completed', 'failed', 'cancelled') THEN
        NEW.finished_at := at;
        IF NEW.status = 'completed' THEN
            NEW.progress_percentage := 100;
        END IF;
    END IF;
    NEW.rate_per_second := NULL;
    NEW.eta_seconds := NULL;
    NEW.estimator := NULL;

    IF ROW(
        NEW.status, NEW.attempt, NEW.processed_count, NEW.total_count, NEW.named_hundredths,
        NEW.highest_hundredths, NEW.step, NEW.message, NEW.rate_per_second, NEW.eta_seconds, NEW.stalled,
        NEW.data::text, NEW.result::text, NEW.error::text, NEW.started_at
    ) IS DISTINCT FROM ROW(
        OLD.status, OLD.attempt, OLD.processed_count, OLD.total_count, OLD.named_hundredths,
        OLD.highest_hundredths, OLD.step, OLD.message, OLD.rate_per_second, OLD.eta_seconds, OLD.stalled,
        OLD.data::text, OLD.result::text, OLD.error::text, OLD.started_at
    ) THEN
        NEW.updated_at := at;
        NEW.seq := greatest(OLD.seq + 1, progressd.micros(at));
        NEW.nonce := NULL;
        PERFORM progressd.notify('', NEW.job_id, NEW.seq);
    END IF;
    IF NEW.status <> OLD.status THEN
        NEW.entered_xid := pg_current_xact_id();
        NEW.entered_by := '';
        PERFORM progressd.notify('', '+', 0);
    END IF;
    NEW.deadline_at := progressd.next_deadline(NEW);
    NEW.due_at := progressd.next_due(OLD.due_at, NEW.deadline_at);
    NEW.expires_at := NEW.finished_at + NEW.ttl_seconds * interval '1 second';
    RETURN NEW;
END $$;

-- PostgreSQL fires them in the order of their names: the last one finds all columns noted.
CREATE TRIGGER a_note_status BEFORE UPDATE OF status ON progressd.jobs FOR EACH ROW
    WHEN (current_setting('progressd.writer', true) IS DISTINCT FROM 'server')
    EXECUTE FUNCTION progressd.note_column('1');
CREATE TRIGGER a_note_processed_count BEFORE UPDATE OF processed_count ON progressd.jobs FOR EACH ROW
    WHEN (current_setting('progressd.writer', true) IS DISTINCT FROM 'server')
    EXECUTE FUNCTION progressd.note_column('2');
CREATE TRIGGER a_note_progress_percentage BEFORE UPDATE OF progress_percentage ON progressd.jobs FOR EACH ROW
    WHEN (current_setting('progressd.writer', true) IS DISTINCT FROM 'server')
    EXECUTE FUNCTION progressd.note_column('4');
CREATE TRIGGER a_note_step BEFORE UPDATE OF step ON progressd.jobs FOR EACH ROW
    WHEN (current_setting('progressd.writer', true) IS DISTINCT FROM 'server')
    EXECUTE FUNCTION progressd.note_column('8');
CREATE TRIGGER a_note_message BEFORE UPDATE OF message ON progressd.jobs FOR EACH ROW
    WHEN (current_setting('progressd.writer', true) IS DISTINCT FROM 'server')
    EXECUTE FUNCTION progressd.note_column('16');
CREATE TRIGGER a_note_error BEFORE UPDATE OF error ON progressd.jobs FOR EACH ROW
    WHEN (current_setting('progressd.writer', true) IS DISTINCT FROM 'server')
    EXECUTE FUNCTION progressd.note_column('32');
-- Anybody may say that he is the server; but a worker's role may not do what the server does.
CREATE TRIGGER b_take_report BEFORE UPDATE ON progressd.jobs FOR EACH ROW
    WHEN (current_setting('progressd.writer', true) IS DISTINCT FROM 'server'
        OR NOT has_table_privilege('progressd.jobs'::regclass, 'DELETE'))
    EXECUTE FUNCTION progressd.take_report();

-- A job is more than its row.
CREATE FUNCTION progressd.refuse_statement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM progressd.refuse('PD004', TG_ARGV[0]);
    RETURN NULL;
END $$;
CREATE TRIGGER refuse_insert BEFORE INSERT ON progressd.jobs FOR EACH ROW
    WHEN (current_setting('progressd.writer', true) IS DISTINCT FROM 'server')
    EXECUTE FUNCTION progressd.refuse_statement('make a job with SELECT progressd.create_job(…)');
CREATE TRIGGER refuse_delete BEFORE DELETE ON progressd.jobs FOR EACH ROW
    WHEN (current_setting('progressd.writer', true) IS DISTINCT FROM 'server')
    EXECUTE FUNCTION progressd.refuse_statement('jobs are removed over HTTP, or by themselves after their end');

-- Makes a job; the name that it has. For roles that it is granted to.
CREATE FUNCTION progressd.create_job(
    job_id text DEFAULT NULL, kind text DEFAULT NULL, total_count bigint DEFAULT NULL, unit text DEFAULT NULL,
    owner text DEFAULT NULL, tags text[] DEFAULT '{}', parent_id text DEFAULT NULL, data json DEFAULT NULL,
    lease_seconds bigint DEFAULT 60, fail_stalled_after_seconds bigint DEFAULT NULL,
    ttl_seconds bigint DEFAULT 86400, abandon_after_seconds bigint DEFAULT 604800
) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    name text := coalesce(job_id, gen_random_uuid()::text);
    now bigint := progressd.micros(clock_timestamp());
    most_seconds CONSTANT bigint := 10 * 365 * 86400;
    most_count CONSTANT bigint := 9007199254740991;
    deadline bigint := CASE WHEN abandon_after_seconds > 0 THEN now + abandon_after_seconds * 1000000 END;
    tag text;
    seconds bigint;
    outcome text;
BEGIN
    FOREACH tag IN ARRAY ARRAY[name, parent_id] LOOP
        IF tag !~ '^[A-Za-z0-9._~:@-]{1,128}$' OR tag IN ('.', '..') THEN
            PERFORM progressd.refuse('PD003', 'the name of a job must be 1 to 128 of A-Z a-z 0-9 . _ ~ : @ -');
        END IF;
    END LOOP;
    IF '' IN (kind, unit, owner) OR '' = ANY (tags) OR array_position(tags, NULL) IS NOT NULL THEN
        PERFORM progressd.refuse('PD003', 'kind, unit, owner and tags must not be empty');
    END IF;
    IF cardinality(tags) > 20 OR array_ndims(tags) > 1 THEN
        PERFORM progressd.refuse('PD003', 'tags must have at most 20 entries');
    END IF;
    PERFORM progressd.check_text('kind', kind, 64), progressd.check_text('unit', unit, 64),
        progressd.check_text('owner', owner, 255);
    FOREACH tag IN ARRAY coalesce(tags, '{}') LOOP
        PERFORM progressd.check_text('a tag', tag, 64);
    END LOOP;
    FOREACH seconds IN ARRAY ARRAY[
        lease_seconds, coalesce(fail_stalled_after_seconds, 0), ttl_seconds, abandon_after_seconds
    ] LOOP
        IF seconds IS NULL OR seconds NOT BETWEEN 0 AND most_seconds THEN
            PERFORM progressd.refuse('PD003', format('times must be 0 to %s seconds', most_seconds));
        END IF;
    END LOOP;
    IF total_count NOT BETWEEN 0 AND most_count THEN
        PERFORM progressd.refuse('PD003', 'counts must be integers from 0 to 9007199254740991');
    END IF;
    IF data IS NOT NULL THEN
        PERFORM progressd.check_json('data', data);
        IF json_typeof(data) <> 'object' THEN
            PERFORM progressd.refuse('PD003', 'data must be an object');
        END IF;
    END IF;
    SELECT c.outcome INTO outcome FROM progressd.create(
        json_build_object(
            'job_id', name, 'incarnation', gen_random_uuid(), 'kind', kind, 'unit', unit, 'owner', owner,
            'tags', coalesce(tags, '{}'), 'parent_id', parent_id, 'created_at', now,
            'lease_seconds', lease_seconds, 'fail_stalled_after_seconds', fail_stalled_after_seconds,
            'ttl_seconds', ttl_seconds, 'abandon_after_seconds', abandon_after_seconds,
            -- That of no request: a creation over HTTP is never a repetition of this one.
            'digest', encode(sha256(uuid_send(gen_random_uuid())), 'hex')),
        json_build_object(
            'status', 'pending', 'attempt', 1, 'total', total_count,
            'shown', CASE WHEN total_count IS NOT NULL THEN 0 END, 'highest', 0, 'stalled', false,
            'cancel_requested', false, 'updated_at', now, 'reported_at', now, 'deadline', deadline),
        data, NULL, NULL, NULL, NULL, false, now, '', NULL) AS c;
    PERFORM set_config('progressd.writer', '', true);
    IF outcome <> 'done' THEN
        RAISE unique_violation USING MESSAGE = format('a job named %s exists', name);
    END IF;
    PERFORM progressd.notify('', '+', 0);
    RETURN name;
END $$;
-- It makes jobs with the rights of whoever owns the schema.
REVOKE ALL ON FUNCTION progressd.create_job FROM PUBLIC;
