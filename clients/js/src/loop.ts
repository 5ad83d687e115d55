// The connection loop: streams, comes back where it stood, polls where streams do not get through, and knows the end.

import { backoff } from './backoff.js';
import { listen } from './eventsource.js';
import { Passing, requester, waitOf } from './request.js';
import { type Block, blockReader } from './sse.js';
import { WatchError, type WatchOptions, type WatchState } from './types.js';

/** What is watched: where it streams, what its blocks mean, and how it is polled. */
export interface Feed {
  /** A stream is to be opened: where. */
  begin(): URL;
  /** Takes a block's name and data. Says false when it is not about a job, but about the stream's end. */
  take(event: string, data: any, id?: string): boolean;
  /**
   * Asks for what is new, and waits for it `wait` seconds at most; below 0 it is the first time. Says whether it may ask
   * again at once.
   */
  poll(get: (url: URL, headers?: Record<string, string>) => Promise<Response>, wait: number): Promise<boolean>;
  /** Whether the end was taken. */
  isOver(): boolean;
  /** The newest seq that was taken. */
  newest(): number | undefined;
}

/** The `retry` by which the server says that nothing follows; also the longest pause. */
const NEVER = 3_600_000;
/** The longest wait of a poll, in seconds: what stands between often allows no more than 30. */
const LONG_POLL = 25;
/** A poll that failed sooner was not cut for its length. */
const SHORT = 1_000;
/** The pause between polls when the server asks for none. */
const POLL_PAUSE = 5_000;
const LONGEST_PROBE = 900_000;
/** How much of the caller's patience with a silent line may be learnt: servers may beat more rarely than it says. */
const MOST_PATIENCE = 8;
/** A line that had a byte so recently needs no second look when the page is seen again. */
const FRESH = 2_000;
/** A token that expired sooner on a stream is not replaced at once: its successor may be the same one. */
const SOON = 5_000;

