// Follows a stream with the npm package `eventsource-client`, and prints what it saw (recorder.mjs).
//
//   node eventsource-client.mjs --url URL [--token TOKEN] …

import { createEventSource } from 'eventsource-client';
import { readCommandLine, Recorder, run } from './recorder.mjs';

await run(async () => {
  const options = readCommandLine();
  const recorder = new Recorder(options, () => source.close());
  let status;
  const source = createEventSource({
    url: options.url,
    headers: options.token ? { Authorization: `Bearer ${options.token}` } : {},
    async fetch(url, init) {
      recorder.countRequest();
      const response = await fetch(url, init);
      status = response.status;
      return response;
    },
    onConnect: () => recorder.recordOpen(),
    onMessage({ event = 'message', data }) {
      recorder.recordEvent(event, data, source.lastEventId, 1);
    },
    onDisconnect() {
      // It closes only after this when it has been told to stay away.
      queueMicrotask(() => {
        const isClosed = source.readyState === 'closed';
        recorder.recordTrouble({ status: isClosed ? status : undefined }, isClosed ? 2 : 0);
      });
    },
  });
  return recorder.ended;
});
