// laravel-echo (with pusher-js below) against the real binary: the broadcasters `pusher` and `reverb`, and the parts that
// Laravel applications use.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import Echo from 'laravel-echo';
import Client from 'pusher-js';
import { APP, clientOptions, skip, startSite, until } from './site.mjs';

describe('laravel-echo', { skip, timeout: 60_000 }, () => {
  let site;
  let library;
  const echos = [];

  before(async () => {
    site = await startSite();
    library = site.library();
  });
  after(async () => {
    echos.forEach((echo) => echo.disconnect());
    await site?.end();
  });

  function open(user = {}, options = {}) {
    const { cluster, ...rest } = clientOptions(site, user, options);
    const broadcaster = options.broadcaster ?? 'reverb';
    // Echo's own `reverb` sets the cluster.
    const given = broadcaster === 'reverb' ? rest : { cluster, ...rest };
    const echo = new Echo({ ...given, broadcaster, key: APP.key, Pusher: Client, withoutInterceptors: true });
    echos.push(echo);
    return echo;
  }

  /** Waits until a channel that was just asked for is subscribed; a refusal is a failure. */
  const subscribed = (channel) => new Promise((resolve, reject) => channel.subscribed(() => resolve(channel)).error(reject));

  for (const broadcaster of ['pusher', 'reverb']) {
    test(`${broadcaster}: hears events of public, private and encrypted channels by their Laravel names`, async () => {
      const echo = open({}, { broadcaster });
      for (const [open, name] of [
        [() => echo.channel('orders'), 'orders'],
        [() => echo.private('App.Models.User.1'), 'private-App.Models.User.1'],
        [() => echo.encryptedPrivate('vault'), 'private-encrypted-vault'],
      ]) {
        const channel = await subscribed(open());
        const all = [];
        channel.listen('OrderShipped', (data) => all.push(data)).listen('.order.shipped', (data) => all.push(data));
        await library.trigger(name, 'App\\Events\\OrderShipped', { order: { id: 7 } });
        await library.trigger(name, 'order.shipped', { order: { id: 8 } });
        await until('both came', () => all.length === 2);
        assert.deepEqual(all, [{ order: { id: 7 } }, { order: { id: 8 } }]);
      }
    });
  }

  test('here, joining, leaving and whispers', async () => {
    const happened = [];
    const room = open({ id: 'ada', user_info: { name: 'Ada' } }).join('room');
    room.here((users) => happened.push(['here', users]))
      .joining((user) => happened.push(['joining', user]))
      .leaving((user) => happened.push(['leaving', user]))
      .listenForWhisper('typing', (data) => happened.push(['typing', data]));
    await until('Ada is here', () => happened.length === 1);
    const echo = open({ id: 'bob', user_info: { name: 'Bob' } });
    const bobs = await subscribed(echo.join('room'));
    await until('Bob has joined', () => happened.length === 2);
    bobs.whisper('typing', { name: 'Bob' });
    await until('Bob types', () => happened.length === 3);
    echo.leave('room');
    await until('Bob has left', () => happened.length === 4);
    assert.deepEqual(happened, [
      ['here', [{ name: 'Ada' }]],
      ['joining', { name: 'Bob' }],
      ['typing', { name: 'Bob' }],
      ['leaving', { name: 'Bob' }],
    ]);
  });

  test('a user whose authorization says only yes is a member all the same', async () => {
    // Laravel sends `true` as user_info when the callback of a channel answers so.
    const room = open({ id: 7, user_info: true }).join('yes');
    const users = await new Promise((resolve, reject) => room.here(resolve).error(reject));
    assert.deepEqual(users, [true]);
  });

  test('toOthers leaves the own socket out', async () => {
    const [mine, theirs] = [open(), open()];
    const heard = { mine: [], theirs: [] };
    await subscribed(mine.channel('chat').listen('.said', (data) => heard.mine.push(data)));
    await subscribed(theirs.channel('chat').listen('.said', (data) => heard.theirs.push(data)));
    assert.match(mine.socketId(), /^\d+\.\d+$/);
    await library.trigger('chat', 'said', 1, { socket_id: mine.socketId() });
    await library.trigger('chat', 'said', 2);
    await until('both came', () => heard.theirs.length === 2 && heard.mine.length > 0);
    assert.deepEqual(heard, { mine: [2], theirs: [1, 2] });
  });

  test('leave ends all forms of a channel', async () => {
    const echo = open({ id: 'ada' });
    await Promise.all([echo.channel('x'), echo.private('x'), echo.encryptedPrivate('x'), echo.join('x')].map(subscribed));
    const names = async () => {
      const { channels } = await (await library.get({ path: '/channels' })).json();
      return Object.keys(channels).filter((name) => /(^|-)x$/.test(name)).sort();
    };
    assert.deepEqual(await names(), ['presence-x', 'private-encrypted-x', 'private-x', 'x']);
    echo.leave('x');
    await until('all are left', async () => (await names()).length === 0);
  });

  test('an error names the channel that was refused', async () => {
    const refuse = { customHandler: (_, callback) => callback(null, { auth: `${APP.key}:00` }) };
    const channel = open({}, { channelAuthorization: refuse }).private('secret');
    const error = await new Promise((resolve) => channel.error(resolve));
    assert.equal(error.type, 'AuthError');
    assert.equal(error.status, 401);
  });
});
