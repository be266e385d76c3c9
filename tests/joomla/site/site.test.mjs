// The whole chain on a real Joomla. The package is installed from its zip. An administrator uses the console and tests
// the chain. Visitors in their own browsers see changes, and only those that they may see. In the end nothing is left.
// tests/joomla/run says what this needs. Each test continues where the one before it ended.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, test as each } from 'node:test';

import * as joomla from './joomla.mjs';

const require = createRequire(`${process.cwd()}/package.json`);
const { chromium } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

const { JOOMLA_ROOT, PACKAGE, JSOCKETD_BIN, CHROMIUM, PICTURES } = process.env;
const USER = process.env.JOOMLA_USER ?? 'admin';
const PASSWORD = process.env.JOOMLA_PASSWORD ?? 'admin-password-1';
const HOST = new URL(joomla.URL_OF_SITE).hostname;
const name = `jsocketd-${randomBytes(4).toString('hex')}`;
const SPECIAL = 3; // Joomla's view level for staff
const SHOWN = '.websockets-bar.is-shown';

const test = (what, run) => each(what, { timeout: 60_000 }, async (context) => {
  try {
    await run(context);
  } catch (error) {
    if (PICTURES) await admin.screenshot({ path: `${PICTURES}/failed-${what.replace(/\W+/g, '-')}.png` }).catch(() => {});
    throw error;
  }
});

let browser, admin, server, category, article;
const readers = {};
let people = {};

/** Starts the server with the site's folder. `listen` makes it use the same address again. */
async function startServer(listen = `${HOST}:0`) {
  const { JSOCKETD_BIN: _, ...env } = process.env;
  const child = spawn(JSOCKETD_BIN, ['serve', '--joomla', JOOMLA_ROOT, '--listen', listen], { stdio: ['ignore', 'pipe', 'pipe'], env });
  let output = '';
  const address = await new Promise((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        output += chunk;
        const said = /listening on http:\/\/(\S+)\//.exec(output);
        if (said) resolve(said[1]);
      });
    }
    child.once('exit', (code) => reject(new Error(`the server ended with ${code}:\n${output}`)));
  });
  return {
    address,
    output: () => output,
    end: (signal = 'SIGTERM') => new Promise((resolve) => {
      child.once('exit', resolve);
      child.kill(signal);
    }),
  };
}

const newPage = async () => {
  const page = await (await browser.newContext({ viewport: { width: 1400, height: 900 } })).newPage();
  page.setDefaultTimeout(20_000);
  page.troubles = [];
  page.on('pageerror', ({ stack }) => stack.includes('com_websockets') && page.troubles.push(stack));
  return page;
};

const articlePage = (id = article) => joomla.front(`option=com_content&view=article&id=${id}`);

/** Opens the article and waits until the page is subscribed to the article's channel. */
async function read(page, id = article) {
  await page.goto(articlePage(id));
  await heard(page, `private-com_content.article.${id}`);
}

/** Resolves when the page's client is subscribed to the channel, and rejects if that is refused. */
const heard = (page, channel) => page.evaluate(async (channel) => {
  const { connect } = await import(globalThis.Joomla.getOptions('com_websockets').module);
  return new Promise((resolve, reject) => {
    const client = connect();
    const states = [client.state];
    client.on('state', (state, why) => states.push(`${state} ${why?.code ?? ''}`));
    client.subscribe(channel).on('ready', resolve).on('refused', ({ error }) => reject(new Error(error)));
    setTimeout(() => reject(new Error(`not subscribed after 20 s: ${states.join(', ')}`)), 20_000);
  });
}, channel);

/** The identity of the page for the server. */
const whoami = (page) => page.evaluate((url) => new Promise((resolve, reject) => {
  const socket = new WebSocket(url);
  socket.onopen = () => socket.send('whoami');
  socket.onmessage = ({ data }) => resolve(JSON.parse(data));
  socket.onerror = () => reject(new Error('no console'));
}), `ws://${server.address}/`);

