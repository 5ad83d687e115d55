// The real server: the program that PROGRESSD_BIN names, else the one that `cargo build` makes.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { inTime } from './until.js';

const PROGRAM = process.env.PROGRESSD_BIN ?? fileURLToPath(new URL('../../../../target/debug/progressd', import.meta.url));

/** Every report is sent, and clients come back after 160 to 240 ms. */
export const QUICK = '[stream]\nupdate_interval_ms = 0\nretry_ms = 200\nheartbeat_seconds = 1\n';

/** A server of the test's own; its store outlives a restart. */
export class Server {
  url = '';
  #child: ChildProcess | undefined;

  private constructor(
    private readonly folder: string,
    private readonly bearer: string | undefined,
  ) {}

  /** Starts one; `bearer` is the credential of the worker that this class plays. */
  static async start(configuration = QUICK, bearer?: string): Promise<Server> {
    const folder = await mkdtemp(join(tmpdir(), 'progressd-js-'));
    const store = `[store]\nbackend = "embedded"\n[store.embedded]\npath = "${join(folder, 'store.redb')}"\n`;
    await writeFile(join(folder, 'progressd.toml'), `${configuration}\n${store}`);
    const server = new Server(folder, bearer);
    await server.resume();
    return server;
  }

  /** Starts it again, with all its jobs, at another address. */
  async resume(): Promise<void> {
    const config = join(this.folder, 'progressd.toml');
    const child = spawn(PROGRAM, ['serve', '--config', config, '--listen', '127.0.0.1:0'], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    let log = '';
    child.stderr!.on('data', (text) => (log += text));
    const [line] = await inTime('the server', Promise.race([once(createInterface(child.stdout!), 'line'), once(child, 'exit')]));
    const address = /^listening on (http.*)$/.exec(String(line));
    if (!address) {
      throw new Error(`${PROGRAM} does not start: ${log}`);
    }
    this.url = address[1]!;
  }

  /** Asks it to stop, or kills it; resolves when it is gone. */
  async stop(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const child = this.#child!;
    if (child.exitCode === null && child.signalCode === null) {
      child.kill(signal);
      await inTime('the end of the server', once(child, 'exit'));
    }
  }

  async remove(): Promise<void> {
    await this.stop('SIGKILL');
    await rm(this.folder, { recursive: true, force: true });
  }

  /** A call of the API; fails unless it is a success. */
  async call(method: string, path: string, body?: unknown): Promise<any> {
    const response = await fetch(`${this.url}/api/v1${path}`, {
      method,
      body: body === undefined ? undefined : JSON.stringify(body),
      headers: {
        ...(body !== undefined && { 'Content-Type': 'application/json' }),
        ...(this.bearer && { Authorization: `Bearer ${this.bearer}` }),
      },
    });
    const text = await response.text();
    if (!response.ok) {
      throw new Error(`${method} ${path}: ${response.status} ${text}`);
    }
    return text && JSON.parse(text);
  }

  create(body: object): Promise<any> {
    return this.call('POST', '/jobs', body);
  }

  report(id: string, body: object): Promise<any> {
    return this.call('PATCH', `/jobs/${id}`, body);
  }

  event(id: string, event: string, data: unknown): Promise<any> {
    return this.call('POST', `/jobs/${id}/events`, { event, data });
  }

  /** How many watch a job. */
  async watchers(id: string): Promise<number> {
    return (await this.report(id, {})).watchers;
  }
}
