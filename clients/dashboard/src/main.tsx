// The page at /: a list of jobs, or one job, and how the connection to the server is.

import { useSignal, useSignalEffect } from '@preact/signals';
import { render } from 'preact';
import { refusal, token } from './api';
import { counts } from './board';
import { Job } from './job';
import { List } from './list';
import { begin, link, type Link } from './live';
import { route } from './route';
import { TokenDialog } from './token';

const WORDS: Record<Link['state'], string> = {
  connecting: 'Connecting…',
  live: 'Live',
  polling: 'Polling',
  offline: 'Not connected',
  refused: 'Needs a token',
};

function Page() {
  const isTokenAsked = useSignal(false);
  useSignalEffect(() => {
    if (refusal.value) isTokenAsked.value = true;
  });
  useSignalEffect(() => {
    const { failed, stalled } = counts.value;
    const trouble = failed + stalled;
    document.title = trouble > 0 ? `(${trouble}) progressd` : 'progressd';
  });
  const { state, detail } = link.value;
  const at = route.value;
  return (
    <>
      <a class="skip" href="#content" onClick={(event) => {
        event.preventDefault();
        document.getElementById('content')?.querySelector<HTMLElement>('a, button, input')?.focus();
      }}>To the content</a>
      <header class="top">
        <a class="brand" href="#/">progressd</a>
        <span class={`link ${state}`} role="status" title={detail}>{WORDS[state]}</span>
        <nav aria-label="More">
          <a href="/docs">API</a>
          <button type="button" onClick={() => { isTokenAsked.value = true; }}>{token.value ? 'Token in use' : 'Token'}</button>
        </nav>
      </header>
      {state === 'offline' && <div class="banner" role="alert">{detail || 'The server does not answer.'} What you see may be out of date.</div>}
      {at.page === 'job' ? <Job key={at.jobId} jobId={at.jobId} /> : <List />}
      <TokenDialog isOpen={isTokenAsked.value} onClose={() => { isTokenAsked.value = false; }} />
    </>
  );
}

const place = document.getElementById('page');
if (place) {
  begin();
  render(<Page />, place);
}
