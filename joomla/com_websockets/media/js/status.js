/*
 * The script of the status page: the chain test and the copy buttons. The test follows the way of an event hop by hop:
 * this browser opens a socket and subscribes, PHP calls the server, and PHP writes a row into the table, whose event
 * must come back here. Each hop shows its duration or how to fix it. All output is added as text, never as markup.
 *
 * (C) 2026 the jsocketd maintainers; GNU General Public License version 2 or later; see LICENSE
 */

const CHANNEL = 'private-manage-com_websockets';
const TIMEOUT = 5_000; // milliseconds for each wait

const options = Joomla.getOptions('com_websockets.status', {});

/** A text of the language file with values in the places of %s and %1$s. */
function words(key, ...values) {
  let next = 0;
  return Joomla.Text._(`COM_WEBSOCKETS_${key}`).replace(/%(?:(\d+)\$)?[sd]/g, (_all, place) => String(values[place ? place - 1 : next++] ?? ''));
}

/** The error of a hop: what happened, and how to fix it. A hop that was only skipped has the `state` "skipped". */
class HopError extends Error {
  constructor(message, fix) {
    super(message);
    this.fix = fix;
  }
}

function hopError(key, values = [], fix = `${key}_MEND`, fixValues = []) {
  return new HopError(words(key, ...values), words(fix, ...fixValues));
}

// ---- The rows ----------------------------------------------------------------------------------------------------

/** The row of a hop on the page. */
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

/** A connection with the Pusher protocol for one test. Callers wait for frames, each for TIMEOUT at most. */
class TestConnection {
  #socket;
  #waiting = [];
  #closeError = null;

  constructor(url) {
    this.#socket = new WebSocket(url);
    let opened = false;
    this.#socket.onopen = () => (opened = true);
    this.#socket.onmessage = ({ data }) => this.#onFrame(data);
    this.#socket.onclose = ({ code, reason }) => {
      this.#fail(opened ? closed(code, reason)
        : hopError('CHAIN_NOT_REACHED', [url.split('?')[0]], 'CHAIN_NOT_REACHED_MEND', [options.suggestion]));
    };
  }

  /** The next frame for which `fits` is true. `timeoutError` makes the error if none comes. */
  next(fits, timeoutError) {
    return new Promise((resolve, reject) => {
      if (this.#closeError) {
        reject(this.#closeError);
        return;
      }
      const timer = setTimeout(() => {
        this.#waiting = this.#waiting.filter((one) => one !== awaited);
        reject(timeoutError());
      }, TIMEOUT);
      const awaited = { fits, resolve, reject, timer };
      this.#waiting.push(awaited);
    });
  }

  send(frame) {
    this.#socket.send(JSON.stringify(frame));
  }

  close() {
    this.#socket.onclose = null;
    this.#socket.close(1000);
    for (const { timer } of this.#waiting) clearTimeout(timer);
  }

  #onFrame(text) {
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return; // not a frame of this protocol
    }
    if (frame?.event === 'pusher:ping') this.send({ event: 'pusher:pong', data: {} });
    for (const one of this.#waiting.filter(({ fits }) => fits(frame))) {
      this.#waiting = this.#waiting.filter((other) => other !== one);
      clearTimeout(one.timer);
      one.resolve(frame);
    }
  }

  #fail(error) {
    this.#closeError = error;
    for (const { timer, reject } of this.#waiting) {
      clearTimeout(timer);
      reject(error);
    }
    this.#waiting = [];
  }
}

function closed(code, reason) {
  const known = [4001, 4003, 4009, 4100].includes(code);
  return hopError('CHAIN_CLOSED', [code, reason || '–'], known ? `CHAIN_CLOSED_${code}_MEND` : 'CHAIN_CLOSED_MEND', [options.origin]);
}

