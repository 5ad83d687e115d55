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

export type Route = { page: 'list'; filters: Filters } | { page: 'job'; jobId: string };

const NONE: Filters = { mood: '', kind: '', tag: '', text: '' };

export const route = signal<Route>(read());

addEventListener('hashchange', () => {
  route.value = read();
});

function read(): Route {
  const [path = '', query = ''] = location.hash.slice(1).split('?');
  const job = /^\/jobs\/([^/]+)$/.exec(path);
  if (job?.[1]) return { page: 'job', jobId: decodeURIComponent(job[1]) };
  const parameters = new URLSearchParams(query);
  const mood = MOODS.find((mood) => mood === parameters.get('state')) ?? '';
  const text = (name: string) => parameters.get(name) ?? '';
  return { page: 'list', filters: { mood, kind: text('kind'), tag: text('tag'), text: text('text') } };
}

export const filters = () => (route.value.page === 'list' ? route.value.filters : NONE);

export const addressOfJob = (jobId: string) => `#/jobs/${encodeURIComponent(jobId)}`;

export function addressOfList({ mood, kind, tag, text }: Filters): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries({ state: mood, kind, tag, text })) {
    if (value) parameters.set(name, value);
  }
  return parameters.size === 0 ? '#/' : `#/?${parameters}`;
}

/** Changes the filters; typing leaves no trail of addresses behind. */
export function setFilters(changed: Partial<Filters>): void {
  history.replaceState(null, '', addressOfList({ ...filters(), ...changed }));
  route.value = read();
}
