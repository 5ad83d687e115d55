// The live list: what there is, what is wrong with it, and the rows that fit on the screen.

import { signal, useSignal, useSignalEffect } from '@preact/signals';
import { list } from '../api';
import { isSynced, shown, total } from '../board';
import { count } from '../format';
import { addressOfJob, filters } from '../route';
import { isName } from '../status';
import { Filters, Moods } from './filters';
import { Guide } from './guide';
import { hasOlderOnes, Older } from './older';
import { Rows } from './rows';

/** What a stream holds of all jobs that match. */
const MOST_JOBS = 5_000;

/** Whether the first lines to try are shown: from the first look at an empty server on, until they are put away. */
const isGuideOpen = signal(false);

export function List() {
  const past = usePast();
  const isFiltered = Object.values(filters()).some(Boolean);
  const isEmpty = isSynced.value && total.value === 0 && !isFiltered;
  const isFirst = isEmpty && past.value === 'none';
  useSignalEffect(() => {
    if (past.value === 'none') isGuideOpen.value = true;
  });
  const hasGuide = isGuideOpen.value && !isFiltered;
  return (
    <main id="content" class={hasGuide ? 'scrolls' : undefined}>
      <h1 class={isFirst ? undefined : 'hidden'} tabIndex={-1}>{isFirst ? 'No jobs yet' : 'Jobs'}</h1>
      {!isFirst && (
        <>
          <Moods />
          <Filters />
          {total.value >= MOST_JOBS && <p class="pale">A stream holds {count(MOST_JOBS)} jobs: these are the newest.</p>}
          {shown.value.length > 0 ? <Rows /> : <Nothing isEmpty={isEmpty && past.value === 'some'} />}
        </>
      )}
      {hasGuide && <Guide onClose={isFirst ? undefined : () => { isGuideOpen.value = false; }} />}
    </main>
  );
}

/** Whether a server whose list is empty had jobs before: they may have ended long ago. */
function usePast() {
  const past = useSignal<'unknown' | 'none' | 'some'>('unknown');
  useSignalEffect(() => {
    if (!isSynced.value || total.value > 0) {
      past.value = 'unknown';
    } else if (past.peek() === 'unknown') {
      list(new URLSearchParams({ limit: '1' })).then(
        ({ jobs }) => {
          if (total.peek() === 0) past.value = jobs.length === 0 ? 'none' : 'some';
        },
        () => {
          past.value = 'some';
        },
      );
    }
  });
  return past;
}

/** Why no row is there, and what to do about it. */
function Nothing({ isEmpty }: { isEmpty: boolean }) {
  const name = filters().text.trim();
  if (isEmpty) {
    return (
      <div class="notice card">
        <p role="status">Nothing is under way, and nothing ended within the last ten minutes.</p>
        <Older />
      </div>
    );
  }
  if (!isSynced.value || !Object.values(filters()).some(Boolean)) return <p class="notice card" role="status">Looking for jobs…</p>;
  return (
    <div class="notice card">
      <p role="status">No job matches.</p>
      {isName(name) && <p><a href={addressOfJob(name)}>Open the job named “{name}”</a></p>}
      {hasOlderOnes() && <Older />}
    </div>
  );
}
