// A stream by the browser's own `EventSource`, where `fetch` cannot stream: without headers, heartbeats only as events.

import type { Block } from './sse.js';
import type { WatchOptions } from './types.js';

/** Resolves when the connection has ended: to whether that was for good, for a reason that it keeps to itself. */
export function listen(
  url: URL,
  { events = [], credentials }: WatchOptions,
  take: (block: Block) => void,
  signal: AbortSignal,
): Promise<boolean> {
  url.searchParams.set('heartbeat', 'event');
  const source = new EventSource(url, { withCredentials: credentials === 'include' });
  let lastId = '';
  return new Promise<boolean>((resolve, reject) => {
    const onEvent = ({ type, data, lastEventId }: MessageEvent) => {
      // It repeats the last id on blocks that have none.
      const id = lastEventId === lastId ? undefined : lastEventId;
      lastId = lastEventId;
      take({ event: type, data, id });
    };
    for (const name of ['status', 'heartbeat', 'synced', 'removed', ...events]) {
      source.addEventListener(name, onEvent);
    }
    source.addEventListener('error', (event) => {
      // The server's events of that name have data; the browser's own tell of the connection's end.
      if (event instanceof MessageEvent) {
        onEvent(event);
      } else {
        resolve(source.readyState === 2);
      }
    });
    signal.addEventListener('abort', reject);
  }).finally(() => source.close());
}
