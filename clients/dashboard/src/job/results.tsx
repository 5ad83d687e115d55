// The rows that a job brought: a table by pages, and all of them as a file.

import { useSignal, type Signal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { download, reasonOf, results, type Format, type Page } from '../api';
import { brief, count } from '../format';
import { isFinished, type Status } from '../status';

const FORMATS: readonly Format[] = ['csv', 'json', 'ndjson'];

/** Rows come without a word from the stream: while the job runs they are looked for so often. */
const LOOK_AGAIN = 3_000;

/** What is shown of wide and long rows; the file has all of it. */
const MOST_COLUMNS = 40;
const MOST_LETTERS = 300;

export function Results({ status }: { status: Status }) {
  const { job_id: jobId } = status;
  const wanted = useSignal(1);
  const page = useSignal<Page | null>(null);
  const trouble = useSignal('');
  const isOver = isFinished(status);
  useEffect(() => {
    // An answer that comes after another question is not shown.
    let isOld = false;
    const load = async () => {
      try {
        const answer = await results(jobId, wanted.value);
        if (isOld) return;
        page.value = answer;
        trouble.value = '';
        // A new attempt may have fewer of them.
        wanted.value = Math.min(wanted.value, lastOf(answer));
      } catch (error) {
        if (!isOld) trouble.value = reasonOf(error);
      }
    };
    void load();
    const timer = isOver ? undefined : setInterval(() => !document.hidden && load(), LOOK_AGAIN);
    return () => {
      isOld = true;
      clearInterval(timer);
    };
  }, [jobId, isOver, wanted.value]);

  if (!page.value || page.value.total === 0) return null;
  const last = lastOf(page.value);
  return (
    <section class="card" aria-label="Results">
      <header>
        <h2>{count(page.value.total)} {page.value.total === 1 ? 'result' : 'results'}</h2>
        {FORMATS.map((format) => <Save key={format} jobId={jobId} format={format} onFailure={(reason) => { trouble.value = reason; }} />)}
      </header>
      <p class="error-text" role="alert">{trouble.value}</p>
      <Table page={page.value} />
      {last > 1 && (
        <nav class="paging" aria-label="Pages of results">
          <Turn name="First" from={wanted} to={1} />
          <Turn name="Previous" from={wanted} to={Math.max(1, wanted.value - 1)} />
          <span role="status">Page {count(wanted.value)} of {count(last)}</span>
          <Turn name="Next" from={wanted} to={Math.min(last, wanted.value + 1)} />
          <Turn name="Last" from={wanted} to={last} />
        </nav>
      )}
    </section>
  );
}

function Turn({ name, from, to }: { name: string; from: Signal<number>; to: number }) {
  return <button type="button" aria-disabled={from.value === to} onClick={() => { from.value = to; }}>{name}</button>;
}

const lastOf = ({ total, per_page: size }: Page) => Math.max(1, Math.ceil(total / size));

interface SaveProps {
  jobId: string;
  format: Format;
  onFailure: (reason: string) => void;
}

function Save({ jobId, format, onFailure }: SaveProps) {
  const isBusy = useSignal(false);
  const save = async () => {
    if (isBusy.value) return;
    isBusy.value = true;
    onFailure('');
    await download(jobId, format).catch((error: unknown) => onFailure(reasonOf(error)));
    isBusy.value = false;
  };
  const name = format.toUpperCase();
  return <button type="button" aria-disabled={isBusy.value} aria-label={`Download as ${name}`} onClick={save}>{isBusy.value ? 'Loading…' : `↓ ${name}`}</button>;
}

function Table({ page: { results: rows } }: { page: Page }) {
  const all = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const columns = all.slice(0, MOST_COLUMNS);
  const numeric = new Set(columns.filter((column) => rows.every((row) => ['number', 'undefined'].includes(typeof row[column]))));
  const kind = (column: string) => (numeric.has(column) ? 'number' : undefined);
  return (
    <>
      <div class="table" tabIndex={0} role="region" aria-label="Rows">
        <table>
          <thead><tr>{columns.map((column) => <th key={column} scope="col" class={kind(column)}>{brief(column, 60)}</th>)}</tr></thead>
          <tbody>
            {rows.map((row, index) => (
              <tr key={index}>{columns.map((column) => <Cell key={column} value={row[column]} kind={kind(column)} />)}</tr>
            ))}
          </tbody>
        </table>
      </div>
      {all.length > columns.length && <p class="pale">The files have {count(all.length - columns.length)} more columns.</p>}
    </>
  );
}

function Cell({ value, kind }: { value: unknown; kind: string | undefined }) {
  const text = value === undefined || value === null ? '' : brief(value, MOST_LETTERS);
  return <td class={kind} title={text.length > 30 ? text : undefined}><bdi>{text}</bdi></td>;
}
