// When the next try is made: with the clock and the network in the test's hand.

import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { backoff, LONGEST_WAIT } from '../src/backoff.js';
import { watchJob, type WatchOptions } from '../src/index.js';

/** When requests were made, in milliseconds since the test began. */
let requests: number[];
let answer: () => Response;

/** A page that can be looked at and away from. */
const page = Object.assign(new EventTarget(), { hidden: false, baseURI: 'http://server.test/page' });

beforeEach(() => {
  vi.useFakeTimers({ now: 0 });
  requests = [];
  answer = () => {
    throw new TypeError('no network');
  };
  vi.stubGlobal('document', page);
  vi.stubGlobal('fetch', async () => {
    requests.push(Date.now());
    return answer();
  });
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

const follow = (options: WatchOptions = {}) => watchJob('/api/v1/jobs/j', options);
/** As far from each other as chance allows. */
const atMost = () => vi.spyOn(Math, 'random').mockReturnValue(0.999_999_999);
const block = (text: string) => new Response(text, { headers: { 'Content-Type': 'text/event-stream' } });
const status = (more = '') => `event: status\ndata: {"job_id":"j","status":"processing","seq":1}\n${more}\n`;

test('waits are anything up to a bound that doubles', () => {
  for (let failures = 0; failures < 2_000; failures++) {
    const waits = Array.from({ length: 20 }, () => backoff(failures, 1_000));
    const bound = Math.min(LONGEST_WAIT, 1_000 * 2 ** failures);
    expect(Math.min(...waits)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...waits)).toBeLessThanOrEqual(bound);
    expect(new Set(waits).size).toBeGreaterThan(1);
  }
});

test('tries rarely when the server is away for long', async () => {
  atMost();
  const watch = follow();
  await vi.advanceTimersByTimeAsync(64_000);
  expect(requests.map((at) => Math.round(at / 1_000))).toEqual([0, 1, 3, 7, 15, 31, 63]);
  await vi.advanceTimersByTimeAsync(600_000);
  expect(requests).toHaveLength(17);
  watch.close();
});

test('a server that says when to come back is obeyed, even when the page is looked at', async () => {
  answer = () => Response.json({ error: { code: 'TOO_MANY_STREAMS' } }, { status: 429, headers: { 'Retry-After': '30' } });
  const watch = follow();
  await vi.advanceTimersByTimeAsync(20_000);
  page.dispatchEvent(new Event('visibilitychange'));
  await vi.advanceTimersByTimeAsync(9_999);
  expect(requests).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(1_001);
  expect(requests).toHaveLength(2);
  watch.close();
});

test('a stream that ends is opened anew after the time that the server named', async () => {
  answer = () => block(status('retry: 4321\n'));
  const watch = follow();
  await vi.advanceTimersByTimeAsync(4_320);
  expect(requests).toEqual([0]);
  await vi.advanceTimersByTimeAsync(2);
  expect(requests).toHaveLength(2);
  watch.close();
});

test('a drain says when to come back, and what comes after it says so anew', async () => {
  const drain = 'event: error\ndata: {"code":"DRAINING","message":"…"}\nretry: 9000\n\n';
  answer = () => block(requests.length === 1 ? status('retry: 1000\n') + drain : status('retry: 2000\n'));
  const watch = follow();
  await vi.advanceTimersByTimeAsync(11_001);
  expect(requests.map((at) => Math.round(at / 1_000))).toEqual([0, 9, 11]);
  watch.close();
});

test('a proxy that answers for the server says when to come back too', async () => {
  answer = () => block('retry: 3000\n\n');
  const states: string[] = [];
  const watch = follow({ onState: (state) => states.push(state) });
  await vi.advanceTimersByTimeAsync(9_001);
  expect(requests.map((at) => Math.round(at / 1_000))).toEqual([0, 3, 6, 9]);
  expect(states).toEqual(['connecting']);
  watch.close();
});

test('success makes the waits short again', async () => {
  atMost();
  const watch = follow();
  await vi.advanceTimersByTimeAsync(7_000);
  expect(requests).toHaveLength(4);
  answer = () => block(status());
  await vi.advanceTimersByTimeAsync(8_000);
  answer = () => {
    throw new TypeError('no network');
  };
  requests.length = 0;
  await vi.advanceTimersByTimeAsync(7_999);
  expect(requests.map((at) => at - requests[0]!).map((at) => Math.round(at / 1_000))).toEqual([0, 1, 3, 7]);
  watch.close();
});

test('a page that is looked at does not wait', async () => {
  atMost();
  const watch = follow();
  await vi.advanceTimersByTimeAsync(20_000);
  const before = requests.length;
  page.hidden = true;
  page.dispatchEvent(new Event('visibilitychange'));
  await vi.advanceTimersByTimeAsync(0);
  expect(requests).toHaveLength(before);
  page.hidden = false;
  page.dispatchEvent(new Event('visibilitychange'));
  await vi.advanceTimersByTimeAsync(0);
  expect(requests).toHaveLength(before + 1);
  watch.close();
});

test('a page that is back on the network does not wait', async () => {
  vi.stubGlobal('addEventListener', page.addEventListener.bind(page));
  atMost();
  const watch = follow();
  await vi.advanceTimersByTimeAsync(20_000);
  const before = requests.length;
  page.dispatchEvent(new Event('online'));
  await vi.advanceTimersByTimeAsync(0);
  expect(requests).toHaveLength(before + 1);
  watch.close();
  await vi.advanceTimersByTimeAsync(0);
  page.dispatchEvent(new Event('online'));
  await vi.advanceTimersByTimeAsync(60_000);
  expect(requests).toHaveLength(before + 1);
});

test('a token that expires as soon as it is used is not renewed all the time', async () => {
  answer = () => block(`${status('retry: 4000\n')}event: error\ndata: {"code":"TOKEN_EXPIRED"}\nretry: 3600000\n\n`);
  const watch = follow({ token: () => 'the same one' });
  await vi.advanceTimersByTimeAsync(20_001);
  expect(requests.map((at) => Math.round(at / 1_000))).toEqual([0, 4, 8, 12, 16, 20]);
  watch.close();
});

test('streams that do not get through are tried again, ever more rarely', async () => {
  const streams: number[] = [];
  vi.stubGlobal('fetch', (url: URL, { signal }: RequestInit) => {
    if (url.pathname.endsWith('/stream')) {
      streams.push(Date.now());
      return new Promise((_, reject) => signal!.addEventListener('abort', () => reject(signal!.reason)));
    }
    return Promise.resolve(Response.json({ job_id: 'j', status: 'processing', seq: 1 }, { headers: { 'Retry-After': '5' } }));
  });
  const watch = follow();
  await vi.advanceTimersByTimeAsync(3_600_000);
  const minutes = streams.slice(1).map((at, index) => Math.floor((at - streams[index]!) / 60_000));
  expect(minutes).toEqual([1, 2, 4, 8, 15, 15]);
  watch.close();
});

/** Streams that send their first block, with the job's present seq, then a heartbeat every so many seconds (0: never); and polls. The first streams are buffered. */
function quietServer(heartbeatSeconds: number, seq: () => number, buffered = 0): string[] {
  const told: string[] = [];
  vi.stubGlobal('fetch', (url: URL, { signal }: RequestInit) => {
    const second = Math.round(Date.now() / 1_000);
    if (!url.pathname.endsWith('/stream')) {
      const answer = () => Response.json({ job_id: 'j', status: 'processing', seq: seq() });
      return new Promise<Response>((resolve) => setTimeout(() => resolve(answer()), Number(url.searchParams.get('wait')) * 1_000));
    }
    told.push(`${second}: stream`);
    if (told.length <= buffered) {
      return new Promise((_, reject) => signal!.addEventListener('abort', () => reject(signal!.reason)));
    }
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        const send = (text: string) => controller.enqueue(new TextEncoder().encode(text));
        send(`event: status\ndata: {"job_id":"j","status":"processing","seq":${seq()}}\n\n`);
        const heart = heartbeatSeconds ? setInterval(() => send(':\n'), heartbeatSeconds * 1_000) : undefined;
        signal!.addEventListener('abort', () => {
          told.push(`${second}: held ${Math.round(Date.now() / 1_000) - second}`);
          clearInterval(heart);
          controller.error(signal!.reason);
        });
      },
    });
    return Promise.resolve(new Response(body, { headers: { 'Content-Type': 'text/event-stream' } }));
  });
  return told;
}

