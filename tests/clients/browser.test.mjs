// pusher-js in Chromium against the real binary. The page is another origin's, as behind a site's own web server: it loads
// pusher-js from node_modules and has its subscriptions signed by its own back end. CHROMIUM names the browser.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { after, afterEach, before, describe, test } from 'node:test';
import { chromium } from 'playwright-core';
import { APP, skip as noBinary, startSite, until } from './site.mjs';

const BROWSER = process.env.CHROMIUM ?? '/usr/bin/chromium';
const SCRIPT = readFileSync(createRequire(import.meta.url).resolve('pusher-js/dist/web/pusher-with-encryption.min.js'));
const skip = noBinary || (existsSync(BROWSER) ? false : `there is no ${BROWSER}`);

const PAGE = `<!doctype html><meta charset="utf-8"><title>A site</title><link rel="icon" href="data:,">
<script src="/pusher.js"></script>
<script>
  window.heard = [];
  window.states = [];
  window.open = (key, options) => {
    window.client = new Pusher(key, options);
    client.connection.bind('state_change', ({ current }) => states.push(current));
    client.connection.bind('error', (error) => heard.push(['error', error.data?.code ?? error.error?.data?.code ?? null]));
  };
  window.join = (name) => client.subscribe(name).bind_global((event, data) => heard.push([name, event, data]));
</script>`;

