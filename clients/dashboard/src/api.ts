// Calls to the server, with the token when there is one. It is kept for this tab's session alone, and never
// stands in an address.

import { signal } from '@preact/signals';
import type { Status } from './status';

const KEPT_AS = 'progressd.token';

export const token = signal(sessionStorage.getItem(KEPT_AS) ?? '');

/** What the server said when it refused the token, or the want of one. */
export const refusal = signal('');

export function useToken(text: string): void {
  if (text) sessionStorage.setItem(KEPT_AS, text);
  else sessionStorage.removeItem(KEPT_AS);
  refusal.value = '';
  token.value = text;
}

/** An answer other than what was asked for. */
export class Refused extends Error {
  constructor(readonly status: number, readonly code: string, message: string) {
    super(message);
  }
}

export async function call(method: string, path: string): Promise<Response> {
  const headers: Record<string, string> = {};
  if (token.peek()) headers.authorization = `Bearer ${token.peek()}`;
  const response = await fetch(path, { method, headers, cache: 'no-store' });
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  throw new Refused(response.status, body?.error?.code ?? '', body?.error?.message ?? `The server answered ${response.status}`);
}

/** Whether the token says itself that it lacks a scope; what is no JWT says nothing. */
export function lacks(scope: string): boolean {
  const claims = token.value.split('.')[1];
  if (token.value.split('.').length !== 3 || !claims) return false;
  try {
    const { scope: scopes } = JSON.parse(atob(claims.replace(/-/g, '+').replace(/_/g, '/')));
    if (typeof scopes !== 'string') return false;
    const held = scopes.split(' ');
    return !held.includes(scope) && !held.includes('admin');
  } catch {
    return false;
  }
}

const addressOf = (jobId: string) => `/api/v1/jobs/${encodeURIComponent(jobId)}`;

export const cancelJob = (jobId: string) => call('POST', `${addressOf(jobId)}/cancel`);

export const deleteJob = (jobId: string) => call('DELETE', addressOf(jobId));

export interface Page {
  page: number;
  per_page: number;
  total: number;
  results: Record<string, unknown>[];
}

export async function results(jobId: string, page: number): Promise<Page> {
  const response = await call('GET', `${addressOf(jobId)}/results?page=${page}&per_page=25`);
  return response.json();
}

/** Finished jobs in a state, page by page, however long ago they ended. */
export async function finished(state: string, filters: URLSearchParams, cursor: string | null): Promise<{ jobs: Status[]; next_cursor: string | null }> {
  const parameters = new URLSearchParams(filters);
  parameters.set('status', state);
  parameters.set('limit', '200');
  if (cursor) parameters.set('cursor', cursor);
  const response = await call('GET', `/api/v1/jobs?${parameters}`);
  return response.json();
}

export type Format = 'csv' | 'json' | 'ndjson';

/** Saves a job's rows as a file. Without a token the browser does it by itself, however large they are. */
export async function download(jobId: string, format: Format): Promise<void> {
  const path = `${addressOf(jobId)}/download?format=${format}`;
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
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
