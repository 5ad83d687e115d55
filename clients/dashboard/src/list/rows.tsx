// The rows that fit on the screen, and some above and below: a list of thousands costs no more than a short one.

import { signal, useSignal } from '@preact/signals';
import {
  defaultRangeExtractor, elementScroll, observeElementOffset, observeElementRect, Virtualizer, type Range,
} from '@tanstack/virtual-core';
import { useLayoutEffect, useMemo, useRef } from 'preact/hooks';
import { shown } from '../board';
import { link } from '../live';
import { hasOlderOnes, Older } from './older';
import { Row } from './row';

/** How high a row is, as the style sheet has it. */
const narrow = matchMedia('(max-width: 860px)');
const heightNow = () => (narrow.matches ? 88 : 64);
const height = signal(heightNow());
narrow.addEventListener('change', () => {
  height.value = heightNow();
});

/** How high what stands below the last row is. */
const OLDER = 56;

/** The row that had the focus last: Tab leads to it, and so does the way back from its page. */
const active = signal('');

/** How far the list was scrolled, for the way back. */
let offset = 0;

export function Rows() {
  const scrolled = useRef<HTMLDivElement>(null);
  const scrolledTo = useSignal(0);
  const names = shown.value;
  // When the active one is gone, the next one stands in its place.
  const lastIndex = useRef(0);
  const found = names.indexOf(active.value);
  const activeIndex = found < 0 ? Math.min(lastIndex.current, names.length - 1) : found;
  lastIndex.current = activeIndex;
  const virtualizer = useMemo(() => makeVirtualizer(() => scrolled.current, () => { scrolledTo.value += 1; }), []);

  // Closed with the list and not a moment later: a list that is not there any more is scrolled to its beginning.
  useLayoutEffect(() => {
    const close = virtualizer._didMount();
    return () => {
      offset = virtualizer.scrollOffset ?? 0;
      close();
    };
  }, [virtualizer]);

  // The row with the focus stays, or the focus would be lost with it.
  const rangeExtractor = useMemo(
    () => (range: Range) => withActive(defaultRangeExtractor(range), activeIndex, names.length),
    [activeIndex, names.length],
  );
  virtualizer.setOptions({ ...virtualizer.options, count: names.length, rangeExtractor });
  useLayoutEffect(() => virtualizer._willUpdate());
  useLayoutEffect(() => virtualizer.measure(), [height.value]);
  scrolledTo.value;

  // One comes back from a job's page to its row.
  const focus = useFocus(scrolled, names[activeIndex], () => active.peek() !== '' && document.activeElement === document.body);
  const go = (index: number) => {
    const jobId = names[Math.min(Math.max(index, 0), names.length - 1)];
    if (jobId === undefined) return;
    virtualizer.scrollToIndex(names.indexOf(jobId), { align: 'auto' });
    active.value = jobId;
    focus.move(jobId);
  };
  const press = (event: KeyboardEvent) => {
    const page = Math.max(1, Math.floor((scrolled.current?.clientHeight ?? 0) / height.peek()) - 1);
    // A key that is held down comes again before the page is drawn.
    const at = names.indexOf(active.peek());
    const goals: Record<string, number> = {
      ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: names.length - 1,
    };
    const goal = goals[event.key];
    if (at < 0 || goal === undefined || !(event.target as Element).matches('.row') || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    go(goal);
  };
  const size = names.length * height.value;
  const rest = hasOlderOnes() ? OLDER : 0;
  return (
    <div
      class="window"
      ref={scrolled}
      style={{ height: `${size + rest + 2}px` }}
      onKeyDown={press}
      onFocusIn={({ target }) => {
        active.value = (target as HTMLElement).dataset.job ?? active.peek();
      }}
      onFocusOut={focus.left}
    >
      <ul class="rows" role="list" aria-label="Jobs" aria-busy={link.value.state === 'connecting'} style={{ height: `${size}px` }}>
        {virtualizer.getVirtualItems().map(({ index, start }) => {
          const jobId = names[index];
          return jobId !== undefined && (
            <li key={jobId} style={{ transform: `translateY(${start}px)` }} aria-posinset={index + 1} aria-setsize={names.length}>
              <Row jobId={jobId} isStop={index === activeIndex} />
            </li>
          );
        })}
      </ul>
      {rest > 0 && <Older />}
    </div>
  );
}

function makeVirtualizer(element: () => HTMLDivElement | null, draw: () => void): Virtualizer<HTMLDivElement, Element> {
  return new Virtualizer<HTMLDivElement, Element>({
    count: 0,
    getScrollElement: element,
    estimateSize: () => height.peek(),
    overscan: 6,
    initialOffset: offset,
    observeElementRect,
    observeElementOffset,
    scrollToFn: elementScroll,
    onChange: draw,
  });
}

function withActive(indexes: number[], active: number, length: number): number[] {
  if (active >= length || indexes.includes(active)) return indexes;
  return [...indexes, active].sort((one, other) => one - other);
}

function rowOf(list: HTMLElement | null, jobId: string): HTMLElement | null {
  return list?.querySelector<HTMLElement>(`[data-job="${CSS.escape(jobId)}"]`) ?? null;
}

/** Gives the focus to the row that has it next: after a key, or when the one that had it is gone. */
function useFocus(list: { current: HTMLElement | null }, next: string | undefined, isWantedAtFirst: () => boolean) {
  const had = useRef(false);
  const isWanted = useRef(false);
  useLayoutEffect(() => {
    isWanted.current = isWantedAtFirst();
  }, []);
  // With the row and not a moment later: no key may come between them and go to the page.
  useLayoutEffect(() => {
    const isLost = had.current && document.activeElement === document.body;
    const row = (isWanted.current || isLost) && next !== undefined ? rowOf(list.current, next) : null;
    if (row) {
      row.focus({ preventScroll: true });
      isWanted.current = false;
    }
    had.current ||= list.current?.contains(document.activeElement) ?? false;
  });
  return {
    /** At once where the row is there already: the next key may be Enter. */
    move: (jobId: string) => {
      const row = rowOf(list.current, jobId);
      if (row) row.focus({ preventScroll: true });
      else isWanted.current = true;
    },
    /** A row that is still there was left on purpose. */
    left: ({ target }: FocusEvent) => queueMicrotask(() => {
      if ((target as Element).isConnected && !list.current?.contains(document.activeElement)) had.current = false;
    }),
  };
}
