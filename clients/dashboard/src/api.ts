// Calls to the server, with the token when there is one.

import type { Status } from './status';
import { token } from './token';

/** An answer other than what was asked for. */
class Refused extends Error {}

/** Why a call failed, for people. */
export const reasonOf = (error: unknown) => (error instanceof Refused ? error.message : 'The server does not answer.');

async function call(method: string, path: string): Promise<Response> {
  const headers: Record<string, string> = {};
  if (token.peek()) headers.authorization = `Bearer ${token.peek()}`;
  const response = await fetch(path, { method, headers, cache: 'no-store' });
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  throw new Refused(body?.error?.message ?? `The server answered ${response.status}.`);
}

/** Where the API is: beside this page, also where a proxy gives both a folder. */
export const API = new URL('api/v1', document.baseURI).pathname;

export const pathOf = (jobId: string) => `${API}/jobs/${encodeURIComponent(jobId)}`;

export const cancelJob = (jobId: string) => call('POST', `${pathOf(jobId)}/cancel`);

export const deleteJob = (jobId: string) => call('DELETE', pathOf(jobId));

export interface Page {
  page: number;
  per_page: number;
  total: number;
  results: Record<string, unknown>[];
}

export async function results(jobId: string, page: number): Promise<Page> {
  const response = await call('GET', `${pathOf(jobId)}/results?page=${page}&per_page=25`);
  return response.json();
}

/** A page of the list, newest first, which knows jobs that ended long ago too. */
export async function list(parameters: URLSearchParams): Promise<{ jobs: Status[]; next_cursor: string | null }> {
  const response = await call('GET', `${API}/jobs?${parameters}`);
  return response.json();
}

export type Format = 'csv' | 'json' | 'ndjson';

/** Saves a job's rows as a file. Without a token the browser does it by itself, however large they are. */
export async function download(jobId: string, format: Format): Promise<void> {
  const path = `${pathOf(jobId)}/download?format=${format}`;
  const link = document.createElement('a');
  link.download = `${jobId}.${format}`;
  if (!token.peek()) {
    link.href = path;
    link.click();
    return;
  }
  const file = await (await call('GET', path)).blob();
  link.href = URL.createObjectURL(file);
  link.click();
  // The browser has taken it up by then.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
