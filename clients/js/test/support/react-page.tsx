// A page of React that shows a job in one line of text.

import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { useJobProgress } from '../../src/react.js';

function Job({ url }: { url: string | null }) {
  const { status, events, state, error } = useJobProgress(url, { keepEvents: 3, onEvent: () => {} });
  if (error) {
    return `${state} ${error.message}`;
  }
  const shown = status && `${status.status} ${status.progress_percentage} % ${JSON.stringify(events.map(({ data }) => data))}`;
  return [state, shown].filter(Boolean).join(' ');
}

const root = createRoot(document.querySelector('#root')!);

Object.assign(window, {
  show: (url: string | null) =>
    root.render(
      <StrictMode>
        <Job url={url} />
      </StrictMode>,
    ),
  unmount: () => root.unmount(),
});
