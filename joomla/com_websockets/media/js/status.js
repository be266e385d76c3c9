/*
 * What moves on the status page: the chain test and the copy buttons. The test goes the way of an event, one hop after the
 * other: this browser opens a socket and subscribes; PHP calls the server; PHP writes a row into the table and the event
 * must come back here. Each hop says how long it took, or what fixes it. Everything is text, nothing is markup.
 *
 * (C) 2026 the jsocketd maintainers; GNU General Public License version 2 or later; see LICENSE
 */

const CHANNEL = 'private-manage-com_websockets';
const PATIENCE = 5_000; // milliseconds for each thing that is waited for

const options = Joomla.getOptions('com_websockets.status', {});

/** A text of the language file; %s and %1$s stand for the values. */
function words(key, ...values) {
  let next = 0;
  return Joomla.Text._(`COM_WEBSOCKETS_${key}`).replace(/%(?:(\d+)\$)?[sd]/g, (_all, place) => String(values[place ? place - 1 : next++] ?? ''));
}

/** A hop that did not work: what happened, and the line that fixes it. `state` may say that it was only skipped. */
class Broken extends Error {
  constructor(message, fix) {
    super(message);
    this.fix = fix;
  }
}

const broken = (key, values = [], fix = `${key}_MEND`, fixValues = []) => new Broken(words(key, ...values), words(fix, ...fixValues));

// ---- The rows ----------------------------------------------------------------------------------------------------

/** The row of a hop. */
class Hop {
  #row;

  constructor(name) {
    this.#row = document.getElementById(`websockets-hop-${name}`);
  }

  show(state, { ms, text = '', fix = '' } = {}) {
    const part = (name) => this.#row.querySelector(`.websockets-hop-${name}`);
    this.#row.dataset.state = state;
    part('state').textContent = words(`CHAIN_${state.toUpperCase()}`);
    part('time').textContent = ms === undefined ? '' : words('CHAIN_MS', ms < 10 ? ms.toFixed(1) : Math.round(ms));
    part('words').textContent = text;
    part('fix').textContent = fix && `→ ${fix}`;
    part('fix').hidden = !fix;
  }
}

const hops = { socket: new Hop('socket'), http: new Hop('http'), outbox: new Hop('outbox') };

// ---- The socket --------------------------------------------------------------------------------------------------

/** One connection of the Pusher protocol, for one test. What it hears is awaited by name, each for PATIENCE at most. */
class Ear {
  #socket;
  #awaited = [];
  #ended = null;

  constructor(url) {
    this.#socket = new WebSocket(url);
    let opened = false;
    this.#socket.onopen = () => (opened = true);
    this.#socket.onmessage = ({ data }) => this.#heard(data);
    this.#socket.onclose = ({ code, reason }) => {
      this.#end(opened ? closed(code, reason)
        : broken('CHAIN_NOT_REACHED', [url.split('?')[0]], 'CHAIN_NOT_REACHED_MEND', [options.suggestion]));
    };
  }

  /** The first frame that fits, from now on. `silence` makes the error for when none comes. */
  hear(fits, silence) {
    return new Promise((resolve, reject) => {
      if (this.#ended) {
        reject(this.#ended);
        return;
      }
      const timer = setTimeout(() => {
        this.#awaited = this.#awaited.filter((one) => one !== awaited);
        reject(silence());
      }, PATIENCE);
      const awaited = { fits, resolve, reject, timer };
      this.#awaited.push(awaited);
    });
  }

  say(frame) {
    this.#socket.send(JSON.stringify(frame));
  }

  close() {
    this.#socket.onclose = null;
    this.#socket.close(1000);
    for (const { timer } of this.#awaited) clearTimeout(timer);
  }

  #heard(text) {
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return; // it is not of this protocol; nobody waits for it
    }
    if (frame?.event === 'pusher:ping') this.say({ event: 'pusher:pong', data: {} });
    for (const one of this.#awaited.filter(({ fits }) => fits(frame))) {
      this.#awaited = this.#awaited.filter((other) => other !== one);
      clearTimeout(one.timer);
      one.resolve(frame);
    }
  }

  #end(error) {
    this.#ended = error;
    for (const { timer, reject } of this.#awaited) {
      clearTimeout(timer);
      reject(error);
    }
    this.#awaited = [];
  }
}

function closed(code, reason) {
  const known = [4001, 4003, 4009, 4100].includes(code);
  return broken('CHAIN_CLOSED', [code, reason || '–'], known ? `CHAIN_CLOSED_${code}_MEND` : 'CHAIN_CLOSED_MEND', [options.origin]);
}

