// The live list: what there is, what is wrong with it, and the rows that fit on the screen.

import { signal, useComputed, useSignal, useSignalEffect } from '@preact/signals';
import { elementScroll, observeElementOffset, observeElementRect, Virtualizer, type VirtualItem } from '@tanstack/virtual-core';
import { useEffect, useMemo, useRef } from 'preact/hooks';
import { finished, Refused } from './api';
import { counts, isSynced, jobOf, kinds, now, putOlder, query, shown, tags, total } from './board';
import { First } from './first';
import { ago, count, percent, rate, span } from './format';
import { Badge, Bar } from './parts';
import { addressOfJob, addressOfList, filters, setFilters } from './route';
import { isFinished, MOODS, moodOf, WORDS, type Mood } from './status';

/** How high a row is, as the style sheet has it. */
const narrow = matchMedia('(max-width: 760px)');
const height = signal(narrow.matches ? 92 : 64);
narrow.addEventListener('change', () => {
  height.value = narrow.matches ? 92 : 64;
});

export function List() {
  const isFiltered = Object.values(filters()).some(Boolean);
  if (isSynced.value && total.value === 0 && !isFiltered) return <First />;
  return (
    <main id="content">
      <h1 class="hidden">Jobs</h1>
      <Moods />
      <Filters />
      <Rows />
      <Older />
    </main>
  );
}

function Moods() {
  const { mood: chosen } = filters();
  const isLoud = (mood: Mood) => (mood === 'failed' || mood === 'stalled') && counts.value[mood] > 0;
  return (
    <div class="moods" role="group" aria-label="Show jobs in one state">
      <button type="button" aria-pressed={!chosen} onClick={() => setFilters({ mood: '' })}>
        All <span class="number">{count(total.value)}</span>
      </button>
      {MOODS.map((mood) => (
        <button
          key={mood}
          type="button"
          class={isLoud(mood) ? `is-${mood} loud` : undefined}
          aria-pressed={chosen === mood}
          onClick={() => setFilters({ mood: chosen === mood ? '' : mood })}
        >
          <span class={`badge is-${mood}`}>{WORDS[mood]}</span> <span class="number">{count(counts.value[mood])}</span>
        </button>
      ))}
    </div>
  );
}

function Filters() {
  const { kind, tag, text } = filters();
  return (
    <div class="filters" role="search" aria-label="Jobs">
      <input
        type="search"
        aria-label="Name, message, step, owner or tag"
        placeholder="Name, message, step, owner or tag"
        value={text}
        onInput={(event) => setFilters({ text: event.currentTarget.value })}
      />
      <Choice name="Every kind" label="Kind" chosen={kind} options={kinds.value} onChange={(kind) => setFilters({ kind })} />
      <Choice name="Every tag" label="Tag" chosen={tag} options={tags.value} onChange={(tag) => setFilters({ tag })} />
    </div>
  );
}

interface ChoiceProps {
  name: string;
  label: string;
  chosen: string;
  options: string[];
  onChange: (chosen: string) => void;
}

function Choice({ name, label, chosen, options, onChange }: ChoiceProps) {
  const all = chosen && !options.includes(chosen) ? [chosen, ...options] : options;
  return (
    <select aria-label={label} value={chosen} onChange={(event) => onChange(event.currentTarget.value)}>
      <option value="">{name}</option>
      {all.map((option) => (
        <option key={option} value={option}>{option}</option>
      ))}
    </select>
  );
}

