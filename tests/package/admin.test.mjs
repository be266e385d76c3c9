// The two pages of the back end in a real browser: the component's own views, templates, tasks and scripts with
// stand-ins for Joomla's classes, against the real server and database. Every page has a strict
// Content-Security-Policy. Any error that the browser reports fails the test, except for a lost server in a test that
// stops it.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import net from 'node:net';
import { after, afterEach, before, describe, test } from 'node:test';
import { launchBrowser, missing, startStand, until, VERSION } from './stand.mjs';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const PICTURES = process.env.PICTURES; // a folder, to look at

describe('the back end', { skip: missing && `there is no ${missing}`, timeout: 240_000 }, () => {
  let stand;
  let browser;
  let contexts = [];
  let troubles = [];

  before(async () => {
    [stand, browser] = await Promise.all([startStand(), launchBrowser()]);
    // The first member becomes a super user.
    await stand.sql(`INSERT INTO #__user_usergroup_map SET user_id = ${stand.members[0].id}, group_id = 8`);
    await stand.server.restart('SIGTERM');
  });
  after(async () => {
    await browser?.close();
    await stand?.end();
  });
  afterEach(async () => {
    await Promise.all(contexts.map((context) => context.close()));
    contexts = [];
    assert.deepEqual(troubles.splice(0), [], 'errors in the browser');
  });

  /** `down`: the test stops the server, which browsers report as an error. */
  async function visit(view, { member = 0, dark = false, width = 1400, down = false, init, csp = true } = {}) {
    const context = await browser.newContext({ viewport: { width, height: width < 600 ? 844 : 900 }, bypassCSP: !csp });
    contexts.push(context);
    context.setDefaultTimeout(20_000);
    if (member !== null) await context.addCookies([{ ...stand.members[member].cookie, url: stand.url }]);
    context.on('console', (message) => {
      if (message.type() === 'error' && !(down && /WebSocket connection to|Failed to load resource/.test(message.text()))) troubles.push(message.text());
    });
    context.on('weberror', (error) => troubles.push(String(error.error())));
    const page = await context.newPage();
    if (init) await page.addInitScript(init);
    await page.goto(`${stand.url}administrator/index.php?option=com_websockets&view=${view}${dark ? '&dark=1' : ''}`);
    return page;
  }

  const text = (page, name) => page.locator(`#websockets-${name}`).innerText();
  const identified = (page, kind) => page.waitForFunction(
    (wanted) => document.querySelector('#websockets-identity').dataset.kind === wanted, kind);

  async function send(page, command) {
    await page.fill('#websockets-command', command);
    await page.press('#websockets-command', 'Enter');
  }

  async function chain(page) {
    await page.click('#websockets-chain-test');
    await page.waitForFunction(() => ['passed', 'failed'].includes(document.querySelector('#websockets-said').dataset.state));
    return page.evaluate(() => Object.fromEntries([...document.querySelectorAll('.websockets-hop')].map((row) => [
      row.id.slice('websockets-hop-'.length), {
        state: row.dataset.state,
        time: row.querySelector('.websockets-hop-time').textContent,
        words: row.querySelector('.websockets-hop-words').textContent,
        fix: row.querySelector('.websockets-hop-fix').textContent,
      },
    ])));
  }

  async function accessible(page) {
    await page.evaluate(AXE);
    const found = await page.evaluate(async () =>
      (await axe.run('.websockets', { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'] })).violations
        .map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target.join(' ')).join(', ')}`));
    assert.deepEqual(found, []);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'the page is not wider than the window');
  }

  test('the console speaks in the words of the original', async () => {
    const page = await visit('console');
    await identified(page, 'user');
    assert.match(await text(page, 'identity'), /^Connected as person1, levels 1, 2/);
    assert.equal(await text(page, 'lamp-word'), 'Connected');
    for (const command of ['test', 'version', 'tset']) await send(page, command);
    await until('the replies are there', async () => /Command not found/.test(await text(page, 'server')));
    const client = (await text(page, 'client')).replace(/\d\d:\d\d:\d\d\s+/g, '');
    assert.deepEqual(client.split('\n').filter(Boolean), [
      'Checking: WebSocket available', 'Sent automatically: token ••••', 'Sent automatically: whoami', 'Sent automatically: help',
      'Sending: test', 'Sending: version', 'Sending: tset',
    ]);
    const server = (await text(page, 'server')).replace(/\d\d:\d\d:\d\d\s+/g, '').split('\n').filter(Boolean);
    assert.equal(server[0], 'Socket opening: 1');
    assert.equal(server[1], 'Receive: This is a test!');
    assert.ok(server[2].startsWith(`Receive: jsocketd ${VERSION}`), server[2]);
    assert.equal(server[3], 'Receive: Command not found');
    await until('it is read out', async () => /Receive: Command not found/.test(await text(page, 'said')));
  });

  test('commands come from the server, and the keyboard has all it needs', async () => {
    const page = await visit('console');
    await identified(page, 'user');
    const names = await page.locator('#websockets-commands button').allInnerTexts();
    assert.ok(['test', 'version', 'help', 'whoami', 'stats', 'lag'].every((name) => names.includes(name)), names.join());
    await page.focus('#websockets-command');
    for (const command of ['ping', 'time']) await send(page, command);
    await page.keyboard.type('dra');
    await page.keyboard.press('ArrowUp');
    assert.equal(await page.inputValue('#websockets-command'), 'time');
    await page.keyboard.press('ArrowUp');
    assert.equal(await page.inputValue('#websockets-command'), 'ping');
    await page.keyboard.press('ArrowUp');
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('ArrowDown');
    assert.equal(await page.inputValue('#websockets-command'), 'dra');
    await page.keyboard.press('Escape');
    assert.equal(await page.inputValue('#websockets-command'), '');
    await page.locator('#websockets-commands button', { hasText: 'lag' }).focus();
    await page.keyboard.press('Enter');
    await until('the loop shows its delays', async () => /p99_us/.test(await text(page, 'server')));
    assert.equal(await page.evaluate(() => document.activeElement.dataset.command), 'lag');
  });

  // Stores the frames that the page sends, and replaces the form token by `wrong` if the test asks for it.
  const recording = (wrong) => `window.sent = [];
    window.WebSocket = class extends WebSocket {
      send(frame) {
        window.sent.push(frame);
        super.send(${JSON.stringify(wrong)} ? frame.replace(/^token .*/, ${JSON.stringify(`token ${wrong}`)}) : frame);
      }
    };`;
  const sent = (page) => page.evaluate(() => window.sent);

  test('each connection begins with the form token, which is neither shown nor kept', async () => {
    const page = await visit('console', { init: recording() });
    await identified(page, 'user');
    const token = await page.evaluate(() => Joomla.getOptions('csrf.token'));
    assert.match(token, /^[0-9a-f]{32}$/);
    assert.deepEqual(await sent(page), [`token ${token}`, 'whoami', 'help']);
    await send(page, 'stats');
    await until('the state is shown', async () => /uptime_seconds/.test(await text(page, 'server')));
    const lines = (await text(page, 'server')).replace(/\d\d:\d\d:\d\d\s+/g, '').split('\n').filter(Boolean);
    assert.equal(lines[0], 'Socket opening: 1');
    assert.match(lines[1], /^Receive: \{/, 'the reply to the token is not shown');
    await page.click('#websockets-connect');
    await page.click('#websockets-connect');
    await identified(page, 'user');
    assert.deepEqual((await sent(page)).slice(4), [`token ${token}`, 'whoami', 'help']);
    await page.focus('#websockets-command');
    await page.keyboard.press('ArrowUp');
    assert.equal(await page.inputValue('#websockets-command'), 'stats', 'it is no command of the reader\'s');
    // The options of the page contain it, as on each page of the back end.
    const kept = await page.evaluate(() => document.querySelector('main').outerHTML + JSON.stringify([{ ...sessionStorage }, { ...localStorage }]));
    assert.ok(!kept.includes(token));
  });

  test('a form token that is not accepted is reported, and the replies stay with their commands', async () => {
    const page = await visit('console', { init: recording('0'.repeat(32)) });
    await identified(page, 'user');
    await until('the refusal is shown', async () => /did not accept the form token of this page[^\n]*The server's answer: Not allowed/.test(await text(page, 'server')));
    for (const command of ['stats', 'test']) await send(page, command);
    await until('both are answered', async () => /Receive: This is a test!/.test(await text(page, 'server')));
    assert.match(await text(page, 'server'), /Receive: Not allowed[\s\S]*Receive: This is a test!/);
    assert.match(await text(page, 'identity'), /^Connected as person1/);
  });

  test('a token is neither shown nor kept', async () => {
    const page = await visit('console');
    await identified(page, 'user');
    await send(page, 'token very-secret');
    await until('it was answered', async () => /Not allowed/.test(await text(page, 'server')));
    assert.match(await text(page, 'client'), /Sending: token ••••/);
    assert.ok(!(await page.evaluate(() => document.documentElement.outerHTML + JSON.stringify(sessionStorage))).includes('very-secret'));
  });

  test('replies of the server stay text', async () => {
    const page = await visit('console', {
      init: () => {
        const Real = WebSocket;
        window.WebSocket = class extends Real {
          send() {
            this.dispatchEvent(new MessageEvent('message', { data: '<img src=x onerror="document.title=1">\n<b>  bold' }));
          }
        };
      },
    });
    await until('it is open', async () => await text(page, 'lamp-word') === 'Connected');
    await send(page, '<i>x</i>');
    await until('it is there', async () => /<img src=x/.test(await text(page, 'server')));
    assert.equal(await page.locator('.websockets img, .websockets b, .websockets i').count(), 0);
  });

  test('an unknown visitor sees the reason', async () => {
    const page = await visit('console', { member: null });
    await identified(page, 'guest');
    assert.match(await text(page, 'identity'), /^Connected as a guest\. The server could not find your session/);
    await send(page, 'stats');
    await until('it is refused', async () => /Not allowed/.test(await text(page, 'server')));
  });

  test('a connection that is lost comes back, at once by the button', async () => {
    const page = await visit('console', { down: true });
    await identified(page, 'user');
    await page.focus('#websockets-connect');
    await stand.server.stop();
    await until('it is tried again', async () => /Next try/.test(await text(page, 'lamp-word')));
    assert.match(await text(page, 'server'), /Socket closing: 3[\s\S]*The connection ended: 1006/);
    await until('it was tried in vain', async () => /There is no connection to ws:/.test(await text(page, 'server')));
    assert.equal(await text(page, 'connect'), 'Connect Now');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'websockets-connect', 'the focus stays');
    await send(page, 'test');
    assert.match(await text(page, 'client'), /Not sent, because there is no connection: test/);
    assert.equal(await page.inputValue('#websockets-command'), 'test', 'what was typed stays');
    await stand.server.start();
    await page.click('#websockets-connect');
    await identified(page, 'user');
    await page.click('#websockets-connect');
    assert.equal(await text(page, 'lamp-word'), 'Disconnected');
    assert.equal(await text(page, 'connect'), 'Connect');
  });

  test('the status says that all is well, and the chain works', async () => {
    const page = await visit('status');
    assert.ok((await page.locator('.websockets-facts').innerText()).includes(`jsocketd ${VERSION}, package ${VERSION}`));
    // The socket has its own port, so a missing path is no problem.
    assert.deepEqual(await page.locator('.websockets-results li').allInnerTexts(), []);
    const hops = await chain(page);
    for (const name of ['socket', 'http', 'outbox']) {
      assert.equal(hops[name].state, 'passed', JSON.stringify(hops[name]));
      assert.match(hops[name].time, /^\d+(\.\d)? ms$/);
      assert.equal(hops[name].fix, '');
    }
    assert.equal(await text(page, 'said'), 'The whole chain works.');
  });

  test('each broken hop names what fixes it', async () => {
    const page = await visit('status', { member: null });
    const stranger = await chain(page);
    assert.equal(stranger.socket.state, 'failed');
    assert.match(stranger.socket.words, /refused the subscription to private-manage-com_websockets/);
    assert.match(stranger.socket.fix, /→ For the server you are a guest/);
    assert.equal(stranger.http.state, 'passed');
    assert.equal(stranger.outbox.state, 'skipped');
    assert.match(stranger.outbox.fix, /Fix the first hop/);
  });

  test('with the server away the status says so and the chain ends at the right hops', async () => {
    await stand.server.stop();
    try {
      const page = await visit('status', { down: true });
      assert.match(await page.locator('.websockets-results').innerText(), /PHP does not reach jsocketd[\s\S]*→ Start jsocketd/);
      const hops = await chain(page);
      assert.deepEqual([hops.socket.state, hops.http.state, hops.outbox.state], ['failed', 'failed', 'skipped']);
      assert.match(hops.http.fix, /Address for PHP, now http:\/\/127\.0\.0\.1:\d+/);
      assert.match(await text(page, 'said'), /^3 of 3 hops do not work/);
    } finally {
      await stand.server.start();
    }
    const page = await visit('status');
    assert.equal((await chain(page)).outbox.state, 'passed', 'and it works again');
  });

  test('an address that is not jsocketd\'s gets the same sentence for every kind of answer, but for super users', async () => {
    const called = [];
    const listening = [];
    const listen = async (name, answer) => {
      const inner = net.createServer((socket) => {
        called.push(name);
        socket.on('error', () => {});
        socket.once('data', () => answer(socket));
      }).listen(0, '127.0.0.1');
      await once(inner, 'listening');
      listening.push(inner);
      return inner.address().port;
    };
    const http = (status, body, headers = '') => (socket) =>
      socket.end(`HTTP/1.1 ${status} Inner\r\n${headers}Content-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`);
    const flood = (socket) => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      const more = () => socket.destroyed || (socket.write('inner'.repeat(2000)) ? setImmediate(more) : socket.once('drain', more));
      more();
    };
    const closed = await listen('closed', () => {});
    await new Promise((done) => listening.pop().close(done));
    const other = await listen('other', http(200, '{"product":"jsocketd","version":"inner"}'));
    const own = 'Content-Type: application/json\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n';
    const places = {
      closed: `http://127.0.0.1:${closed}`,
      'no way there': 'http://255.255.255.255:8080',
      silent: `http://127.0.0.1:${await listen('silent', () => {})}`,
      'a page': `http://127.0.0.1:${await listen('a page', http(200, '<h1>inner</h1>'))}`,
      'another API': `http://127.0.0.1:${await listen('another API', http(403, '{"error":"inner: disabled"}'))}`,
      'an API alike': `http://127.0.0.1:${await listen('an API alike', http(400, '{"error":"inner"}', own))}`,
      'no HTTP': `http://127.0.0.1:${await listen('no HTTP', (socket) => socket.end('inner\r\n\r\n'))}`,
      'no TLS': `https://127.0.0.1:${await listen('no TLS', http(200, 'inner'))}`,
      endless: `http://127.0.0.1:${await listen('endless', flood)}`,
      redirect: `http://127.0.0.1:${await listen('redirect', http(302, '', `Location: http://127.0.0.1:${other}/\r\n`))}`,
    };
    const point = (address) =>
      stand.sql(`UPDATE #__extensions SET params = JSON_SET(params, '$.server_address', '${address}') WHERE element = 'com_websockets'`);
    const page = await visit('status', { down: true });
    const ask = async (more) => {
      const shown = await page.evaluate(async (query) => {
        const status = new DOMParser().parseFromString(await (await fetch(`index.php?option=com_websockets&view=status${query}`)).text(), 'text/html');
        const headers = { 'X-CSRF-Token': Joomla.getOptions('csrf.token') };
        const chain = await fetch(`index.php?option=com_websockets&format=json&task=chain.http${query}`, { method: 'POST', headers });
        return `${status.querySelector('.websockets-results').textContent} ${chain.status} ${await chain.text()}`;
      }, more);
      return shown.replace(/\s+/g, ' ');
    };
    try {
      const words = {};
      for (const [name, address] of Object.entries(places)) {
        await point(address);
        const shown = await ask('&plain=1');
        words[name] = shown.replaceAll(address, 'ADDRESS').replaceAll(address.replaceAll('/', '\\/'), 'ADDRESS');
        assert.ok(!shown.includes('inner'), shown);
        const all = await ask('');
        assert.ok(!all.includes('inner') || name === 'an API alike', all);
        assert.notEqual(all, shown, 'super users see more');
      }
      for (const [name, said] of Object.entries(words)) assert.equal(said, words.closed, name);
      assert.match(words.closed, /PHP gets no answer from jsocketd: No jsocketd answers\./);
      assert.ok(!called.includes('other'), 'the redirect was not followed');
      assert.ok(Object.keys(places).slice(2).every((name) => called.includes(name)), called.join());
      await until('the reasons are in the log', () => /Nothing answers at/.test(stand.log()) && /is no jsocketd: it says 302, a redirect/.test(stand.log()));
      assert.ok(!stand.log().includes('<h1>inner'));
    } finally {
      await point(`http://127.0.0.1:${stand.port}`);
      for (const inner of listening) inner.close();
    }
  });

  test('a table that no server reads is noticed by the third hop', async () => {
    const page = await visit('status', { down: true });
    // PHP writes into the table, but the event never comes, as if the server read the table of another site.
    await page.route('**/*task=chain.outbox*', (route) => route.fulfill({ json: { success: true, data: { ms: 1 } } }));
    const hops = await chain(page);
    assert.equal(hops.outbox.state, 'failed');
    assert.match(hops.outbox.words, /no event came within 5 seconds/);
    assert.match(hops.outbox.fix, /\[joomla\] root = '.*' and \[database\] outbox = true/);
  });

  test('an invalid answer of the task gets a sentence', async () => {
    const page = await visit('status', { down: true });
    await page.route('**/*task=chain.http*', (route) => route.fulfill({ contentType: 'text/html', body: '<p>Log in</p>' }));
    const { http } = await chain(page);
    assert.equal(http.state, 'failed');
    assert.match(http.words, /Joomla's answer was not valid: HTTP 200/);
  });

  test('the tasks refuse invalid requests', async () => {
    const page = await visit('status', { down: true });
    const call = (task, init) => page.evaluate(async ([name, options]) => {
      const answer = await fetch(`index.php?option=com_websockets&format=json&task=chain.${name}`, options);
      return [answer.status, (await answer.json()).success];
    }, [task, init]);
    const token = await page.evaluate(() => Joomla.getOptions('csrf.token'));
    const rows = () => stand.sql('SELECT COUNT(*) FROM #__websockets_outbox');
    const before = await rows();
    assert.deepEqual(await call('http', {}), [405, false]);
    assert.deepEqual(await call('http', { method: 'POST' }), [403, false]);
    assert.deepEqual(await call('outbox', { method: 'POST', headers: { 'X-CSRF-Token': token } }), [400, false]);
    assert.equal(await rows(), before);
    assert.deepEqual(await call('http', { method: 'POST', headers: { 'X-CSRF-Token': token } }), [200, true]);
  });

  test('no page and no answer of a task has a secret of the options', async () => {
    const former = 'f0'.repeat(16);
    await stand.sql(`UPDATE #__extensions SET params = JSON_SET(params, '$.app_secret_old', '${former}', '$.app_secret_old_until', ${2 ** 31})
      WHERE element = 'com_websockets'`);
    for (const view of ['console', 'status']) {
      const page = await visit(view, { down: true });
      let seen = await page.content();
      for (const task of view === 'status' ? ['http', 'outbox'] : []) {
        seen += await page.evaluate(async (name) => {
          const headers = { 'X-CSRF-Token': Joomla.getOptions('csrf.token') };
          const body = new URLSearchParams({ nonce: '0123456789abcdef' });
          return (await fetch(`index.php?option=com_websockets&format=json&task=chain.${name}`, { method: 'POST', headers, body })).text();
        }, task);
      }
      assert.ok(seen.includes(view === 'status' ? '"success":true' : 'websockets-command'));
      for (const secret of [stand.app.app_secret, former]) assert.ok(!seen.includes(secret), view);
    }
  });

  test('snippets are copied as they stand there', async () => {
    const page = await visit('status');
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
    await page.locator('details:has(#websockets-snippet-nginx) > summary').click();
    const copy = page.locator('[data-copy="websockets-snippet-nginx"]');
    await copy.click();
    await page.locator('.websockets-copy', { hasText: 'Copied' }).waitFor();
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    assert.equal(copied, await page.locator('#websockets-snippet-nginx').textContent());
    assert.match(copied, new RegExp(`server 127\\.0\\.0\\.1:${stand.port};`));
    await copy.waitFor();
  });

  for (const view of ['console', 'status']) {
    for (const dark of [false, true]) {
      for (const width of [1400, 390]) {
        test(`${view}, ${dark ? 'dark' : 'light'}, ${width} px: nothing for axe to find`, async () => {
          const page = await visit(view, { dark, width, csp: false });
          if (view === 'console') {
            await identified(page, 'user');
            await send(page, 'stats');
            await until('it is answered', async () => /uptime_seconds/.test(await text(page, 'server')));
          } else {
            await chain(page);
            await page.evaluate(() => document.querySelectorAll('details').forEach((one) => (one.open = true)));
          }
          await accessible(page);
          if (PICTURES) await page.screenshot({ path: `${PICTURES}/${view}-${dark ? 'dark' : 'light'}-${width}.png`, fullPage: true });
        });
      }
    }
  }
});
