// The field for the token, where the server asks for one.

import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { canBeToken, refusal, token, tryAgain, useToken } from './token';

export function SignIn() {
  const field = useRef<HTMLInputElement>(null);
  const trouble = useSignal('');
  useEffect(() => field.current?.focus(), []);
  const submit = (event: Event) => {
    event.preventDefault();
    const text = field.current?.value.trim() ?? '';
    if (canBeToken(text)) useToken(text);
    else trouble.value = text ? 'A token has no spaces, and no letters beyond ASCII.' : 'The field is empty.';
  };
  const said = trouble.value || refusal.value;
  return (
    <main id="content" class="scrolls">
      <form class="card sign-in" onSubmit={submit} noValidate>
        <h1 tabIndex={-1}>Sign in</h1>
        <p id="said" class={token.value || trouble.value ? 'error-text' : ''} role="alert">{said}</p>
        <label for="token">API key or JWT</label>
        <input ref={field} id="token" type="password" autocomplete="off" spellcheck={false} aria-describedby="said kept" />
        <p id="kept" class="pale">It stays in this tab until the tab is closed, and is sent to this server alone.</p>
        <div class="actions">
          <button type="submit" class="primary">Use it</button>
          <button type="button" onClick={tryAgain}>Try again</button>
        </div>
      </form>
    </main>
  );
}
