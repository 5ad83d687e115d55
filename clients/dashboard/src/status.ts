// A job's status as the server sends it, and what follows from it.

import { isFinished, type JobState, type Status } from '../../js/src/index';

export { isFinished, type Status };

/** What a person wants to tell apart: the states, and a job at work that has gone silent. */
export type Mood = JobState | 'stalled';

export const MOODS: readonly Mood[] = ['processing', 'stalled', 'pending', 'failed', 'completed', 'cancelled'];

export const WORDS: Record<Mood, string> = {
  pending: 'Pending',
  processing: 'Running',
  stalled: 'Stalled',
  completed: 'Completed',
  failed: 'Failed',
  cancelled: 'Cancelled',
};

export function moodOf(status: Status): Mood {
  return status.stalled ? 'stalled' : status.status;
}

/** Whether a text stands anywhere in what is shown of a job. */
export function mentions(status: Status, text: string): boolean {
  const shown = [status.job_id, status.kind, status.step, status.message, status.owner, status.error?.message, ...status.tags];
  return shown.some((part) => part?.toLowerCase().includes(text));
}