/** The site's web server: the page, the script, and the back end that signs; the cookie says who asks. */
async function startBackEnd(library) {
  const server = createServer(async (request, response) => {
    const answer = (type, body) => response.writeHead(200, { 'content-type': type }).end(body);
    if (request.url === '/') return answer('text/html', PAGE);
    if (request.url === '/pusher.js') return answer('text/javascript', SCRIPT);
    let body = '';
    for await (const chunk of request.setEncoding('utf8')) body += chunk;
    const form = new URLSearchParams(body);
    const id = /user=(\w+)/.exec(request.headers.cookie ?? '')?.[1] ?? 'guest';
    const socket = form.get('socket_id');
    const channel = form.get('channel_name');
    const user = { id, user_info: { name: id } };
    const member = { user_id: id, user_info: user.user_info };
    if (request.url === '/user') return answer('application/json', JSON.stringify(library.authenticateUser(socket, user)));
    const args = channel?.startsWith('presence-') ? [socket, channel, member] : [socket, channel];
    return answer('application/json', JSON.stringify(library.authorizeChannel(...args)));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    end: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

describe('pusher-js in a browser', { skip, timeout: 120_000 }, () => {
  let browser;
  let site;
  let library;
  let backEnd;
  let contexts = [];
  let troubles = [];

  before(async () => {
    site = await startSite();
    library = site.library();
    backEnd = await startBackEnd(library);
    browser = await chromium.launch({
      executablePath: BROWSER,
      args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
        '--disable-component-update', '--disable-sync'],
    });
  });
  after(async () => {
    await browser?.close();
    backEnd?.end();
    await site?.end();
  });
  afterEach(async () => {
    await Promise.all(contexts.map((context) => context.close()));
    const unexpected = troubles;
    [contexts, troubles] = [[], []];
    assert.deepEqual(unexpected, [], 'errors in the browser');
  });

  /** A page of a visitor; with its options the client connects. */
  async function visit(user, { port = site.port, key = APP.key, expectTrouble = false, ...options } = {}) {
    const context = await browser.newContext();
    contexts.push(context);
    await context.addCookies([{ name: 'user', value: user, url: backEnd.url }]);
    const page = await context.newPage();
    page.setDefaultTimeout(15_000);
    if (!expectTrouble) {
      page.on('console', (message) => message.type() === 'error' && troubles.push(message.text()));
      page.on('pageerror', (error) => troubles.push(String(error)));
    }
    await page.goto(backEnd.url);
    await page.evaluate(([key, given]) => window.open(key, given), [key, {
      cluster: '',
      wsHost: '127.0.0.1',
      wsPort: port,
      forceTLS: false,
      enabledTransports: ['ws', 'wss'],
      channelAuthorization: { endpoint: '/auth', transport: 'ajax' },
      userAuthentication: { endpoint: '/user', transport: 'ajax' },
      ...options,
    }]);
    return page;
  }

  const heard = (page) => page.evaluate(() => window.heard);
  const connected = (page) => page.waitForFunction(() => window.client.connection.state === 'connected');

  async function join(page, ...names) {
    for (const name of names) {
      await page.evaluate((name) => { window.join(name); }, name);
      await page.waitForFunction((name) => window.client.channel(name).subscribed, name);
    }
  }

  /** Waits until the page has received this many events besides subscriptions. */
  async function things(page, count) {
    let all;
    const said = () => JSON.stringify(all);
    await until(`${count} events were received`, async () => {
      all = (await heard(page)).filter(([, event]) => event !== 'pusher:subscription_succeeded');
      assert.ok(all.length <= count, `more than ${count} things: ${said()}`);
      return all.length === count;
    });
    return all;
  }

  test('receives events of public, private, encrypted and presence channels', async () => {
    const page = await visit('ada');
    const names = ['news', 'private-x', 'private-encrypted-x', 'presence-x'];
    await join(page, ...names);
    for (const name of names) await library.trigger(name, 'event', { name, text: 'é 🐘' });
    assert.deepEqual(await things(page, 4), names.map((name) => [name, 'event', { name, text: 'é 🐘' }]));
  });

  test('two visitors see each other come, speak and go', async () => {
    const ada = await visit('ada');
    await join(ada, 'presence-room');
    const bob = await visit('bob');
    await join(bob, 'presence-room');
    assert.deepEqual(await things(ada, 1), [['presence-room', 'pusher:member_added', { id: 'bob', info: { name: 'bob' } }]]);
    await bob.evaluate(() => window.client.channel('presence-room').trigger('client-hi', { n: 1 }));
    assert.deepEqual((await things(ada, 2))[1], ['presence-room', 'client-hi', { n: 1 }]);
    await bob.close();
    assert.deepEqual((await things(ada, 3))[2], ['presence-room', 'pusher:member_removed', { id: 'bob', info: { name: 'bob' } }]);
    assert.deepEqual(await ada.evaluate(() => window.client.channel('presence-room').members.members), { ada: { name: 'ada' } });
  });

  test('connects with the defaults for transports too', async () => {
    const page = await visit('ada', { enabledTransports: undefined, httpHost: '127.0.0.1', httpPort: site.port });
    await connected(page);
    assert.equal(await page.evaluate(() => window.client.connection.connection.transport?.name ?? 'ws'), 'ws');
  });

  test('signs in and is thrown out for good', async () => {
    const page = await visit('eve');
    await page.evaluate(() => {
      window.client.signin();
      window.client.user.bind('note', (data) => window.heard.push(['note', data]));
    });
    await page.waitForFunction(() => window.client.user.user_data?.id === 'eve');
    await library.sendToUser('eve', 'note', 'psst');
    await until('the note came', async () => (await heard(page)).some(([what]) => what === 'note'));
    await library.terminateUserConnections('eve');
    await page.waitForFunction(() => window.client.connection.state === 'disconnected');
  });

  test('an unknown key is reported and not tried again', async () => {
    const page = await visit('ada', { key: 'nobody' });
    await page.waitForFunction(() => window.client.connection.state === 'disconnected');
    assert.deepEqual(await heard(page), [['error', 4001]]);
    // Where it tries again, it does so after a second.
    await page.waitForTimeout(1_500);
    assert.deepEqual(await page.evaluate(() => window.states), ['disconnected']);
    assert.deepEqual(await heard(page), [['error', 4001]]);
  });

  test('comes back after a restart and has its channels again', async () => {
    const first = await startSite({ limits: 'drain_seconds = 0' });
    // The browser reports every refused connection while the server is away.
    const page = await visit('ada', { port: first.port, expectTrouble: true });
    await join(page, 'news', 'presence-room');
    await first.stop('SIGTERM');
    await page.waitForFunction(() => window.client.connection.state !== 'connected');
    const second = await startSite({ port: first.port });
    try {
      // Where the first attempt comes too early, pusher-js takes 15 s to the next.
      await page.waitForFunction(() => window.client.connection.state === 'connected', undefined, { timeout: 40_000 });
      await page.waitForFunction(() => ['news', 'presence-room'].every((name) => window.client.channel(name).subscribed));
      await second.library().trigger('news', 'event', 'again');
      await until('the event came', async () => (await heard(page)).some(([, event, data]) => event === 'event' && data === 'again'));
    } finally {
      await second.end();
    }
  });
});
