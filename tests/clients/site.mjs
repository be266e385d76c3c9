// Starts the programs for the tests of real clients: the binary that JSOCKETD_BIN names (otherwise the debug build)
// with one app, on a free port, and clients that are configured as their manuals say. Waits are for facts, each with a
// deadline.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Library from 'pusher';
import Client from 'pusher-js';

const BINARY = process.env.JSOCKETD_BIN ?? fileURLToPath(new URL('../../target/debug/jsocketd', import.meta.url));
const PATIENCE = 15_000;

export const APP = { id: '4711', key: 'site-key', secret: 'site-secret-0123456789' };
export const MASTER_KEY = Buffer.alloc(32, 7).toString('base64');

/** Why nothing here can run, or false. */
export const skip = existsSync(BINARY) ? false : `there is no ${BINARY}`;

/** A server of our own; resolves when it says where it listens. */
export async function startSite({ app = 'client_events = true', limits = '', path = '', pusher = '', more = '', port = 0 } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'jsocketd-clients-'));
  const config = join(folder, 'jsocketd.toml');
  const credentials = Object.entries(APP).map(([name, value]) => `${name} = "${value}"`).join('\n');
  writeFileSync(config, [
    '[limits]', 'connects_per_second = 0', limits, '[pusher]', `path = "${path}"`, pusher, '[[apps]]', credentials, app, more, '',
  ].join('\n'));
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(JSOCKETD_|RUST_LOG$)/.test(name)));
  const args = ['serve', '--config', config, '--listen', `127.0.0.1:${port}`];
  const child = spawn(BINARY, args, { stdio: ['ignore', 'pipe', 'pipe'], env });
  const ended = once(child, 'exit');
  let output = '';
  const url = await new Promise((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        output += chunk;
        const said = /listening on (http:\/\/\S+\/)/.exec(output);
        if (said) resolve(new URL(said[1]));
      });
    }
    ended.then(([code]) => reject(new Error(`the server ended with ${code}:\n${output}`)));
  });
  const clients = [];
  const site = {
    url,
    port: Number(url.port),
    path,
    log: () => output,
    /** Ends the server, not its clients. */
    stop: async (signal = 'SIGKILL') => {
      child.kill(signal);
      await ended;
    },
    /** Ends everything. */
    end: async () => {
      clients.forEach((client) => client.disconnect());
      await site.stop();
      rmSync(folder, { recursive: true, force: true });
    },
    /** The library of a site's back end. */
    library: (options = {}) => new Library({
      appId: APP.id, key: APP.key, secret: APP.secret, host: url.hostname, port: url.port, encryptionMasterKeyBase64: MASTER_KEY,
      ...options,
    }),
    /** A pusher-js client; `user` is its user, as the site's back end signs it. */
    client: (user = {}, options = {}) => {
      const client = new Client(options.key ?? APP.key, clientOptions(site, user, options));
      clients.push(client);
      return client;
    },
  };
  return site;
}

/** The options of pusher-js for a site that signs every request; `asked` collects the requests. */
export function clientOptions(site, user = {}, { asked = [], ...options } = {}) {
  const library = site.library();
  const answer = (callback, sign) => {
    try {
      callback(null, sign());
    } catch (error) {
      callback(error, null);
    }
  };
  return {
    cluster: '',
    wsHost: site.url.hostname,
    wsPort: site.port,
    wsPath: site.path,
    forceTLS: false,
    enabledTransports: ['ws'],
    enableStats: false,
    channelAuthorization: {
      customHandler: ({ socketId, channelName }, callback) => {
        asked.push(channelName);
        const member = channelName.startsWith('presence-') ? { user_id: user.id, user_info: user.user_info } : undefined;
        answer(callback, () => library.authorizeChannel(socketId, channelName, member));
      },
    },
    userAuthentication: {
      customHandler: ({ socketId }, callback) => answer(callback, () => library.authenticateUser(socketId, user)),
    },
    ...options,
  };
}

/** The next time that `target` says `event`: what it says. */
export function heard(target, event) {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => {
      target.unbind(event, take);
      reject(new Error(`waited in vain for ${event}`));
    }, PATIENCE);
    const take = (said, more) => {
      clearTimeout(late);
      target.unbind(event, take);
      resolve(more?.user_id === undefined ? said : { said, ...more });
    };
    target.bind(event, take);
  });
}

/** Waits until the connection is in this state. */
export async function state(client, wanted) {
  if (client.connection.state !== wanted) await heard(client.connection, wanted);
  return client;
}

/** Subscribes and waits for the confirmation; a refusal is an error. */
export async function subscribed(client, name) {
  const channel = client.subscribe(name);
  let refused;
  const refuse = (error) => { refused = error; };
  channel.bind('pusher:subscription_error', refuse);
  await until(`${name} is subscribed`, () => {
    if (refused) throw new Error(`${name} was refused: ${JSON.stringify(refused)}`);
    return channel.subscribed;
  });
  channel.unbind('pusher:subscription_error', refuse);
  return channel;
}

/** Waits until `fact` is true, or true after an await. */
export async function until(what, fact) {
  const deadline = Date.now() + PATIENCE;
  while (!await fact()) {
    if (Date.now() > deadline) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A receiver of webhooks: `events` are those of the valid ones, and `failures` answers come first. */
export async function startHooks({ failures = 0 } = {}) {
  const library = new Library({ appId: APP.id, key: APP.key, secret: APP.secret, host: 'localhost' });
  const hooks = { events: [], bodies: [], invalid: 0, failed: 0 };
  const server = createServer((request, response) => {
    let rawBody = '';
    request.setEncoding('utf8').on('data', (chunk) => { rawBody += chunk; }).on('end', () => {
      if (hooks.failed < failures) {
        hooks.failed += 1;
        response.writeHead(503).end();
        return;
      }
      const webhook = library.webhook({ headers: request.headers, rawBody });
      if (webhook.isValid()) {
        hooks.events.push(...webhook.getEvents());
        hooks.bodies.push(webhook.getData());
      } else {
        hooks.invalid += 1;
      }
      response.writeHead(200).end();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  hooks.url = `http://127.0.0.1:${server.address().port}/hook`;
  hooks.end = () => {
    server.closeAllConnections();
    server.close();
  };
  return hooks;
}
