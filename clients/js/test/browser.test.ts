// The same in a real browser: the module that the server serves, the element, the hook, cookies, and `EventSource`.

import { build } from 'esbuild';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Browser, type BrowserPage, launch, open } from './support/browser.js';
import { Front } from './support/front.js';
import { PEOPLE, WORKER } from './support/people.js';
import { QUICK, Server } from './support/server.js';
import { until } from './support/until.js';

const here = (path: string) => new URL(path, import.meta.url).pathname;

let browser: Browser;
let server: Server;
let front: Front;
let page: BrowserPage;
let complaints: string[];

beforeAll(async () => {
  browser = await launch();
  server = await Server.start();
  front = await Front.start(() => server.url);
  front.pages.set('/start.js', { type: 'text/javascript', body: "import * as client from '/client.js'; window.client = client;" });
});
afterEach(async () => {
  await page.close();
  front.requests.length = 0;
  front.fault = () => undefined;
});
afterAll(async () => {
  await browser.close();
  await front.stop();
  await server.remove();
});

const START = '<script type="module" src="/start.js"></script>';

/** Begins a watch in the page, which keeps what it is told. */
const follow = (url: string, options: object = {}) =>
  page.evaluate(
    ([url, options]) => {
      const { watchJob } = (window as any).client;
      const told = { statuses: [] as any[], events: [] as any[], states: [] as string[], error: null as any };
      (window as any).told = told;
      watchJob(url, {
        ...options,
        onStatus: (status: any) => told.statuses.push(status),
        onEvent: (event: any) => told.events.push(event),
        onState: (state: string) => told.states.push(state),
        onError: ({ status, code }: any) => (told.error = { status, code }),
      });
    },
    [url, options] as const,
  );
const told = () => page.evaluate(() => (window as any).told);
const isIn = (state: string) => until(state, async () => (await told()).states.at(-1) === state);
const at = (id: string) => `/api/v1/jobs/${id}`;

describe('the module', () => {
  test('follows a job through a cut and a restart to its end', async () => {
    await server.create({ job_id: 'm1' });
    ({ page, complaints } = await open(browser, front, START));
    await follow(at('m1'));
    await isIn('live');
    await server.event('m1', 'line', 1);
    front.cut();
    await server.event('m1', 'line', 2);
    await until('the return', async () => (await told()).events.length === 2);
    await server.stop('SIGKILL');
    await isIn('connecting');
    await server.resume();
    await server.event('m1', 'line', 3);
    await server.report('m1', { status: 'completed' });
    await isIn('done');
    const { statuses, events } = await told();
    expect(events.map(({ data }: any) => data)).toEqual([1, 2, 3]);
    expect(statuses.at(-1)).toEqual(await server.call('GET', at('m1').slice('/api/v1'.length)));
  });

  test('polls where a proxy buffers', async () => {
    await server.create({ job_id: 'm2' });
    front.fault = ({ path }) => (path.endsWith('/stream') ? { kind: 'buffer' } : undefined);
    ({ page, complaints } = await open(browser, front, START));
    await follow(at('m2'), { firstByteMs: 300 });
    await isIn('polling');
    await server.report('m2', { processed_count: 4 });
    await until('the count', async () => (await told()).statuses.at(-1)?.processed_count === 4);
    await server.report('m2', { status: 'completed' });
    await isIn('done');
    expect((await told()).states).toEqual(['connecting', 'polling', 'done']);
    expect(complaints).toEqual([]);
  });

  test('is brought up to date when the page is seen again', async () => {
    await server.create({ job_id: 'm3' });
    // The first line dies without a word.
    front.fault = () => (front.streams().length === 1 ? { kind: 'stall', blocks: 1 } : undefined);
    ({ page, complaints } = await open(browser, front, START));
    await follow(at('m3'));
    await isIn('live');
    await server.report('m3', { processed_count: 7 });
    // A browser without a window hides no page: the event is made. At first the line had a byte just now.
    await until('the present state', async () => {
      await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
      return (await told()).statuses.at(-1).processed_count === 7;
    });
    expect(front.streams()).toHaveLength(2);
  });

  test('goes on after its page was frozen, and the line was lost meanwhile', async () => {
    await server.create({ job_id: 'm4' });
    ({ page, complaints } = await open(browser, front, START));
    await follow(at('m4'));
    await isIn('live');
    const cdp = await page.context().newCDPSession(page);
    await cdp.send('Page.setWebLifecycleState', { state: 'frozen' });
    front.cut();
    await server.event('m4', 'line', 1);
    await server.report('m4', { status: 'completed' });
    await cdp.send('Page.setWebLifecycleState', { state: 'active' });
    await isIn('done');
    const { statuses, events } = await told();
    expect(statuses.at(-1).status).toBe('completed');
    expect(events.map(({ data }: any) => data)).toEqual([1]);
  });
});

