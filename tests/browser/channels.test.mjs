// The Channels tab in a real browser, against the real binary: subscribing, publishing, presence and recovery go the
// whole way. Messages that a server with the default settings never sends come from a WebSocket that the browser's
// driver puts in its place. Where the binary or the browser is missing, every test is skipped and names the missing
// one.

import assert from 'node:assert/strict';
import { createHash, createHmac } from 'node:crypto';
import { describe, test } from 'node:test';
import { accessibilityTroubles } from './start.mjs';
import { DESKTOP, LIMITS, PHONE, smallTargets, useBrowser, widthBeyondWindow, withToken } from './suite.mjs';

describe('the channels tab', LIMITS, () => {
  const stage = useBrowser(/WebSocket connection to .* failed|status of 401/);

  /** Opens the tab as one visitor. */
  const open = (options) => stage.open({ hash: '#channels', ...options });

  /** Opens the tab and connects. */
  async function openConnected(options) {
    const page = await open(options);
    await page.locator('#channels-connect').click();
    await connected(page);
    return page;
  }

  const connected = (page) => page.locator('#channels-status[data-state="open"]').waitFor();
  const socketId = async (page) => {
    await page.locator('#socket-id', { hasText: /^\d+\.\d+$/ }).waitFor();
    return page.locator('#socket-id').textContent();
  };
  const entries = (page, kind) => page.locator(`#events-log .entry[data-kind="${kind}"]`);
  const said = (page, text) => page.locator('#events-log').getByText(text).first();
  const subscription = (page, name) => page.locator('.subscription', { has: page.getByText(name, { exact: true }) });

  async function subscribe(page, name) {
    await page.fill('#channel', name);
    await page.press('#channel', 'Enter');
    await subscription(page, name).and(page.locator('[data-state="in"]')).waitFor();
  }

  /** Publishes through the HTTP API, and waits until the server said yes. */
  async function publish(page, channel, data, name = 'my-event') {
    const count = await entries(page, 'sent').count();
    await page.fill('#publish-channel', channel);
    await page.fill('#publish-event', name);
    await page.fill('#publish-data', data);
    await page.locator('#publish-form').getByRole('button', { name: 'Publish' }).click();
    await entries(page, 'sent').nth(count).waitFor();
    assert.match(await entries(page, 'sent').nth(count).innerText(), /: sent to \d+ connections?\./);
  }

  /** Publishes as a library of the HTTP API does. */
  async function post(path, body) {
    const md5 = createHash('md5').update(body).digest('hex');
    const query = `auth_key=jsocketd-key&auth_timestamp=${Math.floor(Date.now() / 1000)}&auth_version=1.0&body_md5=${md5}`;
    const signed = createHmac('sha256', 'jsocketd-secret').update(`POST\n${path}\n${query}`).digest('hex');
    const answer = await fetch(`${stage.url.slice(0, -1)}${path}?${query}&auth_signature=${signed}`, { method: 'POST', body });
    assert.equal(answer.status, 200, await answer.text());
  }

  test('the address selects a tab, and arrow keys move between tabs', async () => {
    const page = await open({ hash: '' });
    const TABS = ['Console', 'Channels', 'Loop'];
    const shown = async () => ({
      visible: (await Promise.all(TABS.map(async (name) => ((await page.locator(`#${name.toLowerCase()}-panel`).isVisible()) ? [name] : [])))).flat(),
      selected: await page.locator('[role="tab"][aria-selected="true"]').textContent(),
      reachable: await page.locator('[role="tab"]:not([tabindex="-1"])').textContent(),
    });
    const on = (name) => ({ visible: [name], selected: name, reachable: name });
    assert.deepEqual(await shown(), on('Console'));
    const steps = [['ArrowRight', 'Channels'], ['ArrowRight', 'Loop'], ['ArrowRight', 'Console'], ['ArrowLeft', 'Loop'], ['Home', 'Console'], ['End', 'Loop'], ['ArrowLeft', 'Channels']];
    await page.locator('#tab-console').focus();
    for (const [key, expected] of steps) {
      await page.keyboard.press(key);
      assert.deepEqual(await shown(), on(expected), key);
      assert.equal(await page.evaluate(() => document.activeElement.textContent), expected);
    }
    assert.equal(new URL(page.url()).hash, '#channels');
    await page.reload();
    assert.deepEqual(await shown(), on('Channels'), 'a link to the tab opens it');
    await page.evaluate(() => (location.hash = '#console'));
    await page.locator('#console-panel').waitFor();
    assert.deepEqual(await shown(), on('Console'));
    assert.equal(await page.locator('#status').isVisible(), true);
    assert.equal(await page.locator('#channels-status').isVisible(), false);
  });

  test('a link to a tab leaves the bar in sight', async () => {
    for (const hash of ['#console', '#channels', '#loop']) {
      const page = await open({ ...PHONE, hash });
      await page.waitForTimeout(300);
      const { y } = await page.locator('[role="tablist"]').boundingBox();
      assert.ok(y >= 0, `${hash}: ${y}`);
      assert.equal(await page.evaluate(() => document.scrollingElement.scrollTop), 0);
    }
  });

  test('connects step by step and shows URL, socket id and lamp', async () => {
    const page = await open();
    assert.equal(await page.locator('#channels-status').getAttribute('data-state'), 'idle');
    assert.equal(await page.inputValue('#app-key'), 'jsocketd-key');
    await page.locator('#channels-connect').click();
    await connected(page);
    const id = await socketId(page);
    assert.equal(await page.locator('#channels-status-detail').textContent(), `socket id ${id}`);
    assert.equal(await page.locator('#connect-url').textContent(),
      `${stage.url.replace('http', 'ws')}app/jsocketd-key?protocol=7&client=jsocketd-page&version=1`);
    await page.locator('#channels-disconnect').click();
    await said(page, /^Closed \(1000/).waitFor();
    assert.equal(await page.locator('#socket-id').textContent(), '–');
  });

  test('there is one button to connect in every state', async () => {
    const page = await open();
    const buttons = () => page.locator('#channels-panel, #channels-status').locator('button:visible', { hasText: /^(Connect|Disconnect|Stop)/ }).allTextContents();
    assert.deepEqual(await buttons(), ['Connect']);
    await page.locator('#channels-connect').press('Enter');
    await connected(page);
    assert.deepEqual(await buttons(), ['Disconnect']);
    assert.equal(await page.evaluate(() => document.activeElement.id), 'channels-disconnect', 'the keyboard keeps its place');
    await page.locator('#drop').click();
    await page.locator('#channels-status[data-state="waiting"]').waitFor();
    assert.deepEqual(await buttons(), ['Connect now', 'Stop']);
    await page.locator('#channels-connect').click();
    await connected(page);
    // Another key is another connection.
    await page.fill('#app-key', 'no such key');
    assert.deepEqual(await buttons(), ['Connect anew', 'Disconnect']);
    await page.locator('#channels-connect').click();
    await said(page, /^Closed \(4001, .*Application does not exist/).waitFor();
    assert.deepEqual(await buttons(), ['Connect']);
  });

  test('publishing is in sight at 860 pixels, however many subscriptions there are', async () => {
    const page = await openConnected();
    for (let n = 0; n < 8; n += 1) await subscribe(page, `channel-${n}`);
    await publish(page, 'channel-1', '{"message":"hello"}');
    for (const name of ['Publish', 'Client event']) {
      const box = await page.locator('#publish-form').getByRole('button', { name, exact: true }).boundingBox();
      assert.ok(box.y > 0 && box.y + box.height < 430, `${name}: ${JSON.stringify(box)}`);
    }
    const event = await entries(page, 'event').first().boundingBox();
    assert.ok(event.y + event.height <= 860, 'and so is the event that comes of it');
    assert.equal(await page.evaluate(() => document.documentElement.scrollTop), 0);
  });

  test('three thousand events are shown as they come', async () => {
    const page = await openConnected();
    await subscribe(page, 'flood');
    // The longest time without a frame, and how many events the reader had seen at each frame.
    await page.evaluate(() => {
      const seen = (globalThis.seen = { frames: [], longest: 0 });
      let last = performance.now();
      const look = (now) => {
        seen.longest = Math.max(seen.longest, now - last);
        last = now;
        const numbers = document.querySelector('#events-log .entry:last-child')?.textContent.match(/number: (\d+)/);
        if (numbers) seen.frames.push(Number(numbers[1]));
        requestAnimationFrame(look);
      };
      requestAnimationFrame(look);
    });
    const EVENTS = 3000;
    for (let n = 0; n < EVENTS; n += 10) {
      await post('/apps/joomla/batch_events', JSON.stringify({ batch: Array.from({ length: 10 }, (_, at) => ({ channel: 'flood', name: 'e', data: JSON.stringify({ number: n + at + 1, text: 'x'.repeat(80) }) })) }));
    }
    await page.locator('#events-log .entry').last().getByText(`${EVENTS}`, { exact: true }).waitFor();
    const { frames, longest } = await page.evaluate(() => globalThis.seen);
    assert.ok(new Set(frames).size >= 20, `the list moved ${new Set(frames).size} times`);
    assert.deepEqual(frames, frames.toSorted((a, b) => a - b), 'in order');
    assert.ok(longest < 1500, `the page stood still for ${longest} ms`);
    assert.equal(await page.locator('#events-log .entry').count(), 500, 'the list is bounded');
    assert.equal(await page.locator('#events-count').textContent(), 'the last 500 of 3,002');
    await subscription(page, 'flood').getByRole('button').click();
    await said(page, 'Unsubscribed from flood.').waitFor();
  });

  test('a dropped connection leaves a gap to see, with and without recovery', async () => {
    for (const recovers of [true, false]) {
      const page = await open();
      await page.locator('#recovery').setChecked(recovers);
      await page.locator('#channels-connect').click();
      await connected(page);
      await subscribe(page, 'gap');
      await publish(page, 'gap', '"before"');
      await page.locator('#drop').click();
      const began = Date.now();
      await page.locator('#channels-status[data-state="waiting"]').waitFor();
      await publish(page, 'gap', '"meanwhile"');
      await connected(page);
      assert.ok(Date.now() - began > 4500, 'the connection is away for five seconds');
      await subscription(page, 'gap').and(page.locator('[data-state="in"]')).waitFor();
      await publish(page, 'gap', '"after"');
      await entries(page, 'event').last().getByText('"after"').waitFor();
      const column = await page.locator('#events-log .entry:is([data-kind="event"], [data-kind="away"]) .entry-text').allTextContents();
      const away = column.findIndex((text) => /^Away for [56]\.\d s\. /.test(text));
      assert.deepEqual(column.toSpliced(away, 1), recovers ? ['"before"', '"meanwhile"', '"after"'] : ['"before"', '"after"']);
      assert.equal(away, 1, column.join('\n'));
      assert.match(column[away], recovers ? /What was published meanwhile follows/ : /Recovery is off: what was published meanwhile is missing here/);
    }
  });

  test('a wrong key is reported once and not tried again', async () => {
    const page = await open();
    await page.fill('#app-key', 'no such key');
    await page.press('#app-key', 'Enter');
    await said(page, /^Closed \(4001, .*Application does not exist/).waitFor();
    await page.waitForTimeout(1200);
    assert.equal(await page.locator('#channels-status').getAttribute('data-state'), 'stopped');
    assert.equal(await page.locator('#events-log .entry').count(), 1);
  });

  test('an event that is published arrives with its data as it was', async () => {
    const page = await openConnected();
    await subscribe(page, 'my-channel');
    await publish(page, 'my-channel', '{"id":18446744073709551615,"html":"<img src=x onerror=alert(1)>","ä+&=%":" "}', 'App\\Events\\Grüße');
    const event = entries(page, 'event').first();
    await event.waitFor();
    assert.match(await event.locator('.event-head').innerText(), /^App\\Events\\Grüße · my-channel$/);
    const tree = await event.locator('.tree').innerText();
    assert.match(tree, /id: 18446744073709551615/);
    assert.match(tree, /<img src=x/);
    assert.match(tree, /ä\+&=%: " "/);
    assert.equal(await event.locator('.entry-meta').textContent(), '', 'without recovery there is no id');
    assert.equal(await page.locator('.log img').count(), 0);
    await publish(page, 'my-channel', 'no JSON at all');
    await said(page, 'no JSON at all').waitFor();
    await page.locator('#not-me').check();
    await publish(page, 'my-channel', '"not to me"');
    await page.locator('#not-me').uncheck();
    await publish(page, 'my-channel', '"the last"');
    await said(page, '"the last"').waitFor();
    assert.equal(await said(page, '"not to me"').count(), 0);
  });

  test('publishing says to how many connections the event was sent', async () => {
    const [page, other] = [await openConnected(), await openConnected()];
    await publish(page, 'counted', '1');
    for (const subscriber of [page, other]) await subscribe(subscriber, 'counted');
    await publish(page, 'counted', '2');
    await page.locator('#not-me').check();
    await publish(page, 'counted', '3');
    const texts = await entries(page, 'sent').locator('.entry-text').allTextContents();
    assert.deepEqual(texts, ['0 connections', '2 connections', '1 connection'].map((reached) => `Published my-event to counted: sent to ${reached}.`));
  });

  test('events may have the names of what every object has', async () => {
    const page = await openConnected();
    await subscribe(page, 'named');
    for (const name of ['constructor', 'toString', '__proto__']) {
      await publish(page, 'named', '{"constructor":{"__proto__":1}}', name);
      await page.locator('.event-name', { hasText: name }).waitFor();
    }
  });

  test('a refusal of the API is shown in its own words', async () => {
    const page = await openConnected();
    await page.fill('#publish-channel', 'no/channel');
    await page.locator('#publish-form').getByRole('button', { name: 'Publish' }).click();
    await said(page, /^Not published my-event to no\/channel: 400 Invalid channel name/).waitFor();
    stage.troubles = stage.troubles.filter((trouble) => !/status of 400/.test(trouble));
  });

  test('private and presence channels are signed here; members come and go', async () => {
    const one = await openConnected();
    const other = await openConnected();
    await subscribe(one, 'private-news');
    for (const [page, user] of [[one, 'ann'], [other, 'bob']]) {
      await page.fill('#channel', 'presence-room');
      await page.fill('#user-id', user);
      await subscribe(page, 'presence-room');
    }
    const members = (page) => subscription(page, 'presence-room').locator('.members li');
    await members(one).nth(1).waitFor();
    assert.deepEqual(await members(one).allTextContents(), ['ann (you)', 'bob']);
    assert.deepEqual(await members(other).allTextContents(), ['ann', 'bob (you)']);
    await said(one, 'bob came to presence-room.').waitFor();
    await other.getByRole('button', { name: 'Unsubscribe from presence-room' }).click();
    await said(one, 'bob left presence-room.').waitFor();
    assert.deepEqual(await members(one).allTextContents(), ['ann (you)']);
    assert.equal(await subscription(other, 'presence-room').count(), 0);
  });

  test('client events reach the others and not the sender', async () => {
    const [one, other] = [await openConnected(), await openConnected()];
    for (const page of [one, other]) await subscribe(page, 'private-chat');
    await one.fill('#publish-channel', 'my-channel');
    await one.locator('#client-event').click();
    assert.match(await one.locator('#publish-hint').textContent(), /private and presence channels/);
    await one.fill('#publish-channel', 'private-chat');
    await one.fill('#publish-data', '{"typing":true}');
    await one.locator('#client-event').click();
    await said(one, /^Sent client-my-event to private-chat/).waitFor();
    await other.locator('.event-name', { hasText: 'client-my-event' }).waitFor();
    assert.match(await entries(other, 'event').first().locator('.tree').innerText(), /typing: true/);
    assert.equal(await entries(one, 'event').count(), 0);
    assert.equal(await entries(one, 'trouble').count(), 0);
  });

  test('with recovery, missed events come when the connection is back', async () => {
    const page = await open();
    await page.locator('#recovery').check();
    await page.locator('#channels-connect').click();
    await connected(page);
    await subscribe(page, 'recovered');
    await publish(page, 'recovered', '"before"');
    await entries(page, 'event').first().waitFor();
    assert.match(await entries(page, 'event').first().locator('.entry-meta').textContent(), /^m[0-9a-f]{8}:\d+$/);
    await page.locator('#drop').click();
    await page.locator('#channels-status[data-state="waiting"]').waitFor();
    for (const data of ['"one"', '"two"', '"three"']) await publish(page, 'recovered', data);
    await page.locator('#channels-connect').click();
    await said(page, 'Subscribed to recovered. Recovered: what was missed follows.').waitFor();
    await entries(page, 'event').nth(3).waitFor();
    await publish(page, 'recovered', '"after"');
    await entries(page, 'event').nth(4).waitFor();
    const texts = await entries(page, 'event').locator('.entry-text').allTextContents();
    assert.deepEqual(texts, ['"before"', '"one"', '"two"', '"three"', '"after"']);
    // Without recovery the events of an absence are lost, and the page does not hide that.
    await page.locator('#recovery').uncheck();
    await page.locator('#channels-status[data-state="open"]').waitFor();
    await subscription(page, 'recovered').and(page.locator('[data-state="in"]')).waitFor();
    assert.doesNotMatch(await subscription(page, 'recovered').innerText(), /position/);
  });

  test('recovery is followed as the protocol says: positions, doubles, gaps', async () => {
    // Each new connection is answered by the next of these.
    const asked = [];
    const event = (n, extra = {}) => ({ event: 'e', channel: 'c', data: `"n${n}"`, id: `m00000001:${n}`, ...extra });
    const succeeded = (extra) => ({ event: 'pusher_internal:subscription_succeeded', channel: 'c', data: '{}', ...extra });
    const answers = [
      [succeeded({ pos: 'm00000001:5' }), event(6)],
      // The connection breaks off in the middle of a recovery: its position must not count.
      [succeeded({ pos: 'm00000001:9', recovered: true }), event(7)],
      [succeeded({ pos: 'm00000001:9', recovered: true }), event(7), event(8), { event: 'pusher_internal:position', data: '{}', pos: 'm00000001:30' }],
      [succeeded({ pos: 'm00000002:1', recovered: false })],
      [succeeded({ pos: 'm00000002:1', recovered: true })],
    ];
    const prepare = (page) => page.routeWebSocket(/\/app\//, (socket) => {
      socket.send(JSON.stringify({ event: 'pusher:connection_established', data: '{"socket_id":"1.2","activity_timeout":120}' }));
      socket.onMessage((text) => {
        asked.push(JSON.parse(text).data.since ?? null);
        for (const frame of answers.shift()) socket.send(JSON.stringify(frame));
      });
    });
    const page = await open({ prepare });
    await page.locator('#recovery').check();
    await page.locator('#channels-connect').click();
    await connected(page);
    await subscribe(page, 'c');
    for (let again = 0; again < 4; again += 1) {
      await page.locator('#drop').click();
      await page.locator('#channels-connect').click();
      await subscription(page, 'c').and(page.locator('[data-state="in"]')).waitFor();
    }
    assert.deepEqual(asked, [null, ['m00000001:6'], ['m00000001:7'], ['m00000001:30'], ['m00000002:1']]);
    assert.deepEqual(await entries(page, 'event').locator('.entry-text').allTextContents(), ['"n6"', '"n7"', '"n8"']);
    await said(page, 'A double of e was dropped.').waitFor();
    await said(page, /Not recovered: events are missing/).waitFor();
  });

  test('a refused subscription says which and why', async () => {
    const refusal = { event: 'pusher:subscription_error', channel: 'presence-full', data: { type: 'LimitReached', error: 'too many members', status: 4100 } };
    const prepare = (page) => page.routeWebSocket(/\/app\//, (socket) => {
      socket.send(JSON.stringify({ event: 'pusher:connection_established', data: '{"socket_id":"1.2","activity_timeout":120}' }));
      socket.onMessage(() => [refusal, 7].forEach((frame) => socket.send(JSON.stringify(frame))));
    });
    const page = await openConnected({ prepare });
    await page.fill('#channel', 'presence-full');
    await page.press('#channel', 'Enter');
    await subscription(page, 'presence-full').and(page.locator('[data-state="refused"]')).waitFor();
    await said(page, 'presence-full was refused (LimitReached): too many members').waitFor();
    await said(page, 'Not a frame of the protocol: 7').waitFor();
  });

  test('a real server gives the page no secret, and the page says where authorization comes from', async () => {
    await withToken(async (visitor) => {
      const page = await open(visitor);
      const answer = await page.content();
      assert.doesNotMatch(answer, /jsocketd-secret|a-secret-that-stays-there/);
      assert.equal(await page.inputValue('#app-key'), 'site-key', 'the key is public');
      assert.equal(await page.locator('#publish-data').isVisible(), false);
      assert.match(await page.locator('#publish-hint').textContent(), /jsocketd publish/);
      await page.locator('#channels-connect').click();
      await connected(page);
      await subscribe(page, 'my-channel');
      await page.fill('#channel', 'private-x');
      await page.press('#channel', 'Enter');
      assert.match(await page.locator('#channel-hint').textContent(), /authEndpoint/);
      assert.equal(await page.locator('.subscription').count(), 1);
      assert.deepEqual(await accessibilityTroubles(page), []);
    }, '\n[[apps]]\nid = "site"\nkey = "site-key"\nsecret = "a-secret-that-stays-there"\n');
  });

  for (const colorScheme of ['light', 'dark']) {
    for (const [kind, options] of [['desktop', DESKTOP], ['phone', PHONE]]) {
      test(`is accessible and never scrolls sideways: ${colorScheme}, ${kind}`, async () => {
        const page = await open({ colorScheme, ...options });
        assert.deepEqual(await accessibilityTroubles(page), []);
        await page.locator('#recovery').check();
        await page.locator('#channels-connect').click();
        await connected(page);
        await subscribe(page, 'presence-room');
        await subscribe(page, `public-${'x'.repeat(150)}`);
        await publish(page, 'presence-room', '{"message":"hello"}');
        await publish(page, 'presence-room', 'w'.repeat(900));
        await entries(page, 'event').nth(1).waitFor();
        assert.deepEqual(await accessibilityTroubles(page), []);
        assert.ok((await widthBeyondWindow(page)) <= 0);
        if (kind === 'phone') {
          assert.deepEqual(await smallTargets(page, 'button, .field, summary, .check'), []);
        }
        await page.locator('#drop').click();
        await page.locator('#channels-status[data-state="waiting"]').waitFor();
        assert.deepEqual(await accessibilityTroubles(page), []);
        assert.ok((await widthBeyondWindow(page)) <= 0);
      });
    }
  }

  test('fits a window of 320 pixels', async () => {
    const page = await openConnected({ viewport: { width: 320, height: 700 }, isMobile: true, hasTouch: true });
    await page.locator('#drop').click();
    await page.locator('#channels-status[data-state="waiting"]').waitFor();
    assert.ok((await widthBeyondWindow(page)) <= 0);
  });
});
