// What the list and the job's page both show.

import type { ComponentChildren } from 'preact';
import { percent } from './format';
import { isFinished, moodOf, WORDS, type Status } from './status';

export function Badge({ status }: { status: Status }) {
  const mood = moodOf(status);
  const word = status.cancel_requested && !isFinished(status) ? 'Stopping' : WORDS[mood];
  return <span class={`badge is-${mood}`}>{word}</span>;
}

export function Bar({ status, label, large }: { status: Status; label: string; large?: boolean }) {
  const { progress_percentage: percentage } = status;
  const isUnknown = percentage === null && status.status === 'processing' && !status.stalled;
  const classes = ['bar', `is-${moodOf(status)}`, isUnknown && 'unknown', large && 'large'].filter(Boolean);
  const value = percentage === null ? {} : { 'aria-valuenow': percentage, 'aria-valuetext': percent(percentage) };
  // Moved rather than stretched: its end stays round.
  const transform = isUnknown ? {} : { transform: `translateX(${(percentage ?? 0) - 100}%)` };
  return (
    <div class={classes.join(' ')} role="progressbar" aria-label={label} aria-valuemin={0} aria-valuemax={100} {...value}>
      <span style={transform} />
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
