// pusher-js in node against the real binary: channels, members, users and outages as an application sees them.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { APP, heard, skip, startSite, state, subscribed, until } from './site.mjs';

describe('pusher-js', { skip, timeout: 120_000 }, () => {
  let site;
  let library;

  before(async () => {
    site = await startSite();
    library = site.library();
  });
  after(() => site?.end());

  test('connects and gets a socket id', async () => {
    const client = await state(site.client(), 'connected');
    assert.match(client.connection.socket_id, /^\d+\.\d+$/);
  });

  test('receives events of public and private channels, with data as it was published', async () => {
    const client = site.client();
    for (const name of ['news', 'private-news', 'private-App.Models.User.1']) {
      const channel = await subscribed(client, name);
      for (const data of [{ text: 'é 🐘', deep: [1, { x: null }] }, 'text', [], 7, null, { exp: '1e400' }]) {
        const came = heard(channel, 'App\\Events\\Shipped');
        await library.trigger(name, 'App\\Events\\Shipped', data);
        assert.deepEqual(await came, data);
      }
      client.unsubscribe(name);
    }
  });

  test('may unsubscribe and subscribe again in one breath', async () => {
    const client = site.client();
    await subscribed(client, 'breath');
    client.unsubscribe('breath');
    const channel = await subscribed(client, 'breath');
    const all = [];
    channel.bind('event', (data) => all.push(data));
    await library.trigger('breath', 'event', 1);
    const last = heard(channel, 'event');
    await library.trigger('breath', 'event', 2);
    await last;
    await until('both came', () => all.length === 2);
    assert.deepEqual(all, [1, 2]);
  });

  test('leaves the sender out when its socket id is given', async () => {
    const [sender, other] = [site.client(), site.client()];
    const [mine, theirs] = await Promise.all([subscribed(sender, 'chat'), subscribed(other, 'chat')]);
    const all = [];
    mine.bind_global((event) => all.push(event));
    const came = heard(theirs, 'said');
    await library.trigger('chat', 'said', {}, { socket_id: sender.connection.socket_id });
    await came;
    const marker = heard(mine, 'marker');
    await library.trigger('chat', 'marker', {});
    await marker;
    assert.deepEqual(all, ['marker']);
  });

  test('keeps the members of a presence channel, itself among them', async () => {
    const ada = site.client({ id: 'ada', user_info: { name: 'Ada' } });
    const room = await subscribed(ada, 'presence-room');
    assert.equal(room.members.count, 1);
    assert.deepEqual(room.members.me, { id: 'ada', info: { name: 'Ada' } });

    const added = heard(room, 'pusher:member_added');
    const bob = site.client({ id: 'bob', user_info: { name: 'Bob' } });
    const bobs = await subscribed(bob, 'presence-room');
    assert.deepEqual(await added, { id: 'bob', info: { name: 'Bob' } });
    assert.deepEqual(bobs.members.members, { ada: { name: 'Ada' }, bob: { name: 'Bob' } });

    // A second tab of Bob's is no new member, and its end removes no member.
    const events = [];
    room.bind_global((event) => events.push(event));
    const tab = site.client({ id: 'bob', user_info: { name: 'Bobby' } });
    const tabs = await subscribed(tab, 'presence-room');
    assert.equal(tabs.members.count, 2);
    tab.disconnect();
    const said = heard(room, 'client-said');
    bobs.trigger('client-said', { text: 'hi' });
    assert.deepEqual(await said, { said: { text: 'hi' }, user_id: 'bob' });
    assert.deepEqual(events, ['client-said']);

    const removed = heard(room, 'pusher:member_removed');
    bob.disconnect();
    assert.deepEqual(await removed, { id: 'bob', info: { name: 'Bob' } });
    assert.equal(room.members.count, 1);
  });

  test('joins presence channels with numbers as ids', async () => {
    const client = site.client({ id: 10, user_info: { name: 'Mr. Channels' } });
    const room = await subscribed(client, 'presence-numbers');
    assert.deepEqual(room.members.members, { 10: { name: 'Mr. Channels' } });
    assert.equal(room.members.me.id in room.members.members, true);
  });

  test('sends client events to the others only', async () => {
    const [first, second] = await Promise.all([1, 2].map(() => subscribed(site.client(), 'private-typing')));
    const echoes = [];
    first.bind('client-typing', () => echoes.push('own'));
    for (const data of [{ a: [1, null, 'é'] }, 'text', 5]) {
      const came = heard(second, 'client-typing');
      assert.equal(first.trigger('client-typing', data), true);
      assert.deepEqual(await came, data);
    }
    const back = heard(first, 'client-back');
    second.trigger('client-back', {});
    await back;
    assert.deepEqual(echoes, []);
  });

  test('learns which subscription was refused, and goes on', async () => {
    const client = site.client({}, {
      channelAuthorization: { customHandler: (_, callback) => callback(null, { auth: `${APP.key}:${'0'.repeat(64)}` }) },
    });
    const error = heard(client.connection, 'error');
    const refused = await heard(client.subscribe('private-secret'), 'pusher:subscription_error');
    assert.equal(refused.type, 'AuthError');
    assert.equal(refused.status, 401);
    assert.match(refused.error, /^Invalid signature: /);
    assert.equal((await error).data.code, null);
    await subscribed(client, 'news');
    assert.equal(client.connection.state, 'connected');
  });

  test('decrypts the events of an encrypted channel', async () => {
    for (const name of ['private-encrypted-x', 'private-encrypted-cache-x']) {
      const channel = await subscribed(site.client(), name);
      const came = heard(channel, 'secret');
      await library.trigger(name, 'secret', { text: 'é 🐘' });
      assert.deepEqual(await came, { text: 'é 🐘' });
    }
  });

  test('gets the last event of a cache channel, or a cache miss', async () => {
    for (const name of ['cache-x', 'private-cache-x', 'presence-cache-x']) {
      const client = site.client({ id: 'ada' });
      const channel = client.subscribe(name);
      await heard(channel, 'pusher:cache_miss');
      await library.trigger(name, 'goal', { score: '1:0' });
      const late = site.client({ id: 'bob' });
      assert.deepEqual(await heard(late.subscribe(name), 'goal'), { score: '1:0' });
    }
  });

  test('signs in, receives the events of the user, and is terminated', async () => {
    const client = site.client({ id: 'ada', user_info: { name: 'Ada' } });
    client.signin();
    await until('Ada is signed in', () => client.user.user_data?.id === 'ada');
    const all = [];
    client.user.bind('note', (data) => all.push(data));
    await library.sendToUser('bob', 'note', 'for Bob');
    await library.sendToUser('ada', 'note', { n: 1 });
    await until('the note came', () => all.length > 0);
    await library.sendToUser('ada', 'note', { n: 2 });
    await until('the second note came', () => all.length > 1);
    assert.deepEqual(all, [{ n: 1 }, { n: 2 }]);

    const gone = heard(client.connection, 'disconnected');
    await library.terminateUserConnections('ada');
    await gone;
    assert.equal(client.connection.state, 'disconnected');
  });

  test('watches other users', async () => {
    const changes = [];
    const watcher = site.client({ id: 'watcher', watchlist: ['eve'] });
    watcher.user.watchlist.bind('online', ({ user_ids }) => changes.push(['online', ...user_ids]));
    watcher.user.watchlist.bind('offline', ({ user_ids }) => changes.push(['offline', ...user_ids]));
    watcher.signin();
    await until('the first state came', () => changes.length === 1);
    const eve = site.client({ id: 'eve' });
    eve.signin();
    await until('Eve is online', () => changes.length === 2);
    eve.disconnect();
    await until('Eve is offline', () => changes.length === 3);
    assert.deepEqual(changes, [['offline', 'eve'], ['online', 'eve'], ['offline', 'eve']]);
  });

  test('stops for an unknown key', async () => {
    const client = site.client({}, { key: 'nobody' });
    const error = heard(client.connection, 'error');
    await state(client, 'disconnected');
    assert.equal((await error).error.data.code, 4001);
  });

  test('joins with every signature of the library', async () => {
    for (const [at, strange] of ['', ' ', 'é', '🐘', '"', '\\', '\u2028', '</script>', '{"user_id":2}', '%41', 'a:b:c'].entries()) {
      const user = { id: `u${at}${strange}`, user_info: { [strange]: strange } };
      const room = await subscribed(site.client(user), 'presence-strange');
      assert.deepEqual(room.members.me, { id: user.id, info: user.user_info });
    }
  });

  test('gets the number of subscribers', async () => {
    const counting = await startSite({ app: 'subscription_count = true' });
    try {
      const channel = counting.client().subscribe('news');
      assert.deepEqual(await heard(channel, 'pusher:subscription_count'), { subscription_count: 1 });
      const two = heard(channel, 'pusher:subscription_count');
      await subscribed(counting.client(), 'news');
      await two;
      assert.equal(channel.subscriptionCount, 2);
    } finally {
      await counting.end();
    }
  });

  test('stays while the server asks for a sign of life, and asks itself', async () => {
    const impatient = await startSite({ pusher: 'activity_timeout = 1', limits: 'ping_interval = 1\nping_timeout = 1' });
    try {
      const client = await state(impatient.client({}, { activityTimeout: 1_000, pongTimeout: 1_000 }), 'connected');
      const states = [];
      client.connection.bind('state_change', ({ current }) => states.push(current));
      // Longer than every limit together.
      await new Promise((resolve) => setTimeout(resolve, 4_000));
      assert.deepEqual(states, []);
    } finally {
      await impatient.end();
    }
  });

  for (const [how, signal] of [['a crash', 'SIGKILL'], ['an orderly restart', 'SIGTERM']]) {
    test(`comes back after ${how} and has its channels again`, async () => {
      const first = await startSite({ limits: 'drain_seconds = 0' });
      const client = first.client({ id: 'ada' });
      const [news, secret, room] = await Promise.all(
        ['news', 'private-x', 'presence-x'].map((name) => subscribed(client, name)),
      );
      const id = client.connection.socket_id;
      client.signin();
      await until('Ada is signed in', () => client.user.user_data?.id === 'ada');
      const back = Promise.all([news, secret, room].map((channel) => heard(channel, 'pusher:subscription_succeeded')));
      await first.stop(signal);
      const second = await startSite({ port: first.port });
      try {
        await back;
        assert.notEqual(client.connection.socket_id, id);
        const came = heard(news, 'event');
        await second.library().trigger('news', 'event', 'again');
        assert.equal(await came, 'again');
      } finally {
        client.disconnect();
        await second.end();
      }
    });
  }
});
