// A job's progress over time, as far as this page has seen it.

import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import { isFinished, type Status } from './status';

/** Points that are kept; beyond them every other one goes. */
const MOST_POINTS = 600;

/** What was seen of one job: times in seconds, and values. */
export class Course {
  readonly times: number[] = [];
  readonly values: number[] = [];
  #attempt = 0;

  /** Takes in a status; says whether it brought a point. */
  add(status: Status): boolean {
    const value = valueOf(status);
    if (value === null) return false;
    if (status.attempt !== this.#attempt) {
      this.#attempt = status.attempt;
      this.times.length = this.values.length = 0;
      if (status.started_at) this.#push(Date.parse(status.started_at) / 1000, 0);
    }
    this.#push(Date.parse(status.updated_at) / 1000, value);
    if (this.times.length > MOST_POINTS) {
      for (const series of [this.times, this.values]) {
        const last = series.length - 1;
        series.splice(0, series.length, ...series.filter((_, index) => index % 2 === 0 || index === last));
      }
    }
    return true;
  }

  #push(time: number, value: number): void {
    const last = this.times.at(-1);
    if (last !== undefined && time <= last) {
      this.values[this.values.length - 1] = value;
    } else {
      this.times.push(time);
      this.values.push(value);
    }
  }
}

function valueOf(status: Status): number | null {
  return status.progress_percentage ?? status.processed_count;
}

export function Chart({ status }: { status: Status }) {
  const place = useRef<HTMLDivElement>(null);
  const course = useRef(new Course());
  const plot = useRef<uPlot | null>(null);
  const isPercentage = status.progress_percentage !== null;

  useEffect(() => {
    const element = place.current;
    if (!element) return undefined;
    const make = () => {
      plot.current?.destroy();
      plot.current = new uPlot(optionsOf(element, isPercentage), dataOf(course.current), element);
    };
    make();
    const resized = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height: element.clientHeight }));
    resized.observe(element);
    const scheme = matchMedia('(prefers-color-scheme: dark)');
    scheme.addEventListener('change', make);
    return () => {
      resized.disconnect();
      scheme.removeEventListener('change', make);
      plot.current?.destroy();
    };
  }, [isPercentage]);

  useEffect(() => {
    if (course.current.add(status)) plot.current?.setData(dataOf(course.current));
  }, [status.seq]);

  if (valueOf(status) === null && isFinished(status)) return null;
  return (
    <section class="card">
      <h2>Progress over time</h2>
      <div class="chart" ref={place} role="img" aria-label={`A line that rises to ${valueOf(status) ?? 0}${isPercentage ? ' percent' : ''}`} />
    </section>
  );
}

const dataOf = (course: Course): uPlot.AlignedData => [course.times, course.values];

function optionsOf(element: HTMLElement, isPercentage: boolean): uPlot.Options {
  const style = getComputedStyle(element);
  const color = (name: string) => {
    // A probe has the colour of the scheme that is on; a canvas knows no light-dark().
    const probe = document.createElement('span');
    probe.style.color = `var(${name})`;
    element.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  };
  const accent = color('--accent');
  const axis = { stroke: color('--pale'), grid: { stroke: color('--line'), width: 1 }, ticks: { stroke: color('--line') }, font: `12px ${style.fontFamily}` };
  return {
    width: element.clientWidth,
    height: element.clientHeight,
    legend: { show: false },
    cursor: { show: false },
    scales: { y: { range: (_, __, most) => [0, isPercentage ? 100 : Math.max(most * 1.1, 1)] } },
    axes: [axis, { ...axis, size: 56, values: (_, values) => values.map((value) => (isPercentage ? `${value} %` : `${value}`)) }],
    series: [{}, { stroke: accent, width: 2, fill: accent.replace(/rgb\((.*)\)/, 'rgb($1 / 14%)').replaceAll(',', ' '), points: { show: false } }],
  };
}
