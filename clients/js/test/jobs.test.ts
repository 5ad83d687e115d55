// Many jobs on one connection.

import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { type JobEvent, type Status, type Watch, watchJobs, type WatchJobsOptions, type WatchState } from '../src/index.js';
import { type Fault, Front } from './support/front.js';
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

/** What a page would show, and in what order it was told. */
class Board {
  readonly jobs = new Map<string, Status>();
  readonly told: string[] = [];
  /** Of the statuses that were told. */
  readonly seqs: number[] = [];
  readonly events: JobEvent[] = [];
  readonly states: WatchState[] = [];
  readonly watch: Watch<void>;

  constructor(query: string, options: WatchJobsOptions = {}) {
    this.watch = watchJobs(`${front.url}/api/v1/stream?${query}`, {
      ...options,
      onStatus: (status) => {
        this.jobs.set(status.job_id, status);
        this.seqs.push(status.seq);
        this.told.push(`${status.job_id} ${status.status} ${status.processed_count ?? 0}`);
      },
      onRemoved: ({ job_id, code }) => {
        this.jobs.delete(job_id);
        this.told.push(['removed', job_id, code].filter(Boolean).join(' '));
      },
      onSynced: (jobs) => this.told.push(`synced ${jobs}`),
      onEvent: (event) => this.events.push(event),
      onState: (state) => this.states.push(state),
    });
  }

  tells(line: string): Promise<void> {
    return until(line, () => this.told.includes(line));
  }
}

test('tells every job that matches, then what changes, comes and goes', async () => {
  await server.create({ job_id: 'a1', kind: 'a' });
  await server.create({ job_id: 'b1', kind: 'b' });
  const board = new Board('kind=a');
  await board.tells('synced 1');
  await server.create({ job_id: 'a2', kind: 'a' });
  await server.report('a2', { processed_count: 2 });
  const { seq } = await server.event('a1', 'log', { line: 1 });
  await board.tells('a2 processing 2');
  await server.call('DELETE', '/jobs/a2');
  await board.tells('removed a2');
  await until('the event', () => board.events.length === 1);
  expect(board.events).toEqual([{ job_id: 'a1', event: 'log', seq, data: { line: 1 } }]);
  expect(board.told[0]).toBe('a1 pending 0');
  expect([...board.jobs.keys()]).toEqual(['a1']);
  expect(front.requests).toHaveLength(1);
  board.watch.close();
});

test('a return tells what is new, what is gone, and no event twice', async () => {
  for (const id of ['r1', 'r2']) {
    await server.create({ job_id: id, kind: 'r' });
  }
  const board = new Board('kind=r');
  await board.tells('synced 2');
  await server.event('r1', 'log', 1);
  await until('the event', () => board.events.length === 1);
  let isAway = true;
  front.fault = () => (isAway ? { kind: 'answer', status: 503 } : undefined);
  front.cut();
  await server.event('r1', 'log', 2);
  await server.report('r1', { processed_count: 9 });
  await server.call('DELETE', '/jobs/r2');
  isAway = false;
  await board.tells('removed r2');
  await board.tells('synced 1');
  await server.event('r1', 'log', 3);
  await until('the last event', () => board.events.at(-1)?.data === 3);
  expect(board.events.map(({ data }) => data)).toEqual([1, 2, 3]);
  expect(board.told.filter((line) => line.startsWith('r1'))).toEqual(expect.arrayContaining(['r1 pending 0', 'r1 processing 9']));
  // The list may have been told between two tries, too; no status is told twice.
  expect(board.told.filter((line) => line === 'removed r2')).toHaveLength(1);
  expect(new Set(board.seqs).size).toBe(board.seqs.length);
  board.watch.close();
});

test('named jobs end the watch together, and one that is not there is told', async () => {
  for (const id of ['n1', 'n2']) {
    await server.create({ job_id: id });
  }
  const board = new Board('job=n1&job=n2&job=nobody');
  await board.tells('removed nobody JOB_NOT_FOUND');
  await server.report('n1', { status: 'completed' });
  await board.tells('n1 completed 0');
  await server.report('n2', { status: 'failed', error: 'No more' });
  await inTime('the end', board.watch.done);
  expect(board.jobs.get('n2')!.error!.message).toBe('No more');
  const { seq } = board.jobs.get('n2')!;
  expect(board.events).toEqual([{ job_id: 'n2', event: 'error', seq, data: { code: 'JOB_FAILED', message: 'No more' } }]);
  expect(board.states).toEqual(['connecting', 'live', 'done']);
  expect(front.requests).toHaveLength(1);
  const again = new Board('job=n1&job=n2', { lastEventId: board.jobs.get('n2')!.seq });
  await inTime('the end', again.watch.done);
});

test('iterates over the statuses of all', async () => {
  for (const id of ['i1', 'i2', 'i3']) {
    await server.create({ job_id: id, kind: 'i' });
    await server.report(id, { status: 'completed' });
  }
  const seen: string[] = [];
  for await (const { job_id } of watchJobs(`${front.url}/api/v1/stream?kind=i`)) {
    if (seen.push(job_id) === 3) {
      break;
    }
  }
  expect(seen.sort()).toEqual(['i1', 'i2', 'i3']);
});

test('a page with many jobs is told all of them', async () => {
  const lines = Array.from({ length: 300 }, (_, index) => `m${index}`);
  for (let first = 0; first < lines.length; first += 50) {
    await Promise.all(lines.slice(first, first + 50).map((job_id) => server.create({ job_id, kind: 'm' })));
  }
  const board = new Board('kind=m');
  await board.tells('synced 300');
  // Nobody has read yet.
  const read = new Set<string>();
  for await (const { job_id } of board.watch) {
    if (read.add(job_id).size === 300) {
      break;
    }
  }
});

test.each(['kind=p', 'job=p1&job=p2&job=nobody'])('polls what matches %s where streams do not get through', async (query) => {
  const buffer: Fault = { kind: 'buffer' };
  front.fault = ({ path }) => (path.endsWith('/stream') ? buffer : undefined);
  for (const id of ['p1', 'p2']) {
    await server.create({ job_id: id, kind: 'p' }).catch(() => {});
  }
  const board = new Board(query, { firstByteMs: 300 });
  await board.tells('synced 2');
  expect([...board.jobs.keys()].sort()).toEqual(['p1', 'p2']);
  if (query.startsWith('job')) {
    await server.report('p1', { status: 'completed' });
    await server.report('p2', { status: 'completed' });
    await inTime('the end', board.watch.done);
    expect(board.told).toContain('removed nobody JOB_NOT_FOUND');
  } else {
    await server.report('p1', { processed_count: 4 });
    await board.tells('p1 processing 4');
    board.watch.close();
  }
  expect(board.states.slice(0, 2)).toEqual(['connecting', 'polling']);
});

test('a page whose clock is wrong is told the end of what it shows', async () => {
  await server.create({ job_id: 'clock', kind: 'clock' });
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 3_600_000 });
  try {
    const board = new Board('kind=clock', { transport: 'poll' });
    await board.tells('synced 1');
    await server.report('clock', { status: 'completed' });
    await board.tells('clock completed 0');
    expect(board.told.filter((line) => line.startsWith('removed'))).toEqual([]);
    board.watch.close();
  } finally {
    vi.useRealTimers();
  }
});
