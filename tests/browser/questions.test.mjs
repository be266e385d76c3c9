// What the Loop tab asks the server, how often, and what it makes of each answer, also of one that is no report. The answers
// come from ticks.mjs; the last test asks the real server. Where the binary or the browser is missing, every test is skipped
// and names the missing one.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { accessibilityTroubles } from './start.mjs';
import { LIMITS, useBrowser, widthBeyondWindow, withToken } from './suite.mjs';
import { cells, live, Loop, loopTab, quick, readout, rows, stopped, tick, turned, valueText } from './ticks.mjs';

describe('the questions of the loop tab', LIMITS, () => {
  // Some tests are about refused questions, and some look at the canvas; the browser reports both in its console.
  const stage = useBrowser(/Failed to load resource|willReadFrequently/);
  const { open, openOn } = loopTab(stage);
  const word = (page) => page.locator('#loop-status-word').textContent();

  test('asks once a second for what is new, only while the tab is shown and not paused', async () => {
    const asked = [];
    const loop = turned(20);
    const page = await open({ answer: (...asked) => loop.answer(...asked), asked, hash: '' });
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
      await page.locator('#loop-status:is([data-state="waiting"], [data-state="stopped"])').waitFor();
      assert.match(await page.locator('#loop-status-detail').textContent(), words, String(status));
      assert.match(await word(page), status === 401 ? /^Refused$/ : /^Next try in [12] s$/);
      if (status === 401) {
        await page.waitForTimeout(2500);
        assert.equal(asked.length, 1, 'with each question the browser would ask for the password');
        await page.locator('#loop-connect').click();
        await page.waitForTimeout(300);
        assert.equal(asked.length, 2, 'until the reader wants it');
      }
      if (status === 403) {
        while (asked.length < 3) await page.waitForTimeout(100);
        assert.ok(asked[1].at - asked[0].at >= 1900 && asked[2].at - asked[1].at >= 3900, `each pause is longer: ${JSON.stringify(asked)}`);
        assert.deepEqual(await accessibilityTroubles(page), []);
        await page.locator('#loop-connect').click();
        await page.locator('#loop-status-word', { hasText: /^Next try in 1\d s$/ }).waitFor();
        assert.equal(asked.length, 4, 'Ask now asks now');
      }
      await page.context().close();
    }
  });

  test('goes on when the server is back, also if it started anew', async () => {
    let loop = turned(300, 290);
    let isAway = false;
    const page = await openOn(undefined, { answer: (...asked) => (isAway ? 'abort' : loop.answer(...asked)) });
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

  test('the worst ticks stay while no new one is as bad', async () => {
    const loop = turned(300, 290);
    const page = await openOn(loop);
    await page.selectOption('#loop-table-choice', 'worst_hour');
    for (const n of [301, 302]) {
      loop.ticks.push(tick(n, { read: 1 }));
      await page.locator(`#bars[aria-valuetext^="Tick ${n},"]`).waitFor();
    }
    assert.equal((await cells(page, 'ticks-table', 0))[0], '290');
    assert.match(await page.locator('#loop-first').textContent(), /^Look at the blame first/);
  });

  test('asks only for the ticks that it can show, and says where ticks were left out', async () => {
    const asked = [];
    const loop = turned(300);
    const page = await openOn(loop, { asked, answer: (...question) => loop.answer(...question) });
    for (let n = 301; n <= 900; n += 1) loop.turn(n === 400 ? stopped(n) : quick(n));
    await page.locator('#bars[aria-valuetext^="Tick 900,"]').waitFor();
    await page.locator('#loop-disconnect').click();
    const limits = asked.map(({ limit }) => limit);
    const room = Math.floor(((await page.locator('#bars').boundingBox()).width - 56) / 8);
    assert.deepEqual(new Set(limits), new Set([1024, room]), 'first all that the server keeps, then as many as there is room for');
    assert.equal(await page.locator('#bars').getAttribute('aria-valuemax'), String(300 + room - 1));
    // The dotted line stands left of the first tick after the gap, which is the first bar but for two of the old ones.
    await page.locator('#bars').focus();
    await page.keyboard.press('ArrowLeft');
    for (let steps = 0; steps < room - 1; steps += 10) await page.keyboard.press('PageDown');
    const dots = () => page.locator('#bars-canvas').evaluate((canvas) => {
      const pen = canvas.getContext('2d');
      const rows = (x) => [0, 1, 2, 3, 4, 5, 6, 7].map((y) => pen.getImageData(x, y, 1, 1).data[3] > 0);
      return Array.from({ length: Math.floor((canvas.clientWidth - 56) / 8) }, (_, at) => rows(Math.round((56 + at * 8 - 1) * devicePixelRatio)))
        .filter((column) => column[1] && !column[4] && column[7]).length;
    });
    assert.equal(await dots(), 1);
    // A slow tick is never left out.
    await page.selectOption('#loop-filter', 'slow');
    assert.match(await readout(page), /^523 ms tick 400 at/);
    assert.equal(await dots(), 0, 'a choice of ticks has no gaps');
  });

  test('a server of another version, or none, does not stop the page', async () => {
    const huge = '{"n":2,"us":1e999,"unix_ms":1e300,"slept_us":18446744073709551615,"phases_us":{"read":1e308,"work":1e308},"counts":{"bytes_in":1e999}}';
    const ANSWERS = [
      // Older: parts are missing.
      ['{"recent":[{"n":1,"us":90}]}', /^90 µs newest tick, 1 at/, /no culprit/],
      ['{"recent":[{"n":1,"us":90,"culprit":null,"phases_us":null,"counts":[]}],"blame":null,"worst":7}', /^90 µs newest tick, 1/],
      // Newer: parts are unknown, and some have the names of what every object has.
      [JSON.stringify({ ...new Loop().answer(), recent: [tick(3, { later: 70, constructor: 4, toString: 1 }, { counts: { things: 2 } })], blame: [{ kind: 'comet', us: 9 }], news: {} }),
        /^75 µs newest tick, 3/, /later 70 µs/, /2 things/],
      [`{"ticks":18446744073709551615,"now_us":1e999,"busy_us":1e999,"slow_ms":1e999,"recent":[${huge}]}`, /newest tick, 2 at/, /read [\d,.]+ d/],
      // Out of order, twice, and no ticks among them.
      ['{"recent":[{"n":9,"us":1},null,5,"x",[],{"n":-1},{"n":"4"},{"n":8,"us":2},{"n":9,"us":1}]}', /newest tick, 9/],
    ];
    for (const [answer, ...expected] of ANSWERS) {
      const asked = [];
      // The colour of an unknown phase is missing here.
      const page = await open({ answer: () => answer, asked, forcedColors: answer.includes('"later"') ? 'active' : 'none' });
      await live(page);
      for (const words of expected) assert.match(await readout(page), words, answer);
      while (asked.length < 2) await page.waitForTimeout(50);
      await live(page);
      await page.locator('#bars').press('Home');
      assert.match(await valueText(page), /^Tick \d/);
      for (const choice of ['1000', 'slow', '0']) await page.selectOption('#loop-filter', choice);
      for (const choice of ['worst', 'worst_hour']) await page.selectOption('#loop-table-choice', choice);
      assert.ok((await widthBeyondWindow(page)) <= 0);
      await page.context().close();
    }
    for (const nothing of ['', '{"recent":[{"n":1,"us"', 'null', '[]', '7', '{}', '{"recent":{}}', '<!doctype html><title>502</title>']) {
      const page = await open({ answer: () => nothing });
      await page.locator('#loop-status[data-state="waiting"]').waitFor();
      assert.match(await page.locator('#loop-status-detail').textContent(), /no report of the loop/, nothing);
      await page.context().close();
    }
  });

  test('nobody asks for a page in the background, and ten minutes of pause leave no work behind', async () => {
    const asked = [];
    const loop = turned(300);
    const page = await openOn(loop, { asked, answer: (...question) => loop.answer(...question), prepare: (page) => page.clock.install() });
    const show = (state) => page.evaluate((state) => {
      Object.defineProperty(document, 'visibilityState', { get: () => state, configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
    }, state);
    const silence = async (why) => {
      const before = asked.length;
      await page.clock.runFor(600_000);
      await page.waitForTimeout(300);
      assert.equal(asked.length, before, why);
    };
    await show('hidden');
    await silence('in the background');
    await show('visible');
    await live(page);
    await page.locator('#loop-disconnect').click();
    await silence('paused');
    await show('hidden');
    await show('visible');
    await silence('still paused');
    for (let n = 301; n <= 20_000; n += 1) loop.turn(quick(n));
    await page.locator('#loop-connect').click();
    await page.locator('#bars[aria-valuetext^="Tick 20000,"]').waitFor();
    assert.equal(asked.at(-1).limit, 1024, 'after a pause everything that the server keeps');
    assert.equal(await page.locator('#bars').getAttribute('aria-valuemax'), '1023', 'what is kept is bounded');
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

  test('an administrator with a token sees the loop of a server in production', async () => {
    await withToken(async (visitor) => {
      const page = await open(visitor);
      await live(page);
      await rows(page, 'ticks-table').filter({ hasText: 'GET /' }).first().waitFor();
    });
  });
});
