// pusher-js in node against two processes of one cluster, behind something that passes each new connection to one of
// them, as a proxy does: applications that change the process notice nothing but the change.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { heard, skip, startSite, state, subscribed, until } from './site.mjs';

/** An engine of our own; its URL is the path of a Unix socket. */
async function startEngine() {
  const folder = mkdtempSync(join(tmpdir(), 'jsocketd-engine-'));
  const path = join(folder, 'socket');
  const child = spawn('redis-server', ['--port', '0', '--unixsocket', path, '--save', '', '--appendonly', 'no'], { stdio: 'ignore' });
  const answers = () => new Promise((resolve) => {
    const socket = connect(path, () => resolve(true)).on('error', () => resolve(false));
    socket.unref().end();
  });
  await until('the engine answers', answers);
  return {
    url: `unix:${path}`,
    end: async () => {
      child.kill('SIGKILL');
      await once(child, 'exit');
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Passes each new connection to `way.port`. */
async function startWay() {
  const way = { port: 0, open: new Set() };
  const server = createServer((client) => {
    const inner = connect(way.port, '127.0.0.1');
    way.open.add(client);
    for (const [from, to] of [[client, inner], [inner, client]]) {
      from.on('error', () => {}).on('close', () => { to.destroy(); way.open.delete(from); });
      from.pipe(to);
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  way.listens = server.address().port;
  /** New connections go to this port, and the open ones end. */
  way.turn = (port) => {
    way.port = port;
    way.open.forEach((client) => client.destroy());
  };
  way.end = () => {
    way.open.forEach((client) => client.destroy());
    server.close();
  };
  return way;
}

describe('pusher-js and two processes', { skip, timeout: 120_000 }, () => {
  let engine;
  let sites = [];
  let way;

  before(async () => {
    engine = await startEngine();
    const more = `[engine]\nurl = "${engine.url}"\nlease = 3`;
    sites = await Promise.all([startSite({ more }), startSite({ more })]);
    for (const site of sites) {
      await until('it knows the others', async () => (await fetch(new URL('ready', site.url))).ok);
    }
    way = await startWay();
    way.port = sites[0].port;
  });
  after(async () => {
    await Promise.all(sites.map((site) => site.end()));
    way?.end();
    await engine?.end();
  });

  /** A client of any process. */
  const client = (user) => sites[0].client(user, { wsPort: way.listens });
  /** Publishes on a process. */
  const publish = (number, ...event) => sites[number].library().trigger(...event);

  test('an application that changes the process keeps its channels and members', async () => {
    const ada = client({ id: 'ada', user_info: { name: 'Ada' } });
    const room = await subscribed(ada, 'presence-room');
    way.port = sites[1].port;
    const added = heard(room, 'pusher:member_added');
    const bob = client({ id: 'bob', user_info: { name: 'Bob' } });
    const bobs = await subscribed(bob, 'presence-room');
    assert.deepEqual(await added, { id: 'bob', info: { name: 'Bob' } });
    assert.deepEqual(bobs.members.members, { ada: { name: 'Ada' }, bob: { name: 'Bob' } });

    // Both are on the second process now.
    const ids = [ada, bob].map((one) => one.connection.socket_id);
    way.turn(sites[1].port);
    await until('both came back and see both', () => [room, bobs].every((one) => one.subscribed && one.members.count === 2) &&
      [ada, bob].every((one, at) => one.connection.state === 'connected' && one.connection.socket_id !== ids[at]));
    assert.deepEqual(room.members.members, { ada: { name: 'Ada' }, bob: { name: 'Bob' } });
    for (const number of [0, 1]) {
      const both = [heard(room, 'event'), heard(bobs, 'event')];
      await publish(number, 'presence-room', 'event', { number });
      assert.deepEqual(await Promise.all(both), [{ number }, { number }]);
      const { users } = await (await sites[number].library().get({ path: '/channels/presence-room/users' })).json();
      assert.deepEqual(users.map((user) => user.id).sort(), ['ada', 'bob']);
    }
  });

  test('a client event reaches the clients of the other process', async () => {
    way.port = sites[0].port;
    const ada = await state(client({ id: 'ada' }), 'connected');
    way.port = sites[1].port;
    const bob = await state(client({ id: 'bob' }), 'connected');
    const [mine, theirs] = await Promise.all([subscribed(ada, 'private-chat'), subscribed(bob, 'private-chat')]);
    const came = heard(theirs, 'client-said');
    mine.trigger('client-said', { text: 'é' });
    assert.deepEqual(await came, { text: 'é' });
  });
});
