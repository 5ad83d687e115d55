// One job: its own stream, and its status for polls.

import type { Feed } from './loop.js';
import { isFinished, type Status, type Watch, type WatchOptions } from './types.js';
import { call, watch } from './watch.js';

/** An address as a page means it. */
export const absolute = (url: string | URL): URL => 
  new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href);

/**
 * Watches a job to its end. `url` is the job's address or that of its stream, `/api/v1/jobs/{id}` or
 * `/api/v1/jobs/{id}/stream`; its query goes along. `done` resolves to the last status.
 */
export function watchJob(url: string | URL, options: WatchOptions = {}): Watch<Status> {
  let last: Status | undefined;

  const feedOf = (emit: (status: Status) => void): Feed => {
    const job = absolute(url);
    job.pathname = job.pathname.replace(/(\/jobs\/[^/]+)\/(stream|status|)\/?$/, '$1');
    const at = (name: string) => {
      const url = new URL(job);
      url.pathname += `/${name}`;
      return url;
    };
    const takeStatus = (status: Status) => {
      const isNew = !last || status.seq > last.seq || status.gap;
      if (isNew) {
        last = status;
        emit(status);
      }
      return !!isNew;
    };

    return {
      begin: () => at('stream'),
      take(event, data, id) {
        if (event === 'status') {
          takeStatus(data);
        } else if (event === 'error' && !id) {
          // The stream's end, or the job's failure, which the last status tells too.
          return false;
        } else if (event !== 'heartbeat') {
          call(options.onEvent, { job_id: last?.job_id ?? '', event, data, seq: Number(id) });
        }
        return true;
      },
      async poll(get, wait) {
        const url = at('status');
        const headers: Record<string, string> = {};
        const startedAt = Date.now();
        if (last) {
          headers['If-None-Match'] = `"${last.seq}"`;
          if (wait > 0) {
            url.searchParams.set('wait', `${wait}`);
            url.searchParams.set('after', `${last.seq}`);
          }
        }
        const response = await get(url, headers);
        const isNew = response.status !== 304 && takeStatus(await response.json());
        // A server that waits sees to the pace itself. One that did not wait was not asked, or its answer is a copy.
        return wait < 0 || (wait > 0 && (isNew || Date.now() - startedAt > wait * 900));
      },
      isOver: () => !!last && isFinished(last),
      newest: () => last?.seq,
    };
  };

  return watch(options, feedOf, () => last!);
}