async function picture(page, name) {
  if (!PICTURES) return;
  mkdirSync(PICTURES, { recursive: true });
  for (const width of [1400, 390]) {
    for (const colorScheme of ['light', 'dark']) {
      await page.setViewportSize({ width, height: 900 });
      await page.emulateMedia({ colorScheme });
      // The template Atum has its own switch for dark mode. It follows the system only when a page is loaded.
      await page.evaluate((scheme) => document.documentElement.setAttribute('data-bs-theme', scheme), colorScheme);
      await page.screenshot({ path: `${PICTURES}/${name}-${width}-${colorScheme}.png`, fullPage: true });
    }
  }
  await page.setViewportSize({ width: 1400, height: 900 });
  await page.emulateMedia({ colorScheme: 'light' });
  await page.evaluate(() => document.documentElement.setAttribute('data-bs-theme', 'light'));
}

/** The problems that axe finds in a part of a page, in words. */
async function troubles(page, part) {
  await page.evaluate(axe);
  const { violations, passes } = await page.evaluate((part) => globalThis.axe.run(part), part);
  assert.ok(passes.length > 3, 'axe did not look at the page');
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join(' | ')}`);
}

before(async () => {
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking'] });
  admin = await newPage();
  await joomla.logInToBackEnd(admin, USER, PASSWORD);
});

after(async () => {
  // Nothing stays on the site, also after a failure.
  if (admin) {
    const tidy = (what) => what().catch((error) => console.error(`# not tidied: ${error.message}`));
    if (article) await tidy(async () => {
      await joomla.articles(admin, 'trash', [article]);
      await joomla.articles(admin, 'delete', [article]);
    });
    if (category) await tidy(async () => {
      await joomla.categories(admin, 'trash', [category]);
      await joomla.categories(admin, 'delete', [category]);
    });
    for (const { id } of Object.values(people)) await tidy(() => joomla.users(admin, 'delete', [id]));
  }
  await browser?.close();
  await server?.end();
});

test('the package is installed from its zip, plugin enabled, credentials made', async () => {
  const said = await joomla.command('extension:install', `--path=${PACKAGE}`);
  assert.match(said, /\[OK\]/);
  server = await startServer();
  assert.match(await joomla.command('list'), /websockets:publish/, 'the plugin is not enabled');
  await admin.goto(joomla.back('option=com_config&view=component&component=com_websockets'));
  assert.match(await admin.inputValue('[name="jform[app_key]"]'), /^[0-9a-f]{32}$/);
  assert.equal(await admin.inputValue('[name="jform[app_secret]"]'), '', 'the secret is not on the page');
  await picture(admin, 'options');
});

test('nonsense is refused by the options with a sentence', async () => {
  for (const [field, value] of [['server_url', 'http://example.org'], ['server_address', 'javascript:1'], ['spread_ms', '-1'], ['app_secret', 'elevenchars']]) {
    await assert.rejects(joomla.saveOptions(admin, 'com_websockets', { [field]: value }), joomla.Refused, `${field} = ${value}`);
  }
  await joomla.saveOptions(admin, 'com_websockets', {
    server_url: `ws://${server.address}`, server_address: `http://${server.address}`, load: 'everywhere', spread_ms: 200, delete_data: 1,
  });
});

test('the status page finds nothing wrong, and the chain holds', async () => {
  await admin.goto(joomla.back('option=com_websockets&view=status'));
  const found = await admin.locator('.websockets-results .alert-danger, .websockets-results .alert-warning').allInnerTexts();
  // A busy machine is slow. The answer of the server shows that the form kept the secret.
  assert.deepEqual(found.filter((one) => !one.includes('loop was delayed')), []);
  await admin.click('#websockets-chain-test');
  for (const hop of ['socket', 'http', 'outbox']) {
    await admin.waitForSelector(`#websockets-hop-${hop}[data-state=passed]`);
    assert.match(await admin.innerText(`#websockets-hop-${hop} .websockets-hop-time`), /\d/);
  }
  assert.deepEqual(await troubles(admin, '#websockets-status'), []);
  assert.deepEqual(admin.troubles, []);
  await picture(admin, 'status');
});

