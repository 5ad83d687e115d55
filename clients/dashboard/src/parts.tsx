// What the list and the job's page both show.

import type { ComponentChildren } from 'preact';
import { count, percent } from './format';
import { conditionOf, isFinished, moodOf, type Status } from './status';

export function Badge({ status }: { status: Status }) {
  return <span class={`badge is-${moodOf(status)}`}>{conditionOf(status)}</span>;
}

/** How much is done, in figures: `250 of 1,000 rows`, or `250 rows so far` of nobody knows how many. */
export function amountOf(status: Status): string {
  const { processed_count: done, total_count: all, unit } = status;
  if (done === null) return '';
  return [count(done), all !== null && `of ${count(all)}`, unit, all === null && !isFinished(status) && 'so far'].filter(Boolean).join(' ');
}

export function Bar({ status, label, isLarge }: { status: Status; label: string; isLarge?: boolean }) {
  const { progress_percentage: percentage } = status;
  const isUnknown = percentage === null && moodOf(status) === 'processing';
  const classes = ['bar', `is-${moodOf(status)}`, isUnknown && 'unknown', isLarge && 'large'].filter(Boolean);
  // Without a value it is one that nobody knows.
  const value = percentage === null
    ? { 'aria-valuetext': amountOf(status) || (isFinished(status) ? 'Over' : 'Under way') }
    : { 'aria-valuenow': percentage, 'aria-valuetext': percent(percentage) };
  // Moved rather than stretched: its end stays round.
  const style = isUnknown ? {} : { transform: `translateX(${(percentage ?? 0) - 100}%)` };
  return (
    <div class={classes.join(' ')} role="progressbar" aria-label={label} aria-valuemin={0} aria-valuemax={100} {...value}>
      <span style={style} />
    </div>
  );
}

export function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}
