// What stands in between: proxies that buffer, trickle, cut and stall, and the polls that get through them.

import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { type Fault, Front } from './support/front.js';
import { at, Record } from './support/record.js';
import { QUICK, Server } from './support/server.js';
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
  ['holds back what does not fill its buffer', { kind: 'portions', bytes: 4_096 }],
  ['never answers', { kind: 'hang' }],
  ['cuts every block', { kind: 'cut', after: 100 }],
  ['answers something else', { kind: 'answer', status: 200, headers: { 'Content-Type': 'text/html' }, body: '<p>Log in' }],
  ['says nothing of its type', { kind: 'answer', status: 200, body: 'event: status\ndata: {}\n\n' }],
  ['sends a line without an end', { kind: 'answer', status: 200, headers: { 'Content-Type': 'text/event-stream' }, body: `data: ${'x'.repeat(5 << 20)}` }],
  ['refuses streams', { kind: 'answer', status: 503, headers: { 'Retry-After': '1' } }],
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
  // The first poll does not wait: something may have been missed.
  expect(front.polls()[0]!.query.has('wait')).toBe(false);
  await worksThrough(record, 'silent');
});

test('a server that beats more rarely than is expected is left in peace after a while', async () => {
  const rare = await Server.start(QUICK.replace('heartbeat_seconds = 1', 'heartbeat_seconds = 2'));
  const between = await Front.start(() => rare.url);
  try {
    await rare.create({ job_id: 'rare' });
    const record = new Record(at(between.url, 'rare'), { heartbeatMs: 500, transport: 'fetch' });
    let requests = 0;
    let before = 0;
    await until('heartbeats on one line', () => {
      if (requests !== between.requests.length) {
        requests = between.requests.length;
        before = between.heartbeats;
      }
      return between.heartbeats - before >= 3;
    });
    expect(requests).toBeGreaterThan(2);
    await rare.report('rare', { status: 'completed' });
    await record.done();
    expect(record.states.at(-2)).toBe('live');
  } finally {
    await between.stop();
    await rare.remove();
  }
});

test('a server that has no more streams to give is polled meanwhile, and streams when it has', async () => {
  await server.create({ job_id: 'full' });
  let isFull = true;
  const refusal = JSON.stringify({ success: false, error: { code: 'TOO_MANY_STREAMS', message: 'Too many streams' } });
  front.fault = ({ path }) =>
    isFull && path.endsWith('/stream')
      ? { kind: 'answer', status: 429, headers: { 'Retry-After': '1', 'Content-Type': 'application/json' }, body: refusal }
      : undefined;
  const record = new Record(at(front.url, 'full'));
  await record.isIn('polling');
  const [first] = front.requests;
  expect(front.polls()[0]!.at - first!.at).toBeGreaterThanOrEqual(1_000);
  await server.report('full', { processed_count: 1 });
  await record.reaches(1);
  isFull = false;
  await until('the stream', async () => {
    await server.report('full', { processed_increment: 1 });
    return record.states.at(-1) === 'live';
  });
  await server.report('full', { status: 'completed' });
  await record.done();
  expect(record.states).toEqual(['connecting', 'polling', 'live', 'done']);
});

test('a network that wants somebody to log in first is waited for', async () => {
  await server.create({ job_id: 'portal' });
  let isOpen = false;
  front.fault = () => (isOpen ? undefined : { kind: 'answer', status: 200, headers: { 'Content-Type': 'text/html' }, body: '<p>Log in' });
  const record = new Record(at(front.url, 'portal'));
  await until('a poll in vain', () => front.polls().length > 0);
  expect(record.statuses).toEqual([]);
  isOpen = true;
  await worksThrough(record, 'portal');
  expect(record.states).not.toContain('failed');
});

test('a network on which every answer takes seconds is waited for', async () => {
  await server.create({ job_id: 'late' });
  front.fault = () => ({ kind: 'late', ms: 3_000 });
  const streaming = new Record(at(front.url, 'late'));
  const polling = new Record(at(front.url, 'late'), { transport: 'poll' });
  await Promise.all([streaming.isIn('live'), polling.isIn('polling')]);
  await worksThrough(streaming, 'late');
  expect((await polling.done()).status).toBe('completed');
  expect(streaming.states).toEqual(['connecting', 'live', 'done']);
  expect(polling.states).toEqual(['connecting', 'polling', 'done']);
  expect(front.streams()).toHaveLength(1);
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

test.each([0, 1])('a stream byte by byte, %i ms apart, is read as a whole one', async (everyMs) => {
  const id = `bytes-${everyMs}`;
  await server.create({ job_id: id, total_count: 2, unit: 'Grüße 😀' });
  front.fault = () => ({ kind: 'trickle', everyMs });
  const record = new Record(at(front.url, id), { heartbeatMs: IMPATIENT.heartbeatMs });
  await record.isIn('live');
  await worksThrough(record, id);
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
  front.fault = ({ query }) => (Number(query.get('wait')) > 3 ? { kind: 'answer', status: 504, afterMs: 1_100 } : undefined);
  const record = new Record(at(front.url, 'shorter'), { transport: 'poll' });
  await until('a poll that is let through', () => front.polls().at(-1)?.query.get('wait') === '3');
  await worksThrough(record, 'shorter');
});
