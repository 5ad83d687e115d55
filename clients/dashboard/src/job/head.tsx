// The upper part of a job's page: its name, how far it is, and what else is known of it.

import type { ComponentChildren } from 'preact';
import { now } from '../clock';
import { ago, left, moment, percent, rate, short, span } from '../format';
import { amountOf, Badge, Bar, Fact } from '../parts';
import { addressOfJob, addressOfList } from '../route';
import { conditionOf, isFinished, type Status } from '../status';
import { Actions } from './actions';

export function Head({ status, absence }: { status: Status; absence: string }) {
  const { job_id: jobId, progress_percentage: percentage, step, message, error } = status;
  const amount = amountOf(status);
  return (
    <section class={error ? 'card alert' : 'card'}>
      <div class="title">
        <h1 tabIndex={-1}>{jobId}</h1>
        {absence ? <span class="badge">{absence}</span> : <Badge status={status} />}
        {!absence && <Actions status={status} />}
      </div>
      {!absence && <Spoken status={status} />}
      {error && <p class="error" role="alert"><code>{error.code}</code> <bdi>{error.message}</bdi></p>}
      <div class="far">
        <strong>{percentage === null ? amount || '–' : percent(percentage)}</strong>
        <span>{percentage !== null && amount}</span>
        {!absence && <Pace status={status} />}
      </div>
      <Bar status={status} label={`Progress of ${jobId}`} isLarge />
      <p class="says" dir="auto">
        {step && <strong>{step}</strong>}{step && message && ' · '}{message}
        {!step && !message && <span class="pale">No message</span>}
      </p>
      <Facts status={status} isKnown={!absence} />
    </section>
  );
}

function Pace({ status }: { status: Status }) {
  const { eta_seconds: seconds, rate_per_second: perSecond, unit } = status;
  const pace = perSecond === null ? '' : rate(perSecond, unit);
  return <span class="right">{[pace, seconds !== null && left(seconds)].filter(Boolean).join(' · ')}</span>;
}

/** For screen readers: told when the state changes, and at each quarter of the way. */
function Spoken({ status }: { status: Status }) {
  const { job_id: jobId, progress_percentage: percentage } = status;
  const quarter = percentage === null || percentage < 25 || isFinished(status) ? '' : `, ${Math.floor(percentage / 25) * 25}% or more`;
  return <p class="hidden" role="status">{`${jobId}: ${conditionOf(status)}${quarter}`}</p>;
}

function Facts({ status, isKnown }: { status: Status; isKnown: boolean }) {
  const { started_at: start, finished_at: end, kind, owner, parent_id: parent, tags, attempt } = status;
  const seconds = start && ((end ? Date.parse(end) : now.value) - Date.parse(start)) / 1000;
  return (
    <dl class="facts">
      {typeof seconds === 'number' && (end || isKnown) && <Fact name={end ? 'Took' : 'Running for'}>{span(seconds)}</Fact>}
      {!end && isKnown && <Fact name="Last news"><Time iso={status.updated_at}>{ago(status.updated_at, now.value)}</Time></Fact>}
      <Fact name="Created"><Time iso={status.created_at}>{short(status.created_at, now.value)}</Time></Fact>
      {end && <Fact name="Ended"><Time iso={end}>{short(end, now.value)}</Time></Fact>}
      {attempt > 1 && <Fact name="Attempt">{attempt}</Fact>}
      {kind && <Fact name="Kind"><a href={addressOfList({ kind })}>{kind}</a></Fact>}
      {owner && <Fact name="Owner">{owner}</Fact>}
      {parent && <Fact name="Part of"><a href={addressOfJob(parent)}>{parent}</a></Fact>}
      {tags.length > 0 && (
        <Fact name="Tags">
          <span class="tags">{tags.map((tag) => <a key={tag} class="tag" href={addressOfList({ tag })}>{tag}</a>)}</span>
        </Fact>
      )}
    </dl>
  );
}

function Time({ iso, children }: { iso: string; children: ComponentChildren }) {
  return <time dateTime={iso} title={moment(iso)}>{children}</time>;
}
