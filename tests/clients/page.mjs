// Opens a page in a headless Chromium, waits for what it should show, and prints what it did.
//
//   node page.mjs --url URL --wait-for SELECTOR [--screenshot FILE]
//
// One JSON line: the texts of the elements, every request that left the browser, and every complaint, of which
// violations of the page's policy are a part: the browser writes them to the console as errors.

import { parseArgs } from 'node:util';
import { launch } from './browser.mjs';

const { values: options } = parseArgs({
  options: { url: { type: 'string' }, 'wait-for': { type: 'string' }, screenshot: { type: 'string' } },
});

const browser = await launch();
try {
  const page = await browser.newPage({ viewport: { width: 1200, height: 1600 } });
  const requests = [];
  const complaints = [];
  page.on('request', (request) => requests.push(request.url()));
  page.on('requestfailed', (request) => complaints.push(`${request.url()}: ${request.failure().errorText}`));
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) {
      complaints.push(message.text());
    }
  });
  await page.goto(options.url);
  const elements = page.locator(options['wait-for']);
  await elements.first().waitFor();
  const texts = await elements.allTextContents();
  if (options.screenshot) {
    await page.screenshot({ path: options.screenshot, fullPage: true });
  }
  console.log(JSON.stringify({ texts, requests, complaints }));
} finally {
  await browser.close();
}
