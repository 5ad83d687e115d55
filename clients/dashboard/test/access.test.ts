// With the keyboard, a screen reader, in the dark, on a phone.

import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import type { BrowserContextOptions } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Place, until, type View } from './support/page.js';

let place: Place;
let view: View;
let axe: string;

beforeAll(async () => {
  axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
  place = await Place.make();
  for (let index = 1; index <= 60; index++) {
    await place.server.create({ job_id: `job-${index}`, kind: 'import', total_count: 100, unit: 'rows', tags: ['eu'], lease_seconds: 0 });
  }
  await place.server.report('job-60', { processed_count: 40, step: 'Reading', message: 'customers.csv' });
  await place.server.report('job-59', { status: 'failed', error: { code: 'DISK_FULL', message: 'No space left on device' } });
  await place.server.report('job-58', { status: 'completed' });
  await place.server.report('job-57', { status: 'cancelled' });
  await place.server.create({ job_id: 'job-61', lease_seconds: 1 });
  await place.server.report('job-61', { processed_count: 4 });
  await place.server.create({ job_id: 'job-62', lease_seconds: 0 });
  await place.server.report('job-62', { processed_count: 4, step: 'Counting' });
  await place.server.event('job-60', 'log', 'Opened customers.csv');
  await place.server.call('POST', '/jobs/job-60/results', Array.from({ length: 30 }, (_, row) => ({ row, verdict: 'valid' })));
});
afterEach(async () => {
  expect(view.complaints).toEqual([]);
  await view.close();
});
afterAll(() => place.remove());

/** What a checker of accessibility finds wrong. */
async function faults(): Promise<string[]> {
  await view.page.evaluate(axe);
  const found = await view.page.evaluate(() => (globalThis as any).axe.run());
  return found.violations.flatMap(({ id, nodes }: any) => nodes.map(({ html, failureSummary }: any) => `${id}: ${html} ${failureSummary}`));
}

const LOOKS: [string, BrowserContextOptions][] = [
  ['light', { colorScheme: 'light' }],
  ['dark', { colorScheme: 'dark' }],
  ['tablet', { viewport: { width: 800, height: 1024 } }],
  ['phone', { viewport: { width: 390, height: 844 }, hasTouch: true }],
  ['small phone', { viewport: { width: 320, height: 568 }, hasTouch: true }],
];

describe.each(LOOKS)('in %s', (_, options) => {
  const isWithin = () => view.page.evaluate(() => {
    // What a frame cuts off is not seen by whoever looks at the page alone.
    const frames = [document.documentElement, ...document.querySelectorAll('.row, .far, .facts, .title')];
    return frames.every((frame) => frame.scrollWidth <= frame.clientWidth);
  });

  test('the list has no fault', async () => {
    view = await place.open('', options);
    await view.shows('Stalled 1', '.moods');
    await view.rowShows('job-60', '40%');
    expect(await faults()).toEqual([]);
    expect(await isWithin()).toBe(true);
  });

  test.each(['job-60', 'job-59', 'job-62'])('the page of %s has no fault', async (id) => {
    view = await place.open(`#/jobs/${id}`, options);
    await view.shows(id, 'h1');
    if (id === 'job-60') {
      await view.shows('30 results');
      await view.shows('Opened customers.csv');
      await view.page.locator('.chart canvas').waitFor();
    }
    await view.page.locator('.far').waitFor();
    expect(await faults()).toEqual([]);
    expect(await isWithin()).toBe(true);
  });

  test('no match, a question and no connection have no fault', async () => {
    view = await place.open('#/?text=nobody', options);
    await view.shows('No job matches.');
    expect(await faults()).toEqual([]);
    await view.page.goto(`${place.front.url}/#/jobs/job-60`);
    await view.button('Delete…').click();
    await view.shows('Delete job-60?', 'dialog');
    expect(await faults()).toEqual([]);
    await view.page.keyboard.press('Escape');
    place.front.fault = () => ({ kind: 'answer', status: 503 });
    place.front.cut();
    await view.shows('What you see is from', '.banner');
    expect(await faults()).toEqual([]);
    expect(await isWithin()).toBe(true);
    place.front.fault = () => undefined;
  });

  test('the first visit and the field for a token have no fault', async () => {
    const empty = await Place.make();
    view = await empty.open('', options);
    await view.shows('No jobs yet');
    expect(await faults()).toEqual([]);
    expect(await isWithin()).toBe(true);
    empty.front.fault = ({ path }) => (path.startsWith('/api/') ? { kind: 'answer', status: 401, body: '{}' } : undefined);
    empty.front.cut();
    await view.shows('This server asks for a token.');
    expect(await faults()).toEqual([]);
    expect(await isWithin()).toBe(true);
    await empty.remove();
  });
});

