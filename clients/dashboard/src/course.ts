// How far a job was at which time, as far as this tab has seen it.

import type { Status } from './status';

/** Points that are kept of a job; beyond them every other one goes. A list may hold 5,000 jobs. */
const MOST_POINTS = 120;

/** How soon after a job's start its first news must have come for a line from nothing to be true, in seconds. */
const AT_ONCE = 5;

/** What the bar shows, or at least a count. */
export const valueOf = (status: Status) => status.progress_percentage ?? status.processed_count;

export class Course {
  readonly times: number[] = [];
  readonly values: number[] = [];
  isPercentage = false;
  /** Which try at which job: a name may be given anew. */
  #of = '';

  /** Takes in a status. */
  add(status: Status): void {
    const value = valueOf(status);
    if (value === null) return;
    const isPercentage = status.progress_percentage !== null;
    const of = `${status.created_at} ${status.attempt}`;
    if (of !== this.#of || isPercentage !== this.isPercentage) {
      const isFirst = status.attempt <= 1;
      this.#of = of;
      this.isPercentage = isPercentage;
      this.times.length = this.values.length = 0;
      // A later attempt began at a time that nobody says; and of what was before this tab looked nothing is known.
      const start = isFirst && status.started_at ? Date.parse(status.started_at) / 1000 : NaN;
      if (Date.parse(status.updated_at) / 1000 - start < AT_ONCE) this.#push(start, 0);
    }
    this.#push(Date.parse(status.updated_at) / 1000, value);
    if (this.times.length > MOST_POINTS) this.#thin();
  }

  #push(time: number, value: number): void {
    const last = this.times.at(-1);
    if (last !== undefined && time <= last) {
      this.values[this.values.length - 1] = value;
    } else {
      this.times.push(time);
      this.values.push(value);
    }
  }

  #thin(): void {
    for (const series of [this.times, this.values]) {
      const last = series.length - 1;
      series.splice(0, series.length, ...series.filter((_, index) => index % 2 === 0 || index === last));
    }
  }
}
