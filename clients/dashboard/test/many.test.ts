// 2,000 running jobs that all report: the page keeps few rows, misses nothing, and says how long its frames took.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { inTime } from '../../js/test/support/until.js';
import { Place } from './support/page.js';

const JOBS = 2_000;
const ROUNDS = 10;

let place: Place;

beforeAll(async () => {
  // At the pace that the server has by itself.
  place = await Place.make('');
  for (let first = 0; first < JOBS; first += 50) {
    const create = (index: number) => place.server.create({ job_id: `job-${first + index}`, kind: 'import', total_count: 1_000, unit: 'rows' });
    await Promise.all(Array.from({ length: 50 }, (_, index) => create(index)));
  }
});
afterAll(() => place.remove());

/** Reports on every job in one request. */
async function reportAll(report: (index: number) => object): Promise<void> {
  const lines = Array.from({ length: JOBS }, (_, index) => JSON.stringify({ job_id: `job-${index}`, ...report(index) }));
  const answer = await fetch(`${place.server.url}/api/v1/reports`, {
    method: 'POST',
    body: lines.join('\n'),
    headers: { 'Content-Type': 'application/x-ndjson' },
  });
  expect(await answer.text()).toContain(`"accepted":${JOBS}`);
}

/** Measures frames from now on. */
function measure(): void {
  const told = { frames: [] as number[], long: [] as number[], most: 0 };
  (globalThis as any).told = told;
  new PerformanceObserver((list) => told.long.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: 'longtask' });
  let last = performance.now();
  const frame = (now: number) => {
    told.frames.push(now - last);
    last = now;
    told.most = Math.max(told.most, document.getElementsByClassName('row').length);
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}

/** Scrolls as somebody does who looks around, then waits for a text in the rows; from within, so as not to disturb. */
function look([top, text]: readonly [number, string]): Promise<void> {
  document.querySelector('.window')!.scrollTo({ top, behavior: 'smooth' });
  return new Promise((resolve) => {
    const again = () => (document.querySelector('.row .figures')?.textContent?.includes(text) ? resolve() : setTimeout(again, 50));
    again();
  });
}

test('2,000 running jobs', async () => {
  const view = await place.open();
  await view.shows(`All ${JOBS.toLocaleString('en')}`, '.moods');
  await reportAll(() => ({ processed_count: 1 }));
  await view.shows(`Running ${JOBS.toLocaleString('en')}`, '.moods');
  await view.page.evaluate(measure);

  const height = await view.page.locator('.window').evaluate((element) => element.scrollHeight);
  for (let round = 1; round <= ROUNDS; round++) {
    await reportAll((index) => ({ processed_count: round * 10, message: `round ${round}`, step: index % 5 === 0 ? `Part ${round}` : 'Reading' }));
    await inTime(`round ${round}`, view.page.evaluate(look, [(height / ROUNDS) * round, `${round * 10} of 1,000 rows`] as const));
  }
  const { frames, long, most } = await view.page.evaluate(() => (globalThis as any).told as { frames: number[]; long: number[]; most: number });

  // Every job's last news came.
  await view.page.getByRole('searchbox').fill(`round ${ROUNDS}`);
  await view.shows(`All ${JOBS.toLocaleString('en')}`, '.moods');
  await view.page.getByRole('searchbox').fill('round 9');
  await view.shows('No job matches.');
  expect(most).toBeLessThan(60);
  expect(view.complaints).toEqual([]);

  const sorted = frames.sort((one, other) => one - other);
  const at = (share: number) => sorted[Math.floor(sorted.length * share)]?.toFixed(1);
  console.log(`${JOBS} jobs, ${ROUNDS} rounds of reports, ${most} rows at most: ${frames.length} frames, `
    + `median ${at(0.5)} ms, p95 ${at(0.95)} ms, p99 ${at(0.99)} ms, longest ${sorted.at(-1)?.toFixed(1)} ms; `
    + `${long.length} tasks over 50 ms, longest ${Math.max(0, ...long).toFixed(0)} ms`);
  await view.close();
});