test('a secret that was changed works at once, and the one before goes on', async () => {
  await admin.goto(joomla.back('option=com_websockets&view=status'));
  await Promise.all([admin.waitForNavigation(), admin.click('form:has([value="credentials.rotate"]) button')]);
  await admin.click('#websockets-chain-test');
  await admin.waitForSelector('#websockets-hop-outbox[data-state=passed]');
  assert.equal(await admin.locator('.websockets-hop[data-state=passed]').count(), 3);
});

test('the console identifies the administrator and answers test and version', async () => {
  await admin.goto(joomla.back('option=com_websockets&view=console'));
  await admin.waitForSelector('#websockets-lamp[data-state=open]');
  await admin.waitForFunction((user) => document.querySelector('#websockets-identity').textContent.includes(user), USER);
  for (const [command, answer] of [['test', 'This is a test!'], ['version', 'jsocketd'], ['stats', 'uptime_seconds'], ['blame', 'culprits of'], ['nonsense', 'Command not found']]) {
    await admin.fill('#websockets-command', command);
    await admin.press('#websockets-command', 'Enter');
    await admin.waitForFunction((text) => document.querySelector('#websockets-server').textContent.includes(text), answer);
  }
  assert.deepEqual(await troubles(admin, '#websockets-console'), []);
  await picture(admin, 'console');
});

test('an administrator who is no Super User may look too, unless the permissions say so', async () => {
  const [username, password] = [`${name}-helper`, `${randomBytes(9).toString('base64')}aA1!`];
  people.helper = { username, password, id: await joomla.addUser(admin, { username, password, groups: [7] }) };
  const page = await newPage();
  await joomla.logInToBackEnd(page, username, password);
  await page.goto(joomla.back('option=com_websockets&view=status'));
  await page.click('#websockets-chain-test');
  await page.waitForSelector('#websockets-hop-outbox[data-state=passed]');
  await page.goto(joomla.back('option=com_websockets&view=console'));
  await page.waitForSelector('#websockets-lamp[data-state=open]');
  const before = await joomla.sql("SELECT rules FROM #__assets WHERE name = 'com_websockets'");
  const rules = (text) => joomla.sql(`UPDATE #__assets SET rules = '${text}' WHERE name = 'com_websockets'; SELECT 1`);
  try {
    await rules('{"websockets.monitor":{"8":1}}');
    assert.equal((await page.goto(joomla.back('option=com_websockets&view=status'))).status(), 403);
  } finally {
    await rules(before[0].rules);
  }
});

test('a user who logs in is identified', async () => {
  category = await joomla.saveCategory(admin, { title: name, published: 1 });
  article = await joomla.saveArticle(admin, { title: name, catid: category, state: 1, access: 1 });
  for (const [who, groups] of [['reader', [2]], ['staff', [3, 6]]]) {
    const [username, password] = [`${name}-${who}`, `${randomBytes(9).toString('base64')}aA1!`];
    people[who] = { username, password, id: await joomla.addUser(admin, { username, password, groups }) };
    readers[who] = await newPage();
    await joomla.logIn(readers[who], username, password);
  }
  readers.guest = await newPage();
  for (const page of Object.values(readers)) await read(page);
  assert.equal((await whoami(readers.reader)).user_id, people.reader.id);
  assert.equal((await whoami(readers.guest)).identity, 'guest');
});

test('a page says where it begins, and nothing personal', async () => {
  const options = await readers.guest.evaluate(() => globalThis.Joomla.getOptions('com_websockets'));
  assert.match(options.position, /^o[0-9a-f]{8}:\d+\.[0-9a-z]+$/);
  assert.ok(!options.member);
  const member = await readers.reader.evaluate(() => globalThis.Joomla.getOptions('com_websockets'));
  assert.match(member.position, /^o[0-9a-f]{8}:\d+\.[0-9a-z]+$/);
  assert.ok(member.member);
});