/** Hop 1: from this browser to the socket, and a subscription to a channel for users who manage the component. */
async function testSocket() {
  if (!options.url) throw hopError('CHAIN_NO_URL', [], 'CHAIN_NO_URL_MEND', [options.suggestion]);
  let connection;
  try {
    connection = new TestConnection(options.url);
  } catch (error) {
    throw hopError('CHAIN_REFUSED_ADDRESS', [error.message], 'CHAIN_REFUSED_ADDRESS_MEND', [options.suggestion]);
  }
  try {
    await connection.next(({ event }) => event === 'pusher:connection_established', () => hopError('CHAIN_NO_GREETING'));
    const answer = connection.next(
      ({ event, channel }) => channel === CHANNEL
        && (event === 'pusher_internal:subscription_succeeded' || event === 'pusher:subscription_error'),
      () => hopError('CHAIN_NO_SUBSCRIPTION', [CHANNEL], 'CHAIN_NOT_SUBSCRIBED_MEND', [options.root]),
    );
    connection.send({ event: 'pusher:subscribe', data: { channel: CHANNEL } });
    const { event, data } = await answer;
    if (event === 'pusher:subscription_error') {
      const fix = options.sharesCookie ? 'CHAIN_NOT_SUBSCRIBED_MEND' : 'CHAIN_NOT_SUBSCRIBED_HOST_MEND';
      throw hopError('CHAIN_NOT_SUBSCRIBED', [CHANNEL, data?.error ?? '–'], fix, [options.sharesCookie ? options.root : options.suggestion]);
    }
    return connection;
  } catch (error) {
    connection.close();
    throw error;
  }
}

// ---- PHP ---------------------------------------------------------------------------------------------------------

/** Calls a task of the component. Any other answer than its JSON is an error, for example the login form. */
async function task(name, values = {}) {
  const invalid = (why) => hopError('CHAIN_PHP_SILENT', [why]);
  let response;
  let answer;
  try {
    response = await fetch(`${options.tasks}${name}`, {
      method: 'POST',
      headers: { 'X-CSRF-Token': Joomla.getOptions('csrf.token', ''), Accept: 'application/json' },
      body: new URLSearchParams(values),
      credentials: 'same-origin',
      signal: AbortSignal.timeout(2 * TIMEOUT),
    });
    answer = await response.json();
  } catch (error) {
    throw invalid(response ? `HTTP ${response.status}` : error.message);
  }
  if (answer?.success === true) return answer.data ?? {};
  const message = typeof answer?.message === 'string' && answer.message ? answer.message : `HTTP ${response.status}`;
  throw new HopError(message, answer?.data?.fix || words(`CHAIN_${name.toUpperCase()}_MEND`));
}

/** Hop 2: from PHP to the server. */
async function testHttp() {
  const { ms, version } = await task('http');
  return { ms, text: words('CHAIN_HTTP_OK', version ?? '–') };
}

/** Hop 3: from PHP through the table to this browser. */
async function testOutbox(connection) {
  const nonce = [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  const isOurs = ({ event, channel, data }) => event === 'chain' && channel === CHANNEL && String(data).includes(nonce);
  const began = performance.now();
  // The wait begins before the call of PHP, because the event may come before PHP's answer.
  const lost = () => hopError('CHAIN_OUTBOX_LOST', [TIMEOUT / 1000], 'CHAIN_OUTBOX_LOST_MEND', [options.root]);
  const received = connection?.next(isOurs, lost);
  received?.catch(() => {}); // it is awaited below, after PHP's answer
  const written = await task('outbox', { nonce });
  if (!received) throw Object.assign(hopError('CHAIN_OUTBOX_SKIPPED'), { state: 'skipped' });
  await received;
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
const verdict = document.getElementById('websockets-said');

button.addEventListener('click', async () => {
  // Not `disabled`, because that would take the focus from users of the keyboard.
  if (button.getAttribute('aria-disabled') === 'true') return;
  button.setAttribute('aria-disabled', 'true');
  verdict.textContent = words('CHAIN_RUNNING');
  verdict.dataset.state = 'running';
  let connection = null;
  const passed = [];
  passed.push(await run(hops.socket, async () => {
    connection = await testSocket();
    return { text: words('CHAIN_SOCKET_OK', CHANNEL) };
  }));
  passed.push(await run(hops.http, testHttp));
  passed.push(await run(hops.outbox, () => testOutbox(connection)));
  connection?.close();
  const good = passed.filter(Boolean).length;
  verdict.textContent = good === passed.length ? words('CHAIN_ALL_PASSED') : words('CHAIN_SOME_FAILED', passed.length - good, passed.length);
  verdict.dataset.state = good === passed.length ? 'passed' : 'failed';
  button.removeAttribute('aria-disabled');
});

// ---- Copying -----------------------------------------------------------------------------------------------------

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without HTTPS there is no clipboard object. The old way still works.
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
