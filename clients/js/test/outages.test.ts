// A server that is killed, drained and told to end its streams, without anything in between: it comes back to its place.

import { afterEach, expect, test } from 'vitest';
import { at, Record } from './support/record.js';
import { QUICK, Server } from './support/server.js';
import { until } from './support/until.js';

let server: Server;

afterEach(() => server.remove());

/** What was told has no gap, no repeat and no step back. */
const expectInOrder = (record: Record, lines: number) => {
  expect(record.events.map(({ data }) => data)).toEqual(Array.from({ length: lines }, (_, index) => index + 1));
  const seqs = record.statuses.map(({ seq }) => seq);
  expect(seqs).toEqual([...new Set(seqs)].sort((a, b) => a - b));
  const counts = record.counts().map(Number);
  expect(counts).toEqual([...counts].sort((a, b) => a - b));
};

test.each(['SIGKILL', 'SIGTERM'] as const)('%s again and again costs neither events nor the end', async (signal) => {
  server = await Server.startInPlace();
  await server.create({ job_id: 'j', total_count: 8 });
  const records = [new Record(at(server.url, 'j')), new Record(at(server.url, 'j'), { transport: 'poll' })] as const;
  const [streaming, polling] = records;
  await streaming.isIn('live');
  await polling.isIn('polling');
  for (let round = 1; round <= 3; round++) {
    await server.event('j', 'line', 2 * round - 1);
    await until('the event', () => streaming.events.length === 2 * round - 1);
    await server.stop(signal);
    await server.resume();
    // While the watch is still away, perhaps.
    await server.event('j', 'line', 2 * round);
    await server.report('j', { processed_count: round });
    await streaming.reaches(round);
    await polling.reaches(round);
  }
  await server.report('j', { status: 'completed' });
  const last = await server.call('GET', '/jobs/j');
  for (const record of records) {
    expect(await record.done()).toEqual(last);
    expect(record.states.at(-1)).toBe('done');
  }
  expectInOrder(streaming, 6);
  expectInOrder(polling, 0);
});

test('a job that ends while its server is drained is told its end', async () => {
  server = await Server.startInPlace();
  await server.create({ job_id: 'j' });
  const record = new Record(at(server.url, 'j'));
  await record.isIn('live');
  await server.stop('SIGTERM');
  await record.isIn('connecting');
  await server.resume();
  await server.report('j', { status: 'failed', error: { code: 'BAD', message: 'No more' } });
  expect((await record.done()).error).toEqual({ code: 'BAD', message: 'No more' });
  expect(record.events).toEqual([]);
});

test('streams that reach their longest duration are opened anew without a loss', async () => {
  server = await Server.start(`${QUICK}max_duration_seconds = 1\n`);
  await server.create({ job_id: 'j' });
  const record = new Record(at(server.url, 'j'));
  let lines = 0;
  // Without a pause, so that some come while it is away.
  await until('three returns', async () => {
    await server.event('j', 'line', ++lines);
    await server.report('j', { processed_count: lines });
    return record.states.filter((state) => state === 'live').length > 3;
  });
  await server.report('j', { status: 'completed' });
  await record.done();
  expectInOrder(record, lines);
  expect(new Set(record.states)).toEqual(new Set(['connecting', 'live', 'done']));
});
