// Opens pages in a headless Chromium and prints what each of them can do with a server, a JSON object per line:
//
//   node pages.mjs --server URL --page URL… [--token TOKEN]
//
//   {"page":URL,"read":…,"report":…,"watched":…}
//
// `read` and `report` are the status and the headers of an answer that the page could read, else null; `watched` is the
// first status that an `EventSource` brought, else null. Besides, each page posts jobs in the ways that need no leave: as
// a form, as a plain `fetch`, and as a beacon. Names that end in `.example` are this machine. A page of the server's own
// port under such a name is not asked from the server: it stands for one that was loaded before the name was bound anew.

import { parseArgs } from 'node:util';
import { launch } from './browser.mjs';

const { values: options } = parseArgs({
  options: {
    server: { type: 'string' },
    page: { type: 'string', multiple: true },
    token: { type: 'string' },
  },
});

const browser = await launch(['--host-resolver-rules=MAP *.example 127.0.0.1']);
try {
  for (const url of options.page) {
    const server = serverAsSeenFrom(url);
    const page = await browser.newPage();
    const isRebound = server !== options.server;
    if (isRebound) {
      await page.route(url, (route) => route.fulfill({ contentType: 'text/html', body: '<!doctype html>' }));
    }
    await page.goto(url);
    if (isRebound) {
      await page.unroute(url);
    }
    const seen = await page.evaluate(tryEverything, { server, token: options.token });
    console.log(JSON.stringify({ page: url, ...seen }));
    await page.close();
  }
} finally {
  await browser.close();
}

/** The server under the name of the page, when the page stands on the server's port under a name that is not its own. */
function serverAsSeenFrom(url) {
  const page = new URL(url);
  const isRebound = page.hostname.endsWith('.example') && page.port === new URL(options.server).port;
  return isRebound ? page.origin : options.server;
}

/** Runs inside the page. */
async function tryEverything({ server, token }) {
  const job = `${server}/api/v1/jobs/secret`;
  const upload = `${server}/api/v1/jobs?kind=email-validation`;
  const authorization = token ? { authorization: `Bearer ${token}` } : {};

  const answerTo = async (method, headers, body) => {
    try {
      const answer = await fetch(job, { method, body, credentials: 'include', headers: { ...headers, ...authorization } });
      return answer.ok ? { status: answer.status, headers: Object.fromEntries(answer.headers) } : null;
    } catch {
      return null;
    }
  };
  const watch = () =>
    new Promise((resolve) => {
      const source = new EventSource(`${job}/stream`, { withCredentials: true });
      const end = (seen) => {
        source.close();
        resolve(seen);
      };
      source.addEventListener('status', (event) => end(JSON.parse(event.data)));
      source.addEventListener('error', () => end(null));
    });
  const submitForm = () =>
    new Promise((resolve) => {
      const frame = Object.assign(document.createElement('iframe'), { name: 'target' });
      document.body.append(frame);
      const form = Object.assign(document.createElement('form'), {
        action: upload,
        method: 'post',
        enctype: 'text/plain',
        target: 'target',
      });
      form.append(Object.assign(document.createElement('input'), { name: 'ann@example.org', value: 'x' }));
      document.body.append(form);
      frame.addEventListener('load', resolve);
      form.submit();
    });

  await submitForm();
  await fetch(upload, { method: 'POST', mode: 'no-cors', body: 'ann@example.org' }).catch(() => {});
  await fetch(`${server}/api/v1/jobs`, { method: 'POST', mode: 'no-cors', body: new Blob(['{}']) }).catch(() => {});
  navigator.sendBeacon(upload, 'ann@example.org');
  return {
    read: await answerTo('GET', {}),
    report: await answerTo('PATCH', { 'content-type': 'application/json' }, '{"processed_count": 7}'),
    watched: await watch(),
  };
}
