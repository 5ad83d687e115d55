// A job in the list: the whole row leads to its page.

import { statusOf } from '../board';
import { now } from '../clock';
import { ago, left, percent, rate } from '../format';
import { amountOf, Badge, Bar } from '../parts';
import { addressOfJob } from '../route';
import { isFinished, moodOf, type Status } from '../status';

interface RowProps {
  jobId: string;
  /** Whether the Tab key stops here. */
  isStop: boolean;
}

export function Row({ jobId, isStop }: RowProps) {
  const status = statusOf(jobId)?.value;
  if (!status) return null;
  const { progress_percentage: percentage, step, message, error } = status;
  const amount = amountOf(status);
  return (
    <a class={`row is-${moodOf(status)}`} href={addressOfJob(jobId)} tabIndex={isStop ? 0 : -1} data-job={jobId}>
      <div class="cell state"><Badge status={status} /></div>
      <div class="cell what">
        <div class="name" title={jobId}>{jobId}</div>
        <div class="small">{[status.kind, ...status.tags].filter(Boolean).join(' · ') || status.owner}</div>
      </div>
      <div class="cell progress">
        <div class="figures">
          <span>{percentage === null ? amount : percent(percentage)}</span>
          <span class="pale">{percentage !== null && amount}</span>
        </div>
        <Bar status={status} label={`Progress of ${jobId}`} />
      </div>
      <div class="cell doing">
        <div class={error ? 'error-text' : undefined} dir="auto">{error?.message ?? step ?? message}</div>
        <div class="small" dir="auto">{error ? step : step && message}</div>
      </div>
      <Pace status={status} />
    </a>
  );
}

function Pace({ status }: { status: Status }) {
  const { eta_seconds: seconds, rate_per_second: perSecond, finished_at: end, updated_at: news } = status;
  const pace = perSecond === null ? '' : rate(perSecond, null);
  const last = ago(end ?? news, now.value);
  if (isFinished(status)) return <div class="cell pace"><div class="small">{last}</div></div>;
  if (seconds === null) return <div class="cell pace"><div>{pace}</div><div class="small">{last}</div></div>;
  return <div class="cell pace"><div>{left(seconds)}</div><div class="small">{pace}</div></div>;
}
