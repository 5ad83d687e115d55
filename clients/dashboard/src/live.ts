// What comes from the server by itself: one stream for all jobs, and that of the job whose page is open.

import { effect, signal } from '@preact/signals';
import { watchJob, watchJobs, type WatchState } from '../../js/src/index';
import { refusal, token } from './api';
import { begin as beginSnapshot, clear, put, query, remove, synced } from './board';
import { route } from './route';
import type { Status } from './status';

export interface Link {
  state: 'connecting' | 'live' | 'polling' | 'offline' | 'refused';
  detail: string;
}

/** How the connection of the list is. */
export const link = signal<Link>({ state: 'connecting', detail: '' });

/** What is asked for; stays as it is while a job's page is open. */
let asked = '';

/** Watches all jobs from now on, anew whenever the filters or the token change. */
export function begin(): void {
  const address = signal('');
  effect(() => {
    if (route.value.page === 'list') asked = query(route.value.filters);
    address.value = asked;
  });
  effect(() => {
    clear();
    const watch = watchJobs(`/api/v1/stream${address.value}`, {
      token: token.value,
      onStatus: put,
      onRemoved: (jobId) => remove(jobId),
      onSynced: synced,
      onState: (state) => {
        if (state === 'connecting') beginSnapshot();
        link.value = { state: linkOf(state), detail: '' };
      },
    });
    watch.done.catch((error: Error & { status?: number }) => {
      const isRefused = error.status === 401 || error.status === 403;
      link.value = { state: isRefused ? 'refused' : 'offline', detail: error.message };
      if (isRefused) refusal.value = token.peek() ? error.message : 'This server asks for a token.';
    });
    return () => watch.close();
  });
}

function linkOf(state: WatchState): Link['state'] {
  return state === 'done' ? 'live' : state;
}

export interface LogLine {
  seq: number;
  name: string;
  data: unknown;
  at: Date;
}

interface Follower {
  onStatus(status: Status): void;
  onLines(lines: LogLine[]): void;
  onFailure(message: string): void;
}

/** Watches one job, with all its events that are kept. */
export function follow(jobId: string, { onStatus, onLines, onFailure }: Follower): { close(): void } {
  let lines: LogLine[] = [];
  const watch = watchJob(`/api/v1/jobs/${encodeURIComponent(jobId)}`, {
    token: token.peek(),
    // From the start: every event that is kept.
    lastEventId: '0',
    onStatus: (status) => onStatus(status as Status),
    onEvent: ({ name, data, id }) => {
      if (lines.length === 0) requestAnimationFrame(() => {
        onLines(lines);
        lines = [];
      });
      const seq = Number(id);
      // A seq is the time of its change.
      lines.push({ seq, name, data, at: new Date(seq / 1000) });
    },
  });
  watch.done.catch((error: Error) => onFailure(error.message));
  return { close: () => watch.close() };
}