test('saving an article in one browser shows the bar in the others', async () => {
  await joomla.saveArticle(admin, { id: article, title: `${name} again` });
  for (const page of Object.values(readers)) await page.waitForSelector(SHOWN);
  assert.deepEqual(await troubles(readers.guest, '.websockets-bar'), []);
  assert.equal(await readers.guest.evaluate(() => document.activeElement === document.body), true);
  await picture(readers.guest, 'bar');
  await Promise.all([readers.guest.waitForNavigation(), readers.guest.locator(`${SHOWN} button`).first().click()]);
  assert.match(await readers.guest.content(), new RegExp(`${name} again`));
});

test('a page that was made after the change does not speak of it', async () => {
  for (const page of Object.values(readers)) await read(page);
  await new Promise((resolve) => setTimeout(resolve, 1500));
  for (const page of Object.values(readers)) assert.equal(await page.locator(SHOWN).count(), 0);
});

test('a private level is withdrawn from a guest and stays with the staff', async () => {
  await joomla.saveArticle(admin, { id: article, access: SPECIAL });
  for (const page of Object.values(readers)) await page.waitForSelector(SHOWN);
  try {
    await assert.rejects(heard(readers.guest, `private-com_content.article.${article}`), /you may not see/);
    const leaked = readers.guest.evaluate(async (channel) => {
      const { connect } = await import(globalThis.Joomla.getOptions('com_websockets').module);
      const heard = [];
      connect().subscribe(channel).on('changed', (data) => heard.push(data));
      await new Promise((resolve) => setTimeout(resolve, 500)); // the events from the time of the right come first
      heard.length = 0;
      await new Promise((resolve) => setTimeout(resolve, 5000));
      return heard;
    }, `private-com_content.article.${article}`);
    await read(readers.staff);
    await joomla.saveArticle(admin, { id: article, title: `${name} for the staff` });
    await readers.staff.waitForSelector(SHOWN);
    assert.deepEqual(await leaked, []);
  } finally {
    await joomla.saveArticle(admin, { id: article, access: 1 });
  }
});

test('a draft is not announced', async () => {
  const channel = `private-com_content.category.${category}`;
  await readers.reader.goto(articlePage());
  await readers.reader.evaluate(async (channel) => {
    const { connect } = await import(globalThis.Joomla.getOptions('com_websockets').module);
    globalThis.heard = [];
    const all = connect().subscribe(channel);
    for (const kind of ['created', 'changed', 'gone']) all.on(kind, (data) => globalThis.heard.push(data));
    await new Promise((resolve) => all.on('ready', resolve));
  }, channel);
  const draft = await joomla.saveArticle(admin, { title: `${name} draft`, catid: category, state: 0, access: 1 });
  await joomla.saveArticle(admin, { id: draft, title: `${name} draft again` });
  await joomla.saveArticle(admin, { id: article, title: `${name} once more` });
  await readers.reader.waitForFunction((id) => globalThis.heard.some((one) => one.id === id), article);
  assert.deepEqual(await readers.reader.evaluate((id) => globalThis.heard.filter((one) => one.id === id), draft), []);
  await joomla.articles(admin, 'publish', [draft]);
  await readers.reader.waitForFunction((id) => globalThis.heard.some((one) => one.id === id), draft);
  assert.deepEqual(await readers.reader.evaluate(() => [...new Set(globalThis.heard.flatMap(Object.keys))].sort()), ['at', 'category', 'context', 'id', 'kind']);
  await joomla.articles(admin, 'trash', [draft]);
  await joomla.articles(admin, 'delete', [draft]);
  await readers.reader.waitForFunction((id) => globalThis.heard.some((one) => one.id === id && one.kind === 'gone'), draft);
});

test('a category that is unpublished takes its articles with it', async () => {
  for (const page of Object.values(readers)) await read(page);
  await joomla.categories(admin, 'unpublish', [category]);
  for (const page of Object.values(readers)) {
    await page.waitForSelector(SHOWN);
    assert.equal(await page.locator(`${SHOWN} button`).count(), 1, 'a page that is gone cannot be loaded again');
  }
  await picture(readers.guest, 'gone');
  await joomla.categories(admin, 'publish', [category]);
});

