// What the server serves at /client.js: everything that a page without a bundler needs.

import './element.js';

export * from './index.js';
