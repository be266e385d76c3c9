'use strict';

// The rules of the Pusher protocol that a client follows out of sight: signatures, positions, when to connect again, and
// signs of life. docs/protocol.md describes them. Signatures are made only with the public secret of the embedded
// defaults, because a real server does not put its secret into a page. Sections: settings, signatures, positions,
// connection.

// ---- Settings -----------------------------------------------------------------------------------------------------

const PONG_TIMEOUT = 30_000; // milliseconds
const KEPT_IDS = 1000; // for each channel, to find repeated events

/**
 * `path` is the prefix of /app/ and /apps/. The key is public. `app`, with its secret, exists only under the embedded
 * defaults.
 */
const { path, key: publicKey, app } = JSON.parse(document.querySelector('meta[name="jsocketd"]').content);

/** The beginning of a channel's name that says its kind. */
const kindOf = (name) => /^(private-encrypted-|private-|presence-|#server-to-user-)/.exec(name)?.[0] ?? '';

// ---- Signatures ------------------------------------------------------------------------------------------------

/** The HMAC-SHA256 of a text with the development secret, in hexadecimal. */
async function signature(text) {
  const bytes = (string) => new TextEncoder().encode(string);
  const key = await crypto.subtle.importKey('raw', bytes(app.secret), { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
  const signed = new Uint8Array(await crypto.subtle.sign('HMAC', key, bytes(text)));
  return [...signed].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/**
 * Publishes through the HTTP API. All parameters are in the query of a POST without a body, which the API allows. A
 * body would need its MD5, which browsers cannot compute. The header Jsocketd-Deliveries of the answer says to how many
 * connections the event was sent.
 */
async function publish(event) {
  const target = `${path}/apps/${encodeURIComponent(app.id)}/events`;
  const parameters = { ...event, deliveries: '1', auth_key: publicKey, auth_timestamp: String(Math.floor(Date.now() / 1000)), auth_version: '1.0' };
  const sorted = Object.keys(parameters).sort().map((name) => `${name}=${parameters[name]}`).join('&');
  const query = new URLSearchParams({ ...parameters, auth_signature: await signature(`POST\n${target}\n${sorted}`) });
  return fetch(`${beside(`.${target}`)}?${query}`, { method: 'POST' });
}

// ---- Positions -------------------------------------------------------------------------------------------------

/**
 * The newest positions of a channel, one for each stream. A position is opaque, but its first character names the
 * stream.
 */
class Place {
  #streams = new Map();
  #ids = new Set();

  get since() {
    return [...this.#streams.values()];
  }

  at(position) {
    if (typeof position === 'string') this.#streams.set(position[0], position);
  }

  /** Notes an event. It returns false for a repeated one. */
  isNew({ id, pos }) {
    if (id === undefined) return true;
    this.at(pos ?? id);
    if (this.#ids.has(id)) return false;
    this.#ids.add(id);
    if (this.#ids.size > KEPT_IDS) this.#ids.delete(this.#ids.values().next().value);
    return true;
  }

  forget() {
    this.#streams.clear();
    this.#ids.clear();
  }
}

// ---- The connection -----------------------------------------------------------------------------------------------

/** When to connect again after a close code: 4000 to 4099 never, 4200 to 4299 at once, all others later. */
function whenClosed(code) {
  if (code >= 4200 && code < 4300) return 'now';
  return code >= 4000 && code < 4100 ? 'never' : 'later';
}

/** Sends a ping after so many milliseconds without a frame, and ends the connection if no frame follows. */
class Liveness {
  #line;
  #timer = 0;
  #silence = 0;

  constructor(line) {
    this.#line = line;
  }

  begin(silence) {
    this.#silence = silence;
    this.heard();
  }

  /** A frame came. */
  heard() {
    clearTimeout(this.#timer);
    if (!this.#silence) return;
    this.#timer = setTimeout(() => {
      this.#line.send(JSON.stringify({ event: 'pusher:ping', data: {} }));
      this.#timer = setTimeout(() => this.#line.drop(0), PONG_TIMEOUT);
    }, this.#silence);
  }

  end() {
    clearTimeout(this.#timer);
    this.#silence = 0;
  }
}
