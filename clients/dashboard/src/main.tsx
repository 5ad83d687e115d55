// The page at /: a list of jobs, or one job, and how the connection to the server is.

import { useComputed, useSignalEffect } from '@preact/signals';
import { render } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { counts } from './board';
import { timeOfDay } from './format';
import { Job } from './job/job';
import { List } from './list/list';
import { begin, link, type Link } from './live';
import { addressOfList, lastFilters, route } from './route';
import { SignIn } from './sign-in';
import { refusal, token, tryAgain, useToken } from './token';

const WORDS: Record<Link['state'], string> = {
  connecting: 'Connecting…',
  live: 'Live',
  polling: 'Polling',
  lost: 'Reconnecting…',
  offline: 'Offline',
  refused: 'Token needed',
  failed: 'Refused',
  ended: 'Up to date',
};

function Page() {
  const { state } = link.value;
  const at = route.value;
  const place = useComputed(() => (refusal.value ? 'sign-in' : route.value.page === 'job' ? `job ${route.value.jobId}` : 'list'));
  useSignalEffect(() => {
    if (route.value.page !== 'list') return;
    const { failed, stalled } = counts.value;
    document.title = failed + stalled > 0 ? `(${failed + stalled}) progressd` : 'progressd';
  });
  useArrival(place.value);
  const isOld = state === 'lost' || state === 'offline' || state === 'failed';
  return (
    <div class={isOld ? 'page is-old' : 'page'}>
      <a class="skip" href="#content" onClick={skip}>Skip to the content</a>
      <header class="top">
        <a class="brand" href="#/">progressd</a>
        <span class={`link ${state}`} role="status">{WORDS[state]}</span>
        <nav aria-label="More">
          {token.value && <button type="button" onClick={() => useToken('')}>Forget token</button>}
          <a href="docs">API</a>
        </nav>
      </header>
      <Banner />
      {refusal.value ? <SignIn /> : at.page === 'job' ? <Job key={`${at.jobId} ${token.value}`} jobId={at.jobId} /> : <List />}
    </div>
  );
}

/** Says what is not as it should be, and what will happen. */
function Banner() {
  const { state, reason, since } = link.value;
  const isAway = state === 'connecting' || state === 'lost';
  const text = {
    offline: 'This device is offline. The page goes on by itself when the network is back.',
    lost: 'The server does not answer. The page tries again by itself, at least once a minute.',
    polling: 'Streams do not get through: the page asks every few seconds instead, for the newest 200 jobs.',
    failed: `The server says: ${reason}`,
  }[state as string];
  return (
    <div class={text ? 'banner' : 'hidden'} role="status">
      {text}
      {since && ` What you see is from ${timeOfDay(since)}.`}
      {text && (isAway || state === 'failed') && <> <button type="button" onClick={tryAgain}>Try now</button></>}
    </div>
  );
}

/** Moves the focus to where one has come, as a page that is loaded would; a list's row takes it back by itself. */
function useArrival(place: string): void {
  const last = useRef(place);
  useEffect(() => {
    if (last.current === place) return;
    last.current = place;
    const content = document.getElementById('content');
    if (content && !content.contains(document.activeElement)) content.querySelector('h1')?.focus({ preventScroll: true });
  }, [place]);
}

function skip(event: Event): void {
  event.preventDefault();
  document.querySelector<HTMLElement>('#content :is(h1, a, button)')?.focus();
}

/** Keys that work wherever the focus is: a slash goes to the search, Escape back to the list. */
function press(event: KeyboardEvent): void {
  const target = event.target as Element;
  const isTyping = target.matches('input, select, textarea') || target.closest('dialog') !== null;
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === 'Escape' && route.peek().page === 'job') {
    location.hash = addressOfList(lastFilters.peek());
  } else if (event.key === '/') {
    const search = document.querySelector<HTMLInputElement>('input[type=search]');
    if (search) {
      event.preventDefault();
      search.focus();
    }
  }
}

const place = document.getElementById('page');
if (place) {
  begin();
  addEventListener('keydown', press);
  render(<Page />, place);
}
