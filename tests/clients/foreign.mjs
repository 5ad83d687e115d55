// Watches a stream from a page of another origin in a headless Chromium, as the old clients of views do, and prints
// what it saw: a JSON object per line.
//
//   node foreign.mjs --url URL --page URL [--event NAME]… [--credentials] [--last NAME]
//                    [--close-on-error]
//
//   {"type":"open"} | {"type":"message"|NAME,"data":…,"id":"…"} | {"type":"error","readyState":n}
//
// `error` is the connection's own. The page closes its source, and the run ends, after an event `--last`, after a
// message whose `status` is `completed` or `error`, and when the browser has given up, or, with `--close-on-error`, at
// the connection's first error. Names that end in `.example`
// are this machine.

import { parseArgs } from 'node:util';
import { launch } from './browser.mjs';
import { run } from './recorder.mjs';

await run(async () => {
  const { values: options } = parseArgs({
    options: {
      url: { type: 'string' },
      page: { type: 'string' },
      event: { type: 'string', multiple: true, default: [] },
      credentials: { type: 'boolean', default: false },
      last: { type: 'string', default: '' },
      'close-on-error': { type: 'boolean', default: false },
    },
  });
  const browser = await launch(['--host-resolver-rules=MAP *.example 127.0.0.1']);
  try {
    const page = await browser.newPage();
    await page.goto(options.page);
    for (const line of await page.evaluate(watch, options)) {
      console.log(JSON.stringify(line));
    }
    return 0;
  } finally {
    await browser.close();
  }
});

/** Runs inside the page. */
function watch({ url, event: names, credentials, last, 'close-on-error': closes }) {
  return new Promise((resolve) => {
    const lines = [];
    const source = new EventSource(url, { withCredentials: credentials });
    const end = () => {
      source.close();
      resolve(lines);
    };
    const record = (event) => {
      const data = JSON.parse(event.data);
      lines.push({ type: event.type, data, id: event.lastEventId });
      if (event.type === last || ['completed', 'error'].includes(data.status)) {
        end();
      }
    };
    source.onopen = () => lines.push({ type: 'open' });
    source.onmessage = record;
    names.forEach((name) => source.addEventListener(name, record));
    source.onerror = () => {
      lines.push({ type: 'error', readyState: source.readyState });
      if (closes || source.readyState === EventSource.CLOSED) {
        end();
      }
    };
  });
}
