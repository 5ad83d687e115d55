// Keys, tokens and tickets, and how they are renewed.

import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { WatchError } from '../src/index.js';
import { Front } from './support/front.js';
import { PEOPLE, token, WORKER } from './support/people.js';
import { at, Record } from './support/record.js';
import { QUICK, Server } from './support/server.js';
import { until } from './support/until.js';

let server: Server;
let front: Front;

beforeAll(async () => {
  server = await Server.start(`${QUICK}\n${PEOPLE}`, WORKER);
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

test('without a credential it fails with the server\'s word', async () => {
  await server.create({ job_id: 'closed' });
  const record = new Record(at(front.url, 'closed'));
  expect(await record.failure()).toMatchObject({ status: 401, code: 'UNAUTHORIZED' });
  expect(record.states).toEqual(['connecting', 'failed']);
  expect(front.requests).toHaveLength(1);
});

test('a token goes into the header, and a watch token does where it is', async () => {
  const { watch_token } = await server.create({ job_id: 'token', owner: 'ann' });
  await server.report('token', { status: 'completed' });
  await new Record(at(front.url, 'token'), { token: token(60) }).done();
  await new Record(at(front.url, 'token'), { token: watch_token }).done();
  await new Record(`${at(front.url, 'token')}?token=${watch_token}`).done();
  const [first, second, third] = front.requests;
  expect([first!.headers.authorization, second!.headers.authorization].every(Boolean)).toBe(true);
  expect([first!.query.size, second!.query.size]).toEqual([0, 0]);
  expect(third!.headers.authorization).toBeUndefined();
});

test('a token that expires in use is renewed each time, and nothing is lost', async () => {
  await server.create({ job_id: 'expires', owner: 'ann' });
  const asked: boolean[] = [];
  const record = new Record(at(front.url, 'expires'), {
    token: async (refused) => {
      asked.push(refused);
      return token(asked.length < 3 ? 2 : 60);
    },
  });
  await record.isIn('live');
  await server.event('expires', 'line', 1);
  // Each renewal may be followed by another one.
  await until('the second return', () => front.streams().length === 3);
  await server.event('expires', 'line', 2);
  await server.report('expires', { status: 'completed' });
  await record.done();
  expect(record.events.map(({ data }) => data)).toEqual([1, 2]);
  expect(asked).toEqual([false, true, true]);
});

test('a token that was refused is renewed once, and then the watch fails', async () => {
  await server.create({ job_id: 'refused', owner: 'ann' });
  await server.report('refused', { status: 'completed' });
  const renewed = new Record(at(front.url, 'refused'), { token: (refused) => (refused ? token(60) : 'stale') });
  expect((await renewed.done()).status).toBe('completed');
  front.requests.length = 0;
  const failing = new Record(at(front.url, 'refused'), { token: () => 'stale' });
  expect(await failing.failure()).toMatchObject({ status: 401, code: 'UNAUTHORIZED' });
  expect(front.requests).toHaveLength(2);
});

test('a token that cannot be renewed ends the watch when it expires', async () => {
  await server.create({ job_id: 'ends', owner: 'ann' });
  const record = new Record(at(server.url, 'ends'), { token: token(1) });
  expect(await record.failure()).toMatchObject({ status: 401, code: 'TOKEN_EXPIRED' });
});

test('somebody else\'s job fails, though another token is asked for', async () => {
  await server.create({ job_id: 'foreign', owner: 'bob' });
  const record = new Record(at(server.url, 'foreign'), { token: () => token(60) });
  expect(await record.failure()).toMatchObject({ status: 403, code: 'FORBIDDEN' });
});

test('a source of tokens that is in trouble is asked again, and may say that there is no use', async () => {
  await server.create({ job_id: 'source', owner: 'ann' });
  await server.report('source', { status: 'completed' });
  let calls = 0;
  const recovering = new Record(at(server.url, 'source'), {
    token: () => (++calls < 2 ? Promise.reject(new Error('no network')) : token(60)),
  });
  expect((await recovering.done()).status).toBe('completed');
  const over = new WatchError('Signed out', 401, 'SIGNED_OUT');
  const failing = new Record(at(server.url, 'source'), { token: () => Promise.reject(over) });
  expect(await failing.failure()).toBe(over);
});

test('a source of tokens may take its time', async () => {
  await server.create({ job_id: 'patient', owner: 'ann' });
  await server.report('patient', { status: 'completed' });
  let calls = 0;
  const record = new Record(at(server.url, 'patient'), {
    firstByteMs: 1_000,
    token: async () => {
      calls++;
      // Longer than the server may take: somebody signs in, say.
      await new Promise((resolve) => setTimeout(resolve, 2_000));
      return token(60);
    },
  });
  expect((await record.done()).status).toBe('completed');
  expect(calls).toBe(1);
});

test('closing does not wait for a source of tokens that never answers', async () => {
  const record = new Record(at(server.url, 'source'), { token: () => new Promise(() => {}) });
  record.watch.close();
  expect((await record.failure()).name).toBe('AbortError');
});

/** As the page's own backend does it. */
async function buyTicket(id: string): Promise<string> {
  return (await server.call('POST', `/jobs/${id}/ticket`)).ticket;
}

test('a ticket is bought for the beginning, and anew when its cookie is lost', async () => {
  await server.create({ job_id: 'ticket' });
  let bought = 0;
  const record = new Record(at(front.url, 'ticket'), {
    ticket: () => {
      bought++;
      return buyTicket('ticket');
    },
  });
  await record.isIn('live');
  await server.event('ticket', 'line', 1);
  await until('the event', () => record.events.length === 1);
  // Outside of a browser there is no cookie.
  front.cut();
  await until('the return', () => record.states.filter((state) => state === 'live').length === 2);
  expect(bought).toBe(2);
  expect(front.streams().map(({ query }) => query.has('ticket'))).toEqual([true, false, true]);
  await server.event('ticket', 'line', 2);
  await server.report('ticket', { status: 'completed' });
  await record.done();
  expect(record.events.map(({ data }) => data)).toEqual([1, 2]);
});

test('polls are made with the same credentials', async () => {
  await server.create({ job_id: 'polls', owner: 'ann' });
  for (const options of [{ token: token(60) }, { ticket: () => buyTicket('polls') }]) {
    const record = new Record(at(front.url, 'polls'), { ...options, transport: 'poll' });
    await until('a status', () => record.statuses.length === 1);
    record.watch.close();
  }
});
