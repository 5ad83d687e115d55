// What the client programs of this folder share: their command line, and the recorder that prints what a client saw.
//
// Standard output carries one JSON object per line, in the order of the happenings:
//
//   {"type":"open"}                                                      connected, also after a reconnect
//   {"type":"status"|"message"|NAME,"data":…,"id":"…"}                   an event; `id` is the client's last event id
//   {"type":"error","source":"server","data":…,"id":"…","readyState":1}  an event named `error` that the server sent
//   {"type":"error","source":"client","status":204,"readyState":2}       the client's own trouble: 0 reconnects, 2 gave up
//
// `data` is the parsed JSON; what is not JSON stands verbatim under `raw` instead. `status` stands only where the client
// says that a status code was the cause, `message` only where it says more. The last line tells how the run ended:
//
//   {"type":"closed"|"quiet"|"idle"|"timeout","requests":n}
//
// closed: the client stopped for good; quiet: --stop-after-terminal-ms have passed; idle: --until-idle-ms have passed
// without a line; timeout: --timeout-ms have passed. `requests` counts the stream requests of the whole run.
// Exit code: 0, but 1 after a timeout and 2 when the program could not do its work (the reason is on standard error).

import { parseArgs } from 'node:util';

/** The states in which a job stays. */
export const TERMINAL_STATES = ['completed', 'failed', 'cancelled'];

/**
 * Reads the command line: the options that every client program knows, and `ownOptions` in the shape of `parseArgs`.
 *
 * --url URL                   the stream (required)
 * --token TOKEN               a credential, sent in the way that the client allows
 * --event NAME                listen for this event too; may be given several times
 * --close-at-end              close the client at a terminal status, as a careful page does
 * --stop-after-terminal-ms N  end so long after the newest terminal status, the client still running
 * --until-idle-ms N           end when nothing has happened for so long
 * --timeout-ms N              end in any case (default 30000)
 */
export function readCommandLine(ownOptions = {}) {
  const { values } = parseArgs({
    options: {
      url: { type: 'string' },
      token: { type: 'string' },
      event: { type: 'string', multiple: true, default: [] },
      'close-at-end': { type: 'boolean', default: false },
      'stop-after-terminal-ms': { type: 'string' },
      'until-idle-ms': { type: 'string' },
      'timeout-ms': { type: 'string', default: '30000' },
      ...ownOptions,
    },
  });
  if (!URL.canParse(values.url)) {
    throw new Error('--url must be the absolute address of a stream');
  }
  return {
    ...values,
    eventNames: [...new Set(['status', 'message', ...values.event])].filter((name) => name !== 'error'),
    closeAtEnd: values['close-at-end'],
    stopAfterTerminalMs: milliseconds(values, 'stop-after-terminal-ms'),
    untilIdleMs: milliseconds(values, 'until-idle-ms'),
    timeoutMs: milliseconds(values, 'timeout-ms'),
  };
}

/** Prints what one client sees, and decides when the run is over. */
export class Recorder {
  #resolveEnded;
  /** Resolves to the exit code when the run is over. */
  ended = new Promise((resolve) => (this.#resolveEnded = resolve));

  #options;
  #closeClient;
  #requests = 0;
  #isOver = false;
  #idleTimer;
  #terminalTimer;

  /** `closeClient` closes the client at a terminal status, for `--close-at-end`. */
  constructor(options, closeClient) {
    this.#options = options;
    this.#closeClient = closeClient;
    setTimeout(() => this.#end('timeout', 1), options.timeoutMs);
    this.#restartIdleTimer();
  }

  /** The client sends a request for the stream. */
  countRequest() {
    this.#requests += 1;
  }

  /** The client says that it is connected. */
  recordOpen() {
    this.#print({ type: 'open' });
  }

  /** The server sent an event; `readyState` is the client's state meanwhile. */
  recordEvent(type, text, id, readyState) {
    const payload = parseOrKeep(text);
    this.#print(type === 'error' ? { type, source: 'server', ...payload, id, readyState } : { type, ...payload, id });
    if (type === 'status' && TERMINAL_STATES.includes(payload.data?.status)) {
      this.#followTerminalStatus();
    }
  }

  /** The client met trouble of its own; `readyState` is the state in which that left it. */
  recordTrouble({ status, message }, readyState) {
    this.#print({ type: 'error', source: 'client', status, message, readyState });
    if (readyState === 2) {
      this.#end('closed', 0);
    }
  }

  #followTerminalStatus() {
    if (this.#options.closeAtEnd) {
      this.#closeClient();
      this.#end('closed', 0);
    } else if (this.#options.stopAfterTerminalMs !== undefined) {
      clearTimeout(this.#terminalTimer);
      this.#terminalTimer = setTimeout(() => this.#end('quiet', 0), this.#options.stopAfterTerminalMs);
    }
  }

  #restartIdleTimer() {
    if (this.#options.untilIdleMs !== undefined) {
      clearTimeout(this.#idleTimer);
      this.#idleTimer = setTimeout(() => this.#end('idle', 0), this.#options.untilIdleMs);
    }
  }

  #print(line) {
    if (!this.#isOver) {
      console.log(JSON.stringify(line));
      this.#restartIdleTimer();
    }
  }

  #end(type, exitCode) {
    this.#print({ type, requests: this.#requests });
    this.#isOver = true;
    this.#resolveEnded(exitCode);
  }
}

/**
 * Runs a client program: `main` returns the exit code.
 *
 * The process is ended by force, because a client that waits for its reconnect would keep it alive for the whole
 * `retry` time, which at the end of a job is an hour.
 */
export async function run(main) {
  try {
    process.exit(await main());
  } catch (error) {
    console.error(error.message);
    process.exit(2);
  }
}

function milliseconds(values, name) {
  const text = values[name];
  if (text !== undefined && !/^\d{1,9}$/.test(text)) {
    throw new Error(`--${name} must be a whole number of milliseconds`);
  }
  return text === undefined ? undefined : Number(text);
}

function parseOrKeep(text) {
  try {
    return { data: JSON.parse(text) };
  } catch {
    return { raw: text };
  }
}
