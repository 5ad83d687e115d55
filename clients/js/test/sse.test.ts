// The reader of blocks against the standard's rules, however its text is cut.

import { expect, test } from 'vitest';
import { type Block, blockReader } from '../src/sse.js';

/** The blocks of pieces of text. */
function read(pieces: string[]): Block[] {
  const blocks: Block[] = [];
  const feed = blockReader((block) => blocks.push(block));
  pieces.forEach(feed);
  return blocks;
}

/** The blocks that are messages. */
const messages = (...pieces: string[]) => read(pieces).filter((block) => block.data !== undefined);

test.each<[string, string, Block[]]>([
  ['the lines of a block', 'event: status\ndata: {}\nretry: 5000\nid: 7\n\n', [{ event: 'status', data: '{}', retry: 5000, id: '7' }]],
  ['all three ends of line', 'data:a\r\rdata:b\r\n\r\ndata:c\n\n', [{ data: 'a' }, { data: 'b' }, { data: 'c' }]],
  ['ends of line that are mixed', 'data:a\ndata:b\rdata:c\r\ndata:d\n\r', [{ data: 'a\nb\nc\nd' }]],
  ['no message without an end', 'data:a\n', []],
  ['no message without data', 'event:x\nid:1\n\n', []],
  ['empty data', 'data\n\ndata\ndata\n\ndata:\n\n', [{ data: '' }, { data: '\n' }, { data: '' }]],
  ['one space and no more', 'data: a\n\ndata:  b\n\ndata:\tc\n\n', [{ data: 'a' }, { data: ' b' }, { data: '\tc' }]],
  ['colons in a value', 'data:a:b: c\n\n', [{ data: 'a:b: c' }]],
  ['no comments', ':data:a\n:\n: data\ndata:b\n:\n\n', [{ data: 'b' }]],
  ['no unknown fields', 'Data:a\ndata :b\n data:c\nfoo:d\ndata:e\n\n', [{ data: 'e' }]],
  ['no id with a NUL', 'id:1\ndata:a\n\nid:2\0\ndata:b\n\n', [{ id: '1', data: 'a' }, { data: 'b' }]],
  ['an empty id', 'id\ndata:a\n\n', [{ id: '', data: 'a' }]],
  ['no retry but digits', 'retry:1x\ndata:a\n\nretry:-1\ndata:b\n\nretry:\ndata:c\n\nretry:20\ndata:d\n\n',
    [{ data: 'a' }, { data: 'b' }, { data: 'c' }, { retry: 20, data: 'd' }]],
  ['the last of two', 'event:a\nevent:b\nid:1\nid:2\ndata\n\n', [{ event: 'b', id: '2', data: '' }]],
  ['what JSON leaves as it is', 'data:{"\u2028":"\u2029\u0085"}\n\n', [{ data: '{"\u2028":"\u2029\u0085"}' }]],
])('reads %s', (_, text, expected) => {
  expect(messages(text)).toEqual(expected);
});

test('an id counts without data', () => {
  expect(read(['id:7\n\n'])).toEqual([{ id: '7' }]);
});

/** The rules once more, line by line as the standard has them. */
function byTheBook(text: string): Block[] {
  const blocks: Block[] = [];
  let block: Block = {};
  const lines = text.replaceAll('\r\n', '\n').replaceAll('\r', '\n').split('\n').slice(0, -1);
  for (const line of lines) {
    if (line === '') {
      blocks.push(block);
      block = {};
      continue;
    }
    const colon = line.indexOf(':');
    const name = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? '' : line.slice(colon + 1);
    value = value.startsWith(' ') ? value.slice(1) : value;
    if (name === 'data') block.data = 'data' in block ? `${block.data}\n${value}` : value;
    if (name === 'event') block.event = value;
    if (name === 'id' && !value.includes('\0')) block.id = value;
    if (name === 'retry' && value !== '' && [...value].every((letter) => '0123456789'.includes(letter))) block.retry = Number(value);
  }
  return blocks;
}

/** The same numbers in every run (mulberry32). */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

const TOKENS = ['data', 'event', 'id', 'retry', ':', ': ', ' ', '\n', '\r', '\r\n', '\n\n', '\0', '12', 'x', 'é', '😀', ':\n'];

test('a stream reads the same wherever it is cut', () => {
  const next = random(7);
  for (let round = 0; round < 400; round++) {
    const text = Array.from({ length: 1 + next(40) }, () => TOKENS[next(TOKENS.length)]).join('');
    const expected = byTheBook(text);
    expect(read([text]), JSON.stringify(text)).toEqual(expected);
    for (let cut = 0; cut <= text.length; cut++) {
      expect(read([text.slice(0, cut), text.slice(cut)]), JSON.stringify([text, cut])).toEqual(expected);
    }
    expect(read([...text.split('')]), JSON.stringify(text)).toEqual(expected);
  }
});

test('bytes read the same wherever they are cut', () => {
  const bytes = new TextEncoder().encode('\uFEFFdata: Gr\u00fc\u00dfe \u{1F600}\r\nid: 9\r\n\r\n');
  for (let cut = 0; cut <= bytes.length; cut++) {
    const decoder = new TextDecoder();
    const pieces = [bytes.slice(0, cut), bytes.slice(cut)].map((piece) => decoder.decode(piece, { stream: true }));
    expect(read(pieces)).toEqual([{ data: 'Gr\u00fc\u00dfe \u{1F600}', id: '9' }]);
  }
});

test.each(['x'.repeat(1 << 20), 'data: '.padEnd(1 << 20, 'x') + '\n'])('a block without an end is refused', (piece) => {
  expect(() => read(Array(5).fill(piece))).toThrow('without an end');
});

test('a long line in many pieces takes no longer than one in few', () => {
  const piece = 'x'.repeat(64);
  const begun = performance.now();
  const [block] = read(['data:', ...Array<string>(1 << 14).fill(piece), '\n\n']);
  expect(block!.data).toHaveLength(1 << 20);
  // Some ten milliseconds; looking through all that had come with every piece took ten seconds.
  expect(performance.now() - begun).toBeLessThan(3_000);
});
