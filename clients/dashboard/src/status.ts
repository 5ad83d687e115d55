// A job's status as the server sends it, and what follows from it.

import { isFinished, type JobState, type Status } from '../../js/src/index';

export { isFinished, type Status };

/** What a person wants to tell apart: the states, and a job at work that has gone silent. */
export type Mood = JobState | 'stalled';

export const MOODS: readonly Mood[] = ['processing', 'stalled', 'failed', 'pending', 'completed', 'cancelled'];

const WORDS: Record<Mood, string> = {
  pending: 'Pending',
  processing: 'Running',
  stalled: 'Stalled',
  completed: 'Completed',
  failed: 'Failed',
  cancelled: 'Cancelled',
};

export const wordOf = (mood: Mood) => WORDS[mood];

export function moodOf(status: Status): Mood {
  return status.stalled ? 'stalled' : status.status;
}

/** How a job is, in a word. */
export function conditionOf(status: Status): string {
  return status.cancel_requested && !isFinished(status) ? 'Stopping' : WORDS[moodOf(status)];
}

/** Whether a text stands anywhere in what is shown of a job. */
export function mentions(status: Status, text: string): boolean {
  const { job_id: jobId, kind, step, message, owner, error, tags } = status;
  return [jobId, kind, step, message, owner, error?.code, error?.message, ...tags].some((part) => part?.toLowerCase().includes(text));
}

/** Whether a job can have this name. */
export const isName = (text: string) => /^[A-Za-z0-9._~:@-]{1,128}$/.test(text) && text !== '.' && text !== '..';