test('a reload during publishing loses nothing and doubles nothing', async () => {
  const channel = `private-user-${people.reader.id}`;
  const page = readers.reader;
  const listen = () => page.evaluate(async (channel) => {
    const { connect } = await import(globalThis.Joomla.getOptions('com_websockets').module);
    const seen = JSON.parse(sessionStorage.getItem('seen') ?? '[]');
    const one = connect().subscribe(channel, { from: 'last' });
    one.on('count', ({ n }) => sessionStorage.setItem('seen', JSON.stringify([...JSON.parse(sessionStorage.getItem('seen') ?? '[]'), n])));
    one.on('gap', () => sessionStorage.setItem('gap', '1'));
    await new Promise((resolve) => one.on('ready', resolve));
    return seen.length;
  }, channel);
  await page.goto(articlePage());
  await listen();
  const count = 12;
  const publishing = (async () => {
    for (let n = 1; n <= count; n += 1) await joomla.command('websockets:publish', channel, 'count', JSON.stringify({ n }));
  })();
  for (let reload = 0; reload < 4; reload += 1) {
    await new Promise((resolve) => setTimeout(resolve, 400));
    await page.reload();
    await listen();
  }
  await publishing;
  await page.waitForFunction((count) => JSON.parse(sessionStorage.getItem('seen')).length >= count, count);
  const seen = await page.evaluate(() => JSON.parse(sessionStorage.getItem('seen')));
  assert.deepEqual(seen, Array.from({ length: count }, (_, n) => n + 1));
  assert.equal(await page.evaluate(() => sessionStorage.getItem('gap')), null);
});

test('pages survive a server that goes away, and get the missed events', async () => {
  const page = readers.staff;
  await read(page);
  const { address } = server;
  await server.end('SIGKILL');
  const started = Date.now();
  await joomla.saveArticle(admin, { id: article, title: `${name} without a server` });
  assert.ok(Date.now() - started < 20_000, 'a save must not wait for the server');
  assert.equal((await readers.guest.goto(articlePage())).status(), 200);
  server = await startServer(address);
  await page.waitForSelector(SHOWN, { timeout: 60_000 });
});

test('log-out closes the socket', async () => {
  const page = readers.reader;
  await page.goto(articlePage());
  const closed = page.evaluate((url) => new Promise((resolve) => {
    const socket = new WebSocket(`${url}?protocol=7`);
    socket.onclose = ({ code }) => resolve(code);
    setTimeout(() => resolve('still open'), 15_000);
  }), await page.evaluate(() => {
    const { url, key } = globalThis.Joomla.getOptions('com_websockets');
    return `${url}/app/${key}`;
  }));
  await new Promise((resolve) => setTimeout(resolve, 500));
  await joomla.logOut(page);
  assert.equal(await closed, 4200);
});

test('a blocked user loses the connection', async () => {
  const page = readers.staff;
  await page.goto(articlePage());
  const closed = page.evaluate(() => new Promise((resolve) => {
    const { url, key } = globalThis.Joomla.getOptions('com_websockets');
    const socket = new WebSocket(`${url}/app/${key}?protocol=7`);
    socket.onmessage = ({ data }) => data.includes('connection_established') && socket.send(JSON.stringify({ event: 'pusher:subscribe', data: { channel: 'private-level-1', auth: '' } }));
    socket.onclose = ({ code }) => resolve(code);
    setTimeout(() => resolve('still open'), 15_000);
  }));
  await new Promise((resolve) => setTimeout(resolve, 1000));
  await joomla.users(admin, 'block', [people.staff.id]);
  assert.equal(await closed, 4009);
});

