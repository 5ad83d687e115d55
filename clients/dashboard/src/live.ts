// What comes from the server by itself: one stream of all jobs while the list is open, that of one job while its page
// is. Never both: a browser has but six connections to a server without HTTP/2, for all its tabs.

import { computed, effect, signal } from '@preact/signals';
import { WatchError, watchJob, watchJobs, type Status, type WatchOptions } from '../../js/src/index';
import { API, pathOf } from './api';
import { ask, clear, forget, leave, put, query, synced } from './board';
import { setClock } from './clock';
import { brief } from './format';
import { route } from './route';
import { refusal, token, tries } from './token';

export interface Link {
  /**
   * `lost`: it was there, and comes back by itself; `refused`: the token does not do; `failed`: trying again changes
   * nothing; `ended`: the job is finished, and nothing follows.
   */
  state: 'connecting' | 'live' | 'polling' | 'lost' | 'offline' | 'refused' | 'failed' | 'ended';
  /** Why, if somebody said so. */
  reason: string;
  /** When the connection was lost. */
  since: Date | null;
}

const CONNECTING: Link = { state: 'connecting', reason: '', since: null };

/** How the connection is. */
export const link = signal<Link>(CONNECTING);

/** A page is changed in less: what goes so fast needs no word. */
const SOON = 400;

/** A server that has not answered by then may be away. */
const LATE = 5_000;

interface Linked extends Pick<WatchOptions, 'token' | 'onState' | 'onError'> {
  /** Nothing is told after this. */
  end(): void;
}

// A stream that is cut off with the network does not end: nothing comes any more.
addEventListener('offline', () => {
  if (link.peek().state === 'live') link.value = { state: 'offline', reason: '', since: new Date() };
});

/** Something came on the stream: this machine's own server is reached without a network too. */
function hear(): void {
  if (link.peek().state === 'offline') link.value = { state: 'live', reason: '', since: null };
}

// What came before may have been lost: a line that is known to be good has no other word for it.
addEventListener('online', hear);

/** Tells how one watch fares. `isFinal` says which refusals are about what is watched, and not about who asks. */
function linked(isFinal: (error: WatchError) => boolean): Linked {
  let isOver = false;
  let wasThere = false;
  let timer = setTimeout(() => {
    if (!link.peek().since) show('connecting');
    timer = setTimeout(() => show('lost'), LATE);
  }, SOON);
  const show = (state: Link['state'], reason = '') => {
    if (isOver) return;
    clearTimeout(timer);
    const { since } = link.peek();
    const isAway = state === 'lost' || state === 'offline';
    link.value = { state, reason, since: isAway ? since ?? (wasThere ? new Date() : null) : null };
  };
  return {
    ...(token.peek() && { token: token.peek() }),
    onState: (state) => {
      if (state === 'live' || state === 'polling') {
        if (!wasThere || link.peek().since) void setClock();
        wasThere = true;
        show(state);
      } else if (state === 'offline') {
        show('offline');
      } else if (state === 'connecting' && wasThere) {
        show('lost');
      } else if (state === 'done') {
        show('ended');
      }
    },
    onError: (error) => {
      if (isOver) return;
      if (!(error instanceof WatchError)) show('failed', error.message);
      else if (isFinal(error)) show('ended');
      else if (error.status === 401 || error.status === 403) {
        const isUnasked = error.status === 401 && !token.peek();
        refusal.value = isUnasked ? 'This server asks for a token.' : error.message;
        show('refused', error.message);
      } else show('failed', error.message);
    },
    end: () => {
      clearTimeout(timer);
      isOver = true;
    },
  };
}

/** Watches all jobs from now on while the list is open, anew whenever the question or the token changes. */
export function begin(): void {
  const question = computed(() => (route.value.page === 'list' ? query(route.value.filters).toString() : null));
  let whose = token.peek();
  effect(() => {
    tries.value;
    if (whose !== token.value) {
      whose = token.value;
      clear();
    }
    if (link.peek().state === 'refused' || link.peek().state === 'failed') link.value = CONNECTING;
    if (question.value === null) return undefined;
    ask();
    const { end, ...options } = linked(() => false);
    const watch = watchJobs(`${API}/stream${question.value && '?'}${question.value}`, {
      ...options,
      onStatus: (status) => {
        hear();
        put(status);
      },
      onRemoved: ({ job_id: jobId }) => leave(jobId),
      onSynced: synced,
    });
    return () => {
      end();
      watch.close();
    };
  });
}

export interface LogLine {
  seq: number;
  /** Empty where events were dropped. */
  name: string;
  text: string;
  at: Date;
}

/** Lines of the log that are kept, and letters of each: a worker may send as many as it likes. */
export const MOST_LINES = 500;
const MOST_LETTERS = 2_000;

/** Lines are shown together that come within this time. */
const TOGETHER = 150;

interface Follower {
  onStatus(status: Status): void;
  onLines(lines: LogLine[]): void;
  onFailure(code: string, message: string): void;
}

/** Watches one job, with all its events that are kept. */
export function follow(jobId: string, { onStatus, onLines, onFailure }: Follower): { close(): void } {
  let lines: LogLine[] = [];
  let timer: ReturnType<typeof setTimeout> | undefined;
  const add = (line: LogLine) => {
    lines.push(line);
    if (lines.length > 2 * MOST_LINES) lines = lines.slice(-MOST_LINES);
    timer ??= setTimeout(() => {
      timer = undefined;
      onLines(lines);
      lines = [];
    }, TOGETHER);
  };
  const { end, onError, ...options } = linked(({ status }) => status !== 401);
  const watch = watchJob(pathOf(jobId), {
    ...options,
    // From the start: every event that is kept.
    lastEventId: 0,
    onStatus: (status) => {
      hear();
      // A status stands after what was dropped.
      if (status.gap) add({ seq: status.seq, name: '', text: 'Earlier ones are no longer kept.', at: new Date(status.updated_at) });
      onStatus(status);
    },
    // A seq is the time of its change.
    onEvent: ({ event, data, seq }) => add({ seq, name: event, text: wordsOf(data), at: new Date(seq / 1000) }),
    onError: (error) => {
      onError?.(error);
      if (error instanceof WatchError && error.status !== 401) {
        if (error.status === 404 || error.status === 410) forget(jobId);
        onFailure(error.code, error.message);
      }
    },
  });
  return {
    close: () => {
      clearTimeout(timer);
      end();
      watch.close();
    },
  };
}

/** What an event says: its one text where that is all there is, such as a log's line. */
function wordsOf(data: unknown): string {
  const parts = typeof data === 'object' && data !== null ? Object.values(data) : [];
  const isText = parts.length === 1 && typeof parts[0] === 'string' && !Array.isArray(data);
  return brief(isText ? parts[0] : data, MOST_LETTERS);
}
