// The recipes of docs/protocol.md run here as they stand there: the recovering client against a line that is cut again
// and again, and the shell's way to publish. They need no browser, only node and the binary.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash, createHmac } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { BINARY, startServer } from './start.mjs';

const DOCUMENT = readFileSync(new URL('../../docs/protocol.md', import.meta.url), 'utf8');
const EVENTS = 400;

/** The only block of a language that has `mark` in it. */
function recipe(language, mark) {
  const blocks = [...DOCUMENT.matchAll(/^```(\w+)\n(.*?)^```$/gms)].filter(([, found, text]) => found === language && text.includes(mark));
  assert.equal(blocks.length, 1, `${language} with ${mark}`);
  return blocks[0][2];
}

describe('the recipes', { skip: existsSync(BINARY) ? false : `there is no ${BINARY}`, timeout: 60_000 }, () => {
  let server;
  let folder;

  before(async () => {
    server = await startServer();
    folder = mkdtempSync(join(tmpdir(), 'jsocketd-'));
  });
  after(async () => {
    await server?.end();
    if (folder) rmSync(folder, { recursive: true });
  });

  async function publish(channel, data) {
    const body = JSON.stringify({ name: 'n', channel, data: String(data) });
    const md5 = createHash('md5').update(body).digest('hex');
    const query = `auth_key=jsocketd-key&auth_timestamp=${Math.floor(Date.now() / 1000)}&auth_version=1.0&body_md5=${md5}`;
    const signature = createHmac('sha256', 'jsocketd-secret').update(`POST\n/apps/joomla/events\n${query}`).digest('hex');
    const answer = await fetch(`${server.url}apps/joomla/events?${query}&auth_signature=${signature}`, { method: 'POST', body });
    assert.equal(answer.status, 200);
  }

  /** A program of node that may use WebSocket, and its lines. */
  function run(file) {
    const child = spawn(process.execPath, ['--experimental-websocket', '--no-warnings', file], { stdio: ['ignore', 'pipe', 'inherit'] });
    return { child, lines: createInterface(child.stdout)[Symbol.asyncIterator]() };
  }

  test('the recovering client receives every event once and in order, however often the line is cut', async () => {
    // Between the client and the server: lets some bytes through, then cuts, so that frames break in the middle; or it cuts
    // where a recovery was promised and nothing of it has come yet.
    const open = new Set();
    let cuts = 0;
    const line = net.createServer((client) => {
      const peer = net.connect(Number(new URL(server.url).port), '127.0.0.1');
      // Enough for the handshake at least; the last connection is left alone.
      let left = cuts < 8 ? 500 + 700 * (cuts % 4) : Infinity;
      const promise = cuts < 8 && cuts % 2 === 1 ? '"recovered":true}' : undefined;
      const end = () => {
        client.destroy();
        peer.destroy();
      };
      for (const socket of [client, peer]) {
        open.add(socket);
        socket.on('error', end).on('close', end);
      }
      client.pipe(peer);
      peer.on('data', (bytes) => {
        const promised = promise ? bytes.indexOf(promise) : -1;
        if (promised >= 0) left = promised + promise.length;
        client.write(bytes.subarray(0, left));
        left -= bytes.length;
        if (left > 0) return;
        cuts += 1;
        client.end();
        peer.destroy();
      });
    });
    await new Promise((resolve) => line.listen(0, '127.0.0.1', resolve));
    writeFileSync(join(folder, 'recovery.mjs'), recipe('js', 'class RecoveringClient'));
    writeFileSync(join(folder, 'main.mjs'), `
      import { createHmac } from 'node:crypto';
      import { RecoveringClient } from './recovery.mjs';
      const auth = async (id, name) => 'jsocketd-key:' + createHmac('sha256', 'jsocketd-secret').update(id + ':' + name).digest('hex');
      const event = (channel, name, data) => console.log(channel, data);
      const client = new RecoveringClient('ws://127.0.0.1:${line.address().port}/app/jsocketd-key', { event, gap: (channel) => console.log('gap', channel), auth });
      client.subscribe('news');
      client.subscribe('private-news');`);
    const { child, lines } = run(join(folder, 'main.mjs'));
    try {
      // Its first events say that it is there.
      const heard = { news: [], 'private-news': [] };
      const listen = async (enough) => {
        while (!enough()) {
          const { value, done } = await lines.next();
          assert.ok(!done, 'the client goes on');
          const [channel, data] = value.split(' ');
          assert.notEqual(channel, 'gap');
          heard[channel].push(Number(data));
        }
      };
      const hello = setInterval(() => Object.keys(heard).forEach((channel) => publish(channel, 0)), 50);
      await listen(() => Object.values(heard).every((data) => data.length > 0));
      clearInterval(hello);
      for (let n = 1; n <= EVENTS; n += 1) await publish(n % 2 ? 'news' : 'private-news', n);
      await listen(() => heard.news.includes(EVENTS - 1) && heard['private-news'].includes(EVENTS));
      const all = Array.from({ length: EVENTS }, (_, at) => at + 1);
      assert.deepEqual(heard.news.filter(Boolean), all.filter((n) => n % 2));
      assert.deepEqual(heard['private-news'].filter(Boolean), all.filter((n) => n % 2 === 0));
      assert.ok(cuts >= 2, `the line was cut ${cuts} times`);
    } finally {
      child.kill();
      for (const socket of open) socket.destroy();
      line.close();
    }
  });

  test('the recovering client reports a gap', async () => {
    const file = join(folder, 'gap.mjs');
    writeFileSync(join(folder, 'recovery.mjs'), recipe('js', 'class RecoveringClient'));
    const own = await startServer();
    writeFileSync(file, `
      import { RecoveringClient } from './recovery.mjs';
      const client = new RecoveringClient('${own.url.replace('http', 'ws')}app/jsocketd-key', { event: () => {}, gap: (channel) => console.log('gap', channel) });
      client.subscribe('news');
      console.log('started');`);
    const { child, lines } = run(file);
    let next;
    try {
      assert.equal((await lines.next()).value, 'started');
      await occupied(own);
      await own.end();
      next = await startServer(own.address);
      assert.equal((await lines.next()).value, 'gap news');
    } finally {
      child.kill();
      await own.end();
      await next?.end();
    }
  });

  /** Resolves when somebody subscribes to `news`. */
  async function occupied({ url }) {
    for (;;) {
      const query = `auth_key=jsocketd-key&auth_timestamp=${Math.floor(Date.now() / 1000)}&auth_version=1.0`;
      const signature = createHmac('sha256', 'jsocketd-secret').update(`GET\n/apps/joomla/channels/news\n${query}`).digest('hex');
      const answer = await fetch(`${url}apps/joomla/channels/news?${query}&auth_signature=${signature}`);
      if ((await answer.json()).occupied) return;
    }
  }

  test('curl and openssl publish', async () => {
    const script = recipe('sh', 'openssl sha256').replace('http://127.0.0.1:8080', server.url.replace(/\/$/, ''));
    const child = spawn('sh', ['-c', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    for await (const chunk of child.stdout) output += chunk;
    assert.equal(output, '{}');
  });
});
