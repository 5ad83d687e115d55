// <job-progress src="/api/v1/jobs/import-7">: a progress bar that follows a job.
//
// Attributes: `src`, and `token` for a watch token. Other options go into the property `options` before `src` is set.
// It reflects how it fares in `state` and the job's own state in `status`, for style sheets; its parts are `track`, `bar`
// and `label`, its custom properties `--job-progress-color`, `--job-progress-track` and `--job-progress-height`. Its
// events are `status` (detail: the status), `event` (the job's event), `done` (the last status) and `error` (why it
// failed), none of which bubbles. It needs no inline style, and so no exception in a page's policy.

import { type Status, type Watch, watchJob, type WatchOptions } from './index.js';

const STYLE = `
:host{display:block;font:inherit}
:host([hidden]){display:none}
[part=track]{height:var(--job-progress-height,.5em);border-radius:1em;overflow:hidden;background:var(--job-progress-track,#8884)}
[part=bar]{height:100%;width:var(--value,100%);border-radius:inherit;background:var(--job-progress-color,#2563eb);transition:width .3s;forced-color-adjust:none}
:host(:not([aria-valuenow])) [part=bar]{opacity:.5}
:host([status=completed]){--job-progress-color:#15803d}
:host([status=failed]),:host([state=failed]){--job-progress-color:#b91c1c}
@media(forced-colors:active){[part=track]{border:1px solid}[part=bar]{background:Highlight}}
@media(prefers-reduced-motion:reduce){[part=bar]{transition:none}}`;

// Where there is no DOM, on a server that renders pages, the class can still be imported.
const Base = globalThis.HTMLElement ?? (class {} as typeof HTMLElement);

export class JobProgress extends Base {
  static observedAttributes = ['src', 'token'];

  /** What `watchJob` takes besides. */
  declare options?: WatchOptions;
  #watch: Watch<Status> | undefined;
  #bar!: HTMLElement;
  #label!: HTMLElement;

  connectedCallback(): void {
    if (!this.shadowRoot) {
      // Set before the class was there, it would hide the class's own.
      if (Object.hasOwn(this, 'src')) {
        const { src } = this;
        delete (this as { src?: string }).src;
        this.src = src;
      }
      const root = this.attachShadow({ mode: 'open' });
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(STYLE);
      root.adoptedStyleSheets = [sheet];
      const part = (name: string, parent: Node) => {
        const element = document.createElement('div');
        element.part.add(name);
        return parent.appendChild(element);
      };
      this.#bar = part('bar', part('track', root));
      this.#label = part('label', root);
      this.#label.ariaHidden = 'true';
      // The page's own words are better ones.
      this.role ??= 'progressbar';
      this.ariaValueMin = '0';
      this.ariaValueMax = '100';
      if (!this.hasAttribute('aria-labelledby')) {
        this.ariaLabel ??= 'Progress';
      }
    }
    // Moved, it goes on; at its end it stays so.
    if (!this.#watch) {
      this.#start();
    }
  }

  get src(): string {
    return this.getAttribute('src') ?? '';
  }

  set src(src: string) {
    this.setAttribute('src', src);
  }

  disconnectedCallback(): void {
    // A move is a leaving too, followed at once by the return.
    queueMicrotask(() => {
      if (!this.isConnected && this.getAttribute('state') !== 'done') {
        this.#watch?.close();
        this.#watch = undefined;
      }
    });
  }

  attributeChangedCallback(name: string): void {
    if (this.shadowRoot) {
      if (name === 'src') {
        // Nothing is known of another job.
        this.removeAttribute('status');
        this.#show('', null);
      }
      this.#start();
    }
  }

  #start(): void {
    this.#watch?.close();
    this.#watch = undefined;
    this.removeAttribute('state');
    const { src } = this;
    if (!src || !this.isConnected) {
      return;
    }
    const tell = (name: string, detail: unknown) => this.dispatchEvent(new CustomEvent(name, { detail }));
    const { options = {} } = this;
    const watch: Watch<Status> = watchJob(src, {
      token: this.getAttribute('token') ?? undefined,
      ...options,
      onStatus: (status) => {
        if (this.#watch === watch) {
          this.setAttribute('status', status.status);
          this.#show(inWords(status), status.progress_percentage);
        }
        options.onStatus?.(status);
        tell('status', status);
      },
      onEvent: (event) => {
        options.onEvent?.(event);
        tell('event', event);
      },
      onState: (state) => {
        if (this.#watch === watch) {
          this.setAttribute('state', state);
        }
        options.onState?.(state);
      },
      onError: (error) => {
        options.onError?.(error);
        tell('error', error);
      },
    });
    this.#watch = watch;
    watch.done.then((status) => tell('done', status), () => {});
  }

  #show(text: string, percentage: number | null): void {
    this.ariaValueNow = percentage === null ? null : `${percentage}`;
    this.ariaValueText = text || null;
    this.#label.textContent = text;
    this.#bar.style.setProperty('--value', percentage === null ? null : `${percentage}%`);
  }
}

/** A job's progress in words. */
const inWords = ({ status, progress_percentage: percentage, step, message, error }: Status): string => {
  const what = error?.message ?? [step, message].filter(Boolean).join(': ');
  return [percentage === null ? status : `${percentage} %`, what].filter(Boolean).join(' · ');
};

globalThis.customElements?.get('job-progress') || globalThis.customElements?.define('job-progress', JobProgress);

declare global {
  interface HTMLElementTagNameMap {
    'job-progress': JobProgress;
  }
}
