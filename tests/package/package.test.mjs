// scripts/package: the same input gives the same bytes on every machine, errors in the sources are reported, and the
// package is complete and as small as docs/client.md says. It needs python3 and npm's registry, but no server.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';

const ROOT = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');
const run = promisify(execFile);
const LARGEST = 5 * 1024; // bytes, gzipped, of all that pages load besides pusher-js

describe('the package', { timeout: 120_000 }, () => {
  let folder;
  let media;

  const build = (root, out, env = {}, shell = 'exec') =>
    run('bash', ['-c', `${shell} "$0" "$1"`, `${root}/scripts/package`, out], { env: { ...process.env, UPDATE_URL: '', ...env } });
  const version = /^version = "(.*)"$/m.exec(readFileSync(`${ROOT}/Cargo.toml`, 'utf8'))[1];
  const zip = (out) => `${out}/pkg_websockets-${version}.zip`;
  const hash = (file) => createHash('sha256').update(readFileSync(file)).digest('hex');
  const unpack = (file, to) => run('python3', ['-m', 'zipfile', '-e', file, to]);

  /** Copies the sources to another folder, with npm's packages unless they must be fetched again. */
  function copySources({ fetch = false } = {}) {
    const root = mkdtempSync(join(folder, 'elsewhere '));
    for (const name of ['joomla', 'scripts/package', 'Cargo.toml', 'LICENSE']) {
      cpSync(`${ROOT}/${name}`, `${root}/${name}`, { recursive: true, filter: (path) => !path.includes('node_modules') });
    }
    mkdirSync(`${root}/target/package`, { recursive: true });
    if (!fetch) symlinkSync(`${ROOT}/target/package/npm`, `${root}/target/package/npm`);
    return root;
  }

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'jsocketd-build-'));
    await build(ROOT, `${folder}/first`);
    await unpack(zip(`${folder}/first`), `${folder}/pkg`);
    for (const name of ['com_websockets', 'plg_system_websockets']) await unpack(`${folder}/pkg/packages/${name}.zip`, `${folder}/${name}`);
    media = `${folder}/com_websockets/media`;
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  test('has the same bytes for every builder, time and place, also when two build at once', async () => {
    const root = copySources({ fetch: true });
    await Promise.all([
      build(root, `${folder}/second`, { TZ: 'Pacific/Chatham', LC_ALL: 'C' }, 'umask 077; exec'),
      build(root, `${folder}/beside`),
    ]);
    const first = hash(zip(`${folder}/first`));
    for (const out of ['second', 'beside']) assert.equal(hash(zip(`${folder}/${out}`)), first, out);
  });

  test('names its files in order, with fixed times and modes, and has no folders in between', async () => {
    const program = `import sys, zipfile
for path in sys.argv[1:]:
    entries = zipfile.ZipFile(path).infolist()
    names = [entry.filename for entry in entries]
    assert names == sorted(names), names
    for entry in entries:
        assert entry.date_time == (2026, 1, 1, 0, 0, 0) and entry.external_attr >> 16 == 0o100644 and not entry.extra, entry
        assert not entry.is_dir() and 'node_modules' not in entry.filename, entry
    assert 'LICENSE' in names`;
    const files = ['com_websockets', 'plg_system_websockets'].map((name) => `${folder}/pkg/packages/${name}.zip`);
    await run('python3', ['-c', program, zip(`${folder}/first`), ...files]);
  });

  test('has an update server if one is given', async () => {
    const server = /<updateservers>\s*<server type="extension" priority="1" name="jsocketd">(.*)<\/server>\s*<\/updateservers>\s*<\/extension>\s*$/;
    assert.doesNotMatch(readFileSync(`${folder}/pkg/pkg_websockets.xml`, 'utf8'), /updateserver/);
    await build(ROOT, `${folder}/third`, { UPDATE_URL: 'https://example.org/pkg_websockets.xml?a=1&b=2' });
    await unpack(zip(`${folder}/third`), `${folder}/with`);
    const manifest = readFileSync(`${folder}/with/pkg_websockets.xml`, 'utf8');
    assert.equal(server.exec(manifest)?.[1], 'https://example.org/pkg_websockets.xml?a=1&amp;b=2');
    await assert.rejects(build(ROOT, `${folder}/third`, { UPDATE_URL: 'ftp://example.org"' }), /UPDATE_URL is no address/);
  });

  test('is refused with a line for each fault', async () => {
    const root = copySources();
    const change = (file, from, to) => {
      const text = readFileSync(`${root}/${file}`, 'utf8');
      assert.ok(text.includes(from), file);
      writeFileSync(`${root}/${file}`, text.replace(from, to));
    };
    change('joomla/com_websockets/websockets.xml', `<version>${version}<`, '<version>9.9.9<');
    change('joomla/com_websockets/media/joomla.asset.json', `"version": "${version}"`, '"version": "9.9.8"');
    change('joomla/script.php', ' * @license ', ' * @licence ');
    writeFileSync(`${root}/joomla/com_websockets/admin/bare.php`, "<?php\n\necho 1;\n");
    rmSync(`${root}/joomla/plg_system_websockets/websockets.xml`);
    const { code, stderr } = await build(root, `${folder}/fourth`).then(() => assert.fail('it was built'), (error) => error);
    assert.equal(code, 1);
    for (const sentence of [
      `joomla/com_websockets/websockets.xml has the version 9.9.9, Cargo.toml ${version}`,
      `joomla/com_websockets/media/joomla.asset.json has the version 9.9.8, Cargo.toml ${version}`,
      'joomla/plg_system_websockets/websockets.xml is missing',
      'joomla/script.php does not begin with the header',
      'joomla/com_websockets/admin/bare.php does not begin with the header',
      "joomla/com_websockets/admin/bare.php does not say \\defined('_JEXEC') or die;",
    ]) assert.ok(stderr.includes(sentence), `${sentence}\nin\n${stderr}`);
    assert.ok(!existsSync(zip(`${folder}/fourth`)));
  });

  test('has every file that its manifests and its assets name', () => {
    const manifest = readFileSync(`${folder}/com_websockets/websockets.xml`, 'utf8');
    const plugin = readFileSync(`${folder}/plg_system_websockets/websockets.xml`, 'utf8');
    const named = (xml, root) => [...xml.matchAll(/<(files|media|languages)(?: folder="([\w/]+)")?[^>]*>(.*?)<\/\1>/gs)].flatMap(([, , at, inside]) =>
      [...inside.matchAll(/<(?:filename|folder|language)\b[^>]*>([^<]+)</g)].map(([, name]) => join(root, at ?? '', name)));
    const files = [...named(manifest, `${folder}/com_websockets`), ...named(plugin, `${folder}/plg_system_websockets`)];
    assert.ok(files.length > 10);
    assert.deepEqual(files.filter((file) => !existsSync(file)), []);
    const { assets } = JSON.parse(readFileSync(`${media}/joomla.asset.json`, 'utf8'));
    const uris = assets.filter(({ uri }) => uri).map(({ uri }) => uri.replace(/^com_websockets\/(.*\.(js|css))$/, '$2/$1'));
    assert.deepEqual(uris.filter((uri) => !existsSync(`${media}/${uri}`)), []);
    // In debug mode Joomla uses the file without .min.
    assert.deepEqual(uris.filter((uri) => !existsSync(`${media}/${uri.replace('.min.', '.')}`)), []);
    const names = new Set(assets.map(({ name }) => name));
    for (const name of ['client', 'bar', 'console', 'status', 'admin']) assert.ok(names.has(`com_websockets.${name}`), name);
  });

  test('ships pusher-js as it is pinned, as a module, with its licence', () => {
    const { dependencies } = JSON.parse(readFileSync(`${ROOT}/joomla/package.json`, 'utf8'));
    const pusher = readFileSync(`${media}/js/pusher.js`, 'utf8');
    assert.match(pusher, new RegExp(`^/\\*! pusher-js ${dependencies['pusher-js'].replaceAll('.', '\\.')}, `));
    assert.match(pusher, /\nexport default module\.exports;\n$/);
    assert.doesNotMatch(pusher, /sourceMappingURL/);
    const licence = readFileSync(`${media}/js/pusher.LICENSE.txt`, 'utf8').replace(/\s+/g, ' ');
    for (const words of ['Copyright (c) 2020 Pusher', 'Permission is hereby granted, free of charge', 'WITHOUT WARRANTY OF ANY KIND', 'Dmitry Chestnykh']) {
      assert.ok(licence.includes(words), words);
    }
  });

  test('loads nothing from elsewhere', () => {
    const sources = ['js', 'css'].flatMap((kind) => readdirSync(`${media}/${kind}`).map((name) => `${kind}/${name}`))
      .filter((name) => /\.(js|css)$/.test(name) && name !== 'js/pusher.js');
    assert.ok(sources.length > 6);
    for (const name of sources) {
      const text = readFileSync(`${media}/${name}`, 'utf8').replaceAll('http://www.w3.org/', '');
      assert.doesNotMatch(text, /(?:import|url\(|src=|fetch\()\s*['"`(]*(?:https?:)?\/\//, name);
    }
  });

  test('is as small as its document says', () => {
    const size = (name) => gzipSync(readFileSync(`${media}/${name}`), { level: 9 }).length;
    const pages = ['js/client.min.js', 'js/websockets.min.js', 'js/bar.min.js', 'css/bar.min.css'];
    const sum = pages.reduce((sum, name) => sum + size(name), 0);
    assert.ok(sum < LARGEST, `${sum} bytes`);
    const document = readFileSync(`${ROOT}/docs/client.md`, 'utf8');
    for (const name of [...pages, 'js/pusher.js']) {
      const said = new RegExp(`\\| \`${name.replaceAll('.', '\\.')}\` \\| ([\\d.]+) KB \\|`).exec(document)?.[1];
      assert.equal(said, (size(name) / 1024).toFixed(1), `${name} in docs/client.md`);
    }
  });

  test('has types for its exports, and for nothing else', () => {
    const types = readFileSync(`${media}/js/websockets.d.ts`, 'utf8').replace(/\/\*\*.*?\*\//gs, '');
    const source = readFileSync(`${media}/js/websockets.js`, 'utf8');
    const members = (text, begin) => {
      const body = text.slice(text.search(begin)).split(/\n}/)[0];
      return new Set([...body.matchAll(/^  (?:readonly |get |static )?([a-z]\w*)(?:<[^>]*>)?\s*[(:=;]/gmi)].map(([, name]) => name).filter((name) => name !== 'constructor'));
    };
    assert.deepEqual([...types.matchAll(/^export (?:declare )?(?:function|const|class) (\w+)/gm)].map(([, name]) => name),
      [...source.matchAll(/^export (?:async )?(?:function|const|class) (\w+)/gm)].map(([, name]) => name));
    const listeners = new Set(['on', 'off']);
    assert.deepEqual([...members(types, /interface Client /)].sort(), [...new Set([...members(source, /class Client /), ...listeners])].sort());
    const channel = new Set([...members(source, /class Channel /), ...listeners, ...[...source.matchAll(/^    this\.(name|spread) = /gm)].map(([, name]) => name)]);
    assert.deepEqual([...members(types, /interface Channel /)].sort(), [...channel].sort());
  });

  test('has options of its types', () => {
    const types = readFileSync(`${media}/js/websockets.d.ts`, 'utf8');
    const page = readFileSync(`${folder}/plg_system_websockets/src/Page/Page.php`, 'utf8');
    const block = /\$options = \[(.*?)\n        \];/s.exec(page)[1];
    for (const [, name] of block.matchAll(/^            '(\w+)'/gm)) assert.match(types, new RegExp(`^  ${name}\\??: `, 'm'), name);
  });
});
