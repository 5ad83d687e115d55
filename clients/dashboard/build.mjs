// Builds the page into assets/dashboard, which the server embeds: a Rust user needs no Node.

import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
const target = process.argv[2] ?? join(here, '../../assets/dashboard');

mkdirSync(target, { recursive: true });
await build({
  entryPoints: { dashboard: join(here, 'src/main.tsx'), style: join(here, 'src/style.css') },
  outdir: target,
  outExtension: { '.js': '.js', '.css': '.css' },
  entryNames: '[name]',
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2022',
  jsx: 'automatic',
  jsxImportSource: 'preact',
  legalComments: 'none',
  logLevel: 'warning',
});
copyFileSync(join(here, 'src/index.html'), join(target, 'index.html'));

// What the licences of the libraries ask for.
const LIBRARIES = ['preact', '@preact/signals', '@preact/signals-core', '@tanstack/virtual-core', 'uplot'];
const licences = LIBRARIES.map((name) => {
  const folder = join(here, 'node_modules', name);
  const { version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  return `${name} ${version} (${license})\n\n${readFileSync(join(folder, 'LICENSE'), 'utf8').trim()}\n`;
});
writeFileSync(join(target, 'LICENSES.txt'), licences.join(`\n${'-'.repeat(78)}\n\n`));
