// The console page in a real browser, against the real binary (start.mjs finds both); where one of them is missing, every
// test is skipped and says which. Replies that the server never gives (huge, hostile, out of order) come from a WebSocket
// that the browser's driver puts in its place.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { accessibilityTroubles, startServer } from './start.mjs';
import { DESKTOP, LIMITS, PHONE, smallTargets, useBrowser, widthBeyondWindow } from './suite.mjs';

describe('the console page', LIMITS, () => {
  // Some tests are about refused connections; the browser reports each in its console.
  const stage = useBrowser(/WebSocket connection to .* failed/);
  const { open } = stage;

  /** Opens the page on a scripted peer: `answer` gets each command and a function that sends a text. */
  async function openScripted(answer, options = {}) {
    const prepare = (page) => page.routeWebSocket(/.*/, (socket) => socket.onMessage((text) => answer(text, (reply) => socket.send(reply), socket)));
    const page = await open({ ...options, prepare });
    await connected(page);
    return page;
  }

  const connected = (page) => page.locator('#status[data-state="open"]').waitFor();
  const statusWord = (page) => page.locator('#status-word').textContent();
  const replies = (page) => page.locator('#talk-log .entry[data-kind="reply"]');
  const sent = (page) => page.locator('#talk-log .entry[data-kind="sent"]');
  const bodyOf = (entry) => entry.locator('.entry-text').first().textContent();
  const listed = (page, name) => page.locator(`#commands button[data-name="${name}"]`);
  const listArrived = (page) => page.locator('#commands[data-from="server"]').waitFor();

  /** Types a command, and returns the entry of its reply. */
  async function ask(page, command) {
    const count = await replies(page).count();
    await page.fill('#command', command);
    await page.press('#command', 'Enter');
    const reply = replies(page).nth(count);
    await reply.waitFor();
    return reply;
  }

  test('comes as one document under a strict policy', async () => {
    const page = await open();
    const answer = await page.request.get(stage.url, { headers: { Accept: 'text/html' } });
    const headers = answer.headers();
    assert.match(headers['content-security-policy'], /default-src 'none'; script-src( 'sha256-[^']+'){11}; style-src( 'sha256-[^']+'){3};/);
    assert.doesNotMatch(headers['content-security-policy'], /unsafe/);
    assert.equal(headers['x-content-type-options'], 'nosniff');
    const again = await page.request.get(stage.url, { headers: { Accept: 'text/html', 'If-None-Match': headers.etag } });
    assert.equal(again.status(), 304);
    const loaded = await page.evaluate(() => performance.getEntriesByType('resource').map(({ name }) => name));
    assert.deepEqual(loaded.filter((name) => /^https?:/.test(name)), [], 'nothing else is loaded');
    await connected(page);
    assert.deepEqual(stage.troubles, [], 'the policy lets the page itself run');
    // The policy is really enforced: a block that is not the page's own does not run.
    const ran = await page.evaluate(() => {
      const block = document.createElement('script');
      block.textContent = 'globalThis.intruder = true';
      document.body.append(block);
      return globalThis.intruder === true;
    });
    assert.equal(ran, false);
    await page.waitForTimeout(50);
    assert.ok(stage.troubles.some((trouble) => /Content Security Policy/.test(trouble)));
    stage.troubles = [];
  });

  test('connects at once and says so in words and state', async () => {
    const page = await open();
    await connected(page);
    assert.equal(await statusWord(page), 'Connected');
    assert.equal(await page.locator('#status-detail').textContent(), stage.url.replace('http', 'ws'));
    await page.getByText('Welcome. First press “test” in the list of commands, or type it and press Enter.').waitFor();
    await page.locator('#announcer', { hasText: 'Connected' }).waitFor({ state: 'attached' });
  });

  test('uses the path it was served under', async () => {
    const prepare = async (page) => {
      const asked = { headers: { Accept: 'text/html' } };
      await page.route('http://proxy.invalid/**', async (route) => route.fulfill({ response: await page.request.get(stage.url, asked) }));
      await page.routeWebSocket(/.*/, (socket) => socket.onMessage(() => socket.send(socket.url())));
    };
    const page = await open({ url: 'http://proxy.invalid/site/live/?x=1#y', prepare });
    await connected(page);
    assert.equal(await bodyOf(await ask(page, 'where')), 'ws://proxy.invalid/site/live/');
  });

  test('every command gets its reply, with its time and its round trip', async () => {
    const page = await open();
    await connected(page);
    assert.equal(await bodyOf(await ask(page, 'test')), 'This is a test!');
    assert.match(await bodyOf(await ask(page, 'version')), /^jsocketd \d+\.\d+\.\d+/);
    assert.equal(await bodyOf(await ask(page, 'ping')), 'pong');
    assert.match(await bodyOf(await ask(page, 'time')), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d/);
    assert.equal(await bodyOf(await ask(page, 'no such thing')), 'Command not found');
    const help = await bodyOf(await ask(page, 'help'));
    assert.match(help, /^version {2,}\S/m);
    for (const command of ['whoami', 'stats', 'lag']) {
      const reply = await ask(page, command);
      await reply.locator('.tree summary').first().waitFor();
    }
    const reply = replies(page).first();
    assert.match(await reply.locator('.entry-meta').textContent(), /^\d+(\.\d)? [µm]?s$/);
    const time = reply.locator('time');
    assert.match(await time.textContent(), /^\d\d:\d\d:\d\d\.\d{3}$/);
    assert.ok(Math.abs(Date.parse(await time.getAttribute('datetime')) - Date.now()) < 60_000);
    assert.equal(await sent(page).count(), 9);
  });

  test('the list of commands comes from the server', async () => {
    const page = await open();
    await connected(page);
    await listArrived(page);
    for (const name of ['help', 'test', 'version', 'time', 'ping', 'whoami', 'stats', 'lag']) {
      assert.equal(await listed(page, name).count(), 1, name);
    }
    await page.fill('#command', 'half typed');
    await listed(page, 'ping').click();
    await replies(page).first().waitFor();
    assert.equal(await bodyOf(replies(page).first()), 'pong');
    assert.equal(await page.inputValue('#command'), 'half typed', 'what is being typed stays');
  });

  test('a command with an argument is begun, not sent', async () => {
    const page = await openScripted((text, reply) => reply(text === 'help' ? 'Commands:\n  say <what>   says it\n  test  x' : text));
    await listArrived(page);
    await listed(page, 'say <what>').click();
    assert.equal(await page.inputValue('#command'), 'say ');
    await page.keyboard.type('this');
    await page.keyboard.press('Enter');
    await replies(page).first().waitFor();
    assert.equal(await bodyOf(replies(page).first()), 'say this');
  });

  test('arrow keys walk the history and come back to the draft', async () => {
    const page = await open();
    await connected(page);
    for (const command of ['test', 'version', 'version', 'ping']) await ask(page, command);
    const value = () => page.inputValue('#command');
    await page.fill('#command', 'draft');
    const walk = [];
    for (const key of ['ArrowUp', 'ArrowUp', 'ArrowUp', 'ArrowUp', 'ArrowDown', 'ArrowDown', 'ArrowDown', 'ArrowDown']) {
      await page.press('#command', key);
      walk.push(await value());
    }
    assert.deepEqual(walk, ['ping', 'version', 'test', 'test', 'version', 'ping', 'draft', 'draft']);
    await page.press('#command', 'Escape');
    assert.equal(await value(), '');
    await page.reload();
    await connected(page);
    await page.press('#command', 'ArrowUp');
    assert.equal(await value(), 'ping', 'the history outlives a reload');
  });

  test('the token is sent and otherwise never seen again', async () => {
    const heard = [];
    const page = await openScripted((text, reply) => {
      heard.push(text);
      reply('Not allowed: that is not the token.');
    });
    await page.fill('#command', 'token s3cr3t-value');
    assert.equal(await page.locator('#command').evaluate((input) => getComputedStyle(input).webkitTextSecurity), 'disc');
    await page.press('#command', 'Enter');
    await replies(page).first().waitFor();
    assert.deepEqual(heard, ['help', 'token s3cr3t-value']);
    assert.equal(await bodyOf(sent(page).first()), 'token ••••');
    await page.press('#command', 'ArrowUp');
    assert.equal(await page.inputValue('#command'), 'token ');
    await page.waitForTimeout(200);
    const left = await page.evaluate(() => document.documentElement.outerHTML + JSON.stringify([{ ...sessionStorage }, { ...localStorage }]));
    assert.doesNotMatch(left, /s3cr3t/);
  });

  test('structured replies are a tree to fold and the text as it came', async () => {
    const source = '{"id":18446744073709551615,"":0,"deep":{"er":[1,{"est":null}]},"html":"<img src=x onerror=alert(1)>"}';
    const page = await openScripted((text, reply) => reply(source));
    const reply = await ask(page, 'anything');
    const tree = reply.locator('.tree');
    assert.match(await tree.innerText(), /id: 18446744073709551615/, 'numbers keep their digits');
    assert.match(await tree.innerText(), /"": 0/);
    assert.match(await tree.innerText(), /<img src=x onerror=alert\(1\)>/);
    assert.equal(await page.locator('.log img').count(), 0, 'nothing becomes markup');
    const deeper = tree.locator('summary', { hasText: 'er:' });
    assert.equal(await tree.getByText('est').count(), 0, 'a closed branch is not built');
    await deeper.focus();
    await page.keyboard.press('Enter');
    await tree.locator('summary', { hasText: '1: {1}' }).press('Enter');
    await tree.getByText('est').waitFor();
    await reply.getByRole('button', { name: 'Raw' }).press('Enter');
    assert.equal(await reply.getByRole('button', { name: 'Raw' }).getAttribute('aria-pressed'), 'true');
    assert.equal(await tree.isVisible(), false);
    assert.equal(await bodyOf(reply), source);
  });

  test('a command and its answer stand together, whatever the order of the answers', async () => {
    const held = [];
    const page = await openScripted((text, reply) => {
      if (text === 'help') reply('');
      else held.push(() => reply(`answer to ${text}`));
      if (held.length === 3) held.forEach((send) => send());
    });
    for (const command of ['one', 'two', 'three']) {
      await page.fill('#command', command);
      await page.press('#command', 'Enter');
    }
    await replies(page).nth(2).waitFor();
    const column = await page.locator('#talk-log .entry:is([data-kind="sent"], [data-kind="reply"]) .entry-text').allTextContents();
    assert.deepEqual(column, ['one', 'answer to one', 'two', 'answer to two', 'three', 'answer to three']);
  });

  test('measurements have units, and the raw text stays as it came', async () => {
    const source = '{"uptime_seconds":7385,"resident_bytes":9437184,"messages_in":1234567,"lag":{"p50_us":180,"p99_us":1523,"max_us":526000},"worst_by_second_us":[90,2500000],"wait_ms":0.4,"unix_ms":1767322999000,"_us":3}';
    const page = await openScripted((text, reply) => reply(source));
    const reply = await ask(page, 'stats');
    await reply.locator('summary', { hasText: 'worst_by_second' }).waitFor();
    const tree = await reply.locator('.tree').innerText();
    const expected = ['uptime: 2 h 3 min', 'resident: 9.4 MB', 'messages_in: 1,234,567', 'p50: 180 µs', 'p99: 1.5 ms', 'max: 526 ms', '0: 90 µs', '1: 2.5 s', 'wait: 400 µs', 'unix_ms: 1,767,322,999,000', '_us: 3'];
    for (const line of expected) assert.ok(tree.split('\n').some((found) => found.trim() === line), `${line} in\n${tree}`);
    assert.equal(await reply.locator('.leaf', { hasText: 'resident' }).getAttribute('title'), 'resident_bytes: 9437184');
    await reply.getByRole('button', { name: 'Raw' }).click();
    assert.equal(await bodyOf(reply), source);
    // Other numbers of other commands are ids.
    const other = await (await ask(page, 'whoami')).locator('.tree').innerText();
    for (const line of [/resident: 9\.4 MB/, /messages_in: 1234567/]) assert.match(other, line);
  });

  for (const [width, height, why] of [[667, 330, 'a phone on its side'], [700, 430, '1400 × 860 at 200 %'], [1400, 860, 'a desktop'], [390, 844, 'a phone']]) {
    test(`the answer is in sight at ${width} × ${height}: ${why}`, async () => {
      const page = await open({ viewport: { width, height } });
      await connected(page);
      await listArrived(page);
      for (const command of ['test', 'help', 'stats', 'test']) {
        const reply = await ask(page, command);
        await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
        const [log, shown, asked] = [await page.locator('#talk-log').boundingBox(), await reply.boundingBox(), await sent(page).last().boundingBox()];
        const floor = Math.min(log.y + log.height, height, (await page.locator('#composer').boundingBox()).y);
        assert.ok(log.y >= 0 && floor - log.y >= 150, `${command}: there is room for it: ${log.y} to ${floor}`);
        assert.ok(asked.y >= log.y - 1, `${command}: the command is in sight`);
        assert.ok(shown.y + Math.min(shown.height, 100) <= floor + 1, `${command}: the answer begins at ${shown.y} of ${floor}`);
        assert.equal(await page.evaluate(() => document.documentElement.scrollTop), 0, 'without scrolling the page');
      }
      assert.ok((await widthBeyondWindow(page)) <= 0);
      for (const name of ['#command', '#talk-copy', '#talk-clear', '#disconnect']) {
        const box = await page.locator(name).boundingBox();
        assert.ok(box.y >= 0 && box.y + box.height <= height, `${name} is in sight`);
      }
      assert.deepEqual(await accessibilityTroubles(page), []);
    });
  }

  test('forced colours mark exactly one tab and no entry', async () => {
    const page = await open({ forcedColors: 'active' });
    await connected(page);
    await ask(page, 'test');
    for (const chosen of ['console', 'channels', 'loop']) {
      await page.locator(`#tab-${chosen}`).click();
      // A tab is marked if its ground is not the page's, or if its edge is not its ground.
      const looks = await page.locator('[role="tab"]').evaluateAll((tabs) => tabs.map((tab) => {
        const { backgroundColor, borderBottomColor } = getComputedStyle(tab);
        const page = getComputedStyle(document.body).backgroundColor;
        const ground = /, 0\)$/.test(backgroundColor) ? page : backgroundColor;
        return { name: tab.id, marked: ground !== page || borderBottomColor !== ground };
      }));
      assert.deepEqual(looks.filter(({ marked }) => marked).map(({ name }) => name), [`tab-${chosen}`]);
    }
    const edges = await page.locator('#talk-log .entry[data-kind="reply"]').evaluateAll((entries) =>
      entries.map((entry) => getComputedStyle(entry)).map((style) => style.borderLeftWidth + style.borderTopWidth));
    assert.deepEqual(new Set(edges), new Set(['0px0px']));
  });

  test('wide and broken structures do no harm', async () => {
    const texts = { wide: JSON.stringify(Array.from({ length: 250 }, (_, at) => at)), deep: '['.repeat(5000) + ']'.repeat(5000), broken: '{"a":', number: '42' };
    const page = await openScripted((text, reply) => reply(texts[text] ?? 'help'));
    const wide = await ask(page, 'wide');
    assert.equal(await wide.locator('.leaf').count(), 100);
    await wide.getByRole('button', { name: /Show more \(150 left\)/ }).click();
    await wide.getByRole('button', { name: /Show more \(50 left\)/ }).click();
    assert.equal(await wide.locator('.leaf').count(), 250);
    await ask(page, 'deep');
    assert.equal(await bodyOf(await ask(page, 'broken')), '{"a":');
    assert.equal(await bodyOf(await ask(page, 'number')), '42');
  });

  test('long replies show their beginning first, line breaks stay', async () => {
    const long = 'x'.repeat(3999) + '😀'.repeat(1000);
    const page = await openScripted((text, reply) => reply({ long, lines: 'a\n  b\n\nc\n', many: 'n\n'.repeat(500) }[text] ?? 'x'));
    assert.equal(await bodyOf(await ask(page, 'lines')), 'a\n  b\n\nc');
    assert.equal((await bodyOf(await ask(page, 'many'))).length, 120);
    const reply = await ask(page, 'long');
    assert.equal(await bodyOf(reply), `${'x'.repeat(3999)}…`, 'no character is cut in two');
    await reply.getByRole('button', { name: 'Show all (5,999 characters)' }).click();
    assert.equal(await bodyOf(reply), long);
  });

  test('panes keep the newest 500 entries, clear and copy', async () => {
    const page = await openScripted((text, reply) => {
      for (let at = 0; at < (text === 'flood' ? 600 : 1); at += 1) reply(`line ${at}`);
    }, { permissions: ['clipboard-read', 'clipboard-write'] });
    await page.fill('#command', 'flood');
    await page.press('#command', 'Enter');
    await page.locator('#talk-log').getByText('line 599', { exact: true }).waitFor();
    assert.equal(await page.locator('#talk-log .entry').count(), 500);
    assert.equal(await page.locator('#talk-log').getByText('line 99', { exact: true }).count(), 0);
    assert.match(await page.locator('#talk-count').textContent(), /^the last 500 of 60\d$/);
    assert.ok(await page.locator('#talk-log').evaluate((log) => log.scrollHeight - log.scrollTop - log.clientHeight < 2));
    await page.getByRole('button', { name: 'Copy commands and answers' }).click();
    await page.locator('#announcer', { hasText: 'Copied' }).waitFor({ state: 'attached' });
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    assert.equal(copied.split('\n').length, 500);
    assert.match(copied.split('\n').at(-1), /^\d\d:\d\d:\d\d\.\d{3} {2}\[unasked\] {2}line 599$/);
    // A reader who has scrolled away stays there, and gets a button for the way back.
    await page.locator('#talk-log').evaluate((log) => (log.scrollTop = 0));
    await page.locator('#talk-log').evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
    await page.fill('#command', 'one');
    await page.press('#command', 'Enter');
    await page.locator('#talk-newest').waitFor();
    assert.ok(await page.locator('#talk-log').evaluate((log) => log.scrollTop < 200));
    await page.locator('#talk-newest').click();
    assert.ok(await page.locator('#talk-log').evaluate((log) => log.scrollHeight - log.scrollTop - log.clientHeight < 2));
    await page.getByRole('button', { name: 'Clear commands and answers' }).click();
    assert.equal(await page.locator('#talk-log .entry').count(), 0);
  });

  test('a server that dies and comes back is found again, and nothing is lost in silence', async () => {
    const own = await startServer();
    let next;
    try {
      const page = await open({ url: own.url });
      await connected(page);
      await own.end();
      await page.locator('#status[data-state="waiting"]').waitFor();
      await page.locator('#talk-log').getByText(/^Closed \(1006, the connection broke off\)\. Next try in /).waitFor();
      await page.locator('#status-word', { hasText: /^Next try in \d+ s$/ }).waitFor();
      await page.fill('#command', 'test');
      await page.press('#command', 'Enter');
      await page.locator('#talk-log').getByText(/^Not sent, .*: test$/).waitFor();
      assert.match(await page.locator('#hint').textContent(), /^Not sent: /);
      assert.equal(await page.inputValue('#command'), 'test', 'the command is still there');
      // Two failed tries later the pause has grown.
      await page.locator('#talk-log').getByText(/^Not connected: the server cannot be reached\. Next try in /).nth(2).waitFor();
      next = await startServer(own.address);
      await connected(page);
      await page.press('#command', 'Enter');
      await replies(page).first().waitFor();
      assert.equal(await bodyOf(replies(page).first()), 'This is a test!');
    } finally {
      await own.end();
      await next?.end();
    }
  });

  test('a server that goes away politely is quoted', async () => {
    const own = await startServer();
    try {
      const page = await open({ url: own.url });
      await connected(page);
      const ended = own.end('SIGTERM');
      await page.locator('#talk-log').getByText(/^Closed \(1001, the server is going away/).waitFor({ timeout: 20_000 });
      await ended;
    } finally {
      await own.end();
    }
  });

  test('a command without a reply says so when the connection ends', async () => {
    const page = await openScripted((text, reply, socket) => text === 'die' && socket.close({ code: 1013, reason: 'too slow' }));
    await page.fill('#command', 'die');
    await page.press('#command', 'Enter');
    await page.locator('#talk-log').getByText(/^Closed \(1013, the server is busy, try again later: too slow\)\. Next try in /).waitFor();
    await page.getByText('1 command got no reply before the connection ended.').waitFor();
    assert.equal(await sent(page).first().locator('.entry-meta').textContent(), 'no reply');
  });

  test('Disconnect stays disconnected, Connect connects', async () => {
    const page = await open();
    await connected(page);
    await page.locator('#disconnect').press('Enter');
    assert.equal(await statusWord(page), 'Disconnected');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'connect', 'the keyboard keeps its place');
    await page.evaluate(() => window.dispatchEvent(new Event('online')));
    assert.equal(await statusWord(page), 'Disconnected');
    await listed(page, 'test').click();
    await page.getByText('Not sent, not connected: test').waitFor();
    await page.locator('#connect').press('Enter');
    await connected(page);
  });

  test('a network that returns is tried at once', async () => {
    const own = await startServer();
    let next;
    try {
      const page = await open({ url: own.url });
      await connected(page);
      await own.end();
      // The pause has grown to seconds; the event must not wait for its end.
      await page.getByText(/Next try in [3-9](\.\d)? s\.$/).waitFor({ timeout: 20_000 });
      next = await startServer(own.address);
      await page.evaluate(() => window.dispatchEvent(new Event('online')));
      await page.locator('#status[data-state="open"]').waitFor({ timeout: 1500 });
    } finally {
      await own.end();
      await next?.end();
    }
  });

  test('everything works from the keyboard alone', async () => {
    const page = await open();
    await connected(page);
    await listArrived(page);
    assert.equal(await page.evaluate(() => document.activeElement.id), 'command', 'typing may begin at once');
    await page.keyboard.type('test');
    await page.keyboard.press('Enter');
    await replies(page).first().waitFor();
    await page.locator('#disconnect').focus();
    const order = [];
    for (let steps = 0; steps < 40; steps += 1) {
      const focused = await page.evaluate(() => {
        const at = document.activeElement;
        const { outlineStyle, outlineWidth } = getComputedStyle(at);
        return { name: at.id || at.dataset.name || at.textContent.trim(), ring: outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2 };
      });
      if (order.length > 0) assert.ok(focused.ring, `${focused.name} shows that it has the focus`);
      order.push(focused.name);
      if (focused.name === 'Send!') break;
      await page.keyboard.press('Tab');
    }
    const known = order.filter((name) => !['Newest ↓'].includes(name));
    assert.deepEqual(known.slice(0, 7), ['disconnect', 'talk-copy', 'talk-clear', 'talk-log', 'test', 'version', 'help']);
    assert.deepEqual(known.slice(-2), ['command', 'Send!']);
    for (const name of ['help', 'test', 'version', 'stats']) assert.ok(known.includes(name), `${name} is reached by Tab`);
  });

  for (const colorScheme of ['light', 'dark']) {
    for (const [kind, options] of [['desktop', DESKTOP], ['phone', PHONE]]) {
      test(`is accessible: ${colorScheme}, ${kind}`, async () => {
        const own = await startServer();
        try {
          const page = await open({ url: own.url, colorScheme, ...options });
          await connected(page);
          await listArrived(page);
          for (const command of ['test', 'stats', 'nothing']) await ask(page, command);
          assert.deepEqual(await accessibilityTroubles(page), []);
          await own.end();
          await page.locator('#status[data-state="waiting"]').waitFor();
          await listed(page, 'test').click();
          await page.locator('#disconnect').click();
          assert.deepEqual(await accessibilityTroubles(page), []);
        } finally {
          await own.end();
        }
      });
    }
  }

  for (const width of [320, 390, 768, 1400]) {
    test(`never scrolls sideways at ${width} pixels`, async () => {
      const page = await openScripted((text, reply) => reply(text === 'json' ? JSON.stringify({ ['k'.repeat(200)]: 'v'.repeat(900) }) : 'w'.repeat(900)), {
        viewport: { width, height: 844 }, isMobile: width < 700, hasTouch: width < 700,
      });
      await ask(page, 'json');
      await ask(page, 'text');
      assert.ok((await widthBeyondWindow(page)) <= 0);
      assert.ok(await page.locator('.log').evaluateAll((logs) => logs.every((log) => log.scrollWidth <= log.clientWidth)));
    });
  }

  test('a phone has targets of 44 pixels and the command box in reach', async () => {
    const page = await open(PHONE);
    await connected(page);
    await listArrived(page);
    await ask(page, 'stats');
    assert.deepEqual(await smallTargets(page, 'button, input, summary'), []);
    const box = await page.locator('#command').boundingBox();
    assert.ok(box.y + box.height <= PHONE.viewport.height, 'without scrolling');
    // With the keyboard open little height is left; the box sticks to its bottom.
    await page.setViewportSize({ width: 390, height: 420 });
    const squeezed = await page.locator('#command').boundingBox();
    assert.ok(squeezed.y >= 0 && squeezed.y + squeezed.height <= 420);
  });

  test('nothing moves for users with reduced motion', async () => {
    const page = await open({ reducedMotion: 'reduce' });
    await page.locator('#status').evaluate((status) => (status.dataset.state = 'connecting'));
    assert.equal(await page.locator('#status .lamp').evaluate((lamp) => lamp.getAnimations().length), 0);
  });
});