test('a server whose heart beats every two minutes is left in peace after a few, and is known from then on', async () => {
  const told = quietServer(120, () => 1);
  const states: string[] = [];
  const watch = follow({ onState: (state) => states.push(state) });
  await vi.advanceTimersByTimeAsync(15 * 60_000);
  expect(told.length).toBeLessThan(8);
  const before = told.length;
  await vi.advanceTimersByTimeAsync(12 * 3_600_000);
  expect(told).toHaveLength(before);
  expect(states.at(-1)).toBe('live');
  watch.close();
});

test('a silence that hid something is not borne longer the next time, and one that hid nothing not for ever', async () => {
  let seq = 1;
  const hiding = quietServer(0, () => seq++);
  const first = follow();
  await vi.advanceTimersByTimeAsync(3_600_000);
  const held = (told: string[]) => told.filter((line) => line.includes('held')).map((line) => Number(line.split(' ').at(-1)));
  expect(held(hiding).length).toBeGreaterThan(4);
  expect(new Set(held(hiding))).toEqual(new Set([45]));
  first.close();
  const dead = quietServer(0, () => seq);
  const second = follow();
  await vi.advanceTimersByTimeAsync(24 * 3_600_000);
  expect(Math.max(...held(dead))).toBe(360);
  second.close();
  // What is buffered teaches nothing of the server's heart.
  const buffered = quietServer(0, () => seq, 6);
  const third = follow();
  await vi.advanceTimersByTimeAsync(3_600_000);
  expect(held(buffered)[0]).toBe(45);
  third.close();
});

