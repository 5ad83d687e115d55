// The list: every job with its bar, and what narrows it down.

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { Place, until, type View } from './support/page.js';

let place: Place;
let view: View;
const create = (job_id: string, more: object = {}) => place.server.create({ job_id, ...more });
const report = (id: string, body: object) => place.server.report(id, body);

beforeAll(async () => {
  place = await Place.make();
  await create('nightly-1', { kind: 'import', tags: ['eu', 'nightly'], total_count: 200, unit: 'rows' });
  await report('nightly-1', { processed_count: 50, step: 'Reading', message: 'customers.csv' });
  await create('encode-1', { kind: 'video', tags: ['eu'] });
  await report('encode-1', { processed_count: 7 });
  await create('broken-1', { kind: 'import' });
  await report('broken-1', { status: 'failed', error: { code: 'DISK_FULL', message: 'No space left on device' } });
  await create('silent-1', { kind: 'backup', lease_seconds: 1 });
  await report('silent-1', { step: 'Copying' });
  await create('waiting-1', { kind: 'backup' });
  await create('done-1', { kind: 'video' });
  await report('done-1', { status: 'completed' });
});
beforeEach(async () => {
  view = await place.open();
});
afterEach(async () => {
  expect(view.complaints).toEqual([]);
  expect(view.strangers()).toEqual([]);
  await view.close();
});
afterAll(() => place.remove());

const ALL = ['nightly-1', 'encode-1', 'broken-1', 'silent-1', 'waiting-1', 'done-1'];

test('shows each job with its bar, state, step and message', async () => {
  await view.lists(...ALL);
  await view.rowShows('nightly-1', 'Running');
  await view.rowShows('nightly-1', '25%');
  await view.rowShows('nightly-1', '50 of 200 rows');
  await view.rowShows('nightly-1', 'Reading');
  await view.rowShows('nightly-1', 'customers.csv');
  await view.rowShows('nightly-1', 'import · eu · nightly');
  const bar = view.row('nightly-1').getByRole('progressbar');
  expect(await bar.getAttribute('aria-valuenow')).toBe('25');
  // Nobody knows how far this one is.
  const unknown = view.row('encode-1').getByRole('progressbar');
  expect(await unknown.getAttribute('aria-valuenow')).toBeNull();
  expect(await unknown.getAttribute('aria-valuetext')).toBe('7 so far');
});

test('newest first, and a job keeps its place', async () => {
  await view.lists(...ALL);
  expect(await view.names()).toEqual([...ALL].reverse());
  await report('nightly-1', { processed_count: 51 });
  await view.rowShows('nightly-1', '51 of 200 rows');
  expect(await view.names()).toEqual([...ALL].reverse());
});

test('stalled and failed ones stand out, in the title too', async () => {
  await view.rowShows('silent-1', 'Stalled');
  await view.rowShows('broken-1', 'No space left on device');
  await view.shows('Stalled 1', '.moods .loud.is-stalled');
  await view.shows('Failed 1', '.moods .loud.is-failed');
  await until('the title', async () => (await view.page.title()) === '(2) progressd');
});

test('filters by state, and counts each', async () => {
  await view.lists(...ALL);
  await view.shows('All 6', '.moods');
  await view.button('Failed').click();
  await view.lists('broken-1');
  expect(view.page.url()).toContain('#/?state=failed');
  await view.button('Running').click();
  await view.lists('nightly-1', 'encode-1');
  await view.button('Running').click();
  await view.lists(...ALL);
});

test('filters by kind and tag, asks the server for no more, and keeps the choice in the address', async () => {
  await view.lists(...ALL);
  await view.choose('Kind', 'import');
  await view.lists('nightly-1', 'broken-1');
  await view.choose('Tag', 'eu');
  await view.lists('nightly-1');
  await until('the question', () => place.front.streams().at(-1)?.query.toString() === 'kind=import&tag=eu');
  await view.page.reload();
  await view.lists('nightly-1');
  await view.choose('Kind', '');
  await view.lists('nightly-1', 'encode-1');
});

