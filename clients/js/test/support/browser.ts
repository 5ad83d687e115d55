// The Chromium of tests/clients, and what goes wrong in its pages.

import type { Front } from './front.js';

/** What is used of a page of playwright-core. */
export interface BrowserPage {
  evaluate<A, R>(run: (argument: A) => R | Promise<R>, argument?: A): Promise<R>;
  goto(url: string): Promise<unknown>;
  close(): Promise<void>;
  on(event: string, listener: (value: any) => void): void;
  context(): { newCDPSession(page: BrowserPage): Promise<{ send(method: string, parameters?: object): Promise<any> }> };
}

export interface Browser {
  newPage(): Promise<BrowserPage>;
  close(): Promise<void>;
}

const program = new URL('../../../../tests/clients/browser.mjs', import.meta.url).href;

export async function launch(): Promise<Browser> {
  const { launch } = await import(/* @vite-ignore */ program);
  return launch();
}

/** The strictest policy under which a page can show a job: its own scripts, and calls to its own server. */
const POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'; base-uri 'none'";

/** Opens a page with this body under that policy; its complaints are collected, the policy's among them. */
export async function open(browser: Browser, front: Front, body = ''): Promise<{ page: BrowserPage; complaints: string[] }> {
  front.pages.set('/page', {
    type: 'text/html; charset=utf-8',
    body: `<!doctype html><title>Jobs</title><link rel="icon" href="data:,">${body}`,
    headers: { 'Content-Security-Policy': `${POLICY}; img-src data:` },
  });
  const page = await browser.newPage();
  const complaints: string[] = [];
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) {
      complaints.push(message.text());
    }
  });
  await page.goto(`${front.url}/page`);
  return { page, complaints };
}
