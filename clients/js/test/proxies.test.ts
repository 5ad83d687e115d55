// What stands in between: proxies that buffer, trickle, cut and stall, and the polls that get through them.

import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { type Fault, Front } from './support/front.js';
import { at, Record } from './support/record.js';
import { Server } from './support/server.js';
import { until } from './support/until.js';

/** Silence is found out about soon. */
const IMPATIENT = { firstByteMs: 300, heartbeatMs: 2_000 };

let server: Server;
let front: Front;

beforeAll(async () => {
  server = await Server.start();
  front = await Front.start(() => server.url);
});
afterEach(() => {
  front.requests.length = 0;
  front.fault = () => undefined;
});
afterAll(async () => {
  await front.stop();
  await server.remove();
});

const worksThrough = async (record: Record, id: string) => {
  await server.report(id, { processed_count: 1 });
  await record.reaches(1);
  await server.report(id, { processed_count: 2 });
  await record.reaches(2);
  await server.report(id, { status: 'completed' });
  expect((await record.done()).processed_count).toBe(2);
};

test.each<[string, Fault]>([
  ['buffers', { kind: 'buffer' }],
  ['passes the head and buffers the rest', { kind: 'stall', blocks: 0 }],
  ['never answers', { kind: 'hang' }],
  ['cuts every block', { kind: 'cut', after: 100 }],
  ['answers something else', { kind: 'answer', status: 200, headers: { 'Content-Type': 'text/html' }, body: '<p>Log in' }],
])('polls where a proxy %s', async (name, fault) => {
  const id = name.replaceAll(' ', '-');
  await server.create({ job_id: id });
  front.fault = ({ path }) => (path.endsWith('/stream') ? fault : undefined);
  const record = new Record(at(front.url, id), IMPATIENT);
  await record.isIn('polling');
  await worksThrough(record, id);
  expect(record.states).toEqual(['connecting', 'polling', 'done']);
});

test('polls wait for something new instead of asking again and again', async () => {
  await server.create({ job_id: 'waits' });
  const record = new Record(at(front.url, 'waits'), { transport: 'poll' });
  await record.isIn('polling');
  await until('a poll that waits', () => front.polls().length === 2);
  const { seq } = record.statuses[0]!;
  const [first, second] = front.polls();
  expect([first!.query.toString(), first!.headers['if-none-match']]).toEqual(['', undefined]);
  expect([second!.query.get('after'), second!.headers['if-none-match']]).toEqual([`${seq}`, `"${seq}"`]);
  expect(Number(second!.query.get('wait'))).toBeGreaterThan(10);
  await worksThrough(record, 'waits');
  expect(front.polls().length).toBeLessThanOrEqual(5);
  expect(front.streams()).toEqual([]);
});

test('a stream that goes silent is opened anew, and polled when that one goes silent too', async () => {
  await server.create({ job_id: 'silent' });
  await server.event('silent', 'line', 1);
  // The first block passes, and nothing after it, heartbeats included.
  front.fault = ({ path }) => (path.endsWith('/stream') ? { kind: 'stall', blocks: 1 } : undefined);
  const record = new Record(at(front.url, 'silent'), { heartbeatMs: 400 });
  await record.isIn('polling');
  expect(record.states).toEqual(['connecting', 'live', 'connecting', 'live', 'connecting', 'polling']);
  expect(front.streams()).toHaveLength(2);
  await worksThrough(record, 'silent');
});

test('heartbeats keep a stream without news', async () => {
  await server.create({ job_id: 'quiet' });
  const record = new Record(at(front.url, 'quiet'), { heartbeatMs: 2_000 });
  await record.isIn('live');
  // A second each: more than the silence that is allowed.
  const before = front.heartbeats;
  await until('heartbeats', () => front.heartbeats === before + 4);
  await worksThrough(record, 'quiet');
  expect(record.states).toEqual(['connecting', 'live', 'done']);
  expect(front.requests).toHaveLength(1);
});

test('a stream byte by byte is read as a whole one', async () => {
  await server.create({ job_id: 'bytes', total_count: 2, unit: 'Grüße 😀' });
  front.fault = () => ({ kind: 'trickle' });
  const record = new Record(at(front.url, 'bytes'));
  await record.isIn('live');
  await worksThrough(record, 'bytes');
  expect(record.statuses[0]!['total_Grüße 😀']).toBe(2);
  expect(record.states).toEqual(['connecting', 'live', 'done']);
});

test('a proxy that cuts again and again costs neither events nor the end', async () => {
  await server.create({ job_id: 'cuts' });
  for (let line = 1; line <= 40; line++) {
    await server.event('cuts', 'line', { line, padding: 'x'.repeat(500) });
  }
  // A few blocks at a time, and somewhere in the middle of one.
  front.fault = ({ path }) => (path.endsWith('/stream') ? { kind: 'cut', after: 5_000 } : undefined);
  const record = new Record(at(front.url, 'cuts'), { lastEventId: 0 });
  await until('all events', () => record.events.length === 40);
  await server.report('cuts', { status: 'completed' });
  await record.done();
  expect(record.events.map(({ data }: any) => data.line)).toEqual(Array.from({ length: 40 }, (_, index) => index + 1));
  expect(front.streams().length).toBeGreaterThan(4);
});

test('streams again when they get through again, with the events of the time between', async () => {
  await server.create({ job_id: 'again' });
  let fault: Fault | undefined = { kind: 'hang' };
  front.fault = ({ path }) => (path.endsWith('/stream') ? fault : undefined);
  const record = new Record(at(front.url, 'again'), { ...IMPATIENT, probeMs: 500 });
  await record.isIn('polling');
  await server.event('again', 'line', 1);
  // It probes after the poll that is under way, which ends with something new.
  await until('a probe', async () => {
    await server.report('again', { processed_increment: 1 });
    return front.streams().length >= 2;
  });
  await record.isIn('polling');
  fault = undefined;
  await until('the stream', async () => {
    await server.report('again', { processed_increment: 1 });
    return record.states.at(-1) === 'live';
  });
  await until('the event', () => record.events.length === 1);
  expect(record.states.filter((state) => state === 'connecting')).toHaveLength(1);
  await server.report('again', { status: 'completed' });
  await record.done();
});

test('an explicit stream does not fall back', async () => {
  await server.create({ job_id: 'explicit' });
  front.fault = ({ path }) => (path.endsWith('/stream') ? { kind: 'buffer' } : undefined);
  const record = new Record(at(front.url, 'explicit'), { ...IMPATIENT, transport: 'fetch' });
  await until('tries', () => front.streams().length > 2);
  expect(record.states).toEqual(['connecting']);
  // A proxy that buffers lets go at the end.
  await server.report('explicit', { status: 'completed' });
  await record.done();
  expect(front.polls()).toEqual([]);
});

test('long polls that are cut become shorter', async () => {
  await server.create({ job_id: 'shorter' });
  front.fault = ({ query }) => (Number(query.get('wait')) > 3 ? { kind: 'answer', status: 504 } : undefined);
  const record = new Record(at(front.url, 'shorter'), { transport: 'poll' });
  await until('a poll that is let through', () => front.polls().at(-1)?.query.get('wait') === '3');
  await worksThrough(record, 'shorter');
});
