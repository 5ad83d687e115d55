// A job's status as the server sends it, and what follows from it.

export type State = 'pending' | 'processing' | 'completed' | 'failed' | 'cancelled';

export interface Status {
  job_id: string;
  kind: string | null;
  status: State;
  total_count: number | null;
  processed_count: number | null;
  unit: string | null;
  progress_percentage: number | null;
  step: string | null;
  message: string | null;
  rate_per_second: number | null;
  eta_seconds: number | null;
  attempt: number;
  stalled: boolean;
  cancel_requested: boolean;
  data: unknown;
  result: unknown;
  error: { code: string; message: string } | null;
  owner: string | null;
  tags: string[];
  parent_id: string | null;
  created_at: string;
  started_at: string | null;
  updated_at: string;
  finished_at: string | null;
  seq: number;
  gap?: boolean;
}

/** What a person wants to tell apart: the states, and a job at work that has gone silent. */
export type Mood = State | 'stalled';

export const MOODS: readonly Mood[] = ['processing', 'stalled', 'pending', 'failed', 'completed', 'cancelled'];

export const WORDS: Record<Mood, string> = {
  pending: 'Pending',
  processing: 'Running',
  stalled: 'Stalled',
  completed: 'Completed',
  failed: 'Failed',
  cancelled: 'Cancelled',
};

export function isFinished(status: Status): boolean {
  return status.finished_at !== null;
}

export function moodOf(status: Status): Mood {
  return status.stalled ? 'stalled' : status.status;
}

/** Whether a text stands anywhere in what is shown of a job. */
export function mentions(status: Status, text: string): boolean {
  const shown = [status.job_id, status.kind, status.step, status.message, status.owner, status.error?.message, ...status.tags];
  return shown.some((part) => part?.toLowerCase().includes(text));
}
