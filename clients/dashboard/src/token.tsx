// The field for the token, where the server asks for one.

import { useEffect, useRef } from 'preact/hooks';
import { refusal, token, useToken } from './api';

export function TokenDialog({ isOpen, onClose }: { isOpen: boolean; onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => {
    if (isOpen) dialog.current?.showModal();
    else dialog.current?.close();
  }, [isOpen]);
  const submit = (event: Event) => {
    event.preventDefault();
    useToken(field.current?.value.trim() ?? '');
    onClose();
  };
  const forget = () => {
    useToken('');
    onClose();
  };
  return (
    <dialog ref={dialog} onClose={onClose} aria-labelledby="token-title">
      <form onSubmit={submit}>
        <h2 id="token-title">Token</h2>
        <p class="pale">
          An API key or a JWT of this server. It stays in this tab, and is forgotten with it.
        </p>
        {refusal.value && <p class="error-text" role="alert">{refusal.value}</p>}
        <label>
          <span class="hidden">Token</span>
          <input ref={field} type="password" autocomplete="off" spellcheck={false} placeholder="API key or JWT" required />
        </label>
        <div class="actions">
          {token.value && <button type="button" onClick={forget}>Forget it</button>}
          <button type="button" onClick={onClose}>Close</button>
          <button type="submit" class="primary">Use it</button>
        </div>
      </form>
    </dialog>
  );
}
