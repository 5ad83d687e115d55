// What stands between a page and the server: a proxy that can do what bad ones do, at an address that stays the same
// while the server comes and goes. It also serves the test's own pages.

import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';

/** What is done to one request or its answer. */
export type Fault =
  /** Nothing of the answer is passed on before it is whole. */
  | { kind: 'buffer' }
  /** Nothing at all comes, ever. */
  | { kind: 'hang' }
  /** The answer is cut off after so many bytes of its body. */
  | { kind: 'cut'; after: number }
  /** The answer stops after so many blocks, and the connection stays. */
  | { kind: 'stall'; blocks: number }
  /** The body comes byte by byte, with so many milliseconds in between. */
  | { kind: 'trickle'; everyMs?: number }
  /** The body is passed on in portions of so many bytes, and the rest at its end. */
  | { kind: 'portions'; bytes: number }
  /** The block with these words in it is cut in half, and the connection is ended, or broken off. */
  | { kind: 'halve'; words: string; isClean: boolean }
  /** Every answer's head comes so many milliseconds late. */
  | { kind: 'late'; ms: number }
  /** Something else answers, after so many milliseconds. */
  | { kind: 'answer'; status: number; headers?: http.OutgoingHttpHeaders; body?: string | Buffer; afterMs?: number };

export interface Request {
  method: string;
  path: string;
  query: URLSearchParams;
  headers: http.IncomingHttpHeaders;
  /** When it came. */
  at: number;
}

export interface Page {
  type: string;
  body: string | Buffer;
  headers?: http.OutgoingHttpHeaders;
}

export class Front {
  url = '';
  /** Every call so far. */
  readonly requests: Request[] = [];
  /** How many heartbeats were passed on. */
  heartbeats = 0;
  /** By path. */
  readonly pages = new Map<string, Page>();
  /** Decides what happens to a request. */
  fault: (request: Request) => Fault | undefined = () => undefined;
  readonly #server = http.createServer((incoming, outgoing) => this.#serve(incoming, outgoing));

  private constructor(private readonly upstream: () => string) {}

  /** In front of the server at the address that `upstream` says at the time. */
  static async start(upstream: () => string): Promise<Front> {
    const front = new Front(upstream);
    front.#server.listen(0, '127.0.0.1');
    await once(front.#server, 'listening');
    front.url = `http://127.0.0.1:${(front.#server.address() as AddressInfo).port}`;
    return front;
  }

  /** The requests for streams so far. */
  streams(): Request[] {
    return this.requests.filter(({ path }) => path.endsWith('/stream'));
  }

  /** The requests for statuses so far. */
  polls(): Request[] {
    return this.requests.filter(({ path }) => path.endsWith('/status'));
  }

  /** Cuts every connection. */
  cut(): void {
    this.#server.closeAllConnections();
  }

  async stop(): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    await once(this.#server, 'close');
  }

  #serve(incoming: http.IncomingMessage, outgoing: http.ServerResponse): void {
    const { pathname, searchParams } = new URL(incoming.url!, this.url);
    // Each request has a connection of its own: an old one might close in the moment in which it is used again.
    outgoing.shouldKeepAlive = false;
    const page = this.pages.get(pathname);
    if (page) {
      outgoing.writeHead(200, { 'Content-Type': page.type, ...page.headers }).end(page.body);
      return;
    }
    const request = {
      method: incoming.method!,
      path: pathname,
      query: searchParams,
      headers: incoming.headers,
      at: Date.now(),
    };
    if (pathname.startsWith('/api/')) {
      this.requests.push(request);
    }
    const fault = this.fault(request);
    if (fault?.kind === 'hang') {
      return;
    }
    if (fault?.kind === 'answer') {
      const answer = () => outgoing.writeHead(fault.status, fault.headers).end(fault.body);
      setTimeout(answer, fault.afterMs ?? 0);
      return;
    }
    const forwarded = http.request(new URL(incoming.url!, this.upstream()), {
      method: incoming.method,
      headers: incoming.headers,
      agent: false,
    });
    forwarded.on('response', (answer) => {
      answer.on('data', (piece) => (this.heartbeats += Number(/^(:|event: heartbeat)\n/.test(String(piece)))));
      if (fault?.kind === 'late') {
        answer.pause();
        setTimeout(() => {
          pass(answer, outgoing, fault);
          answer.resume();
        }, fault.ms);
      } else {
        pass(answer, outgoing, fault);
      }
    });
    forwarded.on('error', () => outgoing.destroy());
    outgoing.on('close', () => forwarded.destroy());
    incoming.pipe(forwarded);
  }
}

function pass(answer: http.IncomingMessage, outgoing: http.ServerResponse, fault: Fault | undefined): void {
  const { 'transfer-encoding': _, connection: __, ...headers } = answer.headers;
  const head = () => outgoing.writeHead(answer.statusCode!, headers);
  answer.on('error', () => fault?.kind === 'halve' || outgoing.destroy());
  if (fault?.kind === 'buffer') {
    const pieces: Buffer[] = [];
    answer.on('data', (piece) => pieces.push(piece));
    answer.on('end', () => head().end(Buffer.concat(pieces)));
    return;
  }
  head().flushHeaders();
  let passed = 0;
  let held = Buffer.alloc(0);
  let slowly = Promise.resolve();
  answer.on('data', (piece: Buffer) => {
    if (fault?.kind === 'trickle') {
      for (const byte of piece) {
        if (fault.everyMs) {
          slowly = slowly.then(() => new Promise((next) => outgoing.write(Buffer.of(byte), () => setTimeout(next, fault.everyMs))));
        } else {
          outgoing.write(Buffer.of(byte));
        }
      }
    } else if (fault?.kind === 'portions') {
      held = Buffer.concat([held, piece]);
      const whole = held.length - (held.length % fault.bytes);
      outgoing.write(held.subarray(0, whole));
      held = held.subarray(whole);
    } else if (fault?.kind === 'halve' && piece.includes(fault.words)) {
      const half = piece.subarray(0, piece.indexOf(fault.words) + fault.words.length);
      answer.destroy();
      if (fault.isClean) {
        outgoing.end(half);
      } else {
        outgoing.write(half, () => outgoing.destroy());
      }
    } else if (fault?.kind === 'cut') {
      outgoing.write(piece.subarray(0, Math.max(0, fault.after - passed)));
      passed += piece.length;
      if (passed >= fault.after) {
        outgoing.socket?.end();
      }
    } else if (fault?.kind === 'stall') {
      // A piece is one or more whole blocks, or a heartbeat.
      for (const block of String(piece).split(/(?<=\n\n)/)) {
        if (passed++ < fault.blocks) {
          outgoing.write(block);
        }
      }
    } else {
      outgoing.write(piece);
    }
  });
  answer.on('end', () => void slowly.then(() => outgoing.end(held)));
}