/** Makes only those rows that are on the screen, and some above and below. */
function Rows() {
  const scrolled = useRef<HTMLDivElement>(null);
  const rows = useSignal<VirtualItem[]>([]);
  const names = shown.value;
  const virtualizer = useMemo(
    () =>
      new Virtualizer<HTMLDivElement, Element>({
        count: 0,
        getScrollElement: () => scrolled.current,
        estimateSize: () => height.peek(),
        overscan: 8,
        observeElementRect,
        observeElementOffset,
        scrollToFn: elementScroll,
        onChange: (it) => {
          rows.value = it.getVirtualItems();
        },
      }),
    [],
  );
  useEffect(() => virtualizer._didMount(), [virtualizer]);
  useEffect(() => {
    virtualizer.setOptions({ ...virtualizer.options, count: names.length, getItemKey: (index) => names[index] ?? index });
    virtualizer._willUpdate();
    virtualizer.measure();
    rows.value = virtualizer.getVirtualItems();
  }, [names, height.value]);

  if (names.length === 0) {
    return <p class="notice card">{isSynced.value ? 'No job matches.' : 'Looking for jobs…'}</p>;
  }
  return (
    <div class="window" ref={scrolled} onKeyDown={walk}>
      <ul class="rows" role="list" aria-label={`${names.length} jobs`} style={{ height: `${names.length * height.value}px` }}>
        {rows.value.map(({ index, start }) => {
          const jobId = names[index];
          return jobId && (
            <li key={jobId} style={{ transform: `translateY(${start}px)` }} aria-posinset={index + 1} aria-setsize={names.length}>
              <Row jobId={jobId} />
            </li>
          );
        })}
      </ul>
    </div>
  );
}

/** The arrow keys go from row to row. */
function walk(event: KeyboardEvent): void {
  const steps: Record<string, number> = { ArrowDown: 1, ArrowUp: -1 };
  const step = steps[event.key];
  const item = (event.target as Element).closest('li');
  if (!step || !item) return;
  const position = Number(item.getAttribute('aria-posinset')) + step;
  const next = item.parentElement?.querySelector<HTMLElement>(`[aria-posinset="${position}"] a`);
  if (next) {
    event.preventDefault();
    next.focus({ preventScroll: true });
    next.scrollIntoView({ block: 'nearest' });
  }
}

function Row({ jobId }: { jobId: string }) {
  const job = jobOf(jobId);
  if (!job) return null;
  const status = job.value;
  const { processed_count: done, total_count: all, progress_percentage: percentage } = status;
  const over = status.finished_at;
  return (
    <a class={`row is-${moodOf(status)}`} href={addressOfJob(jobId)}>
      <div class="cell state"><Badge status={status} /></div>
      <div class="cell what">
        <div class="name">{jobId}</div>
        <div class="small">{[status.kind, ...status.tags].filter(Boolean).join(' · ') || status.owner}</div>
      </div>
      <div class="cell progress">
        <div class="figures">
          <span>{percentage === null ? '' : percent(percentage)}</span>
          <span class="pale">
            {done !== null && count(done)}{done !== null && all !== null && ` of ${count(all)}`} {done !== null && status.unit}
          </span>
        </div>
        <Bar status={status} label={jobId} />
      </div>
      <div class="cell doing">
        {status.error
          ? <div class="error-text">{status.error.message}</div>
          : <div>{status.step ?? status.message}</div>}
        <div class="small">{status.step && !status.error && status.message}</div>
      </div>
      <div class="cell pace right">
        <div>{isFinished(status) ? '' : status.eta_seconds !== null && `${span(status.eta_seconds)} left`}</div>
        <div class="small">
          {status.rate_per_second !== null && !over ? rate(status.rate_per_second, null) : ago(over ?? status.updated_at, now.value)}
        </div>
      </div>
    </a>
  );
}

/** Jobs that ended before the stream's last ten minutes, where one asks for them. */
function Older() {
  const { mood, kind, tag } = filters();
  const next = useSignal<string | null>(null);
  const isOver = useSignal(false);
  const trouble = useSignal('');
  const isOfEnds = useComputed(() => ['completed', 'failed', 'cancelled'].includes(filters().mood));
  useSignalEffect(() => {
    filters();
    next.value = null;
    isOver.value = false;
    trouble.value = '';
  });
  if (!isOfEnds.value || isOver.value) return null;
  const more = async () => {
    try {
      const page = await finished(mood, new URLSearchParams(query({ mood, kind, tag, text: '' })), next.peek());
      putOlder(page.jobs);
      next.value = page.next_cursor;
      isOver.value = page.next_cursor === null;
    } catch (error) {
      trouble.value = error instanceof Refused ? error.message : 'The server does not answer.';
    }
  };
  return (
    <div class="paging">
      <button type="button" onClick={more}>Show older ones</button>
      <span role="status" class="error-text">{trouble.value}</span>
      <a href={addressOfList({ mood: '', kind: '', tag: '', text: '' })}>Back to what is new</a>
    </div>
  );
}
