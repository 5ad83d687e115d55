// The jobs that the server has told of, and which of them are shown.
//
// A job's newest status is a signal of its own: what changes in a row is that row's text and bar, and nothing is
// looked at but the rows on the screen. The list is put together anew once per frame at most, and only when a job
// came, went, or is another sort of job now.

import { batch, computed, signal, type Signal } from '@preact/signals';
import { Course } from './course';
import { filters, type Filters } from './route';
import { isFinished, MOODS, mentions, moodOf, type Mood, type Status } from './status';

interface Entry {
  status: Signal<Status>;
  course: Course;
}

/** Kinds and tags to choose from: more than anybody reads; the text finds the others. */
const MOST_CHOICES = 200;

const jobs = new Map<string, Entry>();

/** Those that were told of since the present question was asked. */
let told = new Set<string>();

/** Counts the times that a job came or went. */
const members = signal(0);

/** Counts the times that a job became another sort of job. */
const sorts = signal(0);

export const kinds = signal<string[]>([]);
export const tags = signal<string[]>([]);

/** Whether the server has told of everything that there is. */
export const isSynced = signal(false);

/** Whether jobs are shown that ended before the stream's last ten minutes. */
export const hasOlder = signal(false);

let waiting = new Map<string, Status>();
let isFrameAsked = false;

/** Takes a status in with the next frame; a newer one of the same job replaces it. */
export function put(status: Status): void {
  told.add(status.job_id);
  waiting.set(status.job_id, status);
  if (!isFrameAsked) {
    isFrameAsked = true;
    // Hidden pages have no frames, and their title still counts.
    if (document.hidden) queueMicrotask(flush);
    else requestAnimationFrame(flush);
  }
}

document.addEventListener('visibilitychange', flush);

function flush(): void {
  isFrameAsked = false;
  const news = waiting;
  waiting = new Map();
  const wanted = wantedText();
  let cameOrWent = false;
  let isOtherSort = false;
  batch(() => {
    for (const [jobId, status] of news) {
      const job = jobs.get(jobId);
      if (!job) {
        jobs.set(jobId, { status: signal(status), course: new Course() });
        cameOrWent = true;
      } else {
        const before = job.status.peek();
        if (status.seq < before.seq) continue;
        isOtherSort ||= moodOf(before) !== moodOf(status) || (wanted !== '' && mentions(before, wanted) !== mentions(status, wanted));
        job.status.value = status;
      }
      jobs.get(jobId)?.course.add(status);
    }
    if (cameOrWent) {
      offer(kinds, [...news.values()].flatMap(({ kind }) => kind ?? []));
      offer(tags, [...news.values()].flatMap(({ tags }) => tags));
      members.value += 1;
    }
    if (isOtherSort) sorts.value += 1;
  });
}

function offer(choices: Signal<string[]>, seen: string[]): void {
  const all = new Set([...choices.peek(), ...seen]);
  if (all.size > choices.peek().length) choices.value = [...all].slice(0, MOST_CHOICES).sort();
}

/** The stream does not tell of a job any more. One that ended stays while older ones are shown. */
export function leave(jobId: string): void {
  told.delete(jobId);
  waiting.delete(jobId);
  if (!isKept(jobId)) forget(jobId);
}

function isKept(jobId: string): boolean {
  const job = jobs.get(jobId);
  return hasOlder.peek() && job !== undefined && isFinished(job.status.peek());
}

/** A job is there no more. */
export function forget(jobId: string): void {
  waiting.delete(jobId);
  if (jobs.delete(jobId)) members.value += 1;
}

/** Another question is asked: what is known stays in sight until the answer is whole. */
export function ask(): void {
  told = new Set();
  isSynced.value = false;
}

/** The answer is whole: what was not told of is gone, or was not asked for. */
export function synced(): void {
  flush();
  batch(() => {
    for (const jobId of [...jobs.keys()]) {
      if (!told.has(jobId) && !isKept(jobId)) forget(jobId);
    }
    isSynced.value = true;
  });
}

/** Forgets everything: somebody else looks, who may not see the same. */
export function clear(): void {
  waiting.clear();
  jobs.clear();
  batch(() => {
    kinds.value = tags.value = [];
    isSynced.value = hasOlder.value = false;
    members.value += 1;
  });
}

export const statusOf = (jobId: string): Signal<Status> | undefined => jobs.get(jobId)?.status;

/** What was seen of a job so far. */
export const courseOf = (jobId: string): Course => jobs.get(jobId)?.course ?? new Course();

/** How many jobs are known, whatever is chosen. */
export const total = computed(() => {
  members.value;
  return jobs.size;
});

/** All jobs, newest first: a job's place never changes. */
const ordered = computed(() => {
  members.value;
  const statuses = [...jobs.values()].map(({ status }) => status.peek());
  statuses.sort((one, other) => (one.created_at === other.created_at
    ? (one.job_id < other.job_id ? 1 : -1)
    : one.created_at < other.created_at ? 1 : -1));
  return statuses.map(({ job_id: jobId }) => jobId);
});

const wantedText = () => filters().text.trim().toLowerCase();

/** Those that match the kind, the tag and the text. */
const found = computed(() => {
  sorts.value;
  const { kind, tag } = filters();
  const wanted = wantedText();
  return ordered.value.filter((jobId) => {
    const status = jobs.get(jobId)?.status.peek();
    return status && (!kind || status.kind === kind) && (!tag || status.tags.includes(tag)) && (!wanted || mentions(status, wanted));
  });
});

const moodAt = (jobId: string): Mood | undefined => {
  const status = jobs.get(jobId)?.status.peek();
  return status && moodOf(status);
};

/** How many of them there are of each sort, and in all. */
export const counts = computed(() => {
  const counts = Object.fromEntries(MOODS.map((mood) => [mood, 0])) as Record<Mood, number>;
  for (const jobId of found.value) {
    const mood = moodAt(jobId);
    if (mood) counts[mood] += 1;
  }
  return { ...counts, all: found.value.length };
});

/** The names of the jobs that are shown. */
export const shown = computed(() => {
  const { mood } = filters();
  return mood ? found.value.filter((jobId) => moodAt(jobId) === mood) : found.value;
});

/** What the server is asked for; the rest of the filters is looked at here. */
export function query({ kind, tag }: Filters): URLSearchParams {
  const parameters = new URLSearchParams();
  if (kind) parameters.set('kind', kind);
  if (tag) parameters.set('tag', tag);
  return parameters;
}
