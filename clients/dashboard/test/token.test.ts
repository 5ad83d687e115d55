// A server with keys: the field for the token, where it is kept, and what a token that may little is offered.

import { createHash, createHmac } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { QUICK } from '../../js/test/support/server.js';
import { Place, until, type View } from './support/page.js';

const KEY = 'key-of-the-operator';
const READER = 'key-of-a-reader';
const SECRET = 'a secret that is long enough for HS256';
const hash = (key: string) => createHash('sha256').update(key).digest('hex');

const CONFIGURATION = `${QUICK}
[[auth.api_keys]]
name = "operator"
sha256 = "${hash(KEY)}"
scopes = ["admin"]

[[auth.api_keys]]
name = "reader"
sha256 = "${hash(READER)}"
scopes = ["jobs:read"]

[[auth.jwt]]
algorithm = "HS256"
secret = "${SECRET}"
`;

/** A JWT for so many seconds. */
function jwt(scope: string, seconds = 600): string {
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const now = Math.floor(Date.now() / 1000);
  const text = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode({ sub: 'ann', scope, iat: now, exp: now + seconds })}`;
  return `${text}.${createHmac('sha256', SECRET).update(text).digest('base64url')}`;
}

let place: Place;
let view: View;

beforeAll(async () => {
  place = await Place.make(CONFIGURATION, KEY);
  await place.server.create({ job_id: 'ours', owner: 'ann' });
  await place.server.call('POST', '/jobs/ours/results', [{ row: 1 }]);
  await place.server.create({ job_id: 'theirs', owner: 'ben' });
});
afterEach(async () => {
  expect(view.complaints).toEqual([]);
  expect(view.strangers()).toEqual([]);
  await view.close();
});
afterAll(() => place.remove());

const give = async (token: string) => {
  await view.page.getByLabel('API key or JWT').fill(token);
  await view.page.keyboard.press('Enter');
};

test('asks for a token, keeps it for the tab, and never puts it into an address', async () => {
  view = await place.open();
  await view.shows('This server asks for a token.');
  await view.isIn('Token needed');
  expect(await view.page.evaluate(() => document.activeElement?.id)).toBe('token');
  await give('no-key-of-this-server');
  await view.shows('Invalid API key');
  await give(KEY);
  await view.lists('ours', 'theirs');
  expect(await view.page.evaluate(() => [sessionStorage.length, localStorage.length, document.cookie])).toEqual([1, 0, '']);
  await view.page.reload();
  await view.lists('ours', 'theirs');

  await view.row('ours').click();
  await view.shows('Running', '.badge');
  const saved = view.page.waitForEvent('download');
  await view.button('Download as NDJSON').click();
  expect(await readFile(await (await saved).path(), 'utf8')).toContain('{"row":1}');
  expect(view.urls.filter((url) => url.includes('key-of') || url.includes('token='))).toEqual([]);

  await view.button('Forget token').click();
  await view.shows('This server asks for a token.');
  await view.lacks('ours');
  expect(await view.page.evaluate(() => sessionStorage.length)).toBe(0);
});

test('says what is no token, and tries the same one again', async () => {
  view = await place.open();
  await view.shows('This server asks for a token.');
  await give('');
  await view.shows('The field is empty.');
  await give('two words');
  await view.shows('A token has no spaces');
  place.front.fault = ({ path }) => (path.endsWith('/stream') ? { kind: 'answer', status: 401, body: '{"error":{"code":"UNAUTHORIZED","message":"Not yet"}}' } : undefined);
  await give(KEY);
  await view.shows('Not yet');
  place.front.fault = () => undefined;
  await give(KEY);
  await view.lists('ours', 'theirs');
});

test('a token that only reads is offered neither cancelling nor deleting', async () => {
  view = await place.open('#/jobs/ours');
  await view.shows('This server asks for a token.');
  await give(jwt('jobs:read'));
  await view.shows('ours', 'h1');
  await view.shows('Running', '.badge');
  await view.shows('1 result');
  expect(await view.button('Cancel').count()).toBe(0);
  expect(await view.button('Delete').count()).toBe(0);
  await view.page.getByRole('link', { name: 'All jobs' }).click();
  await view.lists('ours');
});

test('one that may cancel is offered that alone', async () => {
  view = await place.open('#/jobs/ours');
  await view.shows('This server asks for a token.');
  await give(jwt('jobs:read jobs:cancel'));
  await view.shows('Running', '.badge');
  expect(await view.button('Cancel').count()).toBe(1);
  expect(await view.button('Delete').count()).toBe(0);
});

test('what an API key may not is said by the server', async () => {
  view = await place.open('#/jobs/ours');
  await view.shows('This server asks for a token.');
  await give(READER);
  await view.shows('Running', '.badge');
  await view.button('Cancel').click();
  await view.shows('jobs:cancel', '.actions');
  await view.button('Delete…').click();
  await view.page.locator('dialog').getByRole('button', { name: 'Delete' }).click();
  await view.shows('jobs:write', 'dialog');
  expect((await place.server.call('GET', '/jobs/ours')).cancel_requested).toBe(false);
});

test("somebody else's job is refused on its page, and the rest goes on", async () => {
  view = await place.open();
  await view.shows('This server asks for a token.');
  await give(jwt('jobs:read'));
  await view.lists('ours');
  await view.page.goto(`${place.front.url}/#/jobs/theirs`);
  await until('the refusal', async () => (await view.page.locator('main [role=alert]').count()) > 0);
  await view.shows('theirs', 'h1');
  expect(await view.page.getByLabel('API key or JWT').count()).toBe(0);
  await view.page.getByRole('link', { name: 'All jobs' }).click();
  await view.lists('ours');
});

test('a token that expires is asked for anew', async () => {
  view = await place.open();
  await view.shows('This server asks for a token.');
  await give(jwt('jobs:read', 3));
  await view.lists('ours');
  await view.shows('Token expired');
  await give(jwt('jobs:read'));
  await view.lists('ours');
});
