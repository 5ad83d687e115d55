// What a first visit sees: how to make a job. It goes away by itself with the first one.

import { useSignal } from '@preact/signals';
import { token } from './api';

function lines(): string[] {
  const isSigned = token.value !== '';
  const as = isSigned ? ' -H "Authorization: Bearer $TOKEN"' : '';
  const jobs = `${location.origin}/api/v1/jobs`;
  return [
    `curl${as} --json '{"job_id": "import-7", "total_count": 1000, "unit": "rows"}' ${jobs}`,
    `curl${as} --json '{"processed_increment": 250, "step": "Reading"}' -X PATCH ${jobs}/import-7`,
    `curl${as} -N ${jobs}/import-7/stream`,
  ];
}

const WORDS = ['Create a job:', 'Report its progress, as often as you like:', 'Watch it in a terminal, as this page does:'];

export function First() {
  return (
    <main id="content" class="scrolls">
      <section class="card first">
        <h1>No jobs yet</h1>
        <p class="pale">Three lines to copy into a terminal. The job appears here by itself.</p>
        <ol>
          {lines().map((line, number) => (
            <li key={line}>
              {WORDS[number]}
              <div class="line">
                <pre><code>{line}</code></pre>
                <Copy text={line} what={`line ${number + 1}`} />
              </div>
            </li>
          ))}
        </ol>
        <p class="pale">Everything else is in <a href="/docs">the documentation of the API</a>.</p>
      </section>
    </main>
  );
}

function Copy({ text, what }: { text: string; what: string }) {
  const isCopied = useSignal(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    isCopied.value = true;
  };
  // Pages that came without TLS from elsewhere than this machine have no clipboard.
  if (!navigator.clipboard) return null;
  return (
    <>
      <button type="button" onClick={copy} aria-label={`Copy ${what}`}>{isCopied.value ? 'Copied' : 'Copy'}</button>
      <span class="hidden" role="status">{isCopied.value && `Copied ${what}`}</span>
    </>
  );
}
