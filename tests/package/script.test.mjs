// The client script alone in a real browser. The server belongs to the test and sends frames that a real server sends
// rarely, or in another order. client.test.mjs has the tests with the real server.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { BROWSER, launchBrowser, ROOT, run, until } from './stand.mjs';

const PAGE = 'o0000002a:3.aaa'; // the position of a page
const KEPT = 'com_websockets:ws://127.0.0.1:9/app/key'; // in sessionStorage

const skip = !existsSync(BROWSER) && `there is no ${BROWSER}`;

describe('the client script alone', { skip, timeout: 120_000 }, () => {
  let media;
  let browser;
  let web;
  let contexts = [];
  let troubles = [];

  before(async () => {
    media = mkdtempSync(join(tmpdir(), 'jsocketd-script-'));
    await run(`${ROOT}/scripts/package`, ['--media', media]);
    browser = await launchBrowser();
    web = http.createServer((request, response) => {
      const { pathname, searchParams } = new URL(request.url, 'http://x');
      if (pathname !== '/') {
        const file = pathname === '/core.js' ? `${ROOT}/tests/package/site/core.js` : join(media, pathname);
        response.setHeader('Content-Type', 'text/javascript');
        response.end(existsSync(file) ? readFileSync(file) : '');
        return;
      }
      const own = JSON.parse(searchParams.get('options'));
      const options = { url: 'ws://127.0.0.1:9', key: 'key', module: '/js/websockets.js', spread: 0, ...own };
      const json = JSON.stringify({ com_websockets: options });
      response.setHeader('Content-Type', 'text/html');
      response.end(`<!doctype html><title>A page</title><link rel="icon" href="data:,">
        <script type="application/json" class="joomla-script-options new">${json}</script>
        <script src="/core.js"></script>`);
    }).listen(0, '127.0.0.1');
    await once(web, 'listening');
  });
  after(async () => {
    await browser?.close();
    web?.close();
    rmSync(media, { recursive: true, force: true });
  });
  afterEach(async () => {
    await Promise.all(contexts.map((context) => context.close()));
    contexts = [];
    assert.deepEqual(troubles.splice(0), [], 'errors in the browser');
  });

  /** A page and its server: `asked` are the subscriptions, `answers` the answers by channel. */
  async function visit(options = { position: PAGE }) {
    const context = await browser.newContext();
    contexts.push(context);
    context.setDefaultTimeout(10_000);
    context.on('weberror', (error) => troubles.push(String(error.error())));
    const say = (frame) => server.sockets.at(-1).send(JSON.stringify(frame));
    const server = { sockets: [], asked: [], answers: {}, say };
    await context.routeWebSocket(/./, (socket) => {
      server.sockets.push(socket);
      socket.onMessage((text) => {
        const { event, data } = JSON.parse(text);
        if (event === 'pusher:ping') socket.send('{"event":"pusher:pong","data":{}}');
        if (event !== 'pusher:subscribe') return;
        server.asked.push([data.channel, data.since]);
        const { channel } = data;
        const answer = server.answers[channel];
        if (answer) say({ event: 'pusher_internal:subscription_succeeded', channel, data: '{}', ...answer });
      });
      say({ event: 'pusher:connection_established', data: '{"socket_id":"1.1","activity_timeout":120}' });
    });
    const page = await context.newPage();
    const query = new URLSearchParams({ options: JSON.stringify(options) });
    const open = () => page.goto(`http://127.0.0.1:${web.address().port}/?${query}`);
    await open();
    return { page, server, open };
  }

  /** Subscribes. The events go to `window.heard` as [channel, event, id]. */
  const listen = (page, channel, options = {}) => page.evaluate(async ([channel, options]) => {
    const { connect } = await import(Joomla.getOptions('com_websockets').module);
    window.heard ??= [];
    window.client = connect();
    window.channel = window.client.subscribe(channel, options);
    for (const event of ['ready', 'gap', 'n']) {
      window.channel.on(event, (data, meta) => window.heard.push([channel, event, meta?.id]));
    }
  }, [channel, options]);
  const heard = (page) => page.evaluate(() => window.heard.map((one) => one.filter((part) => part != null).join(' ')));
  const hears = (page, count) => page.waitForFunction((count) => window.heard.length >= count, count);
  const asks = (server, count) => until(`${count} subscriptions`, () => server.asked.length >= count);
  const event = (channel, id) => ({ event: 'n', channel, data: '1', id });

  /** Loses the connection and returns the subscriptions of the next one. */
  async function comeBack(server, count) {
    server.asked = [];
    await server.sockets.at(-1).close({ code: 4200, reason: 'come back' });
    await asks(server, count);
    return Object.fromEntries(server.asked);
  }

  test('keeps one position for each channel and stream', async () => {
    const { page, server } = await visit();
    server.answers.a = { pos: ['o0000002a:5.bbb', 'm6d083eb0:1'], recovered: [true] };
    server.answers.b = { pos: 'o0000002a:5.bbb', recovered: [true] };
    for (const channel of ['a', 'b', 'c']) await listen(page, channel);
    await asks(server, 3);
    assert.deepEqual(server.asked, [['a', [PAGE]], ['b', [PAGE]], ['c', [PAGE]]], 'all begin where the page does');
    await hears(page, 2);

    // An event belongs to its own channel and stream only.
    server.say(event('a', 'o0000002a:7.ccc'));
    await hears(page, 3);
    assert.deepEqual(await comeBack(server, 3), {
      a: ['o0000002a:7.ccc', 'm6d083eb0:1'], b: ['o0000002a:5.bbb'], c: [PAGE],
    });

    // A position of the connection is for all channels with a subscription on it. c has none.
    await hears(page, 5);
    server.say({ event: 'pusher_internal:position', data: '{}', pos: ['o0000002a:9.ddd', 'm6d083eb0:4'] });
    server.say(event('b', 'm6d083eb0:5'));
    await hears(page, 6);
    assert.deepEqual(await comeBack(server, 3), {
      a: ['o0000002a:9.ddd', 'm6d083eb0:4'], b: ['o0000002a:9.ddd', 'm6d083eb0:5'], c: [PAGE],
    });
    // At a barrier a pong has only the position of one stream.
    await hears(page, 8);
    server.answers.a = server.answers.b = undefined;
    server.say({ event: 'pusher:pong', data: '{}', pos: 'm6d083eb0:6' });
    server.say(event('a', 'm6d083eb0:7'));
    await hears(page, 9);
    assert.deepEqual(await comeBack(server, 3), {
      a: ['o0000002a:5.bbb', 'm6d083eb0:7'], b: ['o0000002a:5.bbb', 'm6d083eb0:6'], c: [PAGE],
    });
  });

  test('handles all messages of the server, and remembers no ids', async () => {
    const { page, server } = await visit();
    server.answers.a = { pos: PAGE };
    await listen(page, 'a', { from: 'last' });
    await hears(page, 1);
    for (const id of ['o0000002a:4.b', 'o0000002a:5.c', 'o0000002a:5.c']) server.say(event('a', id));
    await hears(page, 4);
    assert.deepEqual(await heard(page), ['a ready', 'a n o0000002a:4.b', 'a n o0000002a:5.c', 'a n o0000002a:5.c']);
    await page.waitForFunction((name) => sessionStorage.getItem(name), KEPT);
    assert.equal(await page.evaluate((name) => sessionStorage.getItem(name), KEPT), '{"a":[["o0000002a:5.c"],"o"]}');
    // Without a subscribed script an event is ignored and moves no position.
    await page.evaluate(() => window.channel.unsubscribe());
    server.say(event('a', 'o0000002a:6.d'));
    server.answers.b = { pos: PAGE };
    await listen(page, 'b'); // earlier frames were handled by then
    await hears(page, 5);
    server.asked = [];
    await listen(page, 'a');
    await asks(server, 1);
    assert.deepEqual(server.asked, [['a', ['o0000002a:5.c']]]);
  });

  test('reports a gap of each stream where it matters', async () => {
    const { page, server } = await visit();
    server.answers.a = { pos: ['o0000002a:5.b', 'm6d083eb0:1'], recovered: [false] };
    await listen(page, 'a');
    await hears(page, 2);
    assert.deepEqual(await heard(page), ['a ready', 'a gap'], 'the page is older than what is kept');

    // The server restarted: its memory is empty, and no event ever came from it.
    server.answers.a = { pos: ['o0000002a:5.b', 'm00000001:0'], recovered: [true, false] };
    await comeBack(server, 1);
    await hears(page, 3);
    server.say(event('a', 'm00000001:1'));
    await hears(page, 4);
    assert.deepEqual(await heard(page), ['a ready', 'a gap', 'a ready', 'a n m00000001:1']);
    await comeBack(server, 1);
    await hears(page, 6);
    assert.deepEqual((await heard(page)).slice(4), ['a ready', 'a gap'], 'now there was something');
    server.answers.a = { pos: ['o0000002a:5.b', 'm00000001:0'], recovered: [false, true] };
    await comeBack(server, 1);
    await hears(page, 8);
    assert.deepEqual((await heard(page)).slice(6), ['a ready', 'a gap']);
  });

  test('goes on from the last position in the tab, and a page\'s own never replaces it', async () => {
    const { page, server, open } = await visit();
    server.answers.a = { pos: ['o0000002a:5.b', 'm6d083eb0:1'], recovered: [true, true] };
    server.answers.b = { pos: 'o0000002a:5.b' };
    await listen(page, 'a', { from: 'last' });
    await hears(page, 1);
    server.say(event('a', 'o0000002a:8.c'));
    await hears(page, 2);
    await open();
    await listen(page, 'a', { from: 'last' });
    await listen(page, 'b', { from: 'last' });
    await asks(server, 3);
    assert.deepEqual(server.asked.slice(1), [['a', ['o0000002a:8.c', 'm6d083eb0:1']], ['b', [PAGE]]]);
    await open();
    await listen(page, 'a');
    await asks(server, 4);
    assert.deepEqual(server.asked.at(-1), ['a', [PAGE]]);
  });

  test('handles the positions that version 0.1 kept in the tab', async () => {
    const { page, server, open } = await visit();
    const old = {
      a: [['o0000002a:5', 'm6d083eb0:3'], ['o0000002a:4', 'o0000002a:5', 'm6d083eb0:3']], b: [['@1790000000000'], []],
    };
    await page.evaluate(([name, old]) => sessionStorage.setItem(name, JSON.stringify(old)), [KEPT, old]);
    await open();
    server.answers.a = { pos: ['o0000002b:9.x', 'm00000001:0'], recovered: [false, false] };
    server.answers.b = { pos: ['o0000002b:9.x', 'm00000001:0'], recovered: [false] };
    await listen(page, 'a', { from: 'last' });
    await listen(page, 'b', { from: 'last' });
    await hears(page, 4);
    assert.deepEqual(server.asked, [['a', ['o0000002a:5', 'm6d083eb0:3']], ['b', ['@1790000000000']]]);
    assert.deepEqual(await heard(page), ['a ready', 'a gap', 'b ready', 'b gap']);
    await open();
    assert.deepEqual(await page.evaluate((name) => JSON.parse(sessionStorage.getItem(name)), KEPT), {
      a: [['o0000002b:9.x', 'm00000001:0'], 'om'], b: [['o0000002b:9.x', 'm00000001:0'], ''],
    });
    for (const broken of ['{', '[]', '"x"', 'null', '{"a":null}', '{"a":[]}', '{"a":[[],null]}']) {
      await open();
      await page.evaluate(([name, broken]) => sessionStorage.setItem(name, broken), [KEPT, broken]);
      await open();
      server.asked = [];
      server.answers.a = { pos: PAGE };
      await listen(page, 'a', { from: 'last' });
      await hears(page, 1);
    }
  });

  test('begins anywhere without a position, and where a page of version 0.1 says so', async () => {
    const without = await visit({});
    without.server.answers.a = { pos: PAGE };
    await listen(without.page, 'a');
    await hears(without.page, 1);
    assert.deepEqual(without.server.asked, [['a', undefined]]);
    const old = await visit({ position: '@1790000000000' });
    old.server.answers.a = { pos: PAGE, recovered: [false] };
    await listen(old.page, 'a');
    await hears(old.page, 2);
    assert.deepEqual(await heard(old.page), ['a ready', 'a gap']);
    assert.deepEqual(await comeBack(old.server, 1), { a: [PAGE] });
  });

  test('loads a page again for members alone, and once', async () => {
    for (const [member, may] of [[undefined, false], [false, false], [true, true]]) {
      const { page } = await visit({ position: PAGE, member });
      await listen(page, 'a');
      const loads = may && page.waitForEvent('load');
      assert.equal(await page.evaluate(() => window.client.reload()), may, `${member}`);
      await loads;
      await listen(page, 'a');
      assert.equal(await page.evaluate(() => window.client.reload()), false);
    }
  });
});
