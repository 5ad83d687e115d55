// One job: how far it is, what it says, what it brought, and what can be done with it.

import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { cancelJob, deleteJob, download, lacks, Refused, results, type Format, type Page } from './api';
import { now } from './board';
import { Chart } from './chart';
import { ago, count, moment, percent, rate, span, timeOfDay } from './format';
import { follow, type LogLine } from './live';
import { Badge, Bar, Fact } from './parts';
import { addressOfJob, addressOfList } from './route';
import { isFinished, WORDS, moodOf, type Status } from './status';

/** Lines of the log that are shown. */
const MOST_LINES = 500;

export function Job({ jobId }: { jobId: string }) {
  const status = useSignal<Status | null>(null);
  const log = useSignal<LogLine[]>([]);
  const trouble = useSignal('');
  useEffect(() => {
    const watch = follow(jobId, {
      onStatus: (news) => {
        status.value = news;
      },
      onLines: (lines) => {
        log.value = [...log.value, ...lines].slice(-MOST_LINES);
      },
      onFailure: (message) => {
        trouble.value = message;
      },
    });
    return () => watch.close();
  }, [jobId]);

  return (
    <main id="content" class="scrolls">
      <a href={addressOfList({ mood: '', kind: '', tag: '', text: '' })}>← All jobs</a>
      {trouble.value && <p class="card alert" role="alert">{trouble.value}</p>}
      {status.value
        ? <Shown status={status.value} log={log.value} />
        : !trouble.value && <p class="notice card">Looking for the job…</p>}
    </main>
  );
}

function Shown({ status, log }: { status: Status; log: LogLine[] }) {
  return (
    <>
      <Head status={status} />
      {status.error && (
        <section class="card alert" role="alert">
          <h2>{status.error.code}</h2>
          {status.error.message}
        </section>
      )}
      <div class="columns">
        <Chart status={status} />
        <Log lines={log} hasGap={status.gap === true} />
      </div>
      <Results status={status} />
      <Json name="Data" value={status.data} />
      <Json name="Result" value={status.result} />
    </>
  );
}

function Head({ status }: { status: Status }) {
  const { job_id: jobId, processed_count: done, total_count: all, unit } = status;
  const seconds = status.started_at && (Date.parse(status.finished_at ?? new Date(now.value).toISOString()) - Date.parse(status.started_at)) / 1000;
  return (
    <section class="card">
      <div class="title">
        <h1>{jobId}</h1>
        <Badge status={status} />
        <Actions status={status} />
      </div>
      <p class="hidden" role="status">{`${jobId}: ${WORDS[moodOf(status)]}`}</p>
      <p>
        {status.step && <strong>{status.step}</strong>} {status.step && status.message && '· '}{status.message}
        {!status.step && !status.message && <span class="pale">No message</span>}
      </p>
      <div class="figures">
        <strong>{status.progress_percentage === null ? '' : percent(status.progress_percentage)}</strong>
        <span>{done !== null && count(done)}{all !== null && ` of ${count(all)}`} {done !== null && unit}</span>
      </div>
      <Bar status={status} label={`Progress of ${jobId}`} large />
      <dl class="facts">
        {status.eta_seconds !== null && <Fact name="Remaining">{span(status.eta_seconds)}</Fact>}
        {status.rate_per_second !== null && <Fact name="Rate">{rate(status.rate_per_second, unit)}</Fact>}
        {typeof seconds === 'number' && <Fact name={status.finished_at ? 'Took' : 'Running for'}>{span(seconds)}</Fact>}
        <Fact name="Last news"><span title={moment(status.updated_at)}>{ago(status.updated_at, now.value)}</span></Fact>
        {status.attempt > 1 && <Fact name="Attempt">{status.attempt}</Fact>}
        {status.kind && <Fact name="Kind"><a href={addressOfList({ mood: '', kind: status.kind, tag: '', text: '' })}>{status.kind}</a></Fact>}
        {status.owner && <Fact name="Owner">{status.owner}</Fact>}
        {status.parent_id && <Fact name="Part of"><a href={addressOfJob(status.parent_id)}>{status.parent_id}</a></Fact>}
        {status.tags.length > 0 && (
          <Fact name="Tags">
            <span class="tags">
              {status.tags.map((tag) => <a key={tag} class="tag" href={addressOfList({ mood: '', kind: '', tag, text: '' })}>{tag}</a>)}
            </span>
          </Fact>
        )}
        <Fact name="Created">{moment(status.created_at)}</Fact>
        {status.finished_at && <Fact name="Ended">{moment(status.finished_at)}</Fact>}
      </dl>
    </section>
  );
}

