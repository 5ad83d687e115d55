// A job's progress over time, as far as this tab has seen it.

import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import { type Course, valueOf } from '../course';
import { count, percent, tick } from '../format';
import type { Status } from '../status';

export function Chart({ status, course }: { status: Status; course: Course }) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const { isPercentage } = course;
  const hasLine = course.times.length > 1;

  useEffect(() => {
    const element = place.current;
    if (!element) return undefined;
    const make = () => {
      plot.current?.destroy();
      plot.current = new uPlot(optionsOf(element, isPercentage), dataOf(course), element);
    };
    make();
    const resized = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height: element.clientHeight }));
    resized.observe(element);
    // A canvas does not follow the style sheet.
    const scheme = matchMedia('(prefers-color-scheme: dark)');
    scheme.addEventListener('change', make);
    return () => {
      resized.disconnect();
      scheme.removeEventListener('change', make);
      plot.current?.destroy();
      plot.current = null;
    };
  }, [isPercentage, hasLine, course]);

  useEffect(() => {
    plot.current?.setData(dataOf(course));
  }, [status.seq]);

  const value = valueOf(status);
  const far = value === null ? 'nowhere yet' : isPercentage ? percent(value) : count(value);
  return (
    <section class="card tall">
      <h2>Progress over time</h2>
      {hasLine
        ? <div class="chart" ref={place} role="img" aria-label={`A line over time, up to ${far}`} />
        : <p class="pale">The line begins with the second report.</p>}
    </section>
  );
}

/** Seconds from one mark to the next, up to a month. */
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200, 86_400, 172_800, 604_800, 2_592_000];

const dataOf = (course: Course): uPlot.AlignedData => [course.times, course.values];

function optionsOf(element: HTMLElement, isPercentage: boolean): uPlot.Options {
  const { fontFamily } = getComputedStyle(element);
  const color = (name: string) => {
    // A probe has the colour of the scheme that is on; a canvas knows no light-dark().
    const probe = document.createElement('span');
    probe.style.color = `var(${name})`;
    element.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  };
  const line = color('--line');
  const axis = { stroke: color('--pale'), grid: { stroke: line, width: 1 }, ticks: { show: false }, font: `12px ${fontFamily}` };
  const accent = color('--accent');
  return {
    width: element.clientWidth,
    height: element.clientHeight,
    padding: [8, 38, 0, 0],
    legend: { show: false },
    cursor: { show: false },
    scales: { y: { range: (_, __, most) => [0, isPercentage ? 100 : Math.max(most * 1.1, 1)] } },
    axes: [
      { ...axis, size: 28, space: 90, incrs: STEPS, values: (_, splits, __, ___, step) => splits.map((seconds) => tick(seconds, step)) },
      { ...axis, size: 60, values: (_, values) => values.map(isPercentage ? percent : count) },
    ],
    series: [{}, { stroke: accent, width: 2, fill: accent.replace(/rgb\((.*)\)/, 'rgba($1, 0.14)'), points: { show: false } }],
  };
}
