// What can be done with a job. A token that says that it may not is offered nothing; an API key says nothing of what
// it may, and is told by the server.

import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { cancelJob, deleteJob, reasonOf } from '../api';
import { forget } from '../board';
import { addressOfList, lastFilters } from '../route';
import { isFinished, type Status } from '../status';
import { lacks } from '../token';

export function Actions({ status }: { status: Status }) {
  const { job_id: jobId, cancel_requested: isStopping } = status;
  const trouble = useSignal('');
  const isAsking = useSignal(false);
  const cancel = async () => {
    trouble.value = '';
    // A button that were disabled would lose the focus.
    if (!isStopping) await cancelJob(jobId).catch((error: unknown) => { trouble.value = reasonOf(error); });
  };
  return (
    <div class="actions">
      <span class="error-text" role="alert">{trouble.value}</span>
      {!isFinished(status) && !lacks('jobs:cancel') && (
        <button type="button" aria-disabled={isStopping} onClick={cancel}>{isStopping ? 'Stopping…' : 'Cancel'}</button>
      )}
      {!lacks('jobs:write') && <button type="button" onClick={() => { isAsking.value = true; }}>Delete…</button>}
      {isAsking.value && <Confirmation jobId={jobId} onClose={() => { isAsking.value = false; }} />}
    </div>
  );
}

function Confirmation({ jobId, onClose }: { jobId: string; onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const trouble = useSignal('');
  useEffect(() => dialog.current?.showModal(), []);
  const remove = async () => {
    try {
      await deleteJob(jobId);
      forget(jobId);
      location.hash = addressOfList(lastFilters.peek());
    } catch (error) {
      trouble.value = reasonOf(error);
    }
  };
  return (
    <dialog ref={dialog} onClose={onClose} aria-labelledby="sure">
      <h2 id="sure">Delete <bdi>{jobId}</bdi>?</h2>
      <p>Its events and results go with it, and whoever watches it is told. It cannot be undone.</p>
      <p class="error-text" role="alert">{trouble.value}</p>
      <div class="actions">
        <button type="button" onClick={() => dialog.current?.close()}>Keep</button>
        <button type="button" class="danger" onClick={remove}>Delete</button>
      </div>
    </dialog>
  );
}