function Actions({ status }: { status: Status }) {
  const trouble = useSignal('');
  const isSure = useSignal(false);
  const attempt = async (action: () => Promise<unknown>) => {
    trouble.value = '';
    try {
      await action();
    } catch (error) {
      trouble.value = error instanceof Refused ? error.message : 'The server does not answer.';
    }
  };
  const remove = () => attempt(async () => {
    await deleteJob(status.job_id);
    location.hash = '#/';
  });
  const { job_id: jobId } = status;
  return (
    <div class="actions">
      <span class="error-text" role="alert">{trouble.value}</span>
      {!isFinished(status) && !lacks('jobs:cancel') && (
        <button type="button" disabled={status.cancel_requested} onClick={() => attempt(() => cancelJob(jobId))}>
          {status.cancel_requested ? 'Stopping…' : 'Cancel'}
        </button>
      )}
      {!lacks('jobs:write') && (isSure.value
        ? (
          <>
            <button type="button" class="danger" onClick={remove}>Delete for good</button>
            <button type="button" onClick={() => { isSure.value = false; }}>Keep</button>
          </>
        )
        : <button type="button" onClick={() => { isSure.value = true; }}>Delete…</button>)}
    </div>
  );
}

function Log({ lines, hasGap }: { lines: LogLine[]; hasGap: boolean }) {
  return (
    <section class="card">
      <h2>Events</h2>
      {hasGap && <p class="pale">Earlier ones are no longer kept.</p>}
      {lines.length === 0 && <p class="pale">None so far.</p>}
      <div class="log" role="log" tabIndex={0} aria-label="Events">
        {lines.toReversed().map((line) => (
          <div key={line.seq}>
            <time class="pale">{timeOfDay(line.at)}</time>
            <strong>{line.name}</strong>
            <pre>{text(line.data)}</pre>
          </div>
        ))}
      </div>
    </section>
  );
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

const FORMATS: readonly Format[] = ['csv', 'json', 'ndjson'];

function Results({ status }: { status: Status }) {
  const wanted = useSignal(1);
  const page = useSignal<Page | null>(null);
  const trouble = useSignal('');
  const looked = useSignal(0);
  const load = async () => {
    try {
      page.value = await results(status.job_id, wanted.value);
      trouble.value = '';
    } catch (error) {
      trouble.value = error instanceof Refused ? error.message : 'The server does not answer.';
    }
  };
  // Rows come while the job runs: looked at with its news, and not more often than people read.
  useEffect(() => {
    const isDue = Date.now() - looked.value > 3_000 || isFinished(status);
    if (isDue) {
      looked.value = Date.now();
      void load();
    }
  }, [status.seq]);
  useEffect(() => {
    void load();
  }, [wanted.value]);

  if (!page.value || page.value.total === 0) return null;
  const { total, per_page, results: rows } = page.value;
  const last = Math.ceil(total / per_page);
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const save = (format: Format) => download(status.job_id, format).catch((error: unknown) => {
    trouble.value = error instanceof Refused ? error.message : 'The server does not answer.';
  });
  return (
    <section class="card">
      <header>
        <h2>{count(total)} results</h2>
        {FORMATS.map((format) => <button key={format} type="button" onClick={() => save(format)}>{format.toUpperCase()}</button>)}
      </header>
      <p class="error-text" role="alert">{trouble.value}</p>
      <div class="table" tabIndex={0} role="region" aria-label="Results">
        <table>
          <thead><tr>{columns.map((column) => <th key={column} scope="col">{column}</th>)}</tr></thead>
          <tbody>
            {rows.map((row, index) => (
              <tr key={index}>{columns.map((column) => <td key={column}>{column in row ? text(row[column]) : ''}</td>)}</tr>
            ))}
          </tbody>
        </table>
      </div>
      <div class="paging">
        <button type="button" disabled={wanted.value <= 1} onClick={() => { wanted.value -= 1; }}>Previous</button>
        <span>Page {count(wanted.value)} of {count(last)}</span>
        <button type="button" disabled={wanted.value >= last} onClick={() => { wanted.value += 1; }}>Next</button>
      </div>
    </section>
  );
}

function Json({ name, value }: { name: string; value: unknown }) {
  const isEmpty = value === null || value === undefined || (typeof value === 'object' && Object.keys(value).length === 0);
  if (isEmpty) return null;
  return (
    <details class="card">
      <summary>{name}</summary>
      <pre>{JSON.stringify(value, null, 2)}</pre>
    </details>
  );
}

