// The connection: a server that is killed, drained or exchanged, a network that is away, a proxy that buffers. The page
// says so, never looks live when it is not, and goes on by itself.

import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Place, until, View } from './support/page.js';

let place: Place;
let view: View;

beforeEach(async () => {
  place = await Place.make();
  await place.server.create({ job_id: 'k1', total_count: 100 });
  await place.server.report('k1', { processed_count: 10 });
});
afterEach(async () => {
  expect(view.complaints).toEqual([]);
  expect(view.strangers()).toEqual([]);
  await place.remove();
});

const isOld = async () => (await view.page.locator('.is-old').count()) === 1;

test.each([
  ['the list', '', '[data-job=k1]'],
  ["a job's page", '#/jobs/k1', '.far'],
])('%s shows that the server was killed, and goes on when it is back', async (_, hash, place_of) => {
  view = await place.open(hash);
  await view.shows('10%', place_of);
  await view.isIn('Live');
  await place.server.stop('SIGKILL');
  await view.isIn('Reconnecting…');
  await view.shows('What you see is from', '.banner');
  await view.shows('10%', place_of);
  expect(await isOld()).toBe(true);
  await place.server.resume();
  await place.server.report('k1', { processed_count: 20 });
  await view.shows('20%', place_of);
  await view.isIn('Live');
  expect(await isOld()).toBe(false);
  expect(await view.page.locator('.banner').count()).toBe(0);
});

test('a click tries at once', async () => {
  view = await place.open();
  await view.rowShows('k1', '10%');
  await place.server.stop('SIGKILL');
  await view.shows('The server does not answer.', '.banner');
  await view.button('Try now').click();
  await view.shows('What you see is from', '.banner');
  await view.rowShows('k1', '10%');
  await place.server.resume();
  await view.button('Try now').click({ timeout: 2_000 }).catch(() => {});
  await view.isIn('Live');
});

test('a drained server is come back to', async () => {
  view = await place.open();
  await view.isIn('Live');
  await place.server.stop('SIGTERM');
  await view.isIn('Reconnecting…');
  await place.server.resume();
  await place.server.report('k1', { processed_count: 30 });
  await view.rowShows('k1', '30%');
  await view.isIn('Live');
});

test('what was removed meanwhile is gone, on the list and on its page', async () => {
  view = await place.open();
  await place.server.create({ job_id: 'k2' });
  await view.lists('k1', 'k2');
  const other = await place.open('#/jobs/k2');
  await other.shows('Pending', '.badge');
  let isAway = true;
  place.front.fault = () => (isAway ? { kind: 'answer', status: 503 } : undefined);
  place.front.cut();
  await view.isIn('Reconnecting…');
  await place.server.call('DELETE', '/jobs/k2');
  isAway = false;
  await view.lists('k1');
  await other.shows('This job is gone');
  await other.close();
});

test('a server that knows none of the jobs any more is believed', async () => {
  view = await place.open();
  await view.lists('k1');
  const other = await Place.make();
  await place.server.stop('SIGKILL');
  // Another one answers at the address.
  place.server.url = other.server.url;
  await view.shows('No jobs yet');
  await other.server.create({ job_id: 'k9' });
  await view.lists('k9');
  await other.remove();
});

test('an offline device is said to be, and the page catches up', async () => {
  view = await place.open();
  await view.rowShows('k1', '10%');
  const session = await view.page.context().newCDPSession(view.page);
  const network = (offline: boolean) => session.send('Network.emulateNetworkConditions', { offline, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
  await network(true);
  await view.isIn('Offline');
  await view.shows('This device is offline.', '.banner');
  expect(await isOld()).toBe(true);
  place.front.cut();
  await place.server.report('k1', { processed_count: 40 });
  await network(false);
  await view.rowShows('k1', '40%');
  await view.isIn('Live');
});

test('polls where streams do not get through, and says so', async () => {
  place.front.fault = ({ path }) => (path.endsWith('/stream') ? { kind: 'buffer' } : undefined);
  view = await place.open();
  await view.shows('Streams do not get through', '.banner');
  await view.isIn('Polling');
  await view.rowShows('k1', '10%');
  await place.server.report('k1', { processed_count: 50 });
  await view.rowShows('k1', '50%');
});

test('one tab holds one connection, whatever it shows', async () => {
  view = await place.open();
  await view.lists('k1');
  await view.row('k1').click();
  await view.shows('10%', '.far');
  await until('a watcher', async () => (await place.server.watchers('k1')) === 1);
  await view.page.goBack();
  await view.lists('k1');
  const ids = place.front.streams().map(({ path }) => path);
  expect(ids).toEqual(['/api/v1/stream', '/api/v1/jobs/k1/stream', '/api/v1/stream']);
});

test('works in a folder that a proxy gives it', async () => {
  const proxy = http.createServer((incoming, outgoing) => {
    const path = /^\/folder(\/.*)$/.exec(incoming.url ?? '')?.[1];
    if (!path) {
      outgoing.writeHead(404).end();
      return;
    }
    const { method = 'GET', headers } = incoming;
    incoming.pipe(http.request(place.server.url + path, { method, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(outgoing);
    }));
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  const folder = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}/folder`;
  const page = await (await place.browser.newContext()).newPage();
  view = new View(page, folder);
  await page.goto(`${folder}/`);
  await view.rowShows('k1', '10%');
  await view.row('k1').click();
  await view.shows('10%', '.far');
  await view.button('Cancel').click();
  await view.shows('Stopping…', '.actions');
  proxy.closeAllConnections();
  proxy.close();
});