describe('an EventSource', () => {
  const options = { transport: 'eventsource', events: ['line'] };

  test('follows a job through a cut to its end', async () => {
    await server.create({ job_id: 'e1' });
    ({ page, complaints } = await open(browser, front, START));
    await follow(at('e1'), options);
    await isIn('live');
    await server.event('e1', 'line', 1);
    await until('the event', async () => (await told()).events.length === 1);
    front.cut();
    await server.event('e1', 'line', 2);
    await until('the return', async () => (await told()).events.length === 2);
    await server.event('e1', 'line', 3);
    await server.event('e1', 'error', 'not the end');
    await server.report('e1', { status: 'failed', error: 'No more' });
    await isIn('done');
    const { events, statuses } = await told();
    expect(events.map(({ data }: any) => data)).toEqual([1, 2, 3, 'not the end']);
    expect(statuses.at(-1).error.message).toBe('No more');
    expect(front.requests.every(({ path, headers }) => path.endsWith('/stream') && headers.accept === 'text/event-stream')).toBe(true);
  });

  test('that gives up is explained by the status', async () => {
    ({ page, complaints } = await open(browser, front, START));
    await follow(at('nobody'), options);
    await isIn('failed');
    expect((await told()).error).toEqual({ status: 404, code: 'JOB_NOT_FOUND' });
    await server.create({ job_id: 'e2' });
    const { seq } = await server.report('e2', { status: 'completed' });
    await follow(at('e2'), { ...options, lastEventId: seq });
    await isIn('done');
    expect((await told()).statuses).toHaveLength(1);
  });

  test('is kept by heartbeats', async () => {
    await server.create({ job_id: 'e3' });
    ({ page, complaints } = await open(browser, front, START));
    await follow(at('e3'), { ...options, heartbeatMs: 2_000 });
    await isIn('live');
    const before = front.heartbeats;
    await until('heartbeats', () => front.heartbeats >= before + 4);
    expect((await told()).states).toEqual(['connecting', 'live']);
    expect(front.streams()).toHaveLength(1);
  });
});

describe('a ticket', () => {
  test('is bought once: its cookie carries the returns', async () => {
    const closed = await Server.start(`${QUICK}\n${PEOPLE}`, WORKER);
    const before = await Front.start(() => closed.url);
    front.pages.forEach((page, path) => before.pages.set(path, page));
    try {
      await closed.create({ job_id: 't1' });
      ({ page, complaints } = await open(browser, before, START));
      const { ticket } = await closed.call('POST', '/jobs/t1/ticket');
      await page.evaluate((ticket) => {
        const { watchJob } = (window as any).client;
        const told = { bought: 0, states: [] as string[] };
        (window as any).told = told;
        watchJob('/api/v1/jobs/t1', {
          ticket: () => {
            told.bought++;
            return ticket;
          },
          onState: (state: string) => told.states.push(state),
        });
      }, ticket);
      await isIn('live');
      before.cut();
      await until('the return', async () => (await told()).states.filter((state: string) => state === 'live').length === 2);
      await closed.report('t1', { status: 'completed' });
      await isIn('done');
      expect((await told()).bought).toBe(1);
      expect(before.streams().map(({ query }) => query.has('ticket'))).toEqual([true, false]);
    } finally {
      await before.stop();
      await closed.remove();
    }
  });
});

