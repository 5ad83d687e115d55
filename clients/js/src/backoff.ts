// How long to wait before the next try.

/** The longest wait between two tries, in milliseconds, unless the server asks for more. */
export const LONGEST_WAIT = 60_000;

/**
 * The wait after `failures` failures in a row: anything up to a bound that doubles from `base` (full jitter), so that
 * the clients of a server that was away do not all come back in the same moment.
 */
export const backoff = (failures: number, base: number): number =>
  Math.random() * Math.min(LONGEST_WAIT, base * 2 ** failures);
