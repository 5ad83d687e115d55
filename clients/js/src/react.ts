// A React hook that watches a job.

import { useEffect, useMemo, useRef, useSyncExternalStore } from 'react';
import { type JobEvent, type Status, watchJob, type WatchOptions, type WatchState } from './index.js';

/** What the hook shows. */
export interface JobProgress {
  /** The newest status; null until the first has come. */
  status: Status | null;
  /** The newest named events, the oldest first. */
  events: readonly JobEvent[];
  /** How the watch itself fares. */
  state: WatchState;
  /** Why it failed. */
  error: Error | null;
}

/** What the hook takes besides. Only a new address begins a new watch; functions may be new with every render. */
export interface JobProgressOptions extends WatchOptions {
  /** How many events are kept (100). */
  keepEvents?: number;
}

const NOTHING: JobProgress = { status: null, events: [], state: 'connecting', error: null };

/** Watches the job at `url` while the component is mounted; null waits. */
export function useJobProgress(url: string | URL | null | undefined, options: JobProgressOptions = {}): JobProgress {
  const latest = useRef(options);
  useEffect(() => {
    latest.current = options;
  });
  const store = useMemo(() => progressStore(url && `${url}`, latest), [url && `${url}`]);
  return useSyncExternalStore(store.subscribe, store.read, () => NOTHING);
}

/** One job's watch as a store: it runs while somebody listens, and goes on where it stood when somebody does again. */
function progressStore(url: string | null | undefined, latest: { current: JobProgressOptions }) {
  let progress = NOTHING;
  let cursor: number | undefined;

  return {
    read: () => progress,
    subscribe(changed: () => void) {
      if (!url || progress.state === 'done') {
        return () => {};
      }
      const { current } = latest;
      let isOpen = true;
      const show = (part: Partial<JobProgress>) => {
        if (isOpen) {
          progress = { ...progress, ...part };
          changed();
        }
      };
      const watch = watchJob(url, {
        ...current,
        lastEventId: cursor ?? current.lastEventId,
        token: (refused) => {
          const { token } = latest.current;
          return typeof token === 'function' ? token(refused) : token;
        },
        ticket: current.ticket && (() => latest.current.ticket!()),
        onStatus(status) {
          show({ status });
          latest.current.onStatus?.(status);
        },
        onEvent(event) {
          const { keepEvents = 100 } = latest.current;
          cursor = event.seq;
          show({ events: keepEvents ? [...progress.events, event].slice(-keepEvents) : [] });
          latest.current.onEvent?.(event);
        },
        onState(state) {
          show({ state });
          latest.current.onState?.(state);
        },
        onError(error) {
          show({ error });
          latest.current.onError?.(error);
        },
      });
      return () => {
        isOpen = false;
        watch.close();
      };
    },
  };
}
