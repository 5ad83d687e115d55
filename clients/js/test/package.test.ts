// The package as others get it: packed, unpacked elsewhere, and used from Node.js, TypeScript and a bundler.

import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { afterAll, beforeAll, expect, test } from 'vitest';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const run = promisify(execFile);

let folder: string;
let files: string[];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'progressd-package-'));
  const modules = join(folder, 'node_modules');
  await mkdir(join(modules, '@types'), { recursive: true });
  // It was built before the tests; not again, beside others that read it.
  const { stdout } = await run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], { cwd: here('..') });
  const answer = JSON.parse(stdout);
  const [packed]: any[] = Array.isArray(answer) ? answer : Object.values(answer);
  files = packed.files.map(({ path }: { path: string }) => path);
  await run('tar', ['-xzf', join(folder, packed.filename), '-C', folder]);
  await symlink(join(folder, 'package'), join(modules, 'progressd'));
  for (const name of ['react', '@types/react', '@types/node', 'csstype', 'undici-types']) {
    await symlink(here(`../node_modules/${name}`), join(modules, name));
  }
  await writeFile(join(folder, 'package.json'), '{"type":"module"}');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('it holds what it exports, its readme, and no more', async () => {
  const { exports } = JSON.parse(await readFile(join(folder, 'package/package.json'), 'utf8'));
  const exported = Object.values<Record<string, string>>(exports).flatMap((targets) => Object.values(targets));
  expect(files).toEqual(expect.arrayContaining(['README.md', ...exported.map((path) => path.slice('./'.length))]));
  expect(files.filter((path) => !/^(README\.md|package\.json|dist\/\w+\.(js|d\.ts))$/.test(path))).toEqual([]);
});

test('its readme links to nothing that stands beside it in the repository', async () => {
  const readme = await readFile(join(folder, 'package/README.md'), 'utf8');
  expect([...readme.matchAll(/\]\((?!https:|#)[^)]*\)/g)].map(([link]) => link)).toEqual([]);
});

test('Node.js imports all of it, without a page', async () => {
  const program = `
    import * as core from 'progressd';
    import { useJobProgress } from 'progressd/react';
    import { JobProgress } from 'progressd/element';
    const watch = core.watchJob('http://127.0.0.1:1/api/v1/jobs/j');
    watch.close();
    const closed = await watch.done.catch(({ name }) => name);
    console.log(JSON.stringify([Object.keys(core), typeof useJobProgress, typeof JobProgress, closed]));`;
  await writeFile(join(folder, 'program.js'), program);
  const { stdout } = await run('node', ['program.js'], { cwd: folder });
  expect(JSON.parse(stdout)).toEqual([['WatchError', 'isFinished', 'watchJob', 'watchJobs'], 'function', 'function', 'AbortError']);
});

const ON_A_SERVER = `
import { isFinished, type Status, watchJob, WatchError, watchJobs } from 'progressd';

export async function follow(url: URL): Promise<number | null> {
  const watch = watchJob(url, { token: async (refused) => (refused ? undefined : 'abc'), credentials: 'include', signal: new AbortController().signal });
  for await (const status of watch) {
    const total: number | null = status.total_emails;
    if (isFinished(status)) return total;
  }
  const last: Status = await watch.done.catch((error: unknown) => {
    throw error instanceof WatchError ? error.code : error;
  });
  watchJobs(url, { onRemoved: ({ job_id }) => job_id.length, onEvent: ({ event, data }) => [event, data] });
  return last.progress_percentage;
}
// @ts-expect-error A misspelt option is told.
watchJob('x', { tokn: 'abc' });
`;

const ON_A_PAGE = `
import { useJobProgress, type JobProgressOptions } from 'progressd/react';
import { JobProgress } from 'progressd/element';

export function Job(options: JobProgressOptions) {
  const { status, events, state, error } = useJobProgress('/api/v1/jobs/j', { ...options, keepEvents: 3 });
  return [status?.message, events.length, state, error?.message].join();
}
const element: JobProgress = document.createElement('job-progress');
element.options = { onStatus: ({ seq }) => seq.toFixed() };
element.src = '/api/v1/jobs/j';
`;

test.each([
  ['node16', 'node16'],
  ['nodenext', 'nodenext'],
  ['esnext', 'bundler'],
])('TypeScript finds its types, module %s and resolution %s', async (module, moduleResolution) => {
  const inside = join(folder, moduleResolution);
  await mkdir(inside);
  const options = { module, moduleResolution, target: 'es2022', strict: true, exactOptionalPropertyTypes: true, skipLibCheck: false, noEmit: true };
  for (const [name, text, more] of [
    ['server', ON_A_SERVER, { lib: ['es2022'], types: ['node'] }],
    ['page', ON_A_PAGE, { lib: ['es2022', 'dom', 'dom.iterable'], types: [] }],
  ] as const) {
    await writeFile(join(inside, `${name}.ts`), text);
    await writeFile(join(inside, `${name}.json`), JSON.stringify({ compilerOptions: { ...options, ...more }, files: [`${name}.ts`] }));
    const told = await run(here('../node_modules/.bin/tsc'), ['--project', `${name}.json`], { cwd: inside }).catch(({ stdout }) => ({ stdout }));
    expect(told.stdout, name).toBe('');
  }
});

/** What a bundler makes of a page's own code. */
async function bundle(contents: string): Promise<string> {
  const { outputFiles } = await build({ stdin: { contents, resolveDir: folder }, bundle: true, format: 'esm', minify: true, write: false, external: ['react'] });
  return outputFiles[0]!.text;
}

test('a bundler takes what is used, and the element though nothing of it is named', async () => {
  const [core, element, hook] = await Promise.all([
    bundle("import { watchJob } from 'progressd'; watchJob('/j');"),
    bundle("import 'progressd/element';"),
    bundle("import { useJobProgress } from 'progressd/react'; console.log(useJobProgress);"),
  ]);
  expect(core).not.toContain('onRemoved');
  expect(element).toContain('"job-progress"');
  expect(hook).not.toContain('"job-progress"');
});