test('an enforced policy lets the socket through, also of pages that a cache keeps', async () => {
  const enforced = {
    contentsecuritypolicy: 1,
    contentsecuritypolicy_client: 'site',
    contentsecuritypolicy_report_only: 0,
    contentsecuritypolicy_values: { contentsecuritypolicy_values0: { directive: 'connect-src', value: "'self'", client: 'site' } },
  };
  const policy = await joomla.setPlugin('system', 'httpheaders', { enabled: 1, params: JSON.stringify(enforced) });
  const cache = await joomla.setPlugin('system', 'cache', { enabled: 1, params: '{}' });
  try {
    const positions = [];
    for (let visit = 0; visit < 2; visit += 1) {
      const guest = await newPage();
      const response = await guest.goto(articlePage());
      const sent = response.headers()['content-security-policy'];
      assert.match(sent, /connect-src 'self' ws:\/\//);
      assert.ok(sent.includes(`ws://${server.address}`), sent);
      await heard(guest, `private-com_content.article.${article}`);
      positions.push(await guest.evaluate(() => globalThis.Joomla.getOptions('com_websockets').position));
      await guest.context().close();
    }
    assert.equal(positions[0], positions[1], 'the second page did not come from the cache');
  } finally {
    await joomla.setPlugin('system', 'cache', cache);
    await joomla.setPlugin('system', 'httpheaders', policy);
  }
});

test('the kill switch ends it, pages go on', async () => {
  await joomla.saveOptions(admin, 'com_websockets', { enabled: 0 });
  await readers.guest.goto(articlePage());
  assert.equal(await readers.guest.evaluate(() => globalThis.Joomla?.getOptions?.('com_websockets') ?? null), null);
  await joomla.saveOptions(admin, 'com_websockets', { enabled: 1 });
  // The row is the only message to the server. Without connections the server reads the table every two seconds.
  await new Promise((resolve) => setTimeout(resolve, 2500));
  await read(readers.guest);
});

test('the commands of the site answer', async () => {
  assert.match(await joomla.command('websockets:status'), /0\.\d+\.\d+/);
});

test('installing the package again is an update that keeps the options', async () => {
  await admin.goto(joomla.back('option=com_config&view=component&component=com_websockets'));
  const key = await admin.inputValue('[name="jform[app_key]"]');
  assert.match(await joomla.command('extension:install', `--path=${PACKAGE}`), /\[OK\]/);
  await admin.goto(joomla.back('option=com_config&view=component&component=com_websockets'));
  assert.equal(await admin.inputValue('[name="jform[app_key]"]'), key);
  assert.equal(await admin.inputValue('[name="jform[server_url]"]'), `ws://${server.address}`);
  await read(readers.guest);
});

test('installing the package again makes a table that is missing', async () => {
  const rows = (await joomla.sql('DROP TABLE #__websockets_outbox; SHOW TABLES LIKE "%websockets%"')).length;
  assert.equal(rows, 1);
  await admin.goto(joomla.back('option=com_websockets&view=status'));
  assert.match(await admin.innerText('.websockets-results'), /websockets_outbox/);
  await joomla.saveArticle(admin, { id: article, title: `${name} without a table` });
  assert.match(await joomla.command('extension:install', `--path=${PACKAGE}`), /\[OK\]/);
  assert.equal((await joomla.sql('SHOW TABLES LIKE "%websockets%"')).length, 2);
});

test('uninstalling leaves nothing', async () => {
  const list = await joomla.command('extension:list', '--type=package');
  const id = /^\s*(?:[^\n]*?)(\d+)[^\n]*pkg_websockets|pkg_websockets[^\n]*?\s(\d+)\s/im.exec(list);
  assert.ok(id, list);
  await joomla.remove(id[1] ?? id[2]);
  for (const part of ['administrator/components/com_websockets', 'media/com_websockets', 'plugins/system/websockets', 'administrator/manifests/packages/pkg_websockets.xml']) {
    assert.throws(() => readFileSync(`${JOOMLA_ROOT}/${part}`), /ENOENT/, part);
  }
  const left = await joomla.command('extension:list');
  assert.doesNotMatch(left, /websockets/i);
  assert.deepEqual(await joomla.sql('SHOW TABLES LIKE "%websockets%"'), []);
  assert.equal((await readers.guest.goto(articlePage())).status(), 200);
});
