// The Loop tab in a real browser. Its ticks come from ticks.mjs, so that a test chooses what the loop did; the last tests
// ask the real server. Where the binary or the browser is missing, every test is skipped and names the missing one.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { accessibilityTroubles, launchBrowser, missing, startServer } from './start.mjs';
import { Loop, quick, serveLoop, stopped, tick } from './ticks.mjs';

const PHONE = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true };
const DESKTOP = { viewport: { width: 1400, height: 860 } };
const TOKEN = 'a-token-of-sixteen';
const PICTURES = process.env.PICTURES; // a folder, to look at

const skip = missing ? `there is no ${missing}` : false;

describe('the loop tab', { skip, timeout: 180_000 }, () => {
  let browser;
  let server;
  let context;
  let troubles;

  before(async () => {
    browser = await launchBrowser();
    server = await startServer();
  });
  after(async () => {
    await browser?.close();
    await server?.end();
  });
  afterEach(async () => {
    await context?.close();
    context = undefined;
    // Some tests are about refused questions, and some look at the canvas; the browser reports both in its console.
    const unexpected = troubles.filter((trouble) => !/Failed to load resource|willReadFrequently/.test(trouble));
    assert.deepEqual(unexpected, [], 'errors, warnings or policy violations in the browser');
  });

  /** Opens the tab. `answer` says what the loop answers; without it the real server does. */
  async function open({ url = server.url, answer, asked, hash = '#loop', ...options } = {}) {
    troubles = [];
    context = await browser.newContext({ ...DESKTOP, ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(10_000);
    page.on('console', (message) => ['error', 'warning'].includes(message.type()) && troubles.push(message.text()));
    page.on('pageerror', (error) => troubles.push(String(error)));
    if (answer) await serveLoop(page, answer, asked);
    await page.goto(url + hash);
    return page;
  }

  /** Opens the tab on a loop of 300 quick ticks, of which the 290th met a stopped database. */
  async function openOn(loop = turned(300, 290), options = {}) {
    const page = await open({ answer: (since) => loop.answer(since), ...options });
    await live(page);
    return page;
  }

  function turned(ticks, ...slow) {
    const loop = new Loop();
    for (let n = 1; n <= ticks; n += 1) loop.turn(slow.includes(n) ? stopped(n) : quick(n));
    return loop;
  }

  const live = (page) => page.locator('#loop-status[data-state="open"]').waitFor();
  const word = (page) => page.locator('#loop-status-word').textContent();
  const valueText = (page) => page.locator('#bars').getAttribute('aria-valuetext');
  const readout = (page) => page.locator('#readout').innerText();
  const rows = (page, table) => page.locator(`#${table} tbody tr`);
  const cells = (page, table, at) => rows(page, table).nth(at).locator('td').allTextContents();
  const widthBeyondWindow = (page) => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);

  /** Points at the bar of the tick that is so many places left of the newest one. */
  async function pointAt(page, back) {
    const box = await page.locator('#bars').boundingBox();
    const bars = Math.min(Math.floor((box.width - 56) / 8), 300);
    await page.mouse.move(box.x + 56 + (bars - 1 - back) * 8 + 4, box.y + box.height - 10);
  }

  /** The colour of the canvas in the middle of a bar, at a height between 0 (foot) and 1, as #rrggbb; empty: nothing there. */
  const colour = (page, back, height) => page.locator('#bars-canvas').evaluate((canvas, [back, height]) => {
    const bars = Math.min(Math.floor((canvas.clientWidth - 56) / 8), 300);
    const [x, y] = [56 + (bars - 1 - back) * 8 + 3, (canvas.clientHeight - 3) * (1 - height) + 1].map((at) => Math.round(at * devicePixelRatio));
    const [red, green, blue, alpha] = canvas.getContext('2d').getImageData(x, y, 1, 1).data;
    return alpha ? `#${[red, green, blue].map((part) => part.toString(16).padStart(2, '0')).join('')}` : '';
  }, [back, height]);

  test('a slow tick stands out, and pointing at it names the culprit', async () => {
    const page = await openOn();
    assert.equal(await page.locator('#loop-first').textContent(), 'Look at the blame first: statement sessions took 523 ms of the slowest ticks of the last hour.');
    assert.equal(await colour(page, 10, 0.5), '#d55e00', 'the bar of the slow tick has the colour of the work phase');
    assert.equal(await colour(page, 9, 0.5), '', 'the bar of a quick tick ends below');
    assert.match(await colour(page, 9, 0.05), /^#/);
    assert.match(await readout(page), /^\S+ \S+ newest tick, 300 at /);
    await pointAt(page, 10);
    const said = await readout(page);
    for (const part of ['523 ms tick 290 at ', 'statement sessions 500 ms (no answer)', 'work 521 ms', 'read 900 µs', '3 events, 3 reads, 1 statement', 'slept 249 ms before, woke 40 µs late, 3 waited meanwhile']) {
      assert.ok(said.includes(part), `${part} in ${said}`);
    }
    await page.mouse.move(0, 0);
    assert.match(await readout(page), /newest tick, 300/);
  });

  test('the bars are one tab stop, and the keyboard reaches every tick', async () => {
    const page = await openOn();
    await page.locator('#loop-filter').focus();
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'bars');
    assert.match(await valueText(page), /^Tick 300, /);
    const at = async () => Number(/^Tick ([\d,]+), /.exec(await valueText(page))[1]);
    for (const [key, expected] of [['ArrowLeft', 299], ['ArrowDown', 298], ['ArrowRight', 299], ['ArrowUp', 300], ['ArrowRight', 300], ['PageDown', 290], ['Home', 1], ['ArrowLeft', 1], ['PageUp', 11], ['End', 300]]) {
      await page.keyboard.press(key);
      assert.equal(await at(), expected, key);
      assert.match(await readout(page), new RegExp(` tick ${expected} at `));
    }
    await page.keyboard.press('PageDown');
    assert.equal(await valueText(page), 'Tick 290, 523 ms: statement sessions 500 ms (no answer)');
    const { min, max, now, ring } = await page.locator('#bars').evaluate((bars) => ({
      min: bars.ariaValueMin, max: bars.ariaValueMax, now: bars.ariaValueNow, ring: parseFloat(getComputedStyle(bars).outlineWidth),
    }));
    assert.deepEqual({ min, max, now, ring }, { min: '0', max: '299', now: '289', ring: 2 });
    await page.keyboard.press('Tab');
    assert.notEqual(await page.evaluate(() => document.activeElement.id), 'bars');
  });

  test('new ticks arrive while the chosen one stays chosen', async () => {
    const loop = turned(300, 290);
    const page = await openOn(loop);
    await page.locator('#bars').focus();
    await page.keyboard.press('ArrowLeft');
    loop.turn(...Array.from({ length: 40 }, (_, at) => quick(301 + at)));
    await page.locator('#bars[aria-valuemax="339"]').waitFor();
    assert.match(await valueText(page), /^Tick 299, /);
    await page.keyboard.press('End');
    assert.match(await valueText(page), /^Tick 340, /);
  });

  test('asks once a second for what is new, only while the tab is shown and not paused', async () => {
    const asked = [];
    const loop = turned(20);
    const page = await open({ answer: (since) => loop.answer(since), asked, hash: '' });
    await page.locator('#status[data-state="open"]').waitFor();
    await page.waitForTimeout(1500);
    assert.deepEqual(asked, [], 'nobody looks');
    await page.locator('#tab-loop').click();
    await live(page);
    loop.turn(quick(21));
    await rows(page, 'ticks-table').filter({ hasText: /^21/ }).waitFor();
    await page.waitForTimeout(3000);
    assert.deepEqual(asked.slice(0, 3).map(({ since }) => since), [0, 20, 21]);
    assert.ok(asked.length >= 4 && asked.length <= 7, `${asked.length} questions in about four seconds`);
    await page.locator('#bars').press('p');
    assert.equal(await word(page), 'Paused');
    const before = asked.length;
    await page.waitForTimeout(2200);
    assert.equal(asked.length, before, 'paused');
    await page.locator('#loop-connect').press('Enter');
    await live(page);
    assert.equal(await page.evaluate(() => document.activeElement.id), 'loop-disconnect', 'the keyboard keeps its place');
    await page.locator('#tab-console').click();
    const left = asked.length;
    await page.waitForTimeout(2200);
    assert.ok(asked.length <= left + 1, 'another tab is shown');
  });

  test('a refusal is explained, and the questions become rare', async () => {
    const WORDS = [
      [401, /admin token \(401\)/], [403, /websockets\.monitor/], [404, /proxy does not pass the path on/], [429, /asks too often/],
      [502, /fails \(502\)/], [418, /no report of the loop \(418\)/], ['abort', /cannot be reached/], ['no report', /no report of the loop/],
    ];
    for (const [status, words] of WORDS) {
      const asked = [];
      const page = await open({ answer: () => status, asked });
      await page.locator('#loop-status[data-state="waiting"]').waitFor();
      assert.match(await page.locator('#loop-status-detail').textContent(), words, String(status));
      assert.match(await word(page), /^Waiting [12] s before the next try$/);
      if (status === 403) {
        while (asked.length < 3) await page.waitForTimeout(100);
        assert.ok(asked[1].at - asked[0].at >= 1900 && asked[2].at - asked[1].at >= 3900, `each pause is longer: ${JSON.stringify(asked)}`);
        assert.deepEqual(await accessibilityTroubles(page), []);
        await page.locator('#loop-connect').click();
        await page.locator('#loop-status-word', { hasText: /^Waiting 1\d s / }).waitFor();
        assert.equal(asked.length, 4, 'Ask now asks now');
      }
      await context.close();
    }
  });

  test('goes on when the server is back, also if it started anew', async () => {
    let loop = turned(300, 290);
    let isAway = false;
    const page = await openOn(undefined, { answer: (since) => (isAway ? 'abort' : loop.answer(since)) });
    isAway = true;
    await page.locator('#loop-status[data-state="waiting"]').waitFor();
    assert.equal(await rows(page, 'ticks-table').count(), 100, 'what was seen stays');
    isAway = false;
    loop = turned(7);
    await live(page);
    await rows(page, 'ticks-table').nth(6).waitFor();
    await page.locator('#bars[aria-valuemax="6"]').waitFor({ timeout: 5000 });
    assert.equal((await cells(page, 'ticks-table', 0))[0], '7');
    assert.match(await page.locator('#loop-first').textContent(), /^No tick of the last hour took 50 ms or longer\. Look at the tallest bar first/);
  });

  test('the table has what the bars have, and the filter holds for both', async () => {
    const loop = turned(300, 100, 290);
    const page = await openOn(loop);
    assert.equal(await rows(page, 'ticks-table').count(), 100);
    assert.equal((await cells(page, 'ticks-table', 0))[0], '300');
    const slow = ['290', '523 ms', 'statement sessions 500 ms (no answer)', 'work 521 ms, read 900 µs, write 800 µs, wait 3 µs, between 3 µs', '3 events, 3 reads, 1 statement', 'slept 249 ms before, woke 40 µs late, 3 waited meanwhile'];
    const without = (all) => all.toSpliced(1, 1); // the time of day
    assert.deepEqual(without(await cells(page, 'ticks-table', 10)), slow);
    await page.selectOption('#loop-filter', 'slow');
    assert.equal(await page.locator('#bars').getAttribute('aria-valuemax'), '1');
    assert.deepEqual(without(await cells(page, 'ticks-table', 0)), slow);
    assert.equal(await rows(page, 'ticks-table').count(), 2);
    await page.selectOption('#loop-filter', '0');
    await page.selectOption('#loop-table-choice', 'worst_hour');
    assert.deepEqual([(await cells(page, 'ticks-table', 0))[2], (await cells(page, 'ticks-table', 1))[2]], ['523 ms', '523 ms']);
    assert.deepEqual(await cells(page, 'blame-table', 0), ['statement sessions', 'statement', '2', '1.0 s', '523 ms']);
    const figures = await page.locator('#loop-figures').innerText();
    for (const part of [/slow ticks 2 of 300/, /median 210 µs/, /99 % below 1\.4 ms/, /longest 523 ms/, /busy [\d.]+ %/]) assert.match(figures.replace(/\s+/g, ' '), part);
    // Slow ticks are kept when a busy loop has turned a thousand times since.
    loop.turn(...Array.from({ length: 1024 }, (_, at) => quick(301 + at)));
    await page.selectOption('#loop-filter', 'slow');
    await page.waitForTimeout(2200);
    assert.equal(await page.locator('#bars').getAttribute('aria-valuemax'), '1');
  });

  test('names from the server are text, whatever is in them', async () => {
    const loop = new Loop();
    const evil = '<img src=x onerror=alert(1)>';
    loop.turn(tick(1, { work: 90_000 }, { culprit: { kind: 'statement', name: evil, us: 90_000, text: `statement ${evil}` } }));
    const page = await openOn(loop);
    assert.match(await readout(page), /<img src=x onerror=alert\(1\)>/);
    assert.equal(await page.locator('#loop img').count(), 0);
    // A tick without a culprit and with unknown phases and counts harms nothing.
    loop.turn({ ...tick(2, { later: 70 }, { counts: { things: 2 } }), culprit: null });
    await page.locator('#bars[aria-valuemax="1"]').waitFor();
    assert.match(await readout(page), /no culprit/);
    assert.match(await readout(page), /later 70 µs/);
  });

  test('a thousand ticks a second do not stop the page', async () => {
    const loop = turned(1024);
    const page = await openOn(loop);
    await page.evaluate(() => {
      globalThis.longest = 0;
      let last = performance.now();
      const look = (now) => {
        globalThis.longest = Math.max(globalThis.longest, now - last);
        last = now;
        requestAnimationFrame(look);
      };
      requestAnimationFrame(look);
    });
    for (let second = 1; second <= 3; second += 1) {
      loop.turn(...Array.from({ length: 1024 }, (_, at) => quick(second * 1024 + at + 1)));
      await rows(page, 'ticks-table').filter({ hasText: new RegExp(`^${((second + 1) * 1024).toLocaleString('en')}`) }).waitFor();
    }
    const longest = await page.evaluate(() => globalThis.longest);
    assert.ok(longest < 700, `the page stood still for ${longest} ms`);
    assert.equal(await page.locator('#bars').getAttribute('aria-valuemax'), '1023', 'what is kept is bounded');
  });

  // Machado, Oliveira, Fernandes: A Physiologically-based Model for Simulation of Color Vision Deficiency (2009), severity 1.
  const EYES = {
    usual: [1, 0, 0, 0, 1, 0, 0, 0, 1],
    protanopia: [0.152286, 1.052583, -0.204868, 0.114503, 0.786281, 0.099216, -0.003882, -0.048116, 1.051998],
    deuteranopia: [0.367322, 0.860646, -0.227968, 0.280085, 0.672501, 0.047413, -0.01182, 0.04294, 0.968881],
    tritanopia: [1.255528, -0.076749, -0.178779, -0.078411, 0.930809, 0.147602, 0.004733, 0.691367, 0.3039],
  };
  const linear = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  const times = (matrix, [a, b, c]) => [0, 3, 6].map((row) => matrix[row] * a + matrix[row + 1] * b + matrix[row + 2] * c);
  const lab = (rgb) => {
    const f = (t) => (t > 216 / 24389 ? Math.cbrt(t) : ((24389 / 27) * t + 16) / 116);
    const [x, y, z] = times([0.4124, 0.3576, 0.1805, 0.2126, 0.7152, 0.0722, 0.0193, 0.1192, 0.9505], rgb.map((part) => Math.min(1, Math.max(0, part)))).map((part, at) => f(part / [0.9505, 1, 1.089][at]));
    return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
  };
  const contrast = (one, other) => {
    const [low, high] = [one, other].map((hex) => times([0.2126, 0.7152, 0.0722, 0, 0, 0, 0, 0, 0], linear(hex))[0]).sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };

  for (const colorScheme of ['light', 'dark']) {
    test(`everybody can tell the phases apart: ${colorScheme}`, async () => {
      const page = await openOn(undefined, { answer: () => turned(3).answer(), colorScheme });
      const names = await page.locator('#legend li').allTextContents();
      assert.equal(names.length, 9);
      const colours = await page.locator('#loop').evaluate((loop, names) => [...names.map((name) => `phase-${name}`), 'edge', 'surface'].map((name) => getComputedStyle(loop).getPropertyValue(`--${name}`).trim()), names);
      const [edge, surface] = colours.splice(-2);
      assert.ok(contrast(edge, surface) >= 3, `the edge of a bar: ${contrast(edge, surface)}`);
      for (const [eye, matrix] of Object.entries(EYES)) {
        const seen = colours.map((hex) => lab(times(matrix, linear(hex))));
        for (const [one, a] of seen.entries()) {
          for (const [other, b] of seen.entries()) {
            const distance = Math.hypot(...a.map((part, at) => part - b[at]));
            assert.ok(other <= one || distance >= 10, `${names[one]} and ${names[other]} are alike with ${eye}: ${distance.toFixed(1)}`);
          }
        }
      }
    });
  }

  test('forced colours turn the phases into patterns, and every word stays', async () => {
    const page = await openOn(undefined, { answer: () => turned(300, 290).answer(), forcedColors: 'active' });
    const patterns = await page.locator('#legend canvas').evaluateAll((swatches) => swatches.map((swatch) => swatch.getContext('2d').getImageData(0, 0, 14, 14).data.join()));
    assert.equal(new Set(patterns).size, 9, 'all differ');
    await page.locator('#bars').focus();
    await page.keyboard.press('PageDown');
    assert.match(await readout(page), /statement sessions 500 ms/);
    // The theme may change while the page is open.
    await page.emulateMedia({ forcedColors: 'none' });
    assert.equal(await colour(page, 10, 0.5), '#d55e00');
    if (PICTURES) {
      await page.emulateMedia({ forcedColors: 'active' });
      await page.screenshot({ path: `${PICTURES}/loop-forced.png` });
    }
  });

  for (const colorScheme of ['light', 'dark']) {
    for (const [kind, options] of [['desktop', DESKTOP], ['phone', PHONE], ['phone on its side', { viewport: { width: 667, height: 330 } }]]) {
      test(`is accessible and never scrolls sideways: ${colorScheme}, ${kind}`, async () => {
        const page = await openOn(turned(300, 290), { colorScheme, ...options });
        await page.locator('#bars').focus();
        await page.keyboard.press('PageDown');
        assert.deepEqual(await accessibilityTroubles(page), []);
        assert.ok((await widthBeyondWindow(page)) <= 0);
        if (kind === 'phone') {
          const small = await page.locator('button:visible, select:visible').evaluateAll((targets) =>
            targets.map((target) => ({ name: target.id || target.textContent, box: target.getBoundingClientRect() }))
              .filter(({ box }) => box.height < 44 || box.width < 44).map(({ name, box }) => `${name} ${box.width}×${box.height}`));
          assert.deepEqual(small, []);
        }
        if (PICTURES) await page.screenshot({ path: `${PICTURES}/loop-${kind.replaceAll(' ', '-')}-${colorScheme}.png` });
      });
    }
  }

  test('the ticks of the real server are shown as it reports them', async () => {
    const page = await open();
    await live(page);
    for (let n = 0; n < 5; n += 1) await page.evaluate(() => fetch('health'));
    const row = rows(page, 'ticks-table').filter({ hasText: 'GET /health' }).first();
    await row.waitFor();
    await page.locator('#loop-disconnect').click();
    const [number, , took, culprit] = await row.locator('td').allTextContents();
    const { recent } = await (await fetch(`${server.url}debug/loop`)).json();
    const reported = recent.find(({ n }) => n === Number(number.replaceAll(',', '')));
    assert.equal(culprit, reported.culprit.text);
    assert.equal(took, reported.us < 1000 ? `${reported.us} µs` : took);
    assert.deepEqual(Object.keys(reported.phases_us), await page.locator('#legend li').allTextContents(), 'the phases have their colours');
    assert.match((await page.locator('#loop-figures').innerText()).replace(/\s+/g, ' '), /busy [\d.]+ % ticks a second \d+ slow ticks \d+ of \d+/);
  });

  test('an administrator with a token sees the loop of a server in production', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'jsocketd-'));
    const file = join(folder, 'jsocketd.toml');
    writeFileSync(file, `[server]\nadmin_token = "${TOKEN}"\n`, { mode: 0o600 });
    const own = await startServer('127.0.0.1:0', ['--config', file]);
    try {
      const page = await open({ url: own.url, httpCredentials: { username: 'x', password: TOKEN } });
      await live(page);
      await rows(page, 'ticks-table').filter({ hasText: 'GET /' }).first().waitFor();
    } finally {
      await own.end();
      rmSync(folder, { recursive: true });
    }
  });
});
