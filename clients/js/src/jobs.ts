// Many jobs on one connection, and the list of them for polls.

import { absolute } from './job.js';
import type { Feed } from './loop.js';
import { isFinished, type Status, type Watch, WatchError, type WatchJobsOptions } from './types.js';
import { call, watch } from './watch.js';

/** What is known of a job. */
interface Known {
  /** The seqs of its newest status and event. */
  status: number;
  event: number;
  isFinished: boolean;
  /** The last snapshot, or stream, that told of it. */
  round: number;
}

/** For how long a finished job is shown when no state is asked for, in milliseconds: the same as on a stream. */
const SHOWN_FINISHED = 600_000;

/**
 * Watches many jobs. `url` is that of the stream, `/api/v1/stream`, whose query names jobs (`job`) or selects them
 * (`status`, `kind`, `tag`, `owner`, `parent_id`). With named jobs it ends when all are finished, else when it is closed.
 * While streams do not get through it polls: the jobs that are named, or the newest 200.
 */
export function watchJobs(url: string | URL, options: WatchJobsOptions = {}): Watch<void> {
  const known = new Map<string, Known>();
  let newest: number | undefined;
  let round = 0;
  let isOver = false;

  const feedOf = (emit: (status: Status) => void): Feed => {
    const stream = absolute(url);
    const query = stream.searchParams;
    const names = new Set(query.getAll('job'));

    const find = (id: string) => {
      const job = known.get(id) ?? { status: 0, event: 0, isFinished: false, round };
      known.set(id, job);
      return job;
    };
    const takeStatus = (status: Status) => {
      const job = find(status.job_id);
      job.round = round;
      job.isFinished = isFinished(status);
      if (status.seq > job.status || status.gap) {
        job.status = status.seq;
        newest = Math.max(newest ?? 0, status.seq);
        emit(status);
      }
    };
    const remove = (removed: { job_id: string; code?: string }) => {
      known.delete(removed.job_id);
      names.delete(removed.job_id);
      call(options.onRemoved, removed);
    };
    /** All that there is has been told: what was not is gone. */
    const sync = () => {
      for (const [job_id, job] of known) {
        if (job.round < round) {
          remove({ job_id });
        }
      }
      call(options.onSynced, known.size);
    };
    const beside = (path: string) => {
      const url = new URL(path, stream);
      url.search = stream.search;
      return url;
    };

    return {
      begin() {
        round++;
        return new URL(stream);
      },
      take(event, data) {
        if (event === 'status') {
          takeStatus(data);
        } else if (event === 'synced') {
          sync();
        } else if (event === 'removed') {
          remove(data);
        } else if (data.seq) {
          const job = find(data.job_id);
          if (data.seq > job.event) {
            job.event = data.seq;
            call(options.onEvent, { event, ...data });
          }
        } else {
          // An error of no job is the stream's own.
          return event !== 'error';
        }
        return true;
      },
      async poll(get) {
        round++;
        for (const name of names) {
          const url = beside(`jobs/${encodeURIComponent(name)}`);
          url.searchParams.delete('job');
          try {
            takeStatus(await (await get(url)).json());
          } catch (error) {
            if (!(error instanceof WatchError) || error.status === 401) {
              throw error;
            }
            remove({ job_id: name, code: error.code });
          }
        }
        if (query.has('job')) {
          isOver = [...names].every((name) => known.get(name)?.isFinished);
        } else {
          const url = beside('jobs');
          url.searchParams.set('limit', '200');
          const { jobs }: { jobs: Status[] } = await (await get(url)).json();
          const shownSince = query.has('status') ? 0 : Date.now() - SHOWN_FINISHED;
          // A page's clock may be wrong: what is shown already stays.
          jobs.filter((job) => known.has(job.job_id) || !(Date.parse(job.finished_at!) < shownSince)).forEach(takeStatus);
        }
        sync();
        // The next one is made when the server says.
        return false;
      },
      isOver: () => isOver,
      newest: () => newest,
    };
  };

  return watch(options, feedOf, () => {});
}
