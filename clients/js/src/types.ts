// What goes over the wire, and what a caller may ask for.

/** The five states of a job; the last three are final. */
export type JobState = 'pending' | 'processing' | 'completed' | 'failed' | 'cancelled';

/** A job's whole present state, as it is on the wire. What is unknown is null. */
export interface Status {
  job_id: string;
  kind: string | null;
  status: JobState;
  total_count: number | null;
  processed_count: number | null;
  unit: string | null;
  /** 0 to 100. */
  progress_percentage: number | null;
  step: string | null;
  message: string | null;
  rate_per_second: number | null;
  eta_seconds: number | null;
  attempt: number;
  /** The worker has not reported for longer than its lease. */
  stalled: boolean;
  cancel_requested: boolean;
  data: Record<string, unknown> | null;
  result: unknown;
  error: { code: string; message: string } | null;
  owner: string | null;
  tags: string[];
  parent_id: string | null;
  created_at: string;
  started_at: string | null;
  updated_at: string;
  finished_at: string | null;
  /** The position of the job's newest change: rises with each. */
  seq: number;
  /** Events were missed that are no longer kept. */
  gap?: true;
  /** The total once more under its unit's name, such as `total_emails`. */
  [total: `total_${string}`]: number | null;
}

/** A message of a job besides its status: a log line, a partial result. */
export interface JobEvent {
  job_id: string;
  event: string;
  data: unknown;
  /** Its position among the job's changes. */
  seq: number;
}

/**
 * How the watch itself fares: `live` is on a stream, `polling` asks again and again, `offline` waits for the network;
 * `done`, `failed` and `closed` are final.
 */
export type WatchState = 'connecting' | 'live' | 'polling' | 'offline' | 'done' | 'failed' | 'closed';

/** What both sorts of watch take. All of it may be left out. */
export interface WatchOptions {
  /**
   * A credential, sent as `Authorization: Bearer`. A function is asked before every request; it is told whether the
   * server refused, or let expire, what it gave before, and is asked once more before the watch fails. A `WatchError`
   * that it throws ends the watch; anything else is tried again later.
   */
  token?: string | ((refused: boolean) => string | undefined | Promise<string | undefined>);
  /** Buys a ticket. Asked for the first request, and whenever the cookie that a ticket sets does not hold any more. */
  ticket?: () => string | Promise<string>;
  /** Sent along with every request, but for an `EventSource`'s, which cannot. */
  headers?: Record<string, string>;
  /** `include` sends cookies to another origin too. */
  credentials?: 'omit' | 'same-origin' | 'include';
  /** Ends the watch. */
  signal?: AbortSignal;
  /** Every status, as it is on the wire. */
  onStatus?: (status: Status) => void;
  /** Every named event. While polling there are none: they come when the stream is back, if they are still kept. */
  onEvent?: (event: JobEvent) => void;
  /** How the watch itself fares. */
  onState?: (state: WatchState) => void;
  /** Why the watch failed. */
  onError?: (error: Error) => void;
  /** Where to resume: the `seq` of the last change that was seen. `0` brings all events that are kept. */
  lastEventId?: string | number;
  /**
   * The server's time between two heartbeats (30,000). Half as much again without a byte is taken for a dead line, and,
   * where that proves wrong, up to eight times as long.
   */
  heartbeatMs?: number;
  /** How long the first byte of a stream may take (10,000). Beyond it the stream is taken for buffered. */
  firstByteMs?: number;
  /** How long polling goes on before a stream is tried again (60,000, doubled each time up to 15 minutes). */
  probeMs?: number;
  /** How to watch. `auto` streams with `fetch`, or an `EventSource` without that, and polls when neither gets through. */
  transport?: 'auto' | 'fetch' | 'eventsource' | 'poll';
  /** The named events that an `EventSource` listens for, which has to know them beforehand. */
  events?: string[];
}

/** What `watchJobs` takes besides. To its `onEvent` a job's failure is an event too: `error`, with the last status's seq. */
export interface WatchJobsOptions extends WatchOptions {
  /** Everything that matches has been told: what a page shows beyond it is out of date, and was told as removed. */
  onSynced?: (jobs: number) => void;
  /** A job is gone, or does not match any more; `code` says why one that was named is not there. */
  onRemoved?: (removed: { job_id: string; code?: string }) => void;
}

/** A watch that is under way: iterate over its statuses, or wait for its end. */
export interface Watch<Done> extends AsyncIterable<Status> {
  /** Resolves at the end; rejects when the watch fails or is closed before. Need not be handled. */
  readonly done: Promise<Done>;
  /** Ends the watch. */
  close(): void;
}

/** The server's final word, which trying again would not change. */
export class WatchError extends Error {
  /** The HTTP status. */
  readonly status: number;
  /** The code in the server's answer, such as `JOB_NOT_FOUND`; empty when something else answered. */
  readonly code: string;

  constructor(message: string, status: number, code: string) {
    super(message);
    this.name = 'WatchError';
    this.status = status;
    this.code = code;
  }
}

/** Whether a job stays as it is. */
export const isFinished = (status: Status): boolean => ['completed', 'failed', 'cancelled'].includes(status.status);
