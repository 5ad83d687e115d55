// What is delivered: how large it is, that it is what the sources make, and that it brings nothing along.

import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';

const here = (path: string) => new URL(path, import.meta.url);
const compressed = async (path: string) => gzipSync(await readFile(here(path)), { level: 9 }).length;

test('the core is under 4 kB compressed, and all that the server serves under 5.5', async () => {
  expect(await compressed('../dist/index.js')).toBeLessThan(4_000);
  expect(await compressed('../../../assets/client.js')).toBeLessThan(5_500);
});

test('what the server serves is what the sources make', () => {
  execFileSync('node', ['build.mjs', '--check'], { cwd: here('..'), stdio: 'pipe' });
});

test('nothing is imported but what is said', async () => {
  const imports = async (name: string) => {
    const text = await readFile(here(`../dist/${name}`), 'utf8');
    return [...text.matchAll(/(?:from|import) ?["']([^"']+)["']/g)].map(([, source]) => source).sort();
  };
  expect(await imports('index.js')).toEqual([]);
  expect(await imports('element.js')).toEqual(['./index.js']);
  expect(await imports('react.js')).toEqual(['./index.js', 'react']);
  const { dependencies } = JSON.parse(await readFile(here('../package.json'), 'utf8'));
  expect(dependencies).toBeUndefined();
});
