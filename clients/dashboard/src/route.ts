// Where the page is: the list with its filters, or one job. It stands behind the number sign of the address, so
// that going back, reloading and sharing work without the server's help.

import { signal } from '@preact/signals';
import { MOODS, type Mood } from './status';

export interface Filters {
  mood: Mood | '';
  kind: string;
  tag: string;
  text: string;
}

type Route = { page: 'list'; filters: Filters } | { page: 'job'; jobId: string };

const NONE: Filters = { mood: '', kind: '', tag: '', text: '' };

export const route = signal<Route>(read());

/** The filters that were last used: a job's page leads back to them. */
export const lastFilters = signal<Filters>(filters());

addEventListener('hashchange', follow);

function follow(): void {
  route.value = read();
  if (route.value.page === 'list') lastFilters.value = route.value.filters;
}

function read(): Route {
  const [path = '', query = ''] = location.hash.slice(1).split('?');
  const name = /^\/jobs\/([^/]+)$/.exec(path)?.[1];
  if (name) return { page: 'job', jobId: decode(name) };
  const parameters = new URLSearchParams(query);
  const mood = MOODS.find((mood) => mood === parameters.get('state')) ?? '';
  const text = (name: string) => parameters.get(name) ?? '';
  return { page: 'list', filters: { mood, kind: text('kind'), tag: text('tag'), text: text('text') } };
}

/** An address that somebody cut short stays as it is: no job has such a name. */
function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function filters(): Filters {
  return route.value.page === 'list' ? route.value.filters : NONE;
}

export const addressOfJob = (jobId: string) => `#/jobs/${encodeURIComponent(jobId)}`;

export function addressOfList(filters: Partial<Filters>): string {
  const { mood, kind, tag, text } = { ...NONE, ...filters };
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries({ state: mood, kind, tag, text })) {
    if (value) parameters.set(name, value);
  }
  return parameters.size === 0 ? '#/' : `#/?${parameters}`;
}

/** Changes the filters; typing leaves no trail of addresses behind. */
export function setFilters(changed: Partial<Filters>): void {
  history.replaceState(null, '', addressOfList({ ...filters(), ...changed }));
  follow();
}