/** Hop 1: from this browser to the socket, and into the channel that only those who manage the component may hear. */
async function testSocket() {
  if (!options.url) throw broken('CHAIN_NO_URL', [], 'CHAIN_NO_URL_MEND', [options.suggestion]);
  let ear;
  try {
    ear = new Ear(options.url);
  } catch (error) {
    throw broken('CHAIN_REFUSED_ADDRESS', [error.message], 'CHAIN_REFUSED_ADDRESS_MEND', [options.suggestion]);
  }
  try {
    await ear.hear(({ event }) => event === 'pusher:connection_established', () => broken('CHAIN_NO_GREETING'));
    const answer = ear.hear(
      ({ event, channel }) => channel === CHANNEL
        && (event === 'pusher_internal:subscription_succeeded' || event === 'pusher:subscription_error'),
      () => broken('CHAIN_NO_SUBSCRIPTION', [CHANNEL], 'CHAIN_NOT_SUBSCRIBED_MEND', [options.root]),
    );
    ear.say({ event: 'pusher:subscribe', data: { channel: CHANNEL } });
    const { event, data } = await answer;
    if (event === 'pusher:subscription_error') {
      const fix = options.sharesCookie ? 'CHAIN_NOT_SUBSCRIBED_MEND' : 'CHAIN_NOT_SUBSCRIBED_HOST_MEND';
      throw broken('CHAIN_NOT_SUBSCRIBED', [CHANNEL, data?.error ?? '–'], fix, [options.sharesCookie ? options.root : options.suggestion]);
    }
    return ear;
  } catch (error) {
    ear.close();
    throw error;
  }
}

// ---- PHP ---------------------------------------------------------------------------------------------------------

/** Calls a task of the component. Whatever is not its JSON, the login form for instance, is an error with words. */
async function task(name, values = {}) {
  const silent = (why) => broken('CHAIN_PHP_SILENT', [why]);
  let response;
  let answer;
  try {
    response = await fetch(`${options.tasks}${name}`, {
      method: 'POST',
      headers: { 'X-CSRF-Token': Joomla.getOptions('csrf.token', ''), Accept: 'application/json' },
      body: new URLSearchParams(values),
      credentials: 'same-origin',
      signal: AbortSignal.timeout(2 * PATIENCE),
    });
    answer = await response.json();
  } catch (error) {
    throw silent(response ? `HTTP ${response.status}` : error.message);
  }
  if (answer?.success === true) return answer.data ?? {};
  throw new Broken(typeof answer?.message === 'string' && answer.message ? answer.message : `HTTP ${response.status}`, answer?.data?.fix || words(`CHAIN_${name.toUpperCase()}_MEND`));
}

/** Hop 2: from PHP to the server. */
async function testHttp() {
  const { ms, version } = await task('http');
  return { ms, text: words('CHAIN_HTTP_OK', version ?? '–') };
}

/** Hop 3: from PHP through the table to this browser. */
async function testOutbox(ear) {
  const nonce = [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  const isOurs = ({ event, channel, data }) => event === 'chain' && channel === CHANNEL && String(data).includes(nonce);
  const began = performance.now();
  // Listening starts before PHP is asked: the event may be here before PHP's answer is.
  const heard = ear ? ear.hear(isOurs, () => broken('CHAIN_OUTBOX_LOST', [PATIENCE / 1000], 'CHAIN_OUTBOX_LOST_MEND', [options.root])) : null;
  heard?.catch(() => {}); // it is looked at below, when PHP has answered
  const written = await task('outbox', { nonce });
  if (!heard) throw Object.assign(broken('CHAIN_OUTBOX_SKIPPED'), { state: 'skipped' });
  await heard;
  return { ms: performance.now() - began, text: words('CHAIN_OUTBOX_OK', Number(written.ms).toFixed(1)) };
}

// ---- The test ----------------------------------------------------------------------------------------------------

async function run(hop, test) {
  hop.show('running');
  const began = performance.now();
  try {
    const { ms, text } = await test();
    hop.show('passed', { ms: ms ?? performance.now() - began, text });
    return true;
  } catch (error) {
    const state = error.state ?? 'failed';
    hop.show(state, { ms: state === 'failed' ? performance.now() - began : undefined, text: error.message, fix: error.fix ?? '' });
    return false;
  }
}

const button = document.getElementById('websockets-chain-test');
const said = document.getElementById('websockets-said');

button.addEventListener('click', async () => {
  // Not `disabled`: that would take the focus away from whoever came by keyboard.
  if (button.getAttribute('aria-disabled') === 'true') return;
  button.setAttribute('aria-disabled', 'true');
  said.textContent = words('CHAIN_RUNNING');
  said.dataset.state = 'running';
  let ear = null;
  const passed = [];
  passed.push(await run(hops.socket, async () => {
    ear = await testSocket();
    return { text: words('CHAIN_SOCKET_OK', CHANNEL) };
  }));
  passed.push(await run(hops.http, testHttp));
  passed.push(await run(hops.outbox, () => testOutbox(ear)));
  ear?.close();
  const good = passed.filter(Boolean).length;
  said.textContent = good === passed.length ? words('CHAIN_ALL_PASSED') : words('CHAIN_SOME_FAILED', passed.length - good, passed.length);
  said.dataset.state = good === passed.length ? 'passed' : 'failed';
  button.removeAttribute('aria-disabled');
});

// ---- Copying -----------------------------------------------------------------------------------------------------

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without HTTPS there is no clipboard object; the old way still works.
    const focused = document.activeElement;
    const area = document.createElement('textarea');
    area.className = 'visually-hidden';
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    focused?.focus();
    return done;
  }
}

for (const from of document.querySelectorAll('.websockets-copy')) {
  const label = from.textContent.trim();
  let timer = 0;
  from.addEventListener('click', async () => {
    from.textContent = words(await copy(document.getElementById(from.dataset.copy).textContent) ? 'COPY_DONE' : 'COPY_REFUSED');
    clearTimeout(timer);
    timer = setTimeout(() => (from.textContent = label), 2000);
  });
}
