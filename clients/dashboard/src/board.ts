// The jobs that the server has told of, and which of them are shown.
//
// A job's newest status is a signal of its own: what changes in a row is that row's text and bar, and nothing is
// looked at but the rows on the screen. The list is put together anew once per frame at most, and only when a job
// came, went, or is another sort of job now.

import { batch, computed, effect, signal, type Signal } from '@preact/signals';
import { filters, type Filters } from './route';
import { MOODS, mentions, moodOf, type Mood, type Status } from './status';

/** Jobs by name, each with its newest status. */
const jobs = new Map<string, Signal<Status>>();

/** Counts what the list depends on. */
const version = signal(0);

/** Kinds and tags that were seen, to choose from. */
export const kinds = signal<string[]>([]);
export const tags = signal<string[]>([]);

/** Whether the server has told of everything that there is. */
export const isSynced = signal(false);

/** The time of day, for what says how long ago something was. */
export const now = signal(Date.now());
setInterval(() => {
  if (!document.hidden) now.value = Date.now();
}, 5_000);

let waiting = new Map<string, Status>();
let isFrameAsked = false;

/** Takes a status in with the next frame; a newer one of the same job replaces it. */
export function put(status: Status): void {
  waiting.set(status.job_id, status);
  if (!isFrameAsked) {
    isFrameAsked = true;
    // Hidden pages have no frames, and still must not pile up.
    if (document.hidden) queueMicrotask(flush);
    else requestAnimationFrame(flush);
  }
}

function flush(): void {
  isFrameAsked = false;
  const news = waiting;
  waiting = new Map();
  batch(() => {
    let isListOld = false;
    for (const [jobId, status] of news) {
      const job = jobs.get(jobId);
      if (!job) {
        jobs.set(jobId, signal(status));
        isListOld = true;
      } else if (status.seq >= job.peek().seq || status.created_at !== job.peek().created_at) {
        isListOld ||= moodOf(job.peek()) !== moodOf(status);
        job.value = status;
      }
    }
    if (isListOld) version.value = version.peek() + 1;
  });
}

/** Takes in jobs that the list of the server brought, beyond those of the stream. */
export function putOlder(statuses: Status[]): void {
  statuses.forEach(put);
}

export function remove(jobId: string): void {
  waiting.delete(jobId);
  if (jobs.delete(jobId)) version.value = version.peek() + 1;
}

/** The server has told of everything; what it did not tell of any more was removed before. */
export function synced(): void {
  flush();
  isSynced.value = true;
}

/** Forgets everything: another question is asked. */
export function clear(): void {
  waiting.clear();
  jobs.clear();
  isSynced.value = false;
  version.value = version.peek() + 1;
}

export const jobOf = (jobId: string): Signal<Status> | undefined => jobs.get(jobId);

/** How many jobs of each sort there are. */
export const counts = computed(() => {
  version.value;
  const counts = Object.fromEntries(MOODS.map((mood) => [mood, 0])) as Record<Mood, number>;
  for (const job of jobs.values()) counts[moodOf(job.peek())] += 1;
  return counts;
});

export const total = computed(() => {
  version.value;
  return jobs.size;
});

/** The names of the jobs that are shown, newest first. */
export const shown = computed(() => {
  version.value;
  const { mood, text } = filters();
  const wanted = text.trim().toLowerCase();
  const found: Status[] = [];
  for (const job of jobs.values()) {
    const status = job.peek();
    if ((!mood || moodOf(status) === mood) && (!wanted || mentions(status, wanted))) found.push(status);
  }
  found.sort((one, other) => (one.created_at === other.created_at
    ? (one.job_id < other.job_id ? 1 : -1)
    : one.created_at < other.created_at ? 1 : -1));
  return found.map((status) => status.job_id);
});

effect(() => {
  version.value;
  const seenKinds = new Set(kinds.peek());
  const seenTags = new Set(tags.peek());
  for (const job of jobs.values()) {
    const { kind, tags } = job.peek();
    if (kind) seenKinds.add(kind);
    for (const tag of tags) seenTags.add(tag);
  }
  if (seenKinds.size > kinds.peek().length) kinds.value = [...seenKinds].sort();
  if (seenTags.size > tags.peek().length) tags.value = [...seenTags].sort();
});

/** What the stream is asked for; the rest of the filters is looked at here. */
export function query({ kind, tag }: Filters): string {
  const parameters = new URLSearchParams();
  if (kind) parameters.set('kind', kind);
  if (tag) parameters.set('tag', tag);
  return parameters.size === 0 ? '' : `?${parameters}`;
}
