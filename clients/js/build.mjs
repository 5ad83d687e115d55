// Makes the files of the package, and the one that the server serves at /client.js.
//
//   node build.mjs           writes dist/*.js and ../../assets/client.js
//   node build.mjs --check   writes nothing, and fails when ../../assets/client.js is not what would be written

import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const served = here('../../assets/client.js');
const common = { bundle: true, format: 'esm', target: 'es2022', minify: true, legalComments: 'none', charset: 'utf8' };

/** What the server serves, as a text. */
async function bundleForServer() {
  const result = await build({ ...common, entryPoints: [here('src/client.ts')], write: false });
  return result.outputFiles[0].text;
}

if (process.argv.includes('--check')) {
  const committed = await readFile(served, 'utf8').catch(() => '');
  if (committed !== (await bundleForServer())) {
    console.error('assets/client.js is not what clients/js makes: run `npm run build` there and commit it');
    process.exit(1);
  }
} else {
  await build({ ...common, entryPoints: [here('src/client.ts')], outfile: served });
  await build({ ...common, entryPoints: [here('src/index.ts')], outfile: here('dist/index.js') });
  // They share the package's own entry instead of bringing a copy of it.
  const beside = { ...common, external: ['./index.js', 'react'] };
  await build({ ...beside, entryPoints: [here('src/react.ts'), here('src/element.ts')], outdir: here('dist') });
}
