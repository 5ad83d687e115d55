// The SSE clients that a page may use, each behind the interface of `EventSource`: what a page writes around them, as
// their documentation shows it, stands here.

import path from 'node:path';

const MODULES = path.resolve(import.meta.dirname, 'node_modules');

/** Under this path of every page's origin stand the installed packages. */
const PREFIX = '/node_modules/';

/** Each defines `follow(url)`, inside the page. */
const LIBRARIES = {
  native: () => {
    globalThis.follow = (url) => new EventSource(url);
  },

  'event-source-polyfill': async () => {
    await import('/node_modules/event-source-polyfill/src/eventsource.js');
    globalThis.follow = (url) => new EventSourcePolyfill(url);
  },

  'reconnecting-eventsource': async () => {
    await import('/node_modules/reconnecting-eventsource/dist/ReconnectingEventSource.min.js');
    globalThis.follow = (url) => new ReconnectingEventSource(url);
  },

  'sse.js': async () => {
    const { SSE } = await import('/node_modules/sse.js/lib/sse.js');
    globalThis.follow = (url) => new SSE(url, { autoReconnect: true });
  },

  'fetch-event-source': async () => {
    const { fetchEventSource } = await import('/node_modules/@microsoft/fetch-event-source/lib/esm/index.js');

    class FatalError extends Error {}

    globalThis.follow = (url) => {
      const source = Object.assign(new EventTarget(), { readyState: 0 });
      const controller = new AbortController();
      let lastEventId = '';
      let isOver = false;
      fetchEventSource(url, {
        signal: controller.signal,
        // Else it closes in a page that is not looked at.
        openWhenHidden: true,
        async onopen(response) {
          if (response.ok && response.headers.get('content-type') === 'text/event-stream') {
            source.readyState = 1;
            source.dispatchEvent(new Event('open'));
          } else if (response.status === 204 || (response.status >= 400 && response.status < 500 && response.status !== 429)) {
            throw Object.assign(new FatalError(), { status: response.status });
          } else {
            throw new Error(`status ${response.status}`);
          }
        },
        onmessage({ event, data, id }) {
          lastEventId = id || lastEventId;
          source.dispatchEvent(new MessageEvent(event || 'message', { data, lastEventId }));
          isOver = event === 'status' && ['completed', 'failed', 'cancelled'].includes(JSON.parse(data).status);
        },
        onclose() {
          // A stream that ends is the end for this client, unless it is told otherwise.
          if (!isOver) {
            throw new Error('the stream ended');
          }
          source.readyState = 2;
          source.dispatchEvent(new Event('error'));
        },
        onerror(error) {
          source.readyState = error instanceof FatalError ? 2 : 0;
          source.dispatchEvent(Object.assign(new Event('error'), { status: error.status }));
          if (error instanceof FatalError) {
            throw error;
          }
        },
      }).catch(() => {});
      source.close = () => {
        source.readyState = 2;
        controller.abort();
      };
      return source;
    };
  },
};

/** Makes `follow(url)` in a page that has been opened: an object with the interface of `EventSource`. */
export async function install(page, name) {
  const library = LIBRARIES[name];
  if (!library) {
    throw new Error(`--library must be one of: ${Object.keys(LIBRARIES).join(', ')}`);
  }
  await page.route((url) => url.pathname.startsWith(PREFIX), (route) => {
    const file = path.join(MODULES, new URL(route.request().url()).pathname.slice(PREFIX.length));
    // Packages that are made for bundlers leave the ending out.
    return route.fulfill({ path: file.endsWith('.js') ? file : `${file}.js`, contentType: 'text/javascript' });
  });
  await page.evaluate(library);
}