/** Runs until the end, or until `signal` aborts. Throws what trying again would not change. */
export async function run(
  feed: Feed,
  options: WatchOptions,
  signal: AbortSignal,
  setState: (state: WatchState) => void,
): Promise<void> {
  const { heartbeatMs = 30_000, firstByteMs = 10_000, probeMs = 60_000, transport = 'auto' } = options;
  const isAuto = transport === 'auto';
  const canStream = transport === 'fetch' || (isAuto && 'body' in Response.prototype);
  const canListen = (isAuto || transport === 'eventsource') && 'EventSource' in globalThis;
  // The caller may take its time for a credential.
  const { get, intoUrl, renew, accepted } = requester(options, () => expect(longestAnswer));

  let cursor = options.lastEventId;
  let retry = 1_000;
  let failures = 0;
  // Streams in a row that were answered and brought no block.
  let hollow = 0;
  // A line fell silent, and no later one has shown that it does not.
  let isSuspect = false;
  const usualPatience = heartbeatMs * 1.5;
  let patience = usualPatience;
  // The newest seq when a line fell silent for the last time.
  let silentAt: number | undefined;
  let isPolling = !canStream && !canListen;
  // The last answer was a poll's.
  let isPolled = false;
  let mustPoll = false;
  let probeAt = Infinity;
  let nextProbe = probeMs;
  let longPoll = LONG_POLL;

  // Of the attempt that is under way.
  let attempt = new AbortController();
  let startedAt = 0;
  let heardAt = 0;
  let longestAnswer = 0;
  let pieces = 0;
  let isHollow = false;
  let isSilent = false;
  let isResync = false;
  let silence: ReturnType<typeof setTimeout> | undefined;

  let wake = () => {};
  let hurry = wake;

  /** Gives the line so long for its next byte. */
  const expect = (ms: number) => {
    heardAt = Date.now();
    clearTimeout(silence);
    silence = setTimeout(() => {
      isSilent = true;
      attempt.abort();
    }, ms);
  };

  /** A pause that the server has asked for is not cut short. */
  const pause = (ms: number, isFirm: boolean) =>
    new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, Math.min(ms, NEVER));
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
      hurry = isFirm ? () => {} : wake;
    });

  const fallBack = () => {
    if (isAuto) {
      isPolling = true;
      longPoll = LONG_POLL;
      probeAt = Date.now() + nextProbe;
      nextProbe = Math.min(nextProbe * 2, LONGEST_PROBE);
    }
  };

  /** One stream to its end. The wait until the next attempt; none when nothing follows. */
  const stream = async (): Promise<number | undefined> => {
    const url = feed.begin();
    if (cursor || cursor === 0) {
      url.searchParams.set('last_event_id', `${cursor}`);
    }
    let code: string | undefined;
    let isLast = false;

    const heard = () => {
      if (pieces++) {
        isSuspect = false;
        nextProbe = probeMs;
      }
      expect(patience);
    };
    const take = ({ event, data, id, retry: hint = retry }: Block) => {
      isHollow = false;
      cursor = id ?? cursor;
      isLast = hint >= NEVER;
      retry = isLast ? retry : hint;
      const value = parse(data);
      // A listener may have closed the watch, with more blocks in the same piece.
      if (value === undefined || feed.isOver() || signal.aborted) {
        return;
      }
      if (feed.take(event || 'message', value, id)) {
        failures = hollow = 0;
        isPolling = isPolled = false;
        accepted();
        setState('live');
      } else {
        code = value.code;
      }
    };

    longestAnswer = firstByteMs;
    if (canStream) {
      const response = await get(url, attempt.signal, { Accept: 'text/event-stream, */*' });
      isHollow = true;
      // 204: everything was seen, if not by this watch. The status has it.
      mustPoll = response.status === 204;
      if (response.body && /^text\/event-stream/i.test(response.headers.get('content-type')!)) {
        const reader = response.body.getReader();
        const decoder = new TextDecoder();
        const read = blockReader(take);
        for (let next; !feed.isOver() && !(next = await reader.read()).done; ) {
          heard();
          read(decoder.decode(next.value, { stream: true }));
        }
      }
    } else {
      const listener = (block: Block) => {
        heard();
        take(block);
        if (feed.isOver()) {
          attempt.abort();
        }
      };
      // Given up for good, without saying why. The status tells.
      const { signal } = attempt;
      mustPoll = await listen(await intoUrl(url, signal), options, listener, signal);
    }
    if (code === 'JOB_GONE') {
      throw new WatchError('Job is gone', 410, code);
    }
    if (code === 'TOKEN_EXPIRED') {
      throw new WatchError('Token expired', 401, code);
    }
    if (mustPoll) {
      return 0;
    }
    if (isLast) {
      return;
    }
    if (isHollow || !pieces) {
      throw new Passing(0);
    }
    return retry;
  };

  /** Asks once. The wait until the next attempt. */
  const poll = async (): Promise<number> => {
    let wait = 0;
    longestAnswer = longPoll * 1_000 + firstByteMs;
    const { signal } = attempt;
    const ask = async (url: URL, headers?: Record<string, string>) => {
      const response = await get(url, signal, headers);
      wait = waitOf(response);
      return response;
    };
    // At first what is there: it may have been missed.
    const isPaced = await feed.poll(ask, isPolled ? longPoll : -1);
    cursor ??= feed.newest();
    failures = hollow = 0;
    isPolled = true;
    mustPoll = false;
    accepted();
    setState('polling');
    return isPaced ? 0 : wait || POLL_PAUSE;
  };

  /** What there was to see may have been missed: asks again, unless the line is known to be good. */
  const resync = () => {
    if (!globalThis.document?.hidden) {
      hurry();
      if (Date.now() - heardAt > FRESH) {
        isResync = true;
        attempt.abort();
      }
    }
  };
  globalThis.addEventListener?.('online', resync, { signal });
  globalThis.document?.addEventListener('visibilitychange', resync, { signal });
  signal.addEventListener('abort', () => {
    attempt.abort();
    wake();
  });

  while (!signal.aborted) {
    const wasPolling = isPolling;
    const isPoll = mustPoll || (isPolling && Date.now() < probeAt);
    let wait: number | undefined = 0;
    let isFirm = false;
    attempt = new AbortController();
    startedAt = Date.now();
    heardAt = Infinity;
    pieces = 0;
    isSilent = isResync = isHollow = false;
    try {
      // Not even a caller's function that never answers holds it up.
      const aborted = new Promise<never>((_, reject) => attempt.signal.addEventListener('abort', reject));
      wait = await Promise.race([isPoll ? poll() : stream(), aborted]);
    } catch (error) {
      if (error instanceof WatchError) {
        if (![401, 403].includes(error.status) || !renew()) {
          throw error;
        }
        wait = pieces && Date.now() - startedAt < SOON ? retry : 0;
      } else if (isSilent && !isPoll) {
        if (isSuspect || !pieces) {
          fallBack();
        }
        isSuspect = true;
        if (pieces) {
          // A silence that hid nothing may be the server's way.
          const newest = feed.newest();
          patience = newest === silentAt ? Math.min(patience * 2, usualPatience * MOST_PATIENCE) : usualPatience;
          silentAt = newest;
        }
      } else if (!isResync) {
        if (isHollow && hollow++) {
          fallBack();
        }
        const isRefusal = error instanceof Passing;
        if (isPoll) {
          if (Date.now() - startedAt > SHORT) {
            longPoll >>= 1;
          }
        } else if (isRefusal && isAuto && !isHollow) {
          // No more streams, say. Until the next try the status tells.
          isPolling = mustPoll = true;
          probeAt = 0;
        }
        const asked = isRefusal ? error.wait : 0;
        isFirm = asked > 0;
        wait = asked + backoff(failures++, retry);
      }
    } finally {
      clearTimeout(silence);
      attempt.abort();
    }
    if (wait === undefined || feed.isOver()) {
      return;
    }
    if (failures > 1 || !wasPolling || !isPolling) {
      setState(globalThis.navigator?.onLine === false ? 'offline' : 'connecting');
    }
    if (wait) {
      await pause(wait, isFirm);
    }
  }
}

const parse = (text = ''): any => {
  try {
    return JSON.parse(text);
  } catch {
    // Nothing to be had from it.
  }
};
