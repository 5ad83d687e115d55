// The real server: the program that PROGRESSD_BIN names, else the one that `cargo build` makes.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { inTime } from './until.js';

const PROGRAM = process.env.PROGRESSD_BIN ?? fileURLToPath(new URL('../../../../target/debug/progressd', import.meta.url));

/** Every report is sent, and clients come back after 160 to 240 ms. */
export const QUICK = '[stream]\nupdate_interval_ms = 0\nretry_ms = 200\nheartbeat_seconds = 1\ndrain_seconds = 1\n';

/** Below the ports that the system gives to outgoing connections: nobody else takes it while its server is away. */
async function freeAddress(): Promise<string> {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 22_000);
    const probe = createServer().listen(port, '127.0.0.1');
    const isFree = await Promise.race([once(probe, 'listening').then(() => true), once(probe, 'error').then(() => false)]).catch(() => false);
    if (isFree) {
      probe.close();
      await once(probe, 'close');
      return `127.0.0.1:${port}`;
    }
  }
}

/** A server of the test's own; its store outlives a restart. */
export class Server {
  url = '';
  #child: ChildProcess | undefined;

  private constructor(
    private readonly folder: string,
    private readonly bearer: string | undefined,
    private readonly listen: string,
  ) {}

  /** Starts one; `bearer` is the credential of the worker that this class plays. */
  static async start(configuration = QUICK, bearer?: string, listen = '127.0.0.1:0'): Promise<Server> {
    const folder = await mkdtemp(join(tmpdir(), 'progressd-js-'));
    const store = `[store]\nbackend = "embedded"\n[store.embedded]\npath = "${join(folder, 'store.redb')}"\n`;
    await writeFile(join(folder, 'progressd.toml'), `${configuration}\n${store}`);
    const server = new Server(folder, bearer, listen);
    await server.resume();
    return server;
  }

  /** Starts one that comes back to the same address. */
  static async startInPlace(configuration = QUICK): Promise<Server> {
    return Server.start(configuration, undefined, await freeAddress());
  }

  /** Starts it again, with all its jobs; at another address, unless it was started in place. */
  async resume(): Promise<void> {
    const config = join(this.folder, 'progressd.toml');
    const child = spawn(PROGRAM, ['serve', '--config', config, '--listen', this.listen], {
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
    const headers = {
      ...(body !== undefined && { 'Content-Type': 'application/json' }),
      ...(this.bearer && { Authorization: `Bearer ${this.bearer}` }),
    };
    // On a connection of its own: on one of `fetch`'s a watch may have streamed before, and its server is about to close it.
    const request = http.request(`${this.url}/api/v1${path}`, { method, headers, agent: false });
    request.end(body === undefined ? undefined : JSON.stringify(body));
    const [response]: [http.IncomingMessage] = (await once(request, 'response')) as any;
    const answer = await text(response);
    if (response.statusCode! >= 300) {
      throw new Error(`${method} ${path}: ${response.statusCode} ${answer}`);
    }
    return answer && JSON.parse(answer);
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
