// One job: how far it is, what it says, what it brought, and what can be done with it.

import { useSignal } from '@preact/signals';
import { useEffect, useMemo, useRef } from 'preact/hooks';
import { courseOf } from '../board';
import type { Course } from '../course';
import { percent } from '../format';
import { follow, MOST_LINES, type LogLine } from '../live';
import { addressOfList, lastFilters } from '../route';
import { conditionOf, isName, type Status } from '../status';
import { tries, tryAgain } from '../token';
import { Chart } from './chart';
import { Head } from './head';
import { Log } from './log';
import { Results } from './results';

/** Why a job is not there, for people. */
const REASONS: Record<string, string> = {
  JOB_NOT_FOUND: 'There is no job of this name.',
  JOB_GONE: 'This job is gone: somebody removed it, or its time was over.',
};

export function Job({ jobId }: { jobId: string }) {
  const status = useSignal<Status | null>(null);
  const log = useSignal<LogLine[]>([]);
  const trouble = useSignal(isName(jobId) ? '' : 'No job can have this name.');
  const course = useMemo(() => courseOf(jobId), [jobId]);
  useEffect(() => {
    if (!isName(jobId)) return undefined;
    trouble.value = '';
    const watch = follow(jobId, {
      onStatus: (news) => {
        course.add(news);
        status.value = news;
      },
      onLines: (lines) => {
        // After another try they come from the start again.
        const newest = log.value.at(-1)?.seq ?? 0;
        log.value = [...log.value, ...lines.filter(({ seq }) => seq > newest)].slice(-MOST_LINES);
      },
      onFailure: (code, message) => {
        trouble.value = REASONS[code] ?? message;
      },
    });
    return () => watch.close();
  }, [jobId, tries.value]);
  const { value: shown } = status;
  const absence = !trouble.value ? '' : Object.values(REASONS).includes(trouble.value) ? 'Gone' : 'Not watched';
  // The heading that was there before the job came hands the focus on.
  const hadFocus = useRef(false);
  useEffect(() => {
    if (hadFocus.current) document.querySelector<HTMLElement>('#content h1')?.focus({ preventScroll: true });
  }, [shown === null]);
  useEffect(() => {
    const state = shown && (absence || progressOf(shown) || conditionOf(shown));
    document.title = [state, jobId, 'progressd'].filter(Boolean).join(' · ');
  }, [shown, absence, jobId]);

  return (
    <main id="content" class="scrolls">
      <a class="back" href={addressOfList(lastFilters.value)}>← All jobs</a>
      {!shown && <h1 tabIndex={-1} onFocus={() => { hadFocus.current = true; }}>{jobId}</h1>}
      {trouble.value && (
        <div class="card alert" role="alert">
          {trouble.value} {isName(jobId) && <button type="button" onClick={tryAgain}>Look again</button>}
        </div>
      )}
      {shown
        ? <Shown status={shown} course={course} log={log.value} absence={absence} />
        : !trouble.value && <p class="notice card" role="status">Looking for the job…</p>}
    </main>
  );
}

const progressOf = ({ status, progress_percentage: percentage }: Status) =>
  (status === 'processing' && percentage !== null ? percent(percentage) : '');

interface ShownProps {
  status: Status;
  course: Course;
  log: LogLine[];
  /** Why there are no news any more; empty while there are. */
  absence: string;
}

function Shown({ status, course, log, absence }: ShownProps) {
  return (
    <div class={absence ? 'whole is-old' : 'whole'}>
      <Head status={status} absence={absence} />
      <div class="columns">
        <Chart status={status} course={course} />
        <Log lines={log} />
      </div>
      {!absence && <Results status={status} />}
      <Json name="Data" value={status.data} />
      <Json name="Result" value={status.result} />
    </div>
  );
}

function Json({ name, value }: { name: string; value: unknown }) {
  const isEmpty = value === null || (typeof value === 'object' && Object.keys(value as object).length === 0);
  if (isEmpty) return null;
  return (
    <details class="card">
      <summary>{name}</summary>
      <pre tabIndex={0} aria-label={name}>{JSON.stringify(value, null, 2)}</pre>
    </details>
  );
}
