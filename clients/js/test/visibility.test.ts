// A page that was away: asleep, in a pocket, in the background.

import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { Front } from './support/front.js';
import { Record } from './support/record.js';
import { Server } from './support/server.js';
import { until } from './support/until.js';

let server: Server;
let front: Front;

beforeAll(async () => {
  server = await Server.start();
  front = await Front.start(() => server.url);
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  front.requests.length = 0;
  front.fault = () => undefined;
});
afterAll(async () => {
  await front.stop();
  await server.remove();
});

test('a page that is seen again is brought up to date, though its line is dead without a word', async () => {
  const page = Object.assign(new EventTarget(), { hidden: false, baseURI: front.url });
  vi.stubGlobal('document', page);
  await server.create({ job_id: 'away' });
  // Of the first stream nothing passes but the first block.
  front.fault = () => (front.streams().length === 1 ? { kind: 'stall', blocks: 1 } : undefined);
  const record = new Record('/api/v1/jobs/away');
  await record.isIn('live');
  page.hidden = true;
  page.dispatchEvent(new Event('visibilitychange'));
  await server.event('away', 'line', 1);
  await server.report('away', { processed_count: 7 });
  // Just now it had a byte; later it is looked at again and again.
  await until('the present state', () => {
    page.hidden = false;
    page.dispatchEvent(new Event('visibilitychange'));
    return record.counts().includes(7);
  });
  expect(front.streams()).toHaveLength(2);
  expect(record.statuses).toHaveLength(2);
  // A line that is known to be good is left alone.
  await server.report('away', { processed_count: 8 });
  await record.reaches(8);
  page.dispatchEvent(new Event('visibilitychange'));
  await server.report('away', { status: 'completed' });
  await record.done();
  expect(front.streams()).toHaveLength(2);
});

test('a machine that has slept through it all, timers and lines, asks at once when the page is seen', async () => {
  const page = Object.assign(new EventTarget(), { hidden: true, baseURI: front.url });
  vi.stubGlobal('document', page);
  await server.create({ job_id: 'asleep' });
  const ways = [{}, { transport: 'poll' }] as const;
  // Whatever was under way stays so, and brings nothing more.
  front.fault = ({ path, query }) => {
    const isStream = path.endsWith('/stream');
    return isStream ? { kind: 'stall', blocks: 1 } : query.has('wait') ? { kind: 'hang' } : undefined;
  };
  const [streaming, polling] = ways.map((options) => new Record('/api/v1/jobs/asleep', options)) as [Record, Record];
  await streaming.isIn('live');
  await until('a poll that waits', () => front.polls().length === 2);
  await server.report('asleep', { status: 'completed' });
  front.fault = () => undefined;
  // The clock goes on, and no timer fires.
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 8 * 3_600_000 });
  page.hidden = false;
  page.dispatchEvent(new Event('visibilitychange'));
  vi.useRealTimers();
  for (const record of [streaming, polling]) {
    expect((await record.done()).status).toBe('completed');
  }
  expect([front.streams().length, front.polls().length]).toEqual([2, 3]);
});
