// A watch from a job's beginning to its end, whatever becomes of the server meanwhile.

import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { type Status, watchJob, WatchError, type WatchState } from '../src/index.js';
import { Front } from './support/front.js';
import { at, Record } from './support/record.js';
import { Server } from './support/server.js';
import { inTime, until } from './support/until.js';

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

test('iterates over every status to the end, and stops', async () => {
  await server.create({ job_id: 'a', total_count: 2, unit: 'emails' });
  const seen: Status[] = [];
  for await (const status of watchJob(at(front.url, 'a'))) {
    seen.push(status);
    await server.report('a', [{ processed_count: 1 }, { status: 'completed' }][Math.min(seen.length, 2) - 1]!).catch(() => {});
  }
  expect(seen.map(({ status, processed_count, progress_percentage }) => [status, processed_count, progress_percentage])).toEqual([
    ['pending', 0, 0],
    ['processing', 1, 50],
    ['completed', 1, 100],
  ]);
  // As it is on the wire.
  expect(seen.at(-1)).toEqual(await server.call('GET', '/jobs/a'));
  expect(seen.at(-1)!.total_emails).toBe(2);
  expect(front.requests.map(({ method, path }) => `${method} ${path}`)).toEqual(['GET /api/v1/jobs/a/stream']);
});

test.each(['', '/', '/stream', '/status'])('takes the address of a job, or what is below it: "%s"', async (below) => {
  const id = `below${below.replace('/', '-').replace(/-$/, '.')}`;
  await server.create({ job_id: id });
  await server.report(id, { status: 'completed' });
  expect((await new Record(at(server.url, id) + below).done()).job_id).toBe(id);
});

test('tells named events, one named error among them, and how it fares', async () => {
  await server.create({ job_id: 'events' });
  const record = new Record(at(server.url, 'events'));
  await record.isIn('live');
  const { seq } = await server.event('events', 'log', { line: 'Opened list.csv' });
  await server.event('events', 'error', 'Line 3 is no address');
  await server.report('events', { status: 'failed', error: { code: 'BAD', message: 'No more' } });
  expect((await record.done()).error).toEqual({ code: 'BAD', message: 'No more' });
  expect(record.events).toEqual([
    { job_id: 'events', event: 'log', data: { line: 'Opened list.csv' }, seq },
    { job_id: 'events', event: 'error', data: 'Line 3 is no address', seq: expect.any(Number) },
  ]);
  expect(record.states).toEqual(['connecting', 'live', 'done']);
});

test('resumes after a cut with nothing lost and nothing twice', async () => {
  await server.create({ job_id: 'cut' });
  const record = new Record(at(front.url, 'cut'));
  await record.isIn('live');
  await server.event('cut', 'line', 1);
  await until('the first event', () => record.events.length === 1);
  front.cut();
  await server.event('cut', 'line', 2);
  await server.report('cut', { processed_count: 5 });
  await until('the return', () => record.events.length === 2);
  await server.event('cut', 'line', 3);
  await server.report('cut', { status: 'completed' });
  await record.done();
  expect(record.events.map(({ data }) => data)).toEqual([1, 2, 3]);
  const seqs = record.statuses.map(({ seq }) => seq);
  expect(seqs).toEqual([...new Set(seqs)].sort((a, b) => a - b));
  expect(record.states).toEqual(['connecting', 'live', 'connecting', 'live', 'done']);
  expect(front.streams().map(({ query }) => query.get('last_event_id'))).toEqual([null, String(record.events[0]!.seq)]);
});

test.each(['SIGTERM', 'SIGKILL'] as const)('goes on when the server comes back after %s', async (signal) => {
  const id = `back-${signal}`;
  await server.create({ job_id: id });
  const record = new Record(at(front.url, id));
  await record.isIn('live');
  await server.event(id, 'line', 1);
  await until('the first event', () => record.events.length === 1);
  await server.stop(signal);
  await record.isIn('connecting');
  const tries = front.requests.length;
  await until('a try in vain', () => front.requests.length > tries);
  await server.resume();
  await server.event(id, 'line', 2);
  await server.report(id, { processed_count: 3 });
  await record.reaches(3);
  await server.report(id, { status: 'completed' });
  expect((await record.done()).status).toBe('completed');
  expect(record.events.map(({ data }) => data)).toEqual([1, 2]);
});

