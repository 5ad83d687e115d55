// One request with the caller's credential, and what its answer means.

import { WatchError, type WatchOptions } from './types.js';

/** A refusal that passes. */
export class Passing extends Error {
  /** After how many milliseconds the server wants to be asked again; 0 when it does not say. */
  readonly wait: number;

  constructor(wait: number) {
    super();
    this.wait = wait;
  }
}

export interface Requester {
  /** Asks; resolves to every answer that is no error. */
  get(url: URL, signal: AbortSignal, headers?: Record<string, string>): Promise<Response>;
  /** Puts the credential where a request without headers has it. */
  intoUrl(url: URL, signal: AbortSignal): Promise<URL>;
  /** The credential was refused: says whether another one may be had. */
  renew(): boolean;
  /** The credential was good. */
  accepted(): void;
}

/** The wait that an answer asks for, in milliseconds; 0 without one. */
export const waitOf = (response: Response): number => {
  const value = response.headers.get('retry-after') ?? '';
  return Math.max(0, /^\d+$/.test(value) ? +value * 1000 : Date.parse(value) - Date.now()) || 0;
};

export function requester({ token, ticket, headers: own, credentials }: WatchOptions): Requester {
  let needsTicket = !!ticket;
  let wasRefused = false;

  /** What the caller has for this request: the ticket goes into the address, the token is returned. */
  const authorize = async (url: URL, signal: AbortSignal) => {
    if (needsTicket) {
      url.searchParams.set('ticket', await ticket!());
    }
    const bearer = await (typeof token === 'function' ? token(wasRefused) : token);
    signal.throwIfAborted();
    return bearer;
  };
  const accepted = () => {
    needsTicket = wasRefused = false;
  };

  return {
    accepted,
    async get(url, signal, more) {
      const bearer = await authorize(url, signal);
      const headers = { ...own, ...more, ...(bearer && { Authorization: `Bearer ${bearer}` }) };
      const response = await fetch(url, { signal, headers, credentials, cache: 'no-store' });
      const { ok, status } = response;
      if (ok || status === 304) {
        // From now on a ticket's cookie stands for it.
        needsTicket = false;
        return response;
      }
      const { error } = (await response.json().catch(() => 0)) || {};
      // Asked too early or too often, or trouble of the server or of what stands before it.
      if (status >= 500 || [408, 425, 429].includes(status)) {
        throw new Passing(waitOf(response));
      }
      throw new WatchError(error?.message ?? `HTTP status ${status}`, status, error?.code ?? '');
    },
    async intoUrl(url, signal) {
      const bearer = await authorize(url, signal);
      if (bearer) {
        url.searchParams.set('token', bearer);
      }
      return url;
    },
    renew() {
      const may = !wasRefused && (!!ticket || typeof token === 'function');
      wasRefused = true;
      needsTicket = !!ticket;
      return may;
    },
  };
}
