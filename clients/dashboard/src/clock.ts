// The time of day as the server has it, for what says how long ago something was: the clock of whoever looks may be
// off by minutes.

import { computed, signal } from '@preact/signals';

/** Less than this comes from the answer's way, and from whole seconds in its head. */
const LEAST = 2_000;

const ahead = signal(0);
const ticks = signal(Date.now());

setInterval(() => {
  if (!document.hidden) ticks.value = Date.now();
}, 1_000);

/** In milliseconds; moves once a second while the page is seen. */
export const now = computed(() => ticks.value - ahead.value);

/** Asks the server for its time. */
export async function setClock(): Promise<void> {
  const askedAt = Date.now();
  const response = await fetch('healthz', { method: 'HEAD', cache: 'no-store' }).catch(() => null);
  const sentAt = Date.parse(response?.headers.get('date') ?? '');
  const difference = (askedAt + Date.now()) / 2 - sentAt;
  if (!Number.isNaN(difference)) ahead.value = Math.abs(difference) < LEAST ? 0 : difference;
}
