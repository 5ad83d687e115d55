// Watches the jobs of a progressd server: streams, resumes, falls back to polling, and stops at the end.

export { watchJob } from './job.js';
export { watchJobs } from './jobs.js';
export {
  isFinished,
  type JobEvent,
  type JobState,
  type Status,
  type Watch,
  WatchError,
  type WatchJobsOptions,
  type WatchOptions,
  type WatchState,
} from './types.js';
