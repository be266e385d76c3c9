// `pusher`, the server library for node, against the real binary: every call that it has, errors as applications see them,
// and webhooks that it must be able to verify. It has no option for the prefix of a path, so it
// sends to the server with a prefix what it sends to the other.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { skip, startHooks, startSite, subscribed, until } from './site.mjs';

for (const path of ['', '/live']) {
  describe(`the library for node with the prefix '${path}' of the server`, { skip, timeout: 60_000 }, () => {
    let site;
    let library;

    before(async () => {
      site = await startSite({ path });
      library = site.library();
    });
    after(() => site?.end());

    /** The call fails with this status, and the answer says why. */
    const fails = (call, status) => assert.rejects(call, (error) => {
      assert.equal(error.status, status, `${error}: ${error.body}`);
      assert.equal(typeof JSON.parse(error.body).error, 'string', error.body);
      return true;
    });

    const json = async (response) => (await response).json();

    test('trigger answers 200 with an object', async () => {
      const response = await library.trigger('news', 'event', { a: 1 });
      assert.equal(response.status, 200);
      assert.match(response.headers.get('content-type'), /^application\/json/);
      assert.deepEqual(await response.json(), {});
    });

    test('trigger reaches many channels, and may ask about them', async () => {
      const client = site.client({ id: 'ada' });
      await Promise.all(['one', 'private-two', 'presence-three'].map((name) => subscribed(client, name)));
      const all = [];
      client.bind_global((event, data) => event === 'event' && all.push(data));
      const names = ['one', 'private-two', 'presence-three', 'empty'];
      const answer = await json(library.trigger(names, 'event', 1, { info: 'subscription_count,user_count' }));
      assert.deepEqual(answer, {
        channels: {
          one: { subscription_count: 1 },
          'private-two': { subscription_count: 1 },
          'presence-three': { subscription_count: 1, user_count: 1 },
          empty: { subscription_count: 0 },
        },
      });
      await until('all came', () => all.length === 3);
      await json(library.trigger(Array.from({ length: 100 }, (_, n) => `many-${n}`), 'event', 1));
    });

    test('triggerBatch answers in the order of its events', async () => {
      const client = site.client();
      const channel = await subscribed(client, 'batched');
      const all = [];
      channel.bind_global((event, data) => all.push([event, data]));
      const batch = [1, 2, 3].map((n) => ({ channel: 'batched', name: `event-${n}`, data: { n } }));
      assert.deepEqual(await json(library.triggerBatch(batch)), {});
      await until('all came', () => all.length === 3);
      assert.deepEqual(all, [1, 2, 3].map((n) => [`event-${n}`, { n }]));
      const asked = [{ channel: 'batched', name: 'x', data: '', info: 'subscription_count' }, { channel: 'none', name: 'x', data: '' }];
      assert.deepEqual(await json(library.triggerBatch(asked)), { batch: [{ subscription_count: 1 }, {}] });
    });

    test('get returns channels, one channel and its users', async () => {
      const client = site.client({ id: 'ada' });
      await Promise.all(['told', 'presence-told'].map((name) => subscribed(client, name)));
      const get = (path, params) => json(library.get({ path, params }));
      const { channels } = await get('/channels', { filter_by_prefix: 'presence-told', info: 'user_count' });
      assert.deepEqual(channels, { 'presence-told': { user_count: 1 } });
      assert.deepEqual((await get('/channels')).channels.told, {});
      assert.deepEqual(
        await get('/channels/presence-told', { info: 'user_count,subscription_count' }),
        { occupied: true, user_count: 1, subscription_count: 1 },
      );
      assert.deepEqual(await get('/channels/nobody'), { occupied: false });
      assert.deepEqual(await get('/channels/presence-told/users'), { users: [{ id: 'ada' }] });
      assert.deepEqual(await get('/channels/presence-nobody/users'), { users: [] });
      await fails(() => library.get({ path: '/channels/told', params: { info: 'user_count' } }), 400);
      await fails(() => library.get({ path: '/channels', params: { info: 'user_count' } }), 400);
      await fails(() => library.get({ path: '/channels/told/users' }), 400);
    });

    test('post sends its body unchanged', async () => {
      const body = { name: 'event', channels: ['news'], data: { not: 'a string' } };
      assert.deepEqual(await json(library.post({ path: '/events', body })), {});
      await fails(() => library.post({ path: '/events', body: { channels: ['news'] } }), 400);
      await fails(() => library.post({ path: '/nothing', body: {} }), 404);
    });

    test('every refusal has a status and a sentence', async () => {
      await fails(() => library.trigger('news', 'event', 'x'.repeat(10_241)), 413);
      await json(library.trigger('news', 'event', 'x'.repeat(10_240)));
      await fails(() => library.trigger('news', 'pusher:event', ''), 400);
      await fails(() => library.trigger('news', 'pusher_internal:event', ''), 400);
      const eleven = Array.from({ length: 11 }, () => ({ channel: 'news', name: 'event', data: '' }));
      await fails(() => library.triggerBatch(eleven), 400);
      await fails(() => library.triggerBatch([{ channel: 'news', name: 'event', data: '' }, { channel: 'a b', name: 'x', data: '' }]), 400);
      await fails(() => site.library({ secret: 'wrong' }).trigger('news', 'event', ''), 401);
      await fails(() => site.library({ key: 'wrong' }).trigger('news', 'event', ''), 401);
      await fails(() => site.library({ appId: '1' }).trigger('news', 'event', ''), 404);
    });

    test('terminateUserConnections takes ids of every kind', async () => {
      for (const id of ['7', 'a b', 'é', 'user@example.org', 'a,b;c=d']) {
        const client = site.client({ id });
        client.signin();
        await until(`${id} is signed in`, () => client.user.user_data?.id === id);
        await json(library.terminateUserConnections(encodeURIComponent(id)));
        await until(`${id} is out`, () => client.connection.state === 'disconnected');
      }
    });

    test('verifies the webhooks', async () => {
      const hooks = await startHooks({ failures: 1 });
      const kinds = ['channel_occupied', 'channel_vacated', 'member_added', 'member_removed', 'client_event', 'cache_miss'];
      const hooked = await startSite({
        path,
        more: `[[apps.webhooks]]\nurl = "${hooks.url}"\nevents = ${JSON.stringify(kinds)}`,
      });
      try {
        const ada = hooked.client({ id: 'ada' });
        const room = await subscribed(ada, 'presence-cache-room');
        await until('the first three came', () => hooks.events.length === 3);
        room.trigger('client-said', { text: 'é' });
        await until('the client event came', () => hooks.events.length === 4);
        const socketId = ada.connection.socket_id;
        // A reload of the page is neither an end nor a beginning.
        ada.disconnect();
        const again = hooked.client({ id: 'ada' });
        const back = await subscribed(again, 'presence-cache-room');
        back.trigger('client-back', 1);
        await until('the next client event came', () => hooks.events.some(({ event }) => event === 'client-back'));
        again.disconnect();
        await until('all came', () => hooks.events.some(({ name }) => name === 'channel_vacated'));
        const channel = 'presence-cache-room';
        const seen = hooks.events.filter(({ event }) => event !== 'client-back');
        const by = (name) => seen.filter((event) => event.name === name);
        assert.deepEqual(by('channel_occupied'), [{ name: 'channel_occupied', channel }]);
        assert.deepEqual(by('member_added'), [{ name: 'member_added', channel, user_id: 'ada' }]);
        assert.deepEqual(by('member_removed'), [{ name: 'member_removed', channel, user_id: 'ada' }]);
        assert.deepEqual(by('channel_vacated'), [{ name: 'channel_vacated', channel }]);
        assert.equal(by('cache_miss').length >= 1, true);
        const [said] = by('client_event');
        const data = said.data;
        assert.deepEqual(said, { name: 'client_event', channel, event: 'client-said', data, socket_id: socketId, user_id: 'ada' });
        assert.deepEqual(JSON.parse(data), { text: 'é' });
        assert.deepEqual([hooks.invalid, hooks.failed], [0, 1]);
        assert.ok(hooks.bodies.every(({ time_ms }) => Math.abs(Date.now() - time_ms) < 60_000));
      } finally {
        await hooked.end();
        hooks.end();
      }
    });
  });
}
