// A server with keys: a worker's API key, and tokens of users.

import { createHash, createHmac } from 'node:crypto';

const SECRET = 'a secret that is long enough for HS256';

/** The worker's API key. */
export const WORKER = 'key-of-the-worker';

const hash = createHash('sha256').update(WORKER).digest('hex');

/** Two ways in. */
export const PEOPLE = `
[[auth.api_keys]]
name = "worker"
sha256 = "${hash}"
scopes = ["admin"]

[[auth.jwt]]
algorithm = "HS256"
secret = "${SECRET}"
`;

/** A token of ann's that reads, for so many seconds. */
export function token(seconds: number): string {
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const now = Math.floor(Date.now() / 1000);
  const text = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode({ sub: 'ann', iat: now, exp: now + seconds })}`;
  return `${text}.${createHmac('sha256', SECRET).update(text).digest('base64url')}`;
}
