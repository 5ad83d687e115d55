// Jobs that ended before the stream's last ten minutes, where one asks for them: page by page, beyond what is shown
// already.

import { computed, effect, signal } from '@preact/signals';
import { list, reasonOf } from '../api';
import { hasOlder, put, query } from '../board';
import { lastFilters } from '../route';
import type { Mood } from '../status';
import { token } from '../token';

const ENDS: readonly Mood[] = ['completed', 'failed', 'cancelled'];

/** What the server is asked for; nothing where jobs are wanted that did not end. It lasts while a job's page is open. */
const question = computed(() => {
  const { mood } = lastFilters.value;
  const states = mood ? ENDS.filter((end) => end === mood) : ENDS;
  if (states.length === 0) return '';
  const parameters = query(lastFilters.value);
  for (const state of states) parameters.append('status', state);
  parameters.set('limit', '200');
  return parameters.toString();
});

const next = signal<string | null>(null);
const isOver = signal(false);
const trouble = signal('');

// Another question, or another person, begins at the first page.
effect(() => {
  question.value;
  token.value;
  next.value = null;
  isOver.value = false;
  trouble.value = '';
});

/** Whether what is chosen may be jobs that ended. */
export const hasOlderOnes = () => question.value !== '';

async function more(): Promise<void> {
  const asked = question.peek();
  const parameters = new URLSearchParams(asked);
  if (next.peek()) parameters.set('cursor', next.peek() ?? '');
  try {
    const page = await list(parameters);
    if (question.peek() !== asked) return;
    hasOlder.value = true;
    page.jobs.forEach(put);
    next.value = page.next_cursor;
    isOver.value = page.next_cursor === null;
    trouble.value = '';
  } catch (error) {
    trouble.value = reasonOf(error);
  }
}

export function Older() {
  return (
    <div class="older">
      {isOver.value
        ? <span class="pale" role="status">That is all that is kept.</span>
        : <button type="button" onClick={more}>Show jobs that ended earlier</button>}
      <span role="status" class="error-text">{trouble.value}</span>
    </div>
  );
}
