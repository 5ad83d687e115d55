// Follows a stream in a page of a headless Chromium, and prints what it saw (recorder.mjs).
//
//   node chromium.mjs --url URL [--library NAME] [--token TOKEN [--buy-ticket]] [--page URL] [--screenshot FILE] …
//
// The client is the native `EventSource`, or one of libraries.mjs.
// The page is one of the stream's own origin (default /healthz), so that the browser treats it as it treats a dashboard.
// A native `EventSource` sends no headers of its own: the token travels as `?token=`, or, with --buy-ticket, the page
// buys a ticket with it first, by a request that has a header.

import { launch } from './browser.mjs';
import { install } from './libraries.mjs';
import { readCommandLine, Recorder, run, TERMINAL_STATES } from './recorder.mjs';

await run(async () => {
  const options = readCommandLine({
    library: { type: 'string', default: 'native' },
    page: { type: 'string' },
    screenshot: { type: 'string' },
    'buy-ticket': { type: 'boolean', default: false },
  });
  const streamUrl = new URL(options.url);
  if (options.token && !options['buy-ticket']) {
    streamUrl.searchParams.set('token', options.token);
  }

  const browser = await launch();
  try {
    // The page is only a foothold on the origin, so a policy of its own against scripts or streams does not matter here.
    const page = await browser.newPage({ bypassCSP: true, viewport: { width: 720, height: 160 } });
    await page.goto(options.page ?? new URL('/healthz', streamUrl).href);
    await install(page, options.library);

    // The page itself closes its client: from here the order would come too late to be that of a listener.
    const recorder = new Recorder(options, () => {});
    let newestRequest;
    page.on('request', (request) => {
      if (new URL(request.url()).pathname === streamUrl.pathname) {
        newestRequest = request;
        recorder.countRequest();
      }
    });
    await page.exposeFunction('recordOpen', () => recorder.recordOpen());
    await page.exposeFunction('recordEvent', (...event) => recorder.recordEvent(...event));
    await page.exposeFunction('recordTrouble', async (readyState, told) => {
      // With the native one a page never learns the status code. It is the cause only where the browser gave up;
      // nothing follows that.
      const response = readyState === 2 && !told ? await newestRequest?.response() : undefined;
      recorder.recordTrouble({ status: told ?? response?.status() }, readyState);
    });
    await page.evaluate(followInPage, {
      url: streamUrl.href,
      buyWith: options['buy-ticket'] ? options.token : undefined,
      eventNames: options.eventNames,
      closeAtStates: options.closeAtEnd ? TERMINAL_STATES : [],
    });

    const exitCode = await recorder.ended;
    if (options.screenshot) {
      await page.screenshot({ path: options.screenshot });
    }
    return exitCode;
  } finally {
    await browser.close();
  }
});

/** Runs inside the page: follows the stream, passes everything on, and shows the progress to the eye. */
async function followInPage({ url, buyWith, eventNames, closeAtStates }) {
  const bar = Object.assign(document.createElement('progress'), { max: 100 });
  const line = document.createElement('p');
  bar.style.width = '100%';
  document.body.style.font = '16px sans-serif';
  document.body.replaceChildren(bar, line);

  if (buyWith) {
    const headers = { Authorization: `Bearer ${buyWith}` };
    const answer = await fetch(url.replace(/\/stream$/, '/ticket'), { method: 'POST', headers });
    const { ticket } = await answer.json();
    url = `${url}?ticket=${ticket}`;
  }

  const source = follow(url);
  const recordEvent = (event) => globalThis.recordEvent(event.type, event.data, event.lastEventId, source.readyState);

  source.addEventListener('open', () => globalThis.recordOpen());
  source.addEventListener('error', (event) => {
    // What the libraries send for trouble of their own has no data, or tells the answer that was its cause.
    if (typeof event.data === 'string' && event.responseCode === undefined) {
      recordEvent(event);
    } else {
      globalThis.recordTrouble(source.readyState, event.status ?? event.responseCode);
    }
  });
  for (const name of eventNames) {
    source.addEventListener(name, recordEvent);
  }
  source.addEventListener('status', (event) => {
    const job = JSON.parse(event.data);
    if (closeAtStates.includes(job.status)) {
      source.close();
    }
    const percentage = job.progress_percentage;
    if (percentage === null) {
      bar.removeAttribute('value');
    } else {
      bar.value = percentage;
    }
    line.textContent = [
      job.kind ?? job.job_id,
      job.status,
      percentage === null ? 'progress unknown' : `${percentage} %`,
      `${job.processed_count} of ${job.total_count ?? 'unknown'} ${job.unit ?? ''}`,
      job.error?.message,
    ].filter(Boolean).join(' · ');
  });
}
