// A job's events, newest first.

import { timeOfDay } from '../format';
import { MOST_LINES, type LogLine } from '../live';

export function Log({ lines }: { lines: LogLine[] }) {
  return (
    <section class="card tall">
      <h2>Events</h2>
      {lines.length === 0 && <p class="pale">None.</p>}
      {lines.length > 0 && (
        // Not spoken as they come: they may come by the hundred.
        <div class="log" role="log" aria-live="off" tabIndex={0} aria-label="Events, newest first">
          <ol>
            {lines.toReversed().map(({ seq, name, text, at }) => (
              <li key={name ? seq : `gap ${seq}`}>
                <time class="pale" dateTime={at.toISOString()}>{timeOfDay(at)}</time>
                <strong>{name}</strong>
                <span class="mono" dir="auto">{text}</span>
              </li>
            ))}
          </ol>
        </div>
      )}
      {lines.length === MOST_LINES && <p class="pale foot">The newest {MOST_LINES}.</p>}
    </section>
  );
}
