// The dashboard in the Chromium of tests/clients, behind a front that keeps its address while the server comes and goes.

import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { launch } from '../../../js/test/support/browser.js';
import { Front } from '../../../js/test/support/front.js';
import { Server } from '../../../js/test/support/server.js';
import { until } from '../../../js/test/support/until.js';

export { Server, until };

/** A server, what stands before it, and a browser. */
export class Place {
  private constructor(
    readonly server: Server,
    readonly front: Front,
    readonly browser: Browser,
  ) {}

  static async make(configuration?: string, bearer?: string): Promise<Place> {
    const server = await Server.start(configuration, bearer);
    const front = await Front.start(() => server.url);
    return new Place(server, front, (await launch()) as unknown as Browser);
  }

  /** Opens the dashboard; `hash` names the page in it. */
  async open(hash = '', options: BrowserContextOptions = {}, prepare?: (page: Page) => Promise<void>): Promise<View> {
    const context = await this.browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
    const page = await context.newPage();
    const view = new View(page, this.front.url);
    await prepare?.(page);
    await page.goto(`${this.front.url}/${hash}`);
    return view;
  }

  async remove(): Promise<void> {
    await this.browser.close();
    await this.front.stop();
    await this.server.remove();
  }
}

/** One tab with the dashboard. */
export class View {
  /** What the page complained of: exceptions, and what its policy refused. */
  readonly complaints: string[] = [];
  /** Addresses that it asked for. */
  readonly urls: string[] = [];

  constructor(
    readonly page: Page,
    private readonly origin: string,
  ) {
    page.on('pageerror', (error) => this.complaints.push(String(error)));
    page.on('console', (message) => {
      // The browser's own words for answers that are no success, and for a server that is away.
      const isAnswer = message.text().startsWith('Failed to load resource');
      if (['error', 'warning'].includes(message.type()) && !isAnswer) this.complaints.push(message.text());
    });
    page.on('request', (request) => this.urls.push(request.url()));
  }

  /** What a person reads there. */
  async text(selector = 'body'): Promise<string> {
    const texts = await this.page.locator(selector).allInnerTexts();
    return texts.join('\n').replaceAll(/\s+/g, ' ').trim();
  }

  /** Waits until a text stands there. */
  async shows(text: string, selector = 'body'): Promise<void> {
    await until(`“${text}” in ${selector}`, async () => (await this.text(selector)).includes(text));
  }

  /** Waits until it does not any more. */
  async lacks(text: string, selector = 'body'): Promise<void> {
    await until(`no “${text}” in ${selector}`, async () => !(await this.text(selector)).includes(text));
  }

  /** The names of the jobs in the list, from above. */
  names(): Promise<string[]> {
    return this.page.locator('.row .name').allTextContents();
  }

  /** Waits until the list shows these jobs and no other. */
  async lists(...names: string[]): Promise<void> {
    const wanted = [...names].sort().join(' ');
    await until(`the list ${wanted}`, async () => (await this.names()).sort().join(' ') === wanted);
  }

  row(jobId: string) {
    return this.page.locator(`[data-job="${jobId}"]`);
  }

  /** Waits until a row reads so. */
  async rowShows(jobId: string, text: string): Promise<void> {
    await this.shows(text, `[data-job="${jobId}"]`);
  }

  /** Waits until the connection is said to be so. */
  async isIn(word: string): Promise<void> {
    await until(`the connection to be ${word}`, async () => (await this.text('.link')) === word);
  }

  async choose(label: string, value: string): Promise<void> {
    await this.page.getByLabel(label, { exact: true }).selectOption(value);
  }

  button(name: string) {
    return this.page.getByRole('button', { name });
  }

  /** What has the focus, by its text or value. */
  focused(): Promise<string> {
    return this.page.evaluate(() => (document.activeElement as HTMLElement | null)?.dataset.job ?? document.activeElement?.textContent ?? '');
  }

  /** Addresses beyond the server's own. */
  strangers(): string[] {
    return this.urls.filter((url) => !url.startsWith(`${this.origin}/`) && !url.startsWith('data:') && !url.startsWith('blob:'));
  }

  close(): Promise<void> {
    return this.page.context().close();
  }
}
