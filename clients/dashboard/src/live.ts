// What comes from the server by itself: one stream for all jobs, and that of the job whose page is open.

import { effect, signal } from '@preact/signals';
import { WatchError, watchJob, watchJobs, type Status, type WatchState } from '../../js/src/index';
import { refusal, token } from './api';
import { clear, put, query, remove, synced } from './board';
import { route } from './route';

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
      ...(token.value && { token: token.value }),
      onStatus: put,
      onRemoved: ({ job_id: jobId }) => remove(jobId),
      onSynced: synced,
      onState: (state) => {
        const shown = LINKS[state];
        if (shown) link.value = { state: shown, detail: '' };
      },
      onError: (error) => {
        const isRefused = error instanceof WatchError && (error.status === 401 || error.status === 403);
        link.value = { state: isRefused ? 'refused' : 'offline', detail: error.message };
        if (isRefused) refusal.value = token.peek() ? error.message : 'This server asks for a token.';
      },
    });
    return () => watch.close();
  });
}

/** What is said of each state of a watch; its end is told with the reason. */
const LINKS: Partial<Record<WatchState, Link['state']>> = {
  connecting: 'connecting',
  live: 'live',
  polling: 'polling',
  offline: 'offline',
};

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
  return watchJob(`/api/v1/jobs/${encodeURIComponent(jobId)}`, {
    ...(token.peek() && { token: token.peek() }),
    // From the start: every event that is kept.
    lastEventId: 0,
    onStatus,
    onEvent: ({ event, data, seq }) => {
      if (lines.length === 0) {
        requestAnimationFrame(() => {
          onLines(lines);
          lines = [];
        });
      }
      // A seq is the time of its change.
      lines.push({ seq, name: event, data, at: new Date(seq / 1000) });
    },
    onError: (error) => onFailure(error.message),
  });
}
