// Starts the programs for the package's tests: a private MariaDB with a site's tables, the real binary for that site,
// PHP's built-in server with the pages of site/, and a browser. JSOCKETD_BIN names another binary than the debug build,
// CHROMIUM another browser. Each wait is for a fact and has a deadline. Only processes that were started here are
// ended.

import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');
export const BINARY = process.env.JSOCKETD_BIN ?? `${ROOT}/target/debug/jsocketd`;
export const BROWSER = process.env.CHROMIUM ?? '/usr/bin/chromium';
const PATIENCE = 20_000;
export const VERSION = /^version = "(.*)"$/m.exec(readFileSync(`${ROOT}/Cargo.toml`, 'utf8'))[1];
const COOKIE = '0ad504c8cb42b9a2c9379cf1921924da'; // what Joomla names it with the $secret of the fixture's configuration.php

/** The first of the two programs that is missing. */
export const missing = [BINARY, BROWSER].find((path) => !existsSync(path));

export const run = promisify(execFile);

/** Waits for a fact. */
export async function until(what, fact, patience = PATIENCE) {
  for (const deadline = Date.now() + patience; ;) {
    const found = await fact();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export const launchBrowser = (more = {}) =>
  chromium.launch({
    ...more,
    executablePath: BROWSER,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync'],
  });

async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

// The server refuses unknown variables with its prefix, and JSOCKETD_BIN is one.
const INHERITED = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(JSOCKETD_|RUST_LOG$|SITE_)/.test(name)));

/** Starts a process and waits until its output contains `ready`. */
async function start(command, args, ready, env = {}) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...INHERITED, ...env } });
  const ended = once(child, 'exit');
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk));
  const failed = ended.then(([code]) => {
    throw new Error(`${command} ended with ${code}:\n${output}`);
  });
  failed.catch(() => {});
  await Promise.race([until(`${command} is ready`, () => ready.test(output)), failed]);
  return {
    log: () => output,
    stop: async (signal = 'SIGKILL') => {
      child.kill(signal);
      await ended;
    },
  };
}

/** Starts everything. `params` are more options of the component. */
export async function startStand(params = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'jsocketd-package-'));
  const base = `${folder}/base`;
  const media = `${folder}/media`;
  const ended = [];
  try {
    return await build();
  } catch (error) {
    await end();
    throw error;
  }

  async function end() {
    for (const one of ended.reverse()) await one();
    rmSync(folder, { recursive: true, force: true });
  }

  async function build() {
    await run(`${ROOT}/scripts/package`, ['--media', media]);
    // The user of the database must be able to reach this folder.
    await run('chmod', ['711', folder]);
    const script = `${ROOT}/scripts/mariadb`;
    ended.push(() => run(script, ['kill', base]).catch(() => {}));
    const { stdout } = await run(script, ['start', base]);
    const [address] = stdout.trim().split(' ');
    const sql = async (statements) => (await run('mariadb', [`--defaults-file=${base}/my.cnf`, '--batch', '--skip-column-names', 'joomla6',
      '--execute', statements.replaceAll('#__', 'j6x_')])).stdout;
    const load = (database, file, before = '') => run('bash', ['-c', 'printf %s "$1" | cat - "$2" | mariadb --defaults-file="$3" "${@:4}"',
      'load', before, file, `${base}/my.cnf`, '--batch', '--skip-column-names', ...database]);
    await load([], '/dev/null', `CREATE DATABASE joomla6; CREATE USER jlab IDENTIFIED BY 'jlab'; GRANT ALL ON joomla6.* TO jlab;`);
    await load(['joomla6'], `${ROOT}/tests/fixtures/joomla/tables-j6.sql`);
    const people = await load(['joomla6'], `${ROOT}/scripts/load-site.sql`, `SET @people = 3; SET @cookie = '${COOKIE}';\n`);
    const members = people.stdout.trim().split('\n').map((line) => {
      const [, name, value, id] = /^(\w+)=(\w+)\t(\d+)$/.exec(line);
      return { id: Number(id), cookie: { name, value } };
    });

    const [port, webPort] = [await freePort(), await freePort()];
    const app = { app_id: 'site-1', app_key: randomBytes(16).toString('hex'), app_secret: randomBytes(16).toString('hex') };
    const all = { ...app, server_url: `ws://127.0.0.1:${port}`, server_address: `http://127.0.0.1:${port}`, spread_ms: 0, ...params };
    const row = (type, element, manifest, values) => `INSERT INTO #__extensions SET name = '${element}', type = '${type}',
      element = '${element}', folder = '', client_id = ${type === 'component' ? 1 : 0}, enabled = 1, access = 1,
      manifest_cache = '${JSON.stringify(manifest)}', params = '${JSON.stringify(values)}', custom_data = ''`;
    await sql(row('file', 'joomla', { version: '6.1.0' }, {}));
    await sql(row('component', 'com_websockets', { version: VERSION }, all));
    const configuration = readFileSync(`${ROOT}/tests/fixtures/joomla/j6.1-installer.php`, 'utf8')
      .replace(/(\$host = )'.*'/, `$1'${address}'`);
    writeFileSync(`${folder}/configuration.php`, configuration);
    writeFileSync(`${folder}/jsocketd.toml`, [
      '[limits]', 'connects_per_second = 0', 'drain_seconds = 0', '[joomla]', `root = "${folder}"`, '',
    ].join('\n'));
    const schema = await run(BINARY, ['schema', '--config', `${folder}/jsocketd.toml`], { env: INHERITED });
    await sql(schema.stdout);

    let server;
    ended.push(() => server?.stop());
    const begin = async () => {
      await sql(`DELETE FROM #__websockets_state WHERE name LIKE 'process.%'`); // of the one before
      server = await start(BINARY, ['serve', '--config', `${folder}/jsocketd.toml`, '--listen', `127.0.0.1:${port}`], /listening on /);
      await until('it reads the table', async () => Number(await sql(`SELECT COUNT(*) FROM #__websockets_state WHERE name LIKE 'process.%'`)));
    };
    await begin();
    const web = await start('php', ['-S', `127.0.0.1:${webPort}`, '-d', 'display_errors=stderr', `${ROOT}/tests/package/site/index.php`],
      /Development Server/, { SITE_ROOT: folder, SITE_MEDIA: media });
    ended.push(() => web.stop('SIGTERM'));
    const url = `http://127.0.0.1:${webPort}/`;

    return {
      url, media, members, sql, end, app, port,
      log: () => server.log() + web.log(),
      server: {
        stop: (signal) => server.stop(signal),
        start: begin,
        restart: async (signal) => {
          await server.stop(signal);
          await begin();
        },
      },
      /** Publishes events through the PHP API. Each is [channel, event, data, 'http' or nothing]. */
      publish: async (...events) => {
        const body = JSON.stringify(events.map(([channel, event, data = null, via = null]) => [channel, event, data, via]));
        const answer = await fetch(`${url}publish`, { method: 'POST', body });
        const text = await answer.text();
        if (answer.status !== 200 || text !== '{}') throw new Error(`publish: ${answer.status} ${text}`);
      },
    };
  }
}
