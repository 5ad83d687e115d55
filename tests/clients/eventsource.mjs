// Follows a stream with an `EventSource` for Node, and prints what it saw (recorder.mjs).
//
//   node eventsource.mjs --package eventsource-2|eventsource-latest|undici --url URL [--token TOKEN] …
//
// Version 2.0.2 of the package `eventsource` is the last of the old line and still the most widely installed; the
// latest is a rewrite on `fetch`. `undici` is what Node's own `fetch` is made of.
// The token travels as a Bearer header.

import { subscribe } from 'node:diagnostics_channel';
import EventSource2 from 'eventsource-2';
import { EventSource as EventSourceLatest } from 'eventsource-latest';
import { Agent, EventSource as EventSourceUndici } from 'undici';
import { readCommandLine, Recorder, run } from './recorder.mjs';

const connectors = {
  'eventsource-2'(url, headers, countRequest) {
    // This version offers no seam for its requests, so Node itself is asked.
    subscribe('http.client.request.start', countRequest);
    return new EventSource2(url, { headers });
  },
  'eventsource-latest'(url, headers, countRequest) {
    return new EventSourceLatest(url, {
      fetch(input, init) {
        countRequest();
        return fetch(input, { ...init, headers: { ...init.headers, ...headers } });
      },
    });
  },
  undici(url, headers, countRequest) {
    class Counting extends Agent {
      dispatch(options, handler) {
        countRequest();
        return super.dispatch({ ...options, headers: { ...options.headers, ...headers } }, handler);
      }
    }
    return new EventSourceUndici(url, { node: { dispatcher: new Counting() } });
  },
};

await run(async () => {
  const options = readCommandLine({ package: { type: 'string', default: '' } });
  const connect = connectors[options.package];
  if (!connect) {
    throw new Error(`--package must be one of: ${Object.keys(connectors).join(', ')}`);
  }
  const headers = options.token ? { Authorization: `Bearer ${options.token}` } : {};

  const recorder = new Recorder(options, () => source.close());
  const source = connect(options.url, headers, () => recorder.countRequest());
  const recordEvent = (event) => recorder.recordEvent(event.type, event.data, event.lastEventId, source.readyState);

  source.addEventListener('open', () => recorder.recordOpen());
  source.addEventListener('error', (event) => {
    if ('data' in event) {
      recordEvent(event);
    } else {
      // Version 2 says `status` and closes only after its listeners, so its state is read when they are through.
      const trouble = { status: event.status ?? event.code, message: event.message };
      queueMicrotask(() => recorder.recordTrouble(trouble, source.readyState));
    }
  });
  for (const name of options.eventNames) {
    source.addEventListener(name, recordEvent);
  }

  return recorder.ended;
});