test('a job that ended while nobody could be asked is told all the same', async () => {
  await server.create({ job_id: 'meanwhile' });
  let isAway = false;
  front.fault = () => (isAway ? { kind: 'answer', status: 502 } : undefined);
  const record = new Record(at(front.url, 'meanwhile'));
  await record.isIn('live');
  isAway = true;
  front.cut();
  await server.report('meanwhile', { status: 'completed', result: { rows: 3 } });
  await until('tries in vain', () => front.requests.length > 3);
  isAway = false;
  expect((await record.done()).result).toEqual({ rows: 3 });
});

test.each([true, false])('an end that is cut in half is asked for again, with the cut a clean one: %s', async (isClean) => {
  const id = `half-${isClean}`;
  await server.create({ job_id: id });
  front.fault = () => (front.streams().length === 1 ? { kind: 'halve', words: '"status":"completed"', isClean } : undefined);
  const record = new Record(at(front.url, id));
  await record.isIn('live');
  await server.event(id, 'line', 1);
  await server.report(id, { status: 'completed', result: { rows: 3 } });
  expect((await record.done()).result).toEqual({ rows: 3 });
  expect(record.statuses.filter(({ status }) => status === 'completed')).toHaveLength(1);
  expect(record.events).toHaveLength(1);
  expect(front.streams().map(({ query }) => query.get('last_event_id'))).toEqual([null, String(record.events[0]!.seq)]);
});

test('a stream with a byte order mark and other ends of line is read all the same', async () => {
  const body = Buffer.from('\uFEFFevent: status\r\ndata: {"job_id":"j","status":"completed","seq":1}\r\n\r\n');
  expect([...body.subarray(0, 3)]).toEqual([0xef, 0xbb, 0xbf]);
  front.fault = () => ({ kind: 'answer', status: 200, headers: { 'Content-Type': 'Text/Event-Stream; charset=utf-8' }, body });
  const record = new Record(at(front.url, 'j'));
  expect((await record.done()).seq).toBe(1);
  expect(front.requests).toHaveLength(1);
});

test('the largest blocks that the server takes come through', async () => {
  await server.create({ job_id: 'large' });
  const record = new Record(at(front.url, 'large'));
  await record.isIn('live');
  const large = 'é'.repeat(32_000);
  await server.event('large', 'rows', large);
  await server.report('large', { status: 'completed', data: { large }, result: large });
  const last = await record.done();
  expect([last.result === large, last.data!.large === large, record.events[0]!.data === large]).toEqual([true, true, true]);
});

test('nothing is told after a listener has closed the watch', async () => {
  const block = (seq: number) => `event: status\ndata: {"job_id":"j","status":"processing","seq":${seq}}\n\n`;
  const headers = { 'Content-Type': 'text/event-stream' };
  front.fault = () => ({ kind: 'answer', status: 200, headers, body: block(1) + block(2) + block(3) });
  const told: number[] = [];
  const watch = watchJob(at(front.url, 'j'), {
    onStatus: ({ seq }) => {
      told.push(seq);
      watch.close();
    },
  });
  await expect(inTime('the end', watch.done)).rejects.toMatchObject({ name: 'AbortError' });
  expect(told).toEqual([1]);
});

test('whoever has seen the end is told it once more, and that is no failure', async () => {
  await server.create({ job_id: 'seen' });
  const { seq } = await server.report('seen', { status: 'completed' });
  const record = new Record(at(front.url, 'seen'), { lastEventId: seq });
  expect((await record.done()).status).toBe('completed');
  expect(record.statuses).toHaveLength(1);
  expect(record.states.at(-1)).toBe('done');
  expect(front.streams()).toHaveLength(1);
  expect(front.polls()).toHaveLength(1);
});

test('resumes where the caller says, and brings all kept events for 0', async () => {
  await server.create({ job_id: 'kept' });
  const { seq } = await server.event('kept', 'line', 1);
  await server.event('kept', 'line', 2);
  await server.report('kept', { status: 'completed' });
  for (const [lastEventId, lines] of [[0, [1, 2]], [seq, [2]], [undefined, []]] as const) {
    const record = new Record(at(server.url, 'kept'), { lastEventId });
    await record.done();
    expect(record.events.map(({ data }) => data)).toEqual(lines);
  }
});

