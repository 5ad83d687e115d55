// What a first visit sees: how to make a job, report on it and watch it. It stays beside the first ones until it is
// put away.

import { useSignal } from '@preact/signals';
import { API } from '../api';
import { lacks, token } from '../token';

function lines(): string[] {
  const as = token.value ? ' -H "Authorization: Bearer $TOKEN"' : '';
  const jobs = `${location.origin}${API}/jobs`;
  return [
    `curl${as} --json '{"job_id": "import-7", "total_count": 1000, "unit": "rows"}' ${jobs}`,
    `curl${as} --json '{"processed_increment": 250, "step": "Reading"}' -X PATCH ${jobs}/import-7`,
    `curl${as} -N ${jobs}/import-7/stream`,
  ];
}

const WORDS = ['Create a job: it appears here by itself', 'Report its progress, again and again: its bar moves', 'Watch it in a terminal, as this page does'];

export function Guide({ onClose }: { onClose: (() => void) | undefined }) {
  return (
    <section class="card guide" aria-labelledby="guide">
      <header>
        <h2 id="guide">Three lines to copy into a terminal</h2>
        {onClose && <button type="button" onClick={onClose}>Put away</button>}
      </header>
      {lacks('jobs:write') && <p class="error-text">Your token only reads: these need one that may write.</p>}
      <ol>
        {lines().map((line, number) => (
          <li key={line}>
            {WORDS[number]}
            <div class="line">
              <pre tabIndex={0} aria-label={`Line ${number + 1}`}><code>{line}</code></pre>
              <Copy text={line} what={`line ${number + 1}`} />
            </div>
          </li>
        ))}
      </ol>
      {token.value && <p class="pale">With a token in the shell’s variable <code>TOKEN</code>.</p>}
      <p class="pale">Everything else is in <a href="docs">the reference of the API</a>.</p>
    </section>
  );
}

function Copy({ text, what }: { text: string; what: string }) {
  const said = useSignal('');
  // Pages that came without TLS from elsewhere than this machine have no clipboard.
  if (!navigator.clipboard) return null;
  const copy = () => navigator.clipboard.writeText(text).then(
    () => { said.value = 'Copied'; },
    () => { said.value = 'Not allowed'; },
  );
  return (
    <>
      <button type="button" onClick={copy} aria-label={`Copy ${what}`}>{said.value || 'Copy'}</button>
      <span class="hidden" role="status">{said.value && `${said.value}: ${what}`}</span>
    </>
  );
}
