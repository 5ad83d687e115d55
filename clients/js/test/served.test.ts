// `GET /client.js`: the module as the server sends it.

import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import { buffer } from 'node:stream/consumers';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { PEOPLE, WORKER } from './support/people.js';
import { QUICK, Server } from './support/server.js';

let server: Server;

beforeAll(async () => {
  server = await Server.start(`${QUICK}\n${PEOPLE}`, WORKER);
});
afterAll(() => server.remove());

/** The answer, as it is on the wire. */
async function get(headers: http.OutgoingHttpHeaders = {}) {
  const request = http.request(`${server.url}/client.js`, { headers, agent: false }).end();
  const [answer]: [http.IncomingMessage] = (await once(request, 'response')) as any;
  return { status: answer.statusCode, headers: answer.headers, body: await buffer(answer) };
}

test('everybody gets it, compressed if they take that', async () => {
  const file = await readFile(new URL('../../../assets/client.js', import.meta.url));
  const plain = await get();
  expect([plain.status, plain.headers['content-type'], plain.headers['content-encoding']]).toEqual([
    200,
    'text/javascript; charset=utf-8',
    undefined,
  ]);
  expect(plain.body.equals(file)).toBe(true);
  const compressed = await get({ 'Accept-Encoding': 'br;q=1, GZIP;q=0.5' });
  expect(compressed.headers['content-encoding']).toBe('gzip');
  expect(gunzipSync(compressed.body).equals(file)).toBe(true);
  expect((await get({ 'Accept-Encoding': 'br, gzip;q=0' })).headers['content-encoding']).toBeUndefined();
  for (const { headers } of [plain, compressed]) {
    expect(headers.vary).toContain('Accept-Encoding');
    expect(headers['x-content-type-options']).toBe('nosniff');
  }
});

test('it is sent once', async () => {
  const tags = new Set<string>();
  for (const encoding of ['gzip', 'identity']) {
    const { etag } = (await get({ 'Accept-Encoding': encoding })).headers;
    tags.add(etag!);
    const again = await get({ 'Accept-Encoding': encoding, 'If-None-Match': etag });
    expect([again.status, again.headers.etag, again.body.length]).toEqual([304, etag, 0]);
  }
  expect(tags.size).toBe(2);
});
