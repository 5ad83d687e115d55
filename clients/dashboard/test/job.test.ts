// A job's page: how far it is, what it says and brought, and what can be done with it.

import { readFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { Place, until, type View } from './support/page.js';

let place: Place;
let view: View;
const create = (job_id: string, more: object = {}) => place.server.create({ job_id, ...more });
const report = (id: string, body: object) => place.server.report(id, body);
const rows = (id: string, first: number, count: number) =>
  place.server.call('POST', `/jobs/${id}/results`, Array.from({ length: count }, (_, index) => ({ row: first + index, email: `p${first + index}@example.com` })));

beforeAll(async () => {
  place = await Place.make();
});
afterEach(async () => {
  expect(view.complaints).toEqual([]);
  expect(view.strangers()).toEqual([]);
  await view.close();
});
afterAll(() => place.remove());

test('shows step, message, bar, facts and title, and follows', async () => {
  await create('a1', { kind: 'import', tags: ['eu'], total_count: 200, unit: 'rows', data: { file: 'customers.csv' } });
  await report('a1', { processed_count: 50, step: 'Reading', message: 'customers.csv' });
  view = await place.open('#/jobs/a1');
  await view.shows('a1', 'h1');
  await view.shows('25%', '.far');
  await view.shows('50 of 200 rows', '.far');
  await view.shows('Reading · customers.csv', '.says');
  await view.shows('import', '.facts');
  await until('the title', async () => (await view.page.title()) === '25% · a1 · progressd');
  await report('a1', { processed_count: 100, step: 'Writing' });
  await view.shows('50%', '.far');
  await view.shows('Writing', '.says');
  const bar = view.page.getByRole('progressbar');
  expect(await bar.getAttribute('aria-valuenow')).toBe('50');
  // Screen readers are told at each quarter, not at each report.
  await view.shows('a1: Running, 50% or more', '.hidden[role=status]');
  await report('a1', { processed_count: 120 });
  await view.shows('60%', '.far');
  await view.shows('a1: Running, 50% or more', '.hidden[role=status]');
  await report('a1', { status: 'completed', result: { imported: 200 } });
  await view.shows('Completed', '.title');
  await view.isIn('Up to date');
  await view.page.getByText('Result', { exact: true }).click();
  await view.shows('"imported": 200', 'details');
  expect(await view.button('Cancel').count()).toBe(0);
});

test('draws the progress that the list has seen already', async () => {
  await create('b1', { total_count: 10 });
  view = await place.open();
  for (const processed_count of [1, 2, 3]) {
    await report('b1', { processed_count });
    await view.rowShows('b1', `${processed_count} of 10`);
  }
  await view.row('b1').click();
  await view.shows('Progress over time');
  const canvas = view.page.locator('.chart canvas');
  await canvas.waitFor();
  expect(await view.page.locator('.chart').getAttribute('aria-label')).toBe('A line over time, up to 30%');
  // Something is painted on it: the line and its marks.
  const painted = () => canvas.evaluate((element: HTMLCanvasElement) => {
    const { data } = element.getContext('2d')!.getImageData(0, 0, element.width, element.height);
    return data.some((value) => value > 0);
  });
  await until('a painted line', painted);
});

test('shows events as a log, newest first, and bounds a burst of them', async () => {
  await create('c1');
  await place.server.event('c1', 'log', { line: 'Opened customers.csv' });
  await place.server.event('c1', 'error', 'Line 7 is no address');
  view = await place.open('#/jobs/c1');
  await view.shows('Opened customers.csv', '.log');
  const names = await view.page.locator('.log strong').allTextContents();
  expect(names).toEqual(['error', 'log']);
  const burst = Array.from({ length: 1_000 }, (_, index) => ({ event: 'log', data: `line ${index}` }));
  await place.server.call('POST', '/jobs/c1/events', burst);
  await view.shows('line 999', '.log');
  expect(await view.page.locator('.log li').count()).toBe(500);
  await view.shows('The newest 500.');
});

test('says that earlier events are no longer kept', async () => {
  await create('c2');
  const burst = Array.from({ length: 1_000 }, (_, index) => ({ event: 'log', data: index }));
  await place.server.call('POST', '/jobs/c2/events', burst);
  await place.server.call('POST', '/jobs/c2/events', burst.slice(0, 600));
  view = await place.open('#/jobs/c2');
  await view.shows('The newest 500.');
  await view.shows('599', '.log li:first-child');
});

test('pages through results, also while they grow', async () => {
  await create('d1');
  await rows('d1', 0, 60);
  view = await place.open('#/jobs/d1');
  await view.shows('60 results');
  await view.shows('Page 1 of 3', '.paging');
  await view.button('Next').click();
  await view.button('Next').click();
  await view.shows('Page 3 of 3', '.paging');
  await view.shows('p59@example.com', 'table');
  expect(await view.page.locator('tbody tr').count()).toBe(10);
  await rows('d1', 60, 20);
  await view.shows('80 results');
  await view.shows('Page 3 of 4', '.paging');
  await view.shows('p74@example.com', 'table');
  await view.button('Previous').click();
  await view.shows('p25@example.com', 'table');
});

test('cuts what is wide or long in the table short', async () => {
  await create('d2');
  const wide = Object.fromEntries(Array.from({ length: 60 }, (_, index) => [`column${index}`, index]));
  await place.server.call('POST', '/jobs/d2/results', [{ object: { a: [1, null] }, long: 'x'.repeat(100_000), ...wide }]);
  await report('d2', { status: 'completed' });
  view = await place.open('#/jobs/d2');
  await view.shows('1 result');
  await view.shows('{"a":[1,null]}', 'table');
  await view.shows('100,000 letters', 'table');
  await view.shows('The files have 22 more columns.');
  expect(await view.page.evaluate(() => document.documentElement.scrollWidth <= innerWidth)).toBe(true);
});

test.each(['csv', 'json', 'ndjson'])('saves the results as %s', async (format) => {
  const id = `e-${format}`;
  await create(id);
  await rows(id, 0, 2);
  view = await place.open(`#/jobs/${id}`);
  const saved = view.page.waitForEvent('download');
  await view.button(`Download as ${format.toUpperCase()}`).click();
  const file = await saved;
  expect(file.suggestedFilename()).toContain(`.${format}`);
  const text = await readFile(await file.path(), 'utf8');
  const expected = { csv: 'row,email', json: '[{"row":0', ndjson: '{"row":0' }[format] ?? '';
  expect(text.replaceAll(/\s/g, '')).toContain(expected);
  expect(text).toContain('p1@example.com');
});

test('shows why a job failed', async () => {
  await create('f1', { total_count: 4 });
  await report('f1', { processed_count: 1 });
  view = await place.open('#/jobs/f1');
  await report('f1', { status: 'failed', error: { code: 'DISK_FULL', message: 'No space left on device' } });
  await view.shows('Failed', '.title');
  await view.shows('DISK_FULL No space left on device', '.error');
  await view.shows('25%', '.far');
});

test('cancels, and says that the job is stopping', async () => {
  await create('g1');
  await report('g1', {});
  view = await place.open('#/jobs/g1');
  await view.button('Cancel').click();
  await view.shows('Stopping…', '.actions');
  await view.shows('Stopping', '.badge');
  await report('g1', { status: 'cancelled' });
  await view.shows('Cancelled', '.badge');
  expect(await view.button('Stopping').count()).toBe(0);
});

test('deletes after a question', async () => {
  await create('h1');
  view = await place.open('#/jobs/h1');
  await view.button('Delete…').click();
  await view.shows('Delete h1?', 'dialog');
  await view.page.keyboard.press('Escape');
  await until('no question', async () => (await view.page.locator('dialog').count()) === 0);
  expect((await place.server.call('GET', '/jobs/h1')).job_id).toBe('h1');
  await view.button('Delete…').click();
  await view.page.locator('dialog').getByRole('button', { name: 'Delete' }).click();
  await until('the list', () => view.page.url().endsWith('#/'));
  expect(await view.names()).not.toContain('h1');
  await expect(place.server.call('GET', '/jobs/h1')).rejects.toThrow('410');
});

test('a job that is removed while its page is open is said to be gone', async () => {
  await create('i1', { total_count: 2 });
  await report('i1', { processed_count: 1 });
  view = await place.open('#/jobs/i1');
  await view.shows('50%', '.far');
  await place.server.call('DELETE', '/jobs/i1');
  await view.shows('This job is gone');
  await view.shows('i1 Gone', '.title');
  await view.lacks('Running');
  expect(await view.page.title()).toBe('Gone · i1 · progressd');
  expect(await view.button('Cancel').count()).toBe(0);
  expect(await view.button('Delete').count()).toBe(0);
  // Its name is free for another one.
  await create('i1', { total_count: 4 });
  await view.button('Look again').click();
  await view.shows('0 of 4', '.far');
  await view.lacks('This job is gone');
  await report('i1', { processed_count: 1 });
  await view.shows('25%', '.far');
});

test('a page leads from one job to another without a trace of the first', async () => {
  await create('j1', { total_count: 2 });
  await report('j1', { processed_count: 1, message: 'of the parent' });
  await create('j2', { parent_id: 'j1' });
  await place.server.event('j2', 'log', 'of the child');
  view = await place.open('#/jobs/j2');
  await view.shows('of the child', '.log');
  await view.page.getByRole('link', { name: 'j1' }).click();
  await view.shows('of the parent', '.says');
  await view.lacks('of the child');
  await until('one stream', async () => (await place.server.watchers('j2')) === 0);
});

test.each(['a:b@c~', 'x.y_z-1'])('opens a job named %s, written either way', async (id) => {
  await create(id);
  view = await place.open(`#/jobs/${id}`);
  await view.shows('Pending', '.badge');
  await view.page.goto('about:blank');
  await view.page.goto(`${place.front.url}/#/jobs/${encodeURIComponent(id)}`);
  await view.shows('Pending', '.badge');
  view.urls.length = 0;
});

test.each(['%E0%A4%A', '..', '%2e%2e', 'a%2Fb', `${'x'.repeat(129)}`])('an address that no job can have is said so: %s', async (name) => {
  view = await place.open(`#/jobs/${name}`);
  await view.shows('No job can have this name.');
  expect(view.urls.filter((url) => url.includes('/api/'))).toEqual([]);
});
