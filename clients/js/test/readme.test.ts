// The README's examples, as they stand there, in a page of a real browser.

import { readFile } from 'node:fs/promises';
import { build } from 'esbuild';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { type Browser, type BrowserPage, launch, open } from './support/browser.js';
import { Front } from './support/front.js';
import { Server } from './support/server.js';
import { until } from './support/until.js';

const here = (path: string) => new URL(path, import.meta.url).pathname;

let browser: Browser;
let server: Server;
let front: Front;
let page: BrowserPage | undefined;
let examples: { language: string; text: string }[];

beforeAll(async () => {
  const readme = await readFile(here('../README.md'), 'utf8');
  examples = [...readme.matchAll(/```(\w+)\n([^]*?)```/g)].map(([, language, text]) => ({ language: language!, text: text! }));
  browser = await launch();
  server = await Server.start();
  front = await Front.start(() => server.url);
});
afterEach(() => page?.close());
afterAll(async () => {
  await browser.close();
  await front.stop();
  await server.remove();
});

/** What the examples take for granted. */
const PAGE = `
  const bar = window.bar = document.createElement('progress');
  const light = window.light = document.createElement('i');
  const watchToken = 'of the job';
  bar.max = 100;
`;

/** Opens a page that runs the example with these words in it, written to be run there. */
async function run(words: string, before = PAGE, after = ''): Promise<BrowserPage> {
  const example = examples.find(({ language, text }) => language.startsWith('js') && text.includes(words))!;
  const bundle = await build({
    stdin: { contents: `${example.text}\n${after}`, loader: 'jsx', resolveDir: here('..') },
    bundle: true,
    format: 'esm',
    jsx: 'automatic',
    alias: { 'progressd/react': here('../src/react.ts'), progressd: here('../src/index.ts') },
    define: { 'process.env.NODE_ENV': '"development"' },
    banner: { js: before },
    write: false,
  });
  front.pages.set('/example.js', { type: 'text/javascript', body: bundle.outputFiles[0]!.text });
  const opened = await open(browser, front, '<div id="root"></div><script type="module" src="/example.js"></script>');
  page = opened.page;
  return page;
}

/** The job of the examples, anew. */
async function createJob(): Promise<void> {
  await server.call('DELETE', '/jobs/import-7').catch(() => {});
  await server.create({ job_id: 'import-7', kind: 'import', total_count: 4 });
}

test('iterating shows the progress to the end', async () => {
  await createJob();
  const page = await run('for await');
  await until('the watch', async () => (await server.watchers('import-7')) === 1);
  await server.report('import-7', { processed_count: 3 });
  await until('the bar', () => page.evaluate(() => (window as any).bar.value === 75));
  await server.report('import-7', { status: 'completed' });
  await until('the end', () => page.evaluate(() => (window as any).bar.value === 100));
});

test('functions show the progress to the end', async () => {
  await createJob();
  const page = await run('onState', PAGE, 'window.last = last;');
  await until('the watch', async () => (await server.watchers('import-7')) === 1);
  await until('its state', () => page.evaluate(() => (window as any).light.title === 'live'));
  await server.report('import-7', { status: 'completed' });
  await until('the end', () => page.evaluate(() => (window as any).last?.status === 'completed'));
  expect(front.requests.at(-1)!.headers.authorization).toBe('Bearer of the job');
});

test('a map follows many jobs', async () => {
  await createJob();
  const page = await run('onRemoved', '', 'window.rows = rows;');
  await until('the job', () => page.evaluate(() => (window as any).rows.get('import-7')?.status === 'pending'));
  await server.call('DELETE', '/jobs/import-7');
  await until('its going', () => page.evaluate(() => (window as any).rows.size === 0));
});

test('a component shows a job', async () => {
  await createJob();
  const page = await run(
    'useJobProgress',
    '',
    `import { createRoot } from 'react-dom/client'; createRoot(document.querySelector('#root')).render(<Import id="import-7" />);`,
  );
  await until('the watch', async () => (await server.watchers('import-7').catch(() => 0)) === 1);
  await server.report('import-7', { processed_count: 1 });
  await until('the bar', () => page.evaluate(() => document.querySelector('progress')?.value === 25));
});

test('an element shows a job', async () => {
  await createJob();
  const html = examples.find(({ language }) => language === 'html')!.text;
  ({ page } = await open(browser, front, html));
  await until('the bar', () => page!.evaluate(() => document.querySelector('job-progress')?.ariaValueNow === '0'));
});