test('fails with the server\'s word on what trying again would not change', async () => {
  const unknown = await new Record(at(front.url, 'nobody')).failure();
  expect(unknown).toBeInstanceOf(WatchError);
  expect([unknown.status, unknown.code, unknown.message]).toEqual([404, 'JOB_NOT_FOUND', 'Job not found']);
  expect(front.requests).toHaveLength(1);
  await server.create({ job_id: 'gone' });
  await server.call('DELETE', '/jobs/gone');
  expect((await new Record(at(server.url, 'gone')).failure()).code).toBe('JOB_GONE');
});

test('fails when the job is removed while it is watched, by every way of asking', async () => {
  await server.create({ job_id: 'removed' });
  const errors: Error[] = [];
  const states: WatchState[] = [];
  const watch = watchJob(at(server.url, 'removed'), { onError: (error) => errors.push(error), onState: (state) => states.push(state) });
  await until('the watch', () => states.at(-1) === 'live');
  await server.call('DELETE', '/jobs/removed');
  const read = async () => {
    for await (const _ of watch);
  };
  await expect(inTime('the end', read())).rejects.toMatchObject({ status: 410, code: 'JOB_GONE' });
  await expect(watch.done).rejects.toBe(errors[0]);
  expect(errors).toHaveLength(1);
  expect(states.at(-1)).toBe('failed');
});

test('leaves at once when it is closed, abandoned or aborted', async () => {
  await server.create({ job_id: 'left' });
  const hasLeft = () => until('its leaving', async () => (await server.watchers('left')) === 0);

  const closed = new Record(at(server.url, 'left'));
  await closed.isIn('live');
  closed.watch.close();
  expect((await closed.failure()).name).toBe('AbortError');
  expect(closed.states.at(-1)).toBe('closed');
  await hasLeft();
  for await (const _ of closed.watch); // What had come is still there; then it ends without a complaint.

  for await (const status of watchJob(at(server.url, 'left'))) {
    expect(status.job_id).toBe('left');
    break;
  }
  await hasLeft();

  const reason = new Error('enough');
  const aborting = new AbortController();
  const read = async () => {
    for await (const _ of watchJob(at(server.url, 'left'), { signal: aborting.signal })) {
      aborting.abort(reason);
    }
  };
  await expect(inTime('the end', read())).rejects.toBe(reason);
  await hasLeft();
  await expect(watchJob(at(server.url, 'left'), { signal: aborting.signal }).done).rejects.toBe(reason);
});

test('a reader gets every status, and one that is far behind the newest instead', async () => {
  // Told by the test: as many as are kept for a reader, then more.
  const block = (seq: number) => `event: status\ndata: {"job_id":"j","status":"processing","seq":${seq}}\n\n`;
  const blocks = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, index) => block(first + index)).join('');
  const bodies = [blocks(1, 900), blocks(901, 3_001), block(3_002).replace('processing', 'completed')];
  front.fault = () => ({ kind: 'answer', status: 200, headers: { 'Content-Type': 'text/event-stream' }, body: `retry:1\n\n${bodies.shift()}` });
  const told: number[] = [];
  const watch = watchJob(at(front.url, 'j'), { onStatus: ({ seq }) => told.push(seq) });
  const read: number[] = [];
  for await (const { seq } of watch) {
    read.push(seq);
    if (seq === 900) {
      // It does something else meanwhile.
      await until('the end', () => told.at(-1) === 3_002);
    }
  }
  front.fault = () => undefined;
  expect(told).toHaveLength(3_002);
  expect(read.slice(0, 900)).toEqual(told.slice(0, 900));
  expect(read.at(-1)).toBe(3_002);
  expect(read.length).toBeLessThan(1_900 + 2);
  // Whoever comes when all is over gets the newest alone.
  await server.create({ job_id: 'late' });
  const late = new Record(at(server.url, 'late'));
  await late.isIn('live');
  await server.report('late', { processed_count: 1 });
  await server.report('late', { status: 'completed' });
  await late.done();
  const rest: string[] = [];
  for await (const { status } of late.watch) {
    rest.push(status);
  }
  expect(rest.length).toBeLessThanOrEqual(2);
  expect(rest.at(-1)).toBe('completed');
});
