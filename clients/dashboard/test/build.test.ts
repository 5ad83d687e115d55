// What the server embeds is what the sources make.

import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const committed = here('../../../assets/dashboard');

test('the files in assets/dashboard are made of these sources', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'progressd-dashboard-'));
  await promisify(execFile)(process.execPath, [here('../build.mjs'), folder]);
  const names = await readdir(folder);
  expect((await readdir(committed)).sort()).toEqual(names.sort());
  for (const name of names) {
    const isSame = (await readFile(join(folder, name))).equals(await readFile(join(committed, name)));
    expect(isSame, `${name}: run npm run build`).toBe(true);
  }
  await rm(folder, { recursive: true });
});

test('the page stays small', async () => {
  const program = await readFile(join(committed, 'dashboard.js'));
  expect(gzipSync(program).length).toBeLessThan(65_000);
});
