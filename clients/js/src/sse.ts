// The blocks of an event stream, by the rules of WHATWG HTML, section 9.2.6, "interpreting an event stream".

/** What stood between two blank lines. Absent is what did not stand there. */
export interface Block {
  event?: string;
  /** Without it a block is no message; its id and retry count all the same. */
  data?: string;
  id?: string;
  retry?: number;
}

/** The longest block, in UTF-16 units: many times what a server with its default bounds sends. */
const LONGEST = 1 << 22;

/**
 * Takes a stream's text piece by piece, cut anywhere, without its byte order mark, and hands over each block as soon as
 * it is whole. Throws when a block has no end.
 */
export function blockReader(take: (block: Block) => void): (piece: string) => void {
  let block: Block = {};
  let rest = '';
  let endedWithCr = false;

  const takeLine = (line: string) => {
    if (!line) {
      const whole = block;
      block = {};
      take(whole);
      return;
    }
    const [, name, value = ''] = /^([^:]*):? ?([^]*)$/.exec(line)!;
    if (name === 'data') {
      block.data = block.data === undefined ? value : `${block.data}\n${value}`;
    } else if (name === 'event') {
      block.event = value;
    } else if (name === 'id' && !value.includes('\0')) {
      block.id = value;
    } else if (name === 'retry' && /^\d+$/.test(value)) {
      block.retry = +value;
    }
  };

  return (piece) => {
    if (!piece) {
      return;
    }
    // The line that a CR ended is taken at once; an LF that follows belongs to it.
    const lines = (endedWithCr && piece[0] === '\n' ? piece.slice(1) : piece).split(/\r\n|[\r\n]/);
    endedWithCr = piece.endsWith('\r');
    // What was looked through before is not looked through again: a long line may come in many pieces.
    lines[0] = rest + lines[0];
    rest = lines.pop()!;
    lines.forEach(takeLine);
    if (rest.length + (block.data?.length ?? 0) > LONGEST) {
      throw new Error('a block without an end');
    }
  };
}
