// What the library for PHP sends (library.php), against the real binary, with and without a prefix on either side.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { APP, skip, startSite, subscribed, until } from './site.mjs';

const SCRIPT = fileURLToPath(new URL('./library.php', import.meta.url));

for (const [prefix, path] of [['', ''], ['/live', '/live/'], ['/live', '/live'], ['/live', '']]) {
  const where = `the prefix '${prefix}' of the server and the path '${path}' of the library`;
  describe(`the library for PHP with ${where}`, { skip, timeout: 60_000 }, () => {
    let site;

    before(async () => { site = await startSite({ path: prefix }); });
    after(() => site?.end());

    /** Runs calls; resolves to their answers. */
    const run = async (...calls) => {
      const words = [SCRIPT, site.port, path || '/', APP.id, APP.key, APP.secret, JSON.stringify(calls)];
      const { stdout } = await promisify(execFile)('php', words);
      const lines = stdout.trim().split('\n').map((line) => JSON.parse(line));
      assert.equal(lines.length, calls.length, stdout);
      return lines.map(({ call, status, answer }) => ({ call, status, answer: JSON.parse(answer) }));
    };
    const post = (resource, body) => ['POST', resource, JSON.stringify(body), {}];
    const get = (resource, query = {}) => ['GET', resource, '', query];
    const fine = (answers) => answers.forEach((answer) => assert.equal(answer.status, 200, JSON.stringify(answer)));

    test('events arrive', async () => {
      const client = site.client({ id: 'ada' });
      const all = [];
      const channels = await Promise.all(['news', 'presence-room'].map((name) => subscribed(client, name)));
      channels.forEach((channel) => channel.bind_global((name, data) => name === 'event' && all.push(data)));
      const event = { name: 'event', data: '"one"', channel: 'news' };
      const answers = await run(
        post('/events', event),
        post('/events', { name: 'event', data: '"two"', channels: ['news', 'presence-room'], info: 'user_count' }),
        post('/batch_events', { batch: [{ ...event, data: '"three"' }, { ...event, channel: 'none' }] }),
      );
      fine(answers);
      assert.deepEqual(answers[0].answer, {});
      assert.deepEqual(answers[1].answer, { channels: { news: {}, 'presence-room': { user_count: 1 } } });
      await until('all came', () => all.length === 4);
      assert.deepEqual(all.sort(), ['one', 'three', 'two', 'two']);
    });

    test('questions are answered', async () => {
      const client = site.client({ id: 'bob' });
      await subscribed(client, 'presence-asked');
      const answers = await run(
        get('/channels', { filter_by_prefix: 'presence-asked', info: 'user_count' }),
        get('/channels/presence-asked', { info: 'user_count,subscription_count' }),
        get('/channels/presence-asked/users'),
      );
      assert.deepEqual(answers[0].answer, { channels: { 'presence-asked': { user_count: 1 } } });
      assert.deepEqual(answers[1].answer, { occupied: true, user_count: 1, subscription_count: 1 });
      assert.deepEqual(answers[2].answer, { users: [{ id: 'bob' }] });
    });

    test('users are put out, whatever their ids', async () => {
      for (const id of ['7', 'a b', 'é', '50%', 'user@example.org', "o'hara", 'a/b', 'a,b;c=d']) {
        const client = site.client({ id });
        client.signin();
        await until(`${id} is signed in`, () => client.user.user_data?.id === id);
        fine(await run(['POST', `/users/${id}/terminate_connections`, '{}', {}]));
        await until(`${id} is out`, () => client.connection.state === 'disconnected');
      }
    });

    test('a batch that is too large is refused in the words that its own tests look for', async () => {
      const batch = Array.from({ length: 11 }, () => ({ name: 'event', channel: 'news', data: '1' }));
      const [{ status, answer }] = await run(post('/batch_events', { batch }));
      assert.equal(status, 400);
      assert.match(answer.error, /^Batch too large/);
    });
  });
}
