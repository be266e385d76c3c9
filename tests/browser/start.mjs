// Starts the programs for the browser tests and the README's picture: the binary that JSOCKETD_BIN names (otherwise the
// debug build) on a free port, and the browser that CHROMIUM names, with an empty profile.

import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

export const BINARY = process.env.JSOCKETD_BIN ?? fileURLToPath(new URL('../../target/debug/jsocketd', import.meta.url));
const BROWSER = process.env.CHROMIUM ?? '/usr/bin/chromium';

/** The first of the two programs that is not there. */
export const missing = [BINARY, BROWSER].find((path) => !existsSync(path));

export const launchBrowser = () =>
  chromium.launch({
    executablePath: BROWSER,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync'],
  });

/** A server of our own; resolves when it says where it listens. */
export async function startServer(listen = '127.0.0.1:0', more = []) {
  // The server refuses unknown variables of its own prefix, and JSOCKETD_BIN is ours.
  const { JSOCKETD_BIN: _, ...env } = process.env;
  const child = spawn(BINARY, ['--listen', listen, ...more], { stdio: ['ignore', 'pipe', 'pipe'], env });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  let output = '';
  const url = await new Promise((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        output += chunk;
        const said = /listening on (http:\/\/\S+\/)/.exec(output);
        if (said) resolve(said[1]);
      });
    }
    ended.then((code) => reject(new Error(`the server ended with ${code}:\n${output}`)));
  });
  return {
    url,
    address: new URL(url).host,
    end: async (signal = 'SIGKILL') => {
      child.kill(signal);
      await ended;
    },
  };
}

/** The faults that axe finds in a page, as sentences. */
export async function accessibilityTroubles(page) {
  await page.evaluate(readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8'));
  const { violations, passes } = await page.evaluate(() => globalThis.axe.run(document));
  if (passes.length <= 10) throw new Error('axe did not look at the page');
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join(' | ')}`);
}
