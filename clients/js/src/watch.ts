// What a caller holds: the statuses to iterate over, the end to wait for.

import { type Feed, run } from './loop.js';
import type { Status, Watch, WatchOptions, WatchState } from './types.js';

/** How many statuses may wait for a reader before older ones give way to newer ones of the same job: many pieces full. */
const WAITING = 1_000;

/** Runs a caller's function; what it throws is its own affair, as with an event's listener. */
export function call<T>(listener: ((value: T) => void) | undefined, value: T): void {
  try {
    listener?.(value);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

/** Begins a watch. `feedOf` is given what tells the caller of a status; `result` is what the end resolves to. */
export function watch<Done>(
  options: WatchOptions,
  feedOf: (emit: (status: Status) => void) => Feed,
  result: () => Done,
): Watch<Done> {
  const closing = new AbortController();
  let queue: Status[] = [];
  // Without a reader only the newest is kept.
  let least = 0;
  let bound = 0;
  let isEnded = false;
  let failure: Error | undefined;
  let wakeReader = () => {};
  let state: WatchState | undefined;

  const setState = (next: WatchState) => {
    if (state !== next) {
      state = next;
      call(options.onState, next);
    }
  };
  const emit = (status: Status) => {
    call(options.onStatus, status);
    queue.push(status);
    if (queue.length > bound) {
      queue = [...new Map(queue.map((status) => [status.job_id, status])).values()];
      bound = Math.max(least, 2 * queue.length);
    }
    wakeReader();
  };
  const close = () => closing.abort();
  const { signal } = options;

  const main = async () => {
    try {
      setState('connecting');
      signal?.throwIfAborted();
      signal?.addEventListener('abort', close, { signal: closing.signal });
      await run(feedOf(emit), options, closing.signal, setState);
      signal?.throwIfAborted();
      closing.signal.throwIfAborted();
      setState('done');
      return result();
    } catch (error) {
      if (signal?.aborted || !closing.signal.aborted) {
        failure = error as Error;
      }
      if (signal?.aborted || closing.signal.aborted) {
        setState('closed');
      } else {
        setState('failed');
        call(options.onError, failure!);
      }
      throw error;
    } finally {
      isEnded = true;
      close();
      wakeReader();
    }
  };
  const done = Promise.resolve().then(main);
  // Whoever iterates or has `onError` need not look at it too.
  done.catch(() => {});

  return {
    done,
    close,
    async *[Symbol.asyncIterator]() {
      least = bound = WAITING;
      try {
        for (;;) {
          const status = queue.shift();
          if (status) {
            yield status;
          } else if (isEnded) {
            if (failure) {
              throw failure;
            }
            return;
          } else {
            await new Promise<void>((resolve) => {
              wakeReader = resolve;
            });
          }
        }
      } finally {
        close();
      }
    },
  };
}
