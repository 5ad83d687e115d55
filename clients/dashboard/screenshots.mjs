// Pictures of the dashboard over a real server with jobs such as a company has at night (scripts/screenshots).

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { launch } from '../../tests/clients/browser.mjs';

const folder = process.argv[2] ?? 'assets/screenshots';
/** What a page on the web can be asked to load. */
const MOST_BYTES = 200_000;

const place = mkdtempSync(join(tmpdir(), 'progressd-screenshots-'));
const server = spawn(process.env.PROGRESSD_BIN, ['serve', '--listen', '127.0.0.1:0'], {
  cwd: place,
  env: { ...process.env, PROGRESSD__STORE__BACKEND: 'memory' },
  stdio: ['ignore', 'pipe', 'ignore'],
});
const [line] = await once(createInterface(server.stdout), 'line');
const address = /^listening on (http.*)$/.exec(line)[1];

async function call(method, path, body) {
  const isText = typeof body === 'string';
  const answer = await fetch(`${address}/api/v1${path}`, {
    method,
    headers: { 'Content-Type': isText ? 'application/x-ndjson' : 'application/json' },
    body: isText ? body : JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
}

const report = (id, body) => call('PATCH', `/jobs/${id}`, body);

// From the oldest to the newest: id, what it is, how many a tick, and what it says.
const JOBS = [
  ['warehouse-backup-1121', { kind: 'backup', tags: ['nightly'], total_count: 840, unit: 'GB' }, 0, 'Verifying', 'Snapshot of warehouse-eu-1'],
  ['invoices-2026-11', { kind: 'pdf-render', tags: ['billing'], total_count: 18_400, unit: 'invoices' }, 184, 'Rendering', 'Batch 52 of 92'],
  ['newsletter-winter', { kind: 'mailing', tags: ['marketing'], total_count: 96_000, unit: 'emails' }, 0, 'Sending', 'eu-west · 9 retries'],
  ['webinar-recording-88', { kind: 'video-encode', tags: ['media'], total_count: 54_000, unit: 'frames' }, 420, 'Encoding 1080p', 'Pass 2 of 2'],
  ['crm-export-acme', { kind: 'export', tags: ['customers'], total_count: 40_000, unit: 'rows' }, 0, 'Uploading', 's3://acme-exports'],
  ['geo-audit-example-com', { kind: 'site-audit', tags: ['customers'], unit: 'pages' }, 11, 'Crawling', '/blog/2026/11/release-notes'],
  ['ledger-reconciliation', { kind: 'import', tags: ['billing', 'nightly'], total_count: 120_000, unit: 'rows' }, 0, 'Matching', 'Bank statement 21 November'],
  ['search-reindex-products', { kind: 'reindex', tags: ['nightly'], total_count: 310_000, unit: 'documents' }, 3_900, 'Indexing', 'Shard 4 of 6'],
  ['thumbnail-refresh', { kind: 'images', tags: ['media'], total_count: 7_500, unit: 'images' }, 0, null, null],
  ['customers-import-42', { kind: 'import', tags: ['customers', 'eu'], total_count: 25_000, unit: 'rows' }, 260, 'Checking addresses', 'customers-eu.csv, part 3 of 4'],
];
/** Where they stand when the first picture is near, as shares. */
const AT = { 'warehouse-backup-1121': 1, 'invoices-2026-11': 0.31, 'newsletter-winter': 0.62, 'webinar-recording-88': 0.68, 'crm-export-acme': 0.43, 'search-reindex-products': 0.12, 'ledger-reconciliation': 0.27, 'customers-import-42': 0.08 };

async function begin() {
  for (const [job_id, job, , step, message] of JOBS) {
    const isSilent = job_id === 'newsletter-winter';
    await call('POST', '/jobs', { job_id, ...job, lease_seconds: isSilent ? 1 : 0 });
    if (!step) continue;
    const processed_count = Math.round((AT[job_id] ?? 0) * (job.total_count ?? 0));
    await report(job_id, { processed_count, step, message });
  }
  await report('warehouse-backup-1121', { status: 'completed', result: { snapshot: 'warehouse-eu-1-20261121' } });
  await report('crm-export-acme', { status: 'failed', error: { code: 'ACCESS_DENIED', message: 'The bucket refused the upload' } });
  await report('ledger-reconciliation', { status: 'cancelled' });
}

const VERDICTS = ['valid', 'valid', 'valid', 'risky', 'valid', 'invalid', 'valid', 'valid'];
const NAMES = ['ada.byrne', 'jonas.weber', 'l.moreau', 'sofia.rossi', 'piotr.nowak', 'info', 'emma.jensen', 'k.papadakis'];
const HOSTS = ['example.com', 'example.net', 'example.org'];
const LINES = ['Opened customers-eu.csv', 'Recognised column 3 as the address', 'Part 1 of 4 is read', '14 rows skipped: no address', 'Mail servers of example.net answer slowly', 'Part 2 of 4 is read', 'Duplicate of row 4,120 dropped'];

/** Lets those that run go on by a tick; the speed of some changes, as it does. */
async function tick(number) {
  const lines = JOBS.filter(([, , pace]) => pace > 0).map(([job_id, , pace, step]) => {
    const swing = 0.55 + 0.45 * Math.sin(number / 4 + job_id.length);
    return JSON.stringify({ job_id, processed_increment: Math.max(1, Math.round(pace * swing)), step });
  });
  await call('POST', '/reports', lines.join('\n'));
  const id = 'customers-import-42';
  if (number % 4 === 0 && LINES[number / 4]) await call('POST', `/jobs/${id}/events`, { event: 'log', data: { line: LINES[number / 4] } });
  const rows = Array.from({ length: 20 }, (_, index) => {
    const row = number * 20 + index;
    return { row: row + 1, email: `${NAMES[row % 8]}@${HOSTS[row % 3]}`, verdict: VERDICTS[(row * 5) % 8], millis: 40 + ((row * 37) % 180) };
  });
  await call('POST', `/jobs/${id}/results`, rows);
}

const browser = await launch();
try {
  mkdirSync(folder, { recursive: true });
  const desk = { viewport: { width: 1280, height: 880 } };
  const phone = { viewport: { width: 390, height: 800 }, deviceScaleFactor: 2 };
  const open = async (hash, options) => {
    const page = await (await browser.newContext({ colorScheme: 'light', locale: 'en-GB', ...options })).newPage();
    await page.goto(`${address}/${hash}`);
    return page;
  };
  const take = async (page, name) => {
    const path = join(folder, `${name}.png`);
    await page.screenshot({ path });
    const { size } = statSync(path);
    if (size > MOST_BYTES) throw new Error(`${path} has ${size} bytes: too many for a page`);
    console.log(path, size);
  };

  const empty = await open('', desk);
  await empty.getByText('No jobs yet').waitFor();
  await take(empty, 'empty');

  await begin();
  const list = await open('', desk);
  const dark = await open('', { ...desk, colorScheme: 'dark' });
  const small = await open('', phone);
  const job = await open('', desk);
  // Long enough for a rate, a curve and a silence that is noticed.
  for (let number = 0; number < 48; number++) {
    await tick(number);
    await sleep(500);
  }
  await take(list, 'list');
  await take(dark, 'dark');
  await take(small, 'phone');
  await job.getByText('customers-import-42').click();
  await job.getByText('results', { exact: false }).first().waitFor();
  await tick(48);
  await job.locator('.chart canvas').waitFor();
  await job.evaluate(() => document.activeElement.blur());
  // The bar moves to where it belongs.
  await sleep(1_000);
  await take(job, 'job');
} finally {
  await browser.close();
  server.kill();
  await once(server, 'exit');
  rmSync(place, { recursive: true, force: true });
}
