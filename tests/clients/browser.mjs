// The Chromium that the programs of this folder drive: the one that the variable CHROMIUM names, else the first
// `chromium` on the PATH.

import { execFileSync } from 'node:child_process';
import { chromium } from 'playwright-core';

// For small machines, containers and root accounts, and without background traffic.
// Playwright itself adds a fresh user-data-dir, which it removes again.
const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Starts it, with `flags` besides those that it always needs. */
export function launch(flags = []) {
  return chromium.launch({ executablePath: findChromium(), args: [...FLAGS, ...flags] });
}

function findChromium() {
  if (process.env.CHROMIUM) {
    return process.env.CHROMIUM;
  }
  try {
    return execFileSync('which', ['chromium'], { encoding: 'utf8' }).trim();
  } catch {
    throw new Error('no chromium on the PATH; install it or name its program in CHROMIUM');
  }
}
