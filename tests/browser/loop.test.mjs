// The look of the Loop tab in a real browser. Its ticks come from ticks.mjs, so that a test chooses what the loop did; the
// last test asks the real server. questions.test.mjs is about the questions and answers. Where the binary or the browser is missing, every test is skipped and names the missing one.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { accessibilityTroubles } from './start.mjs';
import { DESKTOP, LIMITS, PHONE, smallTargets, useBrowser, widthBeyondWindow } from './suite.mjs';
import { cells, live, Loop, loopTab, quick, readout, rows, tick, turned, valueText } from './ticks.mjs';

const PICTURES = process.env.PICTURES; // a folder, to look at

describe('the loop tab', LIMITS, () => {
  // Some tests are about refused questions, and some look at the canvas; the browser reports both in its console.
  const stage = useBrowser(/Failed to load resource|willReadFrequently/);

  const { open, openOn } = loopTab(stage);

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
    assert.equal(await page.locator('#loop-first').textContent(), 'Look at the blame first: 523 ms of the slowest ticks of the last hour went to “statement sessions”.');
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
    loop.turn(tick(1, { work: 90_000, [evil]: 5 }, { counts: { [evil]: 2 }, culprit: { kind: 'statement', name: evil, us: 90_000, text: `statement ${evil}` } }));
    const page = await openOn(loop, { answer: () => ({ ...loop.answer(), blame: [{ kind: evil, name: evil, ticks: 1, us: 90_000, worst_us: 90_000 }] }) });
    for (const place of ['#readout', '#loop-first', '#blame-table tbody', '#ticks-table tbody']) {
      assert.ok((await page.locator(place).innerText()).includes(evil), place);
    }
    assert.equal(await page.locator('#loop-panel img').count(), 0);
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
      const colours = await page.locator('#loop-panel').evaluate((loop, names) => [...names.map((name) => `phase-${name}`), 'edge', 'surface'].map((name) => getComputedStyle(loop).getPropertyValue(`--${name}`).trim()), names);
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
          assert.deepEqual(await smallTargets(page, 'button, select'), []);
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
    const { recent } = await (await fetch(`${stage.url}debug/loop`)).json();
    const reported = recent.find(({ n }) => n === Number(number.replaceAll(',', '')));
    assert.equal(culprit, reported.culprit.text);
    assert.equal(took, reported.us < 1000 ? `${reported.us} µs` : took);
    assert.deepEqual(Object.keys(reported.phases_us), await page.locator('#legend li').allTextContents(), 'the phases have their colours');
    assert.match((await page.locator('#loop-figures').innerText()).replace(/\s+/g, ' '), /busy [\d.]+ % ticks a second \d+ slow ticks \d+ of \d+/);
  });
});
