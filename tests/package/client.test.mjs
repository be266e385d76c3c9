// The client script and the bar in a real browser, as on a site: pages from PHP with the package's own classes, events
// from the PHP API, and the real server with the site's database. Every page has a strict Content-Security-Policy. Any
// error that the browser reports fails the test.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { launchBrowser, missing, startStand, until } from './stand.mjs';

const hint = (kind, id = 1) => [`private-com_content.article.${id}`, kind, { context: 'com_content.article', id, kind }];
const PICTURES = process.env.PICTURES; // a folder, to look at

describe('the client script', { skip: missing && `there is no ${missing}`, timeout: 240_000 }, () => {
  let stand;
  let browser;
  let contexts = [];
  let troubles = [];

  before(async () => {
    [stand, browser] = await Promise.all([startStand(), launchBrowser()]);
    await stand.sql('UPDATE #__content SET access = 1 WHERE id = 3');
  });
  after(async () => {
    await browser?.close();
    await stand?.end();
  });
  beforeEach(() => {
    troubles = [];
  });
  afterEach(async () => {
    await Promise.all(contexts.map((context) => context.close()));
    contexts = [];
    assert.deepEqual(troubles, [], 'errors in the browser');
  });

  /**
   * Opens a browser for a visitor. `member` is one of the stand's members. `down`: the test stops the server, which
   * browsers report as an error.
   */
  async function visitor({ member, down = false, viewport = { width: 1400, height: 900 }, of = browser, ...options } = {}) {
    const context = await of.newContext({ viewport, ...options });
    contexts.push(context);
    context.setDefaultTimeout(20_000);
    if (member !== undefined) await context.addCookies([{ ...stand.members[member].cookie, url: stand.url }]);
    context.on('console', (message) => {
      if (message.type() === 'error' && !(down && /WebSocket connection to/.test(message.text()))) troubles.push(message.text());
    });
    context.on('weberror', (error) => troubles.push(String(error.error())));
    return context;
  }

  async function visit(query = {}, options = {}) {
    const context = options.context ?? await visitor(options);
    const page = await context.newPage();
    page.sockets = [];
    page.asked = [];
    page.on('websocket', (socket) => {
      const heard = { url: socket.url(), sent: [], came: [] };
      page.sockets.push(heard);
      socket.on('framesent', ({ payload }) => heard.sent.push(JSON.parse(payload)));
      socket.on('framereceived', ({ payload }) => heard.came.push(JSON.parse(payload)));
    });
    page.on('request', (request) => page.asked.push(request.url()));
    await page.goto(`${stand.url}?${new URLSearchParams(query)}`);
    return page;
  }

  /** Subscribes and stores the events over reloads. With `again`, each reload subscribes again. */
  async function listen(page, channel, { again = false, ...options } = {}) {
    const begin = ([channel, options]) => {
      const note = (...said) => sessionStorage.setItem('heard', JSON.stringify([...JSON.parse(sessionStorage.getItem('heard') ?? '[]'), said]));
      return import(Joomla.getOptions('com_websockets').module).then(({ connect }) => {
        window.client = connect();
        window.channel = window.client.subscribe(channel, options);
        for (const event of ['n', 'changed', 'created']) window.channel.on(event, (data, meta) => note(event, data, Boolean(meta.id)));
        for (const event of ['gap', 'gone', 'refused', 'ready']) window.channel.on(event, (data, meta) => note(event, data?.type, Boolean(meta?.id)));
      });
    };
    if (again) {
      const start = `document.addEventListener('DOMContentLoaded', () => (${begin})(${JSON.stringify([channel, options])}))`;
      await page.addInitScript({ content: start });
    }
    await page.evaluate(begin, [channel, options]);
    await ready(page);
  }

  const heard = async (page, ...events) => (await page.evaluate(() => JSON.parse(sessionStorage.getItem('heard') ?? '[]')))
    .filter(([event]) => !events.length || events.includes(event));
  const numbers = async (page) => (await heard(page, 'n')).map(([, data]) => data);
  const ready = (page) => until('it is subscribed', async () => (await heard(page, 'ready', 'refused')).length);
  const hears = (page, count) => until(`${count} were received`, async () => (await numbers(page)).length >= count);
  const settled = (page) => page.waitForTimeout(400); // an event that comes twice comes by then
  const state = (page, wanted) => page.waitForFunction((wanted) => window.client.state === wanted, wanted, { timeout: 60_000 });
  const publish = (channel, from, to, via) =>
    stand.publish(...Array.from({ length: to - from }, (_, n) => [channel, 'n', from + n, via]));
  const upTo = (end, from = 0) => Array.from({ length: end - from }, (_, n) => from + n);
  const position = async () => (await stand.sql(`SELECT value FROM #__websockets_state WHERE name = 'position'`)).trim();
  const bar = (page) => page.locator('.websockets-bar.is-shown');
  const subscribed = (page, channel) => until(`${channel} is subscribed`, () => page.sockets.some(({ came }) =>
    came.some((frame) => frame.event === 'pusher_internal:subscription_succeeded' && frame.channel === channel)));

  // --- the bar
  // ---------------------------------------------------------------------------------------------------------

  test('an article saved in one browser shows the bar in another, which asks PHP for nothing', async () => {
    const page = await visit();
    await page.getByLabel('Notes').fill('half a sentence');
    await subscribed(page, 'private-com_content.article.1');
    const asked = page.asked.length;
    assert.equal(await page.locator('[role=status]').textContent(), '');
    await stand.publish(hint('changed'), hint('changed', 2));
    await bar(page).waitFor();
    assert.equal(await page.locator('[role=status]').textContent(), 'This page was updated just now.');
    assert.equal(await page.evaluate(() => document.activeElement.name), 'notes', 'the focus is where it was');
    assert.deepEqual(page.asked.slice(asked), []);
    await page.getByRole('button', { name: 'Dismiss' }).click();
    await bar(page).waitFor({ state: 'detached' });
    await stand.publish(hint('changed'));
    await Promise.all([page.waitForEvent('load'), page.getByRole('button', { name: 'Reload' }).click()]);
  });

  test('the bar can be used by keyboard alone and gives the focus back', async () => {
    const page = await visit();
    await page.getByLabel('Notes').focus();
    await subscribed(page, 'private-com_content.article.1');
    await stand.publish(hint('changed'));
    await bar(page).waitFor();
    for (const name of ['Reload', 'Dismiss']) {
      await page.keyboard.press('Tab');
      assert.equal(await page.evaluate(() => document.activeElement.textContent), name);
    }
    await page.keyboard.press('Enter');
    await bar(page).waitFor({ state: 'detached' });
    assert.equal(await page.evaluate(() => document.activeElement.name), 'notes');
    await stand.publish(hint('changed'));
    await bar(page).waitFor();
    await page.keyboard.press('Tab');
    await page.keyboard.press('Escape');
    await bar(page).waitFor({ state: 'detached' });
    await stand.publish(hint('changed'));
    await bar(page).waitFor();
    await page.keyboard.press('Tab');
    await Promise.all([page.waitForEvent('load'), page.keyboard.press('Space')]);
  });

  test('a page does not report a change from before it was made', async () => {
    const lagging = await position();
    await stand.publish(['private-com_content.article.3', 'changed', { ...hint('changed', 3)[2], at: Date.now() }]);
    // PHP read this position before the server saw the row, so the page gets a hint about the change.
    const page = await visit({ id: 3, position: lagging });
    await until('the hint came', () => page.sockets[0]?.came.some(({ event }) => event === 'changed'));
    await settled(page);
    assert.equal(await bar(page).count(), 0);
    await stand.publish(['private-com_content.article.3', 'changed', { ...hint('changed', 3)[2], at: Date.now() }]);
    await bar(page).waitFor();
  });

  test('a page that is gone offers no reload, and a page that is back does', async () => {
    const page = await visit();
    await subscribed(page, 'private-com_content.article.1');
    await stand.publish(hint('gone'));
    await bar(page).waitFor();
    assert.equal(await page.locator('[role=status]').textContent(), 'This page is no longer available.');
    assert.deepEqual(await bar(page).getByRole('button').allTextContents(), ['Dismiss']);
    await stand.publish(hint('changed'));
    await page.getByRole('button', { name: 'Reload' }).waitFor();
    assert.deepEqual(await bar(page).getByRole('button').allTextContents(), ['Reload', 'Dismiss']);
    await stand.publish(hint('gone'));
    await page.getByRole('button', { name: 'Reload' }).waitFor({ state: 'detached' });
  });

  test('a right that is withdrawn is gone', async () => {
    const page = await visit({ id: 2 }, { member: 0 });
    await listen(page, 'private-com_content.article.2');
    await stand.sql('UPDATE #__content SET state = 0 WHERE id = 2');
    await stand.publish(['#control', 'recheck-item', { type: 'com_content.article', id: 2 }]);
    try {
      await until('it is gone', async () => (await heard(page, 'gone')).length);
      assert.deepEqual(await heard(page, 'gone'), [['gone', 'AccessWithdrawn', false]]);
      await bar(page).waitFor();
      assert.deepEqual(await bar(page).getByRole('button').allTextContents(), ['Dismiss']);
    } finally {
      await stand.sql('UPDATE #__content SET state = 1 WHERE id = 2');
    }
  });

  for (const [width, dark] of [[390, 0], [390, 1], [1400, 0], [1400, 1]]) {
    test(`the bar is accessible and fits at ${width} px, ${dark ? 'dark' : 'light'}`, async () => {
      const page = await visit({ dark }, { viewport: { width, height: 800 }, colorScheme: dark ? 'dark' : 'light', reducedMotion: 'reduce' });
      await subscribed(page, 'private-com_content.article.1');
      const axe = async () => {
        const violations = await page.evaluate(async () => (await globalThis.axe.run(document)).violations);
        assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html)}`), []);
      };
      await page.evaluate(readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8'));
      await axe();
      await stand.publish(hint('changed'));
      await bar(page).waitFor();
      await axe();
      const box = await bar(page).boundingBox();
      assert.ok(box.x >= 0 && box.x + box.width <= width && box.y + box.height <= 800, JSON.stringify(box));
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width, 'nothing to scroll sideways');
      for (const button of await bar(page).getByRole('button').all()) assert.ok((await button.boundingBox()).height >= 24);
      if (PICTURES) await page.screenshot({ path: `${PICTURES}/bar-${width}-${dark ? 'dark' : 'light'}.png` });
      await page.evaluate(() => (document.documentElement.dir = 'rtl'));
      if (PICTURES) await page.screenshot({ path: `${PICTURES}/bar-${width}-${dark ? 'dark' : 'light'}-rtl.png` });
      await page.emulateMedia({ media: 'print' });
      assert.equal(await page.locator('.websockets-bar').isVisible(), false);
    });
  }

  test('nothing that options hand over breaks out', async () => {
    const evil = `</script><img src=x onerror="document.title='broken'"><script>`;
    const page = await visit({
      'texts[COM_WEBSOCKETS_BAR_CHANGED]': evil, 'texts[COM_WEBSOCKETS_BAR_RELOAD]': evil, 'texts[COM_WEBSOCKETS_BAR_DISMISS]': evil,
    });
    await subscribed(page, 'private-com_content.article.1');
    await stand.publish(hint('changed'));
    await bar(page).waitFor();
    assert.equal(await page.locator('[role=status]').textContent(), evil);
    assert.equal(await page.locator('img').count(), 0);
    assert.equal(await page.title(), 'Article 1');
  });

  test('the ten lines of the document do what it says', async () => {
    const page = await visit({ example: 1, bar: 0, spread: 200 }, { member: 0 });
    const channel = 'private-com_content.category.9';
    await subscribed(page, channel);
    const asked = page.asked.length;
    await stand.publish(...Array.from({ length: 10 }, (_, id) => [channel, 'changed', { context: 'com_content.article', id, kind: 'changed' }]));
    await page.getByText('The newest.').waitFor();
    await settled(page);
    assert.equal(page.asked.length, asked + 1, 'ten hints are one request');
  });

  // --- recovery
  // --------------------------------------------------------------------------------------------------------

  test('reloads while 200 events are published lose none and double none', async () => {
    const page = await visit({}, { member: 0 });
    await listen(page, 'private-user-1001', { from: 'last', again: true });
    const all = (async () => {
      for (let n = 0; n < 200; n += 5) await publish('private-user-1001', n, n + 5);
    })();
    for (let n = 0; n < 5; n += 1) {
      await hears(page, 30 * n + 5);
      await page.reload();
    }
    await all;
    await hears(page, 200);
    await settled(page);
    assert.deepEqual(await numbers(page), upTo(200));
    assert.deepEqual(await heard(page, 'gap'), []);
  });

  test('a tab that comes back receives the events since its last one', async () => {
    const page = await visit({}, { member: 1 });
    await listen(page, 'private-user-1002', { from: 'last' });
    await publish('private-user-1002', 0, 3);
    await hears(page, 3);
    await page.goto('about:blank');
    await publish('private-user-1002', 3, 6);
    await page.goto(stand.url);
    await listen(page, 'private-user-1002', { from: 'last' });
    await hears(page, 6);
    assert.deepEqual(await numbers(page), upTo(6));
    // From the page it gets only newer events.
    await page.reload();
    await listen(page, 'private-user-1002');
    await publish('private-user-1002', 6, 7);
    await until('the newest was received', async () => (await numbers(page)).at(-1) === 6);
    assert.deepEqual((await numbers(page)).slice(0, 6), upTo(6));
  });

  test('a page receives the events between its making and its connection', async () => {
    const first = await position();
    await publish('late', 0, 5);
    const late = await visit({ position: first });
    await listen(late, 'late');
    await hears(late, 5);
    assert.deepEqual(await numbers(late), upTo(5));
  });

  test('a restart of the server is recovered exactly, and without it the page is as it was', async () => {
    const page = await visit({ bar: 0 }, { down: true, member: 0 });
    await listen(page, 'news');
    await publish('news', 0, 3);
    await hears(page, 3);
    await page.evaluate(() => {
      window.states = [];
      window.client.on('state', (state, why) => window.states.push([state, why?.code]));
    });
    await stand.server.stop();
    await page.waitForFunction(() => window.states.length);
    await publish('news', 3, 9);
    await page.getByLabel('Notes').fill('still here');
    const opened = await visit({ bar: 0 }, { down: true }); // the server is away while this one loads
    await opened.evaluate(async () => {
      window.client = (await import(Joomla.getOptions('com_websockets').module)).connect();
    });
    await stand.server.start();
    await hears(page, 9);
    await publish('news', 9, 10);
    await hears(page, 10);
    assert.deepEqual(await numbers(page), upTo(10));
    assert.deepEqual(await heard(page, 'gap'), []);
    assert.deepEqual(await page.evaluate(() => window.states), [['connecting', 1006], ['connected', undefined]]);
    await state(opened, 'connected');
  });

  test('events by HTTP are recovered too while the server lives, and their loss with it is reported where they matter', async () => {
    const page = await visit({ bar: 0 }, { down: true, member: 0 });
    await listen(page, 'memory');
    const quiet = await visit({ bar: 0 }, { down: true, member: 0 });
    await listen(quiet, 'quiet');
    await publish('memory', 0, 2, 'http');
    await hears(page, 2);
    await page.evaluate(() => WebSocket.prototype.close.call(window.client.pusher.connection.connection.transport.socket));
    await state(page, 'connecting');
    await publish('memory', 2, 4, 'http');
    await hears(page, 4);
    assert.deepEqual(await numbers(page), upTo(4));
    assert.deepEqual(await heard(page, 'gap'), []);
    await stand.server.restart();
    await until('the gap is reported', async () => (await heard(page, 'gap')).length);
    await until('the other is there too', async () => (await heard(quiet, 'ready')).length === 2);
    await settled(page);
    assert.equal((await heard(page, 'gap')).length, 1);
    assert.deepEqual(await heard(quiet, 'gap'), []);
  });

  test('a table that was emptied while the server was away is a gap, once', async () => {
    const page = await visit({}, { down: true, member: 0 });
    await listen(page, 'epochs');
    await publish('epochs', 0, 3);
    await hears(page, 3);
    await stand.server.stop();
    await stand.sql('TRUNCATE #__websockets_outbox');
    await stand.server.start();
    await until('the gap is reported', async () => (await heard(page, 'gap')).length);
    await publish('epochs', 3, 5);
    await hears(page, 5);
    await settled(page);
    assert.deepEqual((await heard(page)).map(([event]) => event), ['ready', 'n', 'n', 'n', 'ready', 'gap', 'n', 'n']);
    assert.deepEqual(await numbers(page), upTo(5));
    await bar(page).waitFor();
    assert.equal(await page.locator('[role=status]').textContent(), 'This page may be out of date.');
  });

  // The second and the third are positions of version 0.1, from cached pages.
  for (const unknown of ['o00000000:5.abc', 'o0000002a:5', '@1790000000000']) {
    test(`an unknown position is a gap, once, and no bar: ${unknown}`, async () => {
      const page = await visit({ position: unknown });
      await listen(page, 'unknown');
      await publish('unknown', 0, 1);
      await hears(page, 1);
      await settled(page);
      assert.deepEqual((await heard(page)).map(([event]) => event), ['ready', 'gap', 'n']);
      assert.equal(await bar(page).count(), 0);
    });
  }

  test('a guest\'s page receives the events since it was made, also when it comes from a cache', async () => {
    const context = await visitor();
    await (await visit({ bar: 0, cached: 1 }, { context })).close();
    await publish('cached', 0, 3);
    const page = await visit({ bar: 0, cached: 1 }, { context });
    await listen(page, 'cached');
    await publish('cached', 3, 4);
    await hears(page, 4);
    assert.deepEqual(await numbers(page), upTo(4));
    assert.deepEqual(await heard(page, 'gap'), []);
  });

  test('a position that version 0.1 kept in the tab is an honest gap, and nothing breaks', async () => {
    const page = await visit({}, { member: 0 });
    await page.evaluate(() => {
      const { url, key } = Joomla.getOptions('com_websockets');
      const kept = { old: [['o0000002a:5', 'm6d083eb0:38'], ['o0000002a:4', 'm6d083eb0:38']] };
      sessionStorage.setItem(`com_websockets:${url}/app/${key}`, JSON.stringify(kept));
    });
    await page.reload();
    await listen(page, 'old', { from: 'last' });
    await publish('old', 0, 2);
    await hears(page, 2);
    assert.deepEqual((await heard(page)).map(([event]) => event), ['ready', 'gap', 'n', 'n']);
    await page.reload();
    await listen(page, 'old', { from: 'last' });
    await publish('old', 2, 3);
    await hears(page, 3);
    assert.deepEqual(await numbers(page), upTo(3));
    assert.equal((await heard(page, 'gap')).length, 1);
  });

  test('a page loads itself again once, and never a guest\'s, which may be a cache\'s', async () => {
    const page = await visit({}, { member: 2 });
    await listen(page, 'any');
    const [, reloads] = await Promise.all([page.waitForEvent('load'), page.evaluate(() => window.client.reload())]);
    assert.equal(reloads, true);
    await listen(page, 'any');
    assert.equal(await page.evaluate(() => window.client.reload()), false);
    const guest = await visit();
    await listen(guest, 'any');
    assert.equal(await guest.evaluate(() => window.client.reload()), false);
  });

  test('a page that comes back from the browser\'s cache goes on where it was', async () => {
    const caching = await launchBrowser({ ignoreDefaultArgs: ['--disable-back-forward-cache'] });
    try {
      const page = await visit({ bar: 0 }, { of: caching });
      await listen(page, 'back');
      await publish('back', 0, 2);
      await hears(page, 2);
      await page.evaluate(() => (window.same = true));
      await page.goto(`${stand.url}?id=3&bar=0`);
      await publish('back', 2, 5);
      await page.goBack({ waitUntil: 'commit' }); // there is no load
      assert.equal(await page.evaluate(() => window.same), true, 'the browser kept the page');
      await hears(page, 5);
      assert.deepEqual(await numbers(page), upTo(5));
    } finally {
      await caching.close();
    }
  });

  // --- identity and permissions
  // ----------------------------------------------------------------------------------------

  test('a member proves the page first, and every address asks for recovery', async () => {
    const page = await visit({}, { member: 0 });
    await listen(page, 'private-user-1001');
    assert.equal(page.sockets.length, 1, 'one connection for all scripts');
    const [{ url, sent, came }] = page.sockets;
    assert.equal(new URL(url).searchParams.get('recovery'), '1');
    assert.equal(new URL(url).searchParams.get('protocol'), '7');
    assert.ok(!url.includes('administrator'));
    assert.equal(sent[0].event, 'jsocketd:form_token');
    assert.ok(came.some(({ event }) => event === 'jsocketd:form_token_accepted'));
    const subscribe = sent.find(({ data }) => data.channel === 'private-com_content.article.1');
    assert.match(subscribe.data.since[0], /^o[0-9a-f]{8}:\d+\.[0-9a-z]+$/);
    const guest = await visit();
    await subscribed(guest, 'private-com_content.article.1');
    assert.ok(!guest.sockets[0].sent.some(({ event }) => event === 'jsocketd:form_token'));
    assert.match(guest.sockets[0].sent[0].data.since[0], /^o[0-9a-f]{8}:\d+\.[0-9a-z]+$/);
  });

  test('a guest does not receive the events of members', async () => {
    const guest = await visit({ id: 2 });
    const member = await visit({ id: 2 }, { member: 0 });
    for (const page of [guest, member]) await listen(page, 'private-level-2');
    await stand.publish(hint('changed', 2), ['private-level-2', 'n', 1]);
    await hears(member, 1);
    await bar(member).waitFor();
    await settled(guest);
    assert.deepEqual(await heard(guest), [['refused', 'AccessDenied', false]]);
    assert.equal(await bar(guest).count(), 0);
    assert.ok(!guest.sockets[0].came.some(({ id }) => id));
  });

  test('members of a presence channel need no request either', async () => {
    const page = await visit({}, { member: 0 });
    await page.evaluate(async () => {
      window.client = (await import(Joomla.getOptions('com_websockets').module)).connect();
      await new Promise((resolve) => {
        window.client.subscribe('presence-com_content.article.1').on('ready', (members) => resolve(window.count = members.count));
      });
    });
    assert.equal(await page.evaluate(() => window.count), 1);
    assert.deepEqual(page.asked.filter((url) => /auth/.test(url)), []);
  });

  test('a terminated user stays away and sees the close code', async () => {
    const page = await visit({}, { member: 2 });
    await listen(page, 'private-user-1003');
    await page.evaluate(() => window.client.on('state', (...said) => (window.said = said)));
    await stand.publish(['#control', 'terminate-user', { user_id: 1003 }]);
    await state(page, 'closed');
    assert.equal(await page.evaluate(() => window.said[1].code), 4009);
    await page.waitForTimeout(1500);
    assert.equal(page.sockets.length, 1);
  });

  test('an unknown key is reported and not tried again', async () => {
    const page = await visit();
    const why = await page.evaluate(async () => {
      const options = Joomla.getOptions('com_websockets');
      const { connect } = await import(options.module);
      return new Promise((resolve) => connect({ ...options, key: 'nobody' }).on('state', (state, why) => state === 'closed' && resolve(why.code)));
    });
    assert.equal(why, 4001);
    await page.waitForTimeout(1500);
    assert.equal(page.sockets.filter(({ url }) => url.includes('nobody')).length, 1);
    await assert.rejects(page.evaluate(async () => (await import(Joomla.getOptions('com_websockets').module)).connect(null)), /not set up/);
  });

  test('pages do not come back in the same moment', async () => {
    const page = await visit({ bar: 0 }, { member: 0 });
    await listen(page, 'news');
    const waits = await page.evaluate(() => {
      const { connection } = window.client.pusher;
      const real = window.setTimeout;
      const waits = [];
      window.setTimeout = (run, wait) => waits.push(wait);
      for (let n = 0; n < 200; n += 1) {
        connection.retryTimer = null;
        connection.retryIn(1000);
      }
      window.setTimeout = real;
      connection.retryTimer = null;
      connection.retryIn(0);
      return waits;
    });
    const within = (from, to, least, most) => assert.ok(waits.slice(from, to).every((wait) => wait >= least && wait <= most), `${waits.slice(from, to)}`);
    within(0, 1, 1000, 3000);
    within(1, 2, 1000, 5000);
    within(5, 200, 1000, 31_000);
    assert.ok(new Set(waits.slice(5).map((wait) => Math.round(wait / 1000))).size > 20);
    await state(page, 'connected');
  });

  test('a session that ends makes a guest of the page, at once', async () => {
    const page = await visit({}, { member: 1 });
    await listen(page, 'private-user-1002');
    await listen(page, 'news');
    const [{ session_id: id }] = [{ session_id: stand.members[1].cookie.value }];
    await stand.sql(`CREATE TABLE keep AS SELECT * FROM #__session WHERE session_id = '${id}'; DELETE FROM #__session WHERE session_id = '${id}'`);
    try {
      await stand.publish(['#control', 'recheck-user', { user_id: 1002 }]);
      await until('it is refused', async () => (await heard(page, 'refused')).length);
      await publish('news', 0, 1);
      await hears(page, 1);
      assert.equal(page.sockets.length, 2);
    } finally {
      await stand.sql('INSERT INTO #__session SELECT * FROM keep; DROP TABLE keep');
    }
  });

  // --- several scripts and tabs
  // ----------------------------------------------------------------------------------------

  test('two tabs receive every event once each', async () => {
    const context = await visitor({ member: 0 });
    const tabs = await Promise.all([visit({}, { context }), visit({}, { context })]);
    for (const tab of tabs) await listen(tab, 'tabs', { from: 'last' });
    await publish('tabs', 0, 20);
    for (const tab of tabs) {
      await hears(tab, 20);
      assert.deepEqual(await numbers(tab), upTo(20));
    }
  });

  test('a page keeps its own Pusher and its state', async () => {
    const page = await visit({ own: 1 });
    await listen(page, 'news');
    assert.equal(await page.evaluate(() => window.Pusher.own), true);
    assert.match(await page.evaluate(() => localStorage.getItem('pusherTransportNonTLS')), /xhr_polling/);
    const other = await visit();
    await listen(other, 'news');
    assert.deepEqual(await other.evaluate(() => Object.keys(window).filter((name) => /pusher|websockets/i.test(name))), []);
    assert.deepEqual(await other.evaluate(() => Object.keys(Joomla)), ['optionsStorage', 'Text', 'getOptions']);
  });

  test('scripts share a channel, and a late script has missed nothing', async () => {
    const page = await visit({ bar: 0 });
    await listen(page, 'shared');
    await publish('shared', 0, 3);
    await hears(page, 3);
    await page.evaluate(async () => {
      window.late = [];
      window.second = window.client.subscribe('shared');
      window.second.on('ready', () => window.late.push('ready')).on('n', (data, meta) => window.late.push(data));
    });
    await publish('shared', 3, 4);
    await hears(page, 4);
    assert.deepEqual(await page.evaluate(() => window.late), ['ready', 0, 1, 2, 3]);
    await page.evaluate(() => window.channel.unsubscribe());
    await publish('shared', 4, 5);
    await page.waitForFunction(() => window.late.length === 6);
    // No script is subscribed. The next one gets the events that come in between.
    await page.evaluate(() => window.second.unsubscribe());
    await settled(page);
    await publish('shared', 5, 7);
    await page.evaluate(() => window.client.subscribe('shared').on('n', (data) => window.late.push(data)));
    await page.waitForFunction(() => window.late.length === 8);
    assert.deepEqual(await page.evaluate(() => window.late), ['ready', 0, 1, 2, 3, 4, 5, 6]);
    assert.deepEqual(await numbers(page), upTo(4));
  });

  test('a listener that throws keeps nothing from the others', async () => {
    const page = await visit({ bar: 0 });
    await listen(page, 'throws');
    await page.evaluate(() => {
      window.channel.on('n', () => {
        throw new Error('on purpose');
      });
      window.channel.on('n', () => (window.after = true));
    });
    await publish('throws', 0, 1);
    await page.waitForFunction(() => window.after);
    assert.deepEqual(troubles.splice(0), ['Error: on purpose']);
  });

  test('requests of a page after a hint are spread and sent once', async () => {
    const page = await visit({ spread: 300, bar: 0 });
    await listen(page, 'news');
    const waited = await page.evaluate(() => new Promise((resolve) => {
      const began = performance.now();
      let count = 0;
      const run = () => (count += 1);
      for (let n = 0; n < 10; n += 1) window.client.spread(run);
      setTimeout(() => resolve(count), 400);
      window.channel.spread(() => (window.at = performance.now() - began));
    }));
    assert.equal(waited, 1);
    assert.ok(await page.evaluate(() => window.at) <= 400);
  });

  test('a page works where storage is refused', async () => {
    const context = await visitor();
    await context.addInitScript(() => Object.defineProperty(window, 'sessionStorage', {
      get() {
        throw new DOMException('refused', 'SecurityError');
      },
    }));
    const page = await visit({}, { context });
    await page.evaluate(async () => {
      window.all = [];
      window.client = (await import(Joomla.getOptions('com_websockets').module)).connect();
      window.client.subscribe('refusing', { from: 'last' }).on('n', (data) => window.all.push(data)).on('ready', () => (window.isReady = true));
    });
    await page.waitForFunction(() => window.isReady);
    await publish('refusing', 0, 2);
    await page.waitForFunction(() => window.all.length === 2);
    assert.equal(await page.evaluate(() => window.client.reload()), false);
    await settled(page);
  });
});
