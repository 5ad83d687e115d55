// The first visit: lines to copy, which do what they say.

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Place } from './support/page.js';

const shell = promisify(execFile);

let place: Place;

beforeAll(async () => {
  place = await Place.make();
});
afterAll(() => place.remove());

test('shows lines to copy, and the job that they make moves by itself', async () => {
  const view = await place.open();
  await view.shows('No jobs yet');
  const lines = await view.page.locator('.guide code').allTextContents();
  expect(lines).toHaveLength(3);
  const [create, report, watch] = lines as [string, string, string];

  await shell('bash', ['-c', create]);
  await view.rowShows('import-7', 'Pending');
  // The other lines are still there to be copied.
  expect(await view.page.locator('.guide code').allTextContents()).toEqual(lines);
  await shell('bash', ['-c', report]);
  await view.rowShows('import-7', '25%');
  await view.rowShows('import-7', 'Reading');
  await shell('bash', ['-c', report]);
  await view.rowShows('import-7', '500 of 1,000 rows');
  const bar = view.row('import-7').getByRole('progressbar');
  expect(await bar.getAttribute('aria-valuenow')).toBe('50');

  const follower = spawn('bash', ['-c', `exec ${watch}`], { stdio: ['ignore', 'pipe', 'ignore'] });
  const [first] = await once(follower.stdout, 'data');
  expect(String(first)).toContain('"processed_count":500');
  follower.kill();

  await view.button('Put away').click();
  await view.lacks('Three lines');
  expect(view.complaints).toEqual([]);
  expect(view.strangers()).toEqual([]);
  await view.close();
});

test('a server whose jobs are all gone shows the lines again', async () => {
  const view = await place.open();
  await view.rowShows('import-7', '50%');
  await place.server.call('DELETE', '/jobs/import-7');
  await view.shows('No jobs yet');
  await view.close();
});
