// The token of whoever looks. It is kept for this tab's session alone, is sent in a header, and never stands in an
// address.

import { signal } from '@preact/signals';

const KEPT_AS = 'progressd.token';

export const token = signal(kept());

/** What the server said when it refused the token, or the want of one; empty while it does not. */
export const refusal = signal('');

/** Counts the times that somebody asked to try again, with the same token or another. */
export const tries = signal(0);

/** A browser that lets pages keep nothing refuses to be asked, too. */
function kept(): string {
  try {
    return sessionStorage.getItem(KEPT_AS) ?? '';
  } catch {
    return '';
  }
}

/** Uses a token from now on; an empty one is none. */
export function useToken(text: string): void {
  try {
    if (text) sessionStorage.setItem(KEPT_AS, text);
    else sessionStorage.removeItem(KEPT_AS);
  } catch {
    // It lasts until the page is loaded again.
  }
  token.value = text;
  tryAgain();
}

export function tryAgain(): void {
  refusal.value = '';
  tries.value += 1;
}

/** Whether a text can stand in a header: what cannot would look like a server that does not answer. */
export const canBeToken = (text: string) => /^[\x21-\x7e]+$/.test(text);

/** Whether the token says itself that it lacks a scope; what is no JWT says nothing. */
export function lacks(scope: string): boolean {
  const [, claims, signature] = token.value.split('.');
  if (!claims || !signature) return false;
  try {
    const { scope: scopes } = JSON.parse(atob(claims.replace(/-/g, '+').replace(/_/g, '/')));
    if (typeof scopes !== 'string') return false;
    const held = scopes.split(' ');
    return !held.includes(scope) && !held.includes('admin');
  } catch {
    return false;
  }
}
