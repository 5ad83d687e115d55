// Jobs that ended before the stream's last ten minutes, where one asks for them.

import { useSignal, useSignalEffect } from '@preact/signals';
import { list, reasonOf } from '../api';
import { hasOlder, put, query } from '../board';
import { filters } from '../route';
import type { Mood } from '../status';

const ENDS: readonly Mood[] = ['completed', 'failed', 'cancelled'];

function wantedStates(): readonly Mood[] {
  const { mood } = filters();
  return mood ? ENDS.filter((end) => end === mood) : ENDS;
}

/** Whether what is chosen are, or may be, jobs that ended. */
export const hasOlderOnes = () => wantedStates().length > 0;

export function Older() {
  const next = useSignal<string | null>(null);
  const isOver = useSignal(false);
  const trouble = useSignal('');
  useSignalEffect(() => {
    // Another question has pages of its own.
    filters();
    next.value = null;
    isOver.value = false;
    trouble.value = '';
  });
  const more = async () => {
    const asked = filters();
    const parameters = query(asked);
    for (const state of wantedStates()) parameters.append('status', state);
    parameters.set('limit', '200');
    if (next.peek()) parameters.set('cursor', next.peek() ?? '');
    try {
      const page = await list(parameters);
      if (filters() !== asked) return;
      hasOlder.value = true;
      page.jobs.forEach(put);
      next.value = page.next_cursor;
      isOver.value = page.next_cursor === null;
      trouble.value = '';
    } catch (error) {
      trouble.value = reasonOf(error);
    }
  };
  return (
    <div class="older">
      {isOver.value
        ? <span class="pale" role="status">That is all that is kept.</span>
        : <button type="button" onClick={more}>Show jobs that ended earlier</button>}
      <span role="status" class="error-text">{trouble.value}</span>
    </div>
  );
}