test('filters by text, which follows what jobs say', async () => {
  await view.lists(...ALL);
  const search = view.page.getByRole('searchbox');
  await search.fill('SPACE LEFT');
  await view.lists('broken-1');
  await search.fill('orders.csv');
  await view.shows('No job matches.');
  await report('encode-1', { message: 'orders.csv' });
  await view.lists('encode-1');
  await report('encode-1', { message: 'done with it' });
  await view.shows('No job matches.');
});

test('opens a job by a name that the list does not hold', async () => {
  await view.lists(...ALL);
  const search = view.page.getByRole('searchbox');
  await search.fill('long:gone@host~1');
  await view.page.getByRole('link', { name: 'Open the job named “long:gone@host~1”' }).click();
  await view.shows('There is no job of this name.');
  await view.page.goBack();
  await view.page.getByRole('searchbox').fill('nightly-1');
  await view.lists('nightly-1');
  await view.page.keyboard.press('Enter');
  await view.shows('of 200 rows', '.far');
  await view.shows('nightly-1', 'h1');
  // Back, to what was looked for.
  await view.page.getByRole('link', { name: 'All jobs' }).click();
  await view.lists('nightly-1');
});

test('a job comes, moves and goes by itself', async () => {
  await view.lists(...ALL);
  await create('guest-1', { total_count: 10 });
  await view.lists(...ALL, 'guest-1');
  await report('guest-1', { processed_count: 9 });
  await view.rowShows('guest-1', '90%');
  await place.server.call('DELETE', '/jobs/guest-1');
  await view.lists(...ALL);
  // A name that was free again is another job.
  await create('guest-1', { total_count: 10 });
  await view.rowShows('guest-1', '0%');
  await place.server.call('DELETE', '/jobs/guest-1');
  await view.lists(...ALL);
});

test('what came and went while a page of a job was open', async () => {
  await create('gone-1');
  await view.lists(...ALL, 'gone-1');
  await view.row('nightly-1').click();
  await view.shows('of 200 rows', '.far');
  await place.server.call('DELETE', '/jobs/gone-1');
  await create('come-1');
  await view.page.goBack();
  await view.lists(...ALL, 'come-1');
  await place.server.call('DELETE', '/jobs/come-1');
});

test('jobs that ended earlier are fetched page by page', async () => {
  await view.lists(...ALL);
  await view.button('Completed').click();
  await view.lists('done-1');
  await view.button('Show jobs that ended earlier').click();
  await view.shows('That is all that is kept.');
  await view.lists('done-1');
  const asked = view.urls.filter((url) => url.includes('/api/v1/jobs?'));
  expect(new URL(asked.at(-1) ?? '').search).toBe('?status=completed&limit=200');
});

test('text of others is text', async () => {
  const hostile = '<img src=x onerror="document.title=1"><b>bold</b> مرحبا';
  await create('hostile-1', { kind: '<i>kind</i>', tags: ['<u>tag</u>'], total_count: 4, unit: '<s>' });
  await report('hostile-1', { processed_count: 1, step: hostile, message: hostile });
  await view.rowShows('hostile-1', hostile.slice(0, 20));
  await view.rowShows('hostile-1', '<i>kind</i>');
  expect(await view.page.locator('.row :is(img, b, i, u, s)').count()).toBe(0);
  await view.row('hostile-1').click();
  await view.shows(hostile, '.says');
  expect(await view.page.locator('main :is(img, b, i, u, s)').count()).toBe(0);
  await place.server.call('DELETE', '/jobs/hostile-1');
});

test('a clock that is an hour off changes nothing', async () => {
  await view.close();
  view = await place.open('', {}, (page) => page.clock.setSystemTime(Date.now() + 3_600_000));
  await view.lists(...ALL);
  await until('a time of today', async () => /(just now|\d+ (s|min) ago)/.test(await view.text('[data-job=waiting-1]')));
});
