// Opens many streams at once in one page of a headless Chromium, each with a native `EventSource` of its own.
//
//   node many-streams.mjs --url URL --count N
//
// Prints {"open":N,"statuses":N} when every one of them is open and has had its first status, all at the same time:
// more than six of those need HTTP/2. The certificate is not checked, since nobody but the test knows it.

import { parseArgs } from 'node:util';
import { launch } from './browser.mjs';
import { run } from './recorder.mjs';

await run(async () => {
  const { values } = parseArgs({ options: { url: { type: 'string' }, count: { type: 'string' } } });
  const browser = await launch();
  try {
    const page = await browser.newPage({ bypassCSP: true, ignoreHTTPSErrors: true });
    await page.goto(new URL('/healthz', values.url).href);
    console.log(JSON.stringify(await page.evaluate(openInPage, { url: values.url, count: Number(values.count) })));
    return 0;
  } finally {
    await browser.close();
  }
});

/** Runs inside the page: resolves when all streams are open together. */
function openInPage({ url, count }) {
  const sources = Array.from({ length: count }, () => new EventSource(url));
  const firstStatus = (source) =>
    new Promise((resolve, reject) => {
      source.addEventListener('status', resolve, { once: true });
      source.addEventListener('error', () => reject(new Error('a stream failed')));
    });
  return Promise.all(sources.map(firstStatus)).then((statuses) => ({
    open: sources.filter((source) => source.readyState === EventSource.OPEN).length,
    statuses: statuses.length,
  }));
}