test('a refusal on one of two ways is no failure of the other, and tries are paced', async () => {
  atMost();
  const asked: string[] = [];
  vi.stubGlobal('fetch', async (url: URL) => {
    const isStream = url.pathname.endsWith('/stream');
    asked.push(`${Math.round(Date.now() / 1_000)} ${isStream ? 'stream' : 'poll'}`);
    if (isStream) {
      return new Response(null, { status: 502 });
    }
    const wait = Number(url.searchParams.get('wait'));
    await new Promise((resolve) => setTimeout(resolve, wait * 1_000));
    return wait ? new Response(null, { status: 304 }) : Response.json({ job_id: 'j', status: 'processing', seq: 1 });
  });
  const states: string[] = [];
  const watch = follow({ onState: (state) => states.push(state) });
  await vi.advanceTimersByTimeAsync(300_000);
  expect(states).toEqual(['connecting', 'polling']);
  expect(asked.slice(0, 6)).toEqual(['0 stream', '1 poll', '1 stream', '2 poll', '27 stream', '28 poll']);
  expect(asked.length).toBeLessThan(28);
  watch.close();
});

test('a network that was away does not make polls shorter', async () => {
  const waits: (string | null)[] = [];
  let isAway = false;
  vi.stubGlobal('fetch', async (url: URL) => {
    if (isAway) {
      throw new TypeError('no network');
    }
    waits.push(url.searchParams.get('wait'));
    await new Promise((resolve) => setTimeout(resolve, Number(waits.at(-1)) * 1_000));
    return Response.json({ job_id: 'j', status: 'processing', seq: waits.length });
  });
  const watch = follow({ transport: 'poll' });
  await vi.advanceTimersByTimeAsync(10_000);
  isAway = true;
  await vi.advanceTimersByTimeAsync(600_000);
  isAway = false;
  await vi.advanceTimersByTimeAsync(120_000);
  expect(waits.length).toBeGreaterThan(3);
  expect(waits.slice(1).every((wait) => wait === '25')).toBe(true);
  watch.close();
});

test('a gap is told, though the status is the one that was told before', async () => {
  const statuses: any[] = [];
  answer = () => block(requests.length === 2 ? status().replace('"seq"', '"gap":true,"seq"') : status());
  const watch = follow({ onStatus: (status) => statuses.push(status) });
  await vi.advanceTimersByTimeAsync(4_000);
  expect(requests.length).toBeGreaterThan(3);
  expect(statuses.map(({ gap }) => gap)).toEqual([undefined, true]);
  watch.close();
});

test('an offline browser is said to be so', async () => {
  vi.stubGlobal('navigator', { onLine: false });
  const states: string[] = [];
  const watch = follow({ onState: (state) => states.push(state) });
  await vi.advanceTimersByTimeAsync(10);
  expect(states).toEqual(['connecting', 'offline']);
  watch.close();
});

test('a listener that throws harms nobody else', async () => {
  // The test runner would take it for a failure of the test.
  const others = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
  const thrown = new Promise((resolve) => process.once('uncaughtException', resolve));
  answer = () => block(status().replace('processing', 'completed'));
  const watch = follow({
    onStatus: () => {
      throw new Error('of the page');
    },
  });
  expect((await watch.done).status).toBe('completed');
  expect(await thrown).toEqual(new Error('of the page'));
  others.forEach((listener) => process.on('uncaughtException', listener));
});