describe('the element', () => {
  /** What assistive technology is told, and what is seen. */
  const look = async (selector = 'job-progress') => {
    const cdp = await page.context().newCDPSession(page);
    const { root } = await cdp.send('DOM.getDocument');
    const { nodeId } = await cdp.send('DOM.querySelector', { nodeId: root.nodeId, selector });
    const { nodes } = await cdp.send('Accessibility.getPartialAXTree', { nodeId, fetchRelatives: false });
    const properties = Object.fromEntries((nodes[0].properties ?? []).map(({ name, value }: any) => [name, value.value]));
    const seen = await page.evaluate((selector) => {
      const element = document.querySelector(selector)!;
      const [bar, label] = ['bar', 'label'].map((part) => element.shadowRoot!.querySelector<HTMLElement>(`[part=${part}]`)!);
      const attributes = Object.fromEntries([...element.attributes].map(({ name, value }) => [name, value]));
      const share = bar!.offsetWidth / bar!.parentElement!.offsetWidth;
      return { attributes, label: label!.textContent, share, color: getComputedStyle(bar!).backgroundColor };
    }, selector);
    return { role: nodes[0].role.value, name: nodes[0].name?.value, value: nodes[0].value?.value, properties, ...seen };
  };
  const has = (attribute: string, value: string) =>
    until(`${attribute}=${value}`, async () => (await look()).attributes[attribute] === value);

  test('shows a job from its beginning to its end, to everybody, under a strict policy', async () => {
    await server.create({ job_id: 'el1' });
    front.pages.set('/listen.js', {
      type: 'text/javascript',
      body: `window.heard = [];
        for (const name of ['status', 'event', 'done', 'error'])
          document.querySelector('job-progress').addEventListener(name, ({ type, detail }) => heard.push([type, detail.status ?? detail.data]));`,
    });
    const body = `<script type="module" src="/client.js"></script><job-progress src="${at('el1')}"></job-progress><script src="/listen.js"></script>`;
    ({ page, complaints } = await open(browser, front, body));
    await has('status', 'pending');
    const before = await look();
    expect([before.role, before.name, before.attributes['aria-valuenow'], before.label]).toEqual(['progressbar', 'Progress', undefined, 'pending']);
    expect(before.share).toBe(1);
    await server.event('el1', 'log', 'Opened list.csv');
    await server.report('el1', { total_count: 8, processed_count: 3, step: 'Checking', message: 'gmail.com' });
    await has('aria-valuenow', '37.5');
    const between = await look();
    expect(between.label).toBe('37.5 % · Checking: gmail.com');
    expect(between.properties).toMatchObject({ valuemin: 0, valuemax: 100 });
    expect(between.attributes).toMatchObject({ role: 'progressbar', state: 'live', status: 'processing', 'aria-valuetext': between.label });
    await until('the bar', async () => Math.abs((await look()).share - 0.375) < 0.01);
    await server.report('el1', { status: 'completed' });
    await has('state', 'done');
    expect((await look()).attributes).toMatchObject({ status: 'completed', 'aria-valuenow': '100' });
    await until('its last word', () => page.evaluate(() => (window as any).heard.at(-1)[0] === 'done'));
    const heard: string[][] = await page.evaluate(() => (window as any).heard);
    expect(heard.filter(([type]) => type !== 'status')).toEqual([['event', 'Opened list.csv'], ['done', 'completed']]);
    expect(complaints).toEqual([]);
  });

  test('shows why a job failed, and why it cannot be shown', async () => {
    await server.create({ job_id: 'el2' });
    await server.report('el2', { status: 'failed', error: 'Line 3 is no address' });
    const body = `<script type="module" src="/client.js"></script><job-progress src="${at('el2')}" aria-label="Import"></job-progress>`;
    ({ page, complaints } = await open(browser, front, body));
    await has('state', 'done');
    const failed = await look();
    expect([failed.name, failed.label]).toEqual(['Import', 'failed · Line 3 is no address']);
    await page.evaluate((src) => document.querySelector('job-progress')!.setAttribute('src', src), at('nobody'));
    await has('state', 'failed');
    // Nothing of the other job is left.
    const unknown = await look();
    expect([unknown.label, unknown.attributes.status]).toEqual(['', undefined]);
    await server.create({ job_id: 'el3', total_count: 2 });
    await page.evaluate((src) => document.querySelector('job-progress')!.setAttribute('src', src), at('el3'));
    await has('aria-valuenow', '0');
    await page.evaluate(() => document.querySelector('job-progress')!.remove());
    await until('its leaving', async () => (await server.watchers('el3')) === 0);
  });

  test('takes its credential from an attribute or from options, and looks as the page wants', async () => {
    await server.create({ job_id: 'el4', total_count: 2 });
    ({ page, complaints } = await open(browser, front));
    const load = () =>
      page.evaluate(() => {
        document.body.append(Object.assign(document.createElement('script'), { type: 'module', src: '/client.js' }));
        return customElements.whenDefined('job-progress').then(() => {});
      });
    const add = (more: object) =>
      page.evaluate(([src, more]) => {
        document.querySelector('job-progress')?.remove();
        const element = document.createElement('job-progress');
        element.style.setProperty('--job-progress-color', 'rgb(1, 2, 3)');
        document.body.append(Object.assign(element, { src }, more));
      }, [at('el4'), more] as const);
    // What is set before the element is known holds too.
    await add({ options: { headers: { 'X-Own': 'early' } } });
    await load();
    await has('aria-valuenow', '0');
    expect(front.requests.map(({ headers }) => headers['x-own'])).toEqual(['early']);
    expect((await look()).color).toBe('rgb(1, 2, 3)');
    await add({ options: { headers: { 'X-Own': 'late' } } });
    await until('the second', () => front.requests.at(-1)!.headers['x-own'] === 'late');
    await page.evaluate(() => document.querySelector('job-progress')!.setAttribute('token', 'abc'));
    await until('the token', () => front.requests.at(-1)!.headers.authorization === 'Bearer abc');
  });
});