describe('the keyboard', () => {
  const press = (...keys: string[]) => keys.reduce((before, key) => before.then(() => view.page.keyboard.press(key)), Promise.resolve());
  const focusIs = (text: string) => until(`the focus on ${text}`, async () => (await view.focused()) === text);

  test('leads through the whole page, to a job and back to its row', async () => {
    view = await place.open();
    await view.rowShows('job-60', '40%');
    await press('Tab');
    await focusIs('Skip to the content');
    await press('Enter');
    await focusIs('Jobs');
    await press('/');
    expect(await view.page.evaluate(() => document.activeElement?.getAttribute('type'))).toBe('search');
    await press('Tab', 'Tab', 'Tab');
    await focusIs('job-62');
    await press('ArrowDown', 'ArrowDown');
    await focusIs('job-60');
    await press('ArrowUp');
    await focusIs('job-61');
    await press('ArrowDown', 'Enter');
    // The heading and the row read alike.
    const isOn = (selector: string) => until(`the focus on ${selector}`, () => view.page.evaluate((selector) => document.activeElement!.matches(selector), selector));
    await view.page.locator('.far').waitFor();
    await isOn('h1');
    await press('Escape');
    await isOn('.row');
    await focusIs('job-60');
    // One stop of the Tab key for the whole list.
    await press('Tab');
    await focusIs('Show jobs that ended earlier');
    await press('Shift+Tab');
    await focusIs('job-60');
  });

  test('reaches the far end, and the focus is always seen', async () => {
    view = await place.open();
    await view.rowShows('job-62', 'Counting');
    await view.row('job-62').focus();
    await press('End');
    await focusIs('job-1');
    const isSeen = () => view.page.evaluate(() => {
      const row = document.activeElement!.getBoundingClientRect();
      const list = document.querySelector('.window')!.getBoundingClientRect();
      return row.top >= list.top - 1 && row.bottom <= list.bottom + 1;
    });
    await until('it in sight', isSeen);
    await press('PageUp', 'ArrowUp', 'ArrowUp');
    await until('it in sight', isSeen);
    await press('Home');
    await focusIs('job-62');
    await until('it in sight', isSeen);
    const outline = await view.page.evaluate(() => getComputedStyle(document.activeElement!).outlineStyle);
    expect(outline).toBe('solid');
  });

  test('keeps its row when others come and it moves, and takes the next one when it goes', async () => {
    view = await place.open();
    await view.rowShows('job-60', '40%');
    await view.row('job-60').focus();
    for (let index = 0; index < 30; index++) {
      await place.server.create({ job_id: `later-${index}` });
    }
    await view.shows('All 92', '.moods');
    await focusIs('job-60');
    await view.page.locator('.window').evaluate((list) => list.scrollTo(0, 4_000));
    await view.row('job-20').waitFor();
    await focusIs('job-60');
    await view.page.locator('.window').evaluate((list) => list.scrollTo(0, 0));
    await view.row('later-29').focus();
    await press('ArrowDown', 'ArrowDown');
    await focusIs('later-27');
    await place.server.call('DELETE', '/jobs/later-27');
    await focusIs('later-26');
    for (const index of Array.from({ length: 30 }, (_, index) => index).filter((index) => index !== 27)) {
      await place.server.call('DELETE', `/jobs/later-${index}`);
    }
    await view.shows('All 62', '.moods');
  });

  test('works after a click beside everything too', async () => {
    view = await place.open('#/jobs/job-60');
    await view.shows('40%', '.far');
    await view.page.mouse.click(5, 700);
    await press('Escape');
    await view.rowShows('job-60', '40%');
    await view.page.mouse.click(5, 700);
    await press('/');
    expect(await view.page.evaluate(() => document.activeElement?.getAttribute('type'))).toBe('search');
  });

  test('deletes a job without a mouse', async () => {
    await place.server.create({ job_id: 'doomed' });
    view = await place.open('#/jobs/doomed');
    await view.shows('Pending', '.badge');
    await view.button('Delete…').focus();
    await press('Enter');
    await focusIs('Keep');
    await press('Tab', 'Enter');
    await view.shows('All 62', '.moods');
    expect(await view.names()).not.toContain('doomed');
  });
});

test('the list scrolls back to where one was', async () => {
  view = await place.open();
  await view.rowShows('job-60', '40%');
  const list = view.page.locator('.window');
  await list.evaluate((element) => element.scrollTo(0, 1_500));
  await view.row('job-35').waitFor();
  await view.row('job-35').click();
  await view.shows('job-35', 'h1');
  await view.page.goBack();
  await view.row('job-35').waitFor();
  expect(await list.evaluate((element) => element.scrollTop)).toBe(1_500);
});

test('does without motion where it is not wanted, and with the colours of the system', async () => {
  view = await place.open('', { reducedMotion: 'reduce', forcedColors: 'active' });
  await view.rowShows('job-62', 'Counting');
  const bar = view.row('job-62').locator('.bar > span');
  expect(await bar.evaluate((element) => getComputedStyle(element).animationName)).toBe('none');
  expect(await faults()).toEqual([]);
});

test('a row keeps the focus while others come in above it', async () => {
  view = await place.open();
  await view.rowShows('job-60', '40%');
  await view.row('job-60').focus();
  await view.page.evaluate(() => {
    (globalThis as any).left = 0;
    (globalThis as any).lost = 0;
    document.addEventListener('focusout', () => {
      (globalThis as any).left += 1;
    });
    // Called before any key can come.
    new MutationObserver(() => {
      (globalThis as any).lost += Number(document.activeElement === document.body);
    }).observe(document.querySelector('.rows')!, { childList: true });
  });
  const names = Array.from({ length: 60 }, (_, index) => `late-${index}`);
  await Promise.all(names.map((name) => place.server.create({ job_id: name, lease_seconds: 0 })));
  await view.shows('All 122', '.moods');
  expect(await view.focused()).toBe('job-60');
  expect(await view.page.evaluate(() => (globalThis as any).left)).toBe(0);
  await view.page.keyboard.press('ArrowDown');
  await until('the focus on the next row', async () => (await view.focused()) === 'job-59');
  expect(await view.page.evaluate(() => (globalThis as any).lost)).toBe(0);
});
