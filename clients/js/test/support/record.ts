// What a watch told, in the order in which it was told.

import { type JobEvent, type Status, type Watch, watchJob, type WatchOptions, type WatchState } from '../../src/index.js';
import { inTime, until } from './until.js';

export class Record {
  readonly statuses: Status[] = [];
  readonly events: JobEvent[] = [];
  readonly states: WatchState[] = [];
  readonly watch: Watch<Status>;

  constructor(url: string, options: WatchOptions = {}) {
    this.watch = watchJob(url, {
      ...options,
      onStatus: (status) => this.statuses.push(status),
      onEvent: (event) => this.events.push(event),
      onState: (state) => this.states.push(state),
    });
  }

  /** The last status, when the watch has ended well. */
  done(): Promise<Status> {
    return inTime('the end of the watch', this.watch.done);
  }

  /** Why it failed. */
  async failure(): Promise<any> {
    return this.done().then(
      () => Promise.reject(new Error('it did not fail')),
      (error) => error,
    );
  }

  /** Waits until it has come so far. */
  async reaches(processed: number): Promise<void> {
    await until(`${processed} processed`, () => this.statuses.at(-1)?.processed_count === processed);
  }

  async isIn(state: WatchState): Promise<void> {
    await until(state, () => this.states.at(-1) === state);
  }

  counts(): number[] {
    return this.statuses.map((status) => status.processed_count);
  }
}

/** A job's address. */
export const at = (url: string, id: string): string => `${url}/api/v1/jobs/${id}`;