describe('the element in a page that changes', () => {
  const body = '<script type="module" src="/client.js"></script><main></main><aside></aside>';
  const attribute = (name: string, selector = 'job-progress') =>
    page.evaluate(([selector, name]) => document.querySelector(selector)?.getAttribute(name), [selector, name] as const);
  const has = (name: string, value: string | null, selector?: string) =>
    until(`${name}=${value}`, async () => (await attribute(name, selector)) === value);
  const html = (markup: string) => page.evaluate((markup) => void (document.querySelector('main')!.innerHTML = markup), markup);
  const bar = (id: string, more = '') => `<job-progress src="${at(id)}" ${more}></job-progress>`;

  test('goes on where it is moved to, and stays as it is when it is moved at its end', async () => {
    await server.create({ job_id: 'c1', total_count: 2 });
    ({ page, complaints } = await open(browser, front, body));
    await html(bar('c1'));
    await has('state', 'live');
    // As a page does that sorts: the last time from the very listener that is told of the end.
    await page.evaluate(() => {
      const element = document.querySelector('job-progress')!;
      (window as any).ends = 0;
      // In one step or in two.
      document.querySelector('aside')!.append(element);
      element.remove();
      document.querySelector('aside')!.append(element);
      element.addEventListener('done', () => {
        (window as any).ends++;
        document.querySelector('main')!.append(element);
      });
    });
    await server.report('c1', { processed_count: 1 });
    await has('aria-valuenow', '50', 'aside job-progress');
    await server.report('c1', { status: 'completed' });
    await has('state', 'done', 'main job-progress');
    await page.evaluate(() => new Promise<void>((resolve) => setTimeout(resolve)));
    expect(await attribute('aria-valuenow')).toBe('100');
    expect(front.requests.map(({ path }) => path)).toEqual([`${at('c1')}/stream`]);
    expect(await page.evaluate(() => (window as any).ends)).toBe(1);
  });

  test('leaves when it is taken out, and shows what is new when it is put back', async () => {
    await server.create({ job_id: 'c2', total_count: 2 });
    ({ page, complaints } = await open(browser, front, body));
    await html(bar('c2'));
    await has('state', 'live');
    await page.evaluate(() => {
      (window as any).kept = document.querySelector('job-progress');
      (window as any).kept.remove();
    });
    await until('its leaving', async () => (await server.watchers('c2')) === 0);
    await server.report('c2', { processed_count: 1 });
    await page.evaluate(() => document.querySelector('main')!.append((window as any).kept));
    await has('aria-valuenow', '50');
    // At the end there is nothing to ask for any more.
    await server.report('c2', { status: 'completed' });
    await has('state', 'done');
    await page.evaluate(() => {
      (window as any).kept.remove();
      return new Promise<void>((resolve) => setTimeout(resolve));
    });
    await page.evaluate(() => {
      document.querySelector('main')!.append((window as any).kept);
      return new Promise<void>((resolve) => setTimeout(resolve));
    });
    expect(await attribute('state')).toBe('done');
    expect(front.streams()).toHaveLength(2);
  });

  test('without an address it is a bar that says nothing, and follows the one that it is given', async () => {
    await server.create({ job_id: 'c3', total_count: 2 });
    await server.create({ job_id: 'c4', total_count: 4 });
    await server.report('c4', { processed_count: 1 });
    ({ page, complaints } = await open(browser, front, body));
    await html('<job-progress aria-label="Import"></job-progress>');
    await has('role', 'progressbar');
    expect(front.requests).toEqual([]);
    const set = (src: string | null) =>
      page.evaluate((src) => {
        const element = document.querySelector('job-progress')!;
        src === null ? element.removeAttribute('src') : element.setAttribute('src', src);
      }, src);
    await set(at('c3'));
    await has('aria-valuetext', '0 %');
    await set(null);
    for (const name of ['state', 'status', 'aria-valuenow', 'aria-valuetext']) {
      await has(name, null);
    }
    await until('its leaving', async () => (await server.watchers('c3')) === 0);
    await set(at('c4'));
    await has('aria-valuenow', '25');
    // Another one while it is out of the page, and back in the same moment.
    await page.evaluate((src) => {
      const element = document.querySelector('job-progress')!;
      element.remove();
      element.setAttribute('src', src);
      document.querySelector('aside')!.append(element);
    }, at('c3'));
    await has('aria-valuenow', '0');
    await until('its leaving', async () => (await server.watchers('c4')) === 0);
    // One that is nowhere to be seen follows nothing.
    const before = front.streams().length;
    await page.evaluate(async (src) => {
      const element = ((window as any).kept = document.querySelector('job-progress')!);
      element.remove();
      await new Promise<void>((resolve) => setTimeout(resolve));
      element.setAttribute('src', src);
      await fetch(src);
    }, at('c4'));
    expect(front.streams()).toHaveLength(before);
    await page.evaluate(() => document.querySelector('main')!.append((window as any).kept));
    await has('aria-valuenow', '25');
    expect(front.streams()).toHaveLength(before + 1);
    expect(await server.watchers('c4')).toBe(1);
    expect(await attribute('aria-label')).toBe('Import');
    expect(complaints).toEqual([]);
  });

  test('several show one job, each by itself', async () => {
    await server.create({ job_id: 'c5', total_count: 2 });
    ({ page, complaints } = await open(browser, front, body));
    await html(`${bar('c5', 'id="one"')}${bar('c5', 'id="two"')}${bar('c5', 'id="three"')}`);
    await until('all', async () => (await server.watchers('c5')) === 3);
    await page.evaluate(() => document.querySelector('#two')!.remove());
    await until('two', async () => (await server.watchers('c5')) === 2);
    await server.report('c5', { status: 'completed' });
    for (const selector of ['#one', '#three']) {
      await has('aria-valuenow', '100', selector);
    }
  });

  test('can be seen on light and dark pages, and in forced colours', async () => {
    await server.create({ job_id: 'c6', total_count: 2 });
    await server.report('c6', { processed_count: 1 });
    ({ page, complaints } = await open(browser, front, body));
    await html(bar('c6'));
    await has('aria-valuenow', '50');
    const cdp = await page.context().newCDPSession(page);
    const colors = () =>
      page.evaluate(() => {
        const style = (part: string) => getComputedStyle(document.querySelector('job-progress')!.shadowRoot!.querySelector(`[part=${part}]`)!);
        const probe = document.body.appendChild(document.createElement('i'));
        probe.style.cssText = 'background:Highlight;forced-color-adjust:none';
        const highlight = getComputedStyle(probe).backgroundColor;
        probe.remove();
        return { bar: style('bar').backgroundColor, border: style('track').borderTopWidth, track: style('track').backgroundColor, highlight };
      });
    const usual = await colors();
    expect([usual.bar, usual.border]).toEqual(['rgb(37, 99, 235)', '0px']);
    // Neither page hides the track: it lets a part of the page's own colour through.
    expect(usual.track).toMatch(/^rgba\(136, 136, 136, 0\.[1-9]/);
    await cdp.send('Emulation.setEmulatedMedia', { features: [{ name: 'forced-colors', value: 'active' }] });
    const forced = await colors();
    expect([forced.bar, forced.border]).toEqual([forced.highlight, '1px']);
  });
});

describe('the hook', () => {
  beforeAll(async () => {
    const { outputFiles } = await build({
      entryPoints: [here('support/react-page.tsx')],
      bundle: true,
      format: 'iife',
      jsx: 'automatic',
      define: { 'process.env.NODE_ENV': '"development"' },
      write: false,
    });
    front.pages.set('/react.js', { type: 'text/javascript', body: outputFiles[0]!.text });
  });
  const shown = () => page.evaluate(() => document.querySelector('#root')!.textContent);
  const body = '<div id="root"></div><script src="/react.js"></script>';

  test('shows a job, its events and its end, in strict mode', async () => {
    await server.create({ job_id: 'h1', total_count: 4 });
    ({ page, complaints } = await open(browser, front, body));
    await page.evaluate((url) => (window as any).show(url), at('h1'));
    await until('the beginning', async () => (await shown()) === 'live pending 0 % []');
    for (let line = 1; line <= 4; line++) {
      await server.event('h1', 'line', line);
    }
    await server.report('h1', { processed_count: 3 });
    // It keeps the newest three.
    await until('the middle', async () => (await shown()) === 'live processing 75 % [2,3,4]');
    // Rendering anew, with new functions, does not begin anew.
    const before = front.streams().length;
    await page.evaluate((url) => (window as any).show(url), at('h1'));
    await server.report('h1', { status: 'completed' });
    await until('the end', async () => (await shown()) === 'done completed 100 % [2,3,4]');
    expect(front.streams().length).toBe(before);
    expect(complaints).toEqual([]);
  });

  test('changes jobs, tells what is wrong, and leaves with its component', async () => {
    await server.create({ job_id: 'h2', total_count: 4 });
    ({ page, complaints } = await open(browser, front, body));
    await page.evaluate(() => (window as any).show(null));
    await until('nothing', async () => (await shown()) === 'connecting');
    expect(front.requests).toEqual([]);
    await page.evaluate((url) => (window as any).show(url), at('nobody'));
    await until('the error', async () => (await shown()) === 'failed Job not found');
    await page.evaluate((url) => (window as any).show(url), at('h2'));
    await until('the job', async () => (await shown()) === 'live pending 0 % []');
    expect(await server.watchers('h2')).toBe(1);
    await page.evaluate(() => (window as any).unmount());
    await until('its leaving', async () => (await server.watchers('h2')) === 0);
  });
});
