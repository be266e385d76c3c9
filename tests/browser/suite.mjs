// What the tests of the page share: one server and one browser for a `describe`, pages that watch for troubles, servers
// with a configuration of their own, and the rules that hold for every tab. start.mjs starts the programs.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before } from 'node:test';
import { launchBrowser, missing, startServer } from './start.mjs';

export const DESKTOP = { viewport: { width: 1400, height: 860 } };
export const PHONE = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true };
export const TOKEN = 'a-token-of-sixteen';

/** For `describe`: without the binary or the browser every test is skipped, and the reason names the missing one. */
export const LIMITS = { skip: missing ? `there is no ${missing}` : false, timeout: 180_000 };

/**
 * Prepares a server and a browser for the tests of a `describe`. After each test the pages are closed, and a trouble that
 * a browser reported fails the test, unless it matches `expected`.
 */
export function useBrowser(expected) {
  const stage = {
    /** The address of the server. */
    url: undefined,
    /** What the browser reported as an error or a warning. A test removes what it brings about. */
    troubles: [],
    /** Opens the page as one visitor. `prepare` runs before the page is loaded. */
    async open({ url = stage.url, hash = '', prepare, ...options } = {}) {
      const context = await browser.newContext({ ...DESKTOP, ...options });
      contexts.push(context);
      const page = await context.newPage();
      page.setDefaultTimeout(10_000);
      page.on('console', (message) => ['error', 'warning'].includes(message.type()) && stage.troubles.push(message.text()));
      page.on('pageerror', (error) => stage.troubles.push(String(error)));
      await prepare?.(page);
      await page.goto(url + hash);
      return page;
    },
  };
  let browser;
  let server;
  let contexts = [];

  before(async () => {
    browser = await launchBrowser();
    server = await startServer();
    stage.url = server.url;
  });
  after(async () => {
    await browser?.close();
    await server?.end();
  });
  afterEach(async () => {
    for (const context of contexts) await context.close();
    const unexpected = stage.troubles.filter((trouble) => !expected.test(trouble));
    contexts = [];
    stage.troubles = [];
    assert.deepEqual(unexpected, [], 'errors, warnings or policy violations in the browser');
  });
  return stage;
}

/** Runs a test against a server of its own in production: with the token TOKEN and more lines of TOML. */
export async function withToken(act, more = '') {
  const folder = mkdtempSync(join(tmpdir(), 'jsocketd-'));
  const file = join(folder, 'jsocketd.toml');
  writeFileSync(file, `[server]\nadmin_token = "${TOKEN}"\n${more}`, { mode: 0o600 });
  const own = await startServer('127.0.0.1:0', ['--config', file]);
  try {
    await act({ url: own.url, httpCredentials: { username: 'x', password: TOKEN } });
  } finally {
    await own.end();
    rmSync(folder, { recursive: true });
  }
}

export const widthBeyondWindow = (page) => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);

/** The visible elements that are too small for a finger. */
export const smallTargets = (page, selector) => page.locator(selector).locator('visible=true').evaluateAll((targets) =>
  targets.map((target) => ({ name: target.id || target.textContent, box: target.getBoundingClientRect() }))
    .filter(({ box }) => box.height < 44 || box.width < 44).map(({ name, box }) => `${name} ${box.width}×${box.height}`));
