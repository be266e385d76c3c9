// The live connection of a page: one client for all scripts that import this module. It adds to pusher-js what that
// leaves out: which events a page has missed since it was made, or since this tab last heard one, without asking PHP
// (docs/client.md; the rules stand in docs/protocol.md, "Recovery"). It leaves showing anything to the page. Nothing is
// put on window or on Joomla.
//
// pusher-js drops what jsocketd adds to frames, so its sockets are ours: they see every frame before it does. The other
// way, a client of our own, would be smaller, but then what is written for pusher-js could not share the connection.

import Pusher from './pusher.js?8.6.0';

const KEPT_EVENTS = 50; // of a channel, for those who subscribe to it later on the same page
const KEPT_CHANNELS = 50; // of a tab, over reloads
const KEEP_AFTER = 1000; // ms; a tab that crashes has positions that are this old
const RETENTION = 3_600_000; // ms that the server keeps events by default: a page is not reloaded by itself more often
const STABLE = 10_000; // ms after which a connection counts as one that works
const SHORTEST = 1000; // ms until a lost connection is tried again,
const SPREAD = 2000; // and this many at random on top of it, doubled with each try in vain,
const LONGEST = 30_000; // up to here
const SILENT = 60_000; // ms without a frame; the server says something every 50 s

const lines = new Map(); // what a socket needs of its client, by place
const address = (url, key) => `${url.replace(/\/+$/, '')}/app/${key}`;
const place = (url) => new URL(url).host + new URL(url).pathname; // pusher-js may write the scheme and the port otherwise

// Another copy of pusher-js on the page has a Runtime, and a cache in localStorage, of its own.
Pusher.Runtime.getLocalStorage = () => undefined;
Pusher.Runtime.createWebSocket = (url) => new Line(lines.get(place(url)), new URL(url).search);

class Listeners {
  #all = new Map();

  on(event, listener) {
    if (!this.#all.has(event)) this.#all.set(event, new Set());
    this.#all.get(event).add(listener);
    return this;
  }

  off(event, listener) {
    if (listener) this.#all.get(event)?.delete(listener);
    else this.#all.delete(event);
    return this;
  }

  /** Tells all; one that throws is reported and keeps nothing from the others. */
  static tell(listeners, event, ...said) {
    for (const listener of [...(listeners.#all.get(event) ?? [])]) {
      try {
        listener(...said);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}

const { tell } = Listeners;

/** A socket that asks for recovery. `left` once pusher-js has given it up: what it still says counts as not heard. */
class Line extends WebSocket {
  #rooms;
  left = false;

  constructor({ address, rooms, heard, ended }, query) {
    super(`${address}${query}&recovery=1`);
    this.#rooms = rooms;
    let opened = false;
    this.addEventListener('open', () => (opened = true));
    // The first listener: pusher-js sets its own afterwards.
    this.addEventListener('message', (event) => (this.left || heard(event.data, this)) && event.stopImmediatePropagation());
    this.addEventListener('close', (event) => this.left || ended(event, opened));
  }

  send(text) {
    const { event, data } = JSON.parse(text);
    const room = event === 'pusher:subscribe' && this.#rooms.get(data.channel);
    if (room) {
      room.asked = Object.values(room.positions);
      text = JSON.stringify({ event, data: room.asked.length ? { ...data, since: room.asked } : data });
    }
    super.send(text);
  }

  close(...why) {
    this.left = true;
    super.close(...why);
  }
}

/** A channel, as all of the page's scripts share it. */
class Room {
  channels = new Set(); // who wants it
  positions = {}; // the newest of each stream, by the first character of positions
  heard = ''; // the streams of which there was an event
  recent = []; // events, for the late
  forgot = false; // … some of them
  joined = null; // the line on which it is subscribed
  asked; // the positions that were sent last
  gap = false; // … that has yet to be told

  constructor(name, kept, page) {
    this.name = name;
    this.reach(kept?.[0] ?? page);
    // Version 0.1 had a list of ids in this place: their streams are all that is read of them.
    for (const [stream] of kept?.[1] ?? '') this.#hear(stream);
  }

  reach(pos) {
    for (const one of [pos ?? []].flat()) this.positions[one[0]] = one;
  }

  #hear(stream) {
    if (!this.heard.includes(stream)) this.heard += stream;
  }

  succeeded(line, { pos, recovered }) {
    // The memory of a server ends with it. Where nothing was ever heard from there, that is no news.
    const lost = (answer, at) => answer === false && (this.asked[at][0] !== 'm' || this.heard.includes('m'));
    this.gap ||= [recovered].flat().some(lost);
    this.joined = this.channels.size ? line : null;
    this.positions = {};
    this.reach(pos);
  }

  /** An event came. Whether somebody is here to handle it. */
  takes(id) {
    if (!this.channels.size) return false;
    this.reach(id);
    this.#hear(id[0]);
    return true;
  }

  tell(event, data, meta) {
    if (meta.id) {
      this.recent.push([event, data, meta]);
      if (this.recent.length > KEPT_EVENTS) this.forgot = Boolean(this.recent.shift());
    }
    for (const channel of [...this.channels]) tell(channel, event, data, meta);
  }
}

class Channel extends Listeners {
  #leave;

  constructor(name, spread, leave) {
    super();
    this.name = name;
    this.spread = spread;
    this.#leave = leave;
  }

  unsubscribe() {
    this.#leave(this);
  }
}

class Client extends Listeners {
  state = 'connecting';
  pusher;
  #rooms = new Map();
  #options;
  #storage; // the name of what is kept
  #kept = {};
  #keeping; // a timer
  #waiting = new Set(); // functions that will be run
  #meta = {}; // of the frame that is being handled
  #since = 0; // when the connection was made
  #heardAt = 0;
  #tries = 0; // in vain, one after the other
  #paused = false; // the page may come back from the browser's cache
  #why; // the last close

  constructor(options, address) {
    super();
    this.#options = options;
    this.#storage = `com_websockets:${address}`;
    try {
      this.#kept = JSON.parse(sessionStorage.getItem(this.#storage)) ?? {};
    } catch {} // refused, or not ours: begins anew
    lines.set(place(address), {
      client: this, address, rooms: this.#rooms, heard: (text, line) => this.#heard(text, line), ended: (...what) => this.#ended(...what),
    });
    const url = new URL(options.url);
    const port = url.port || (url.protocol === 'wss:' ? 443 : 80);
    this.pusher = new Pusher(options.key, {
      cluster: '',
      wsHost: url.hostname,
      wsPort: port,
      wssPort: port,
      wsPath: url.pathname.replace(/\/+$/, ''),
      forceTLS: url.protocol === 'wss:',
      // With `wss` besides, pusher-js tries a second address after 2 s; this one is the right one in both cases.
      enabledTransports: ['ws'],
      enableStats: false,
      pongTimeout: 15_000,
      // The site decides by the session. pusher-js wants a member's id, the server does not look at it.
      channelAuthorization: { customHandler: (_, answer) => answer(null, { auth: '', channel_data: '{"user_id":""}' }) },
    });
    const { connection } = this.pusher;
    connection.retryIn = (delay) => this.#retryIn(delay);
    connection.bind('state_change', ({ current }) => this.#changed(current));
    // Before pusher-js hears of it.
    addEventListener('online', () => (this.#tries = 0), true);
    addEventListener('pagehide', () => this.#pause());
    addEventListener('pageshow', ({ persisted }) => persisted && this.#resume());
    document.addEventListener('visibilitychange', () => this.#seen());
  }

  get socketId() {
    return this.state === 'connected' ? this.pusher.connection.socket_id : null;
  }

  /** `from` counts for the first on the page who subscribes; others get what the first one got since then. */
  subscribe(name, { from = 'page' } = {}) {
    let room = this.#rooms.get(name);
    if (!room) {
      room = new Room(name, from === 'last' && this.#kept[name], this.#options.position);
      this.#rooms.set(name, room);
    }
    room.keep ||= from === 'last';
    const channel = new Channel(name, (run) => this.spread(run), () => this.#leave(room, channel));
    if (room.channels.size) queueMicrotask(() => this.#catchUp(room, channel));
    this.#join(room); // also where others are: what was refused them is asked for again
    room.channels.add(channel);
    return channel;
  }

  spread(run) {
    if (this.#waiting.has(run)) return;
    this.#waiting.add(run);
    setTimeout(() => {
      this.#waiting.delete(run);
      run();
    }, Math.random() * (this.#options.spread ?? 3000));
  }

  reload() {
    const name = 'com_websockets:reloaded';
    try {
      if (!this.#options.member || Date.now() - sessionStorage.getItem(name) < RETENTION) return false;
      sessionStorage.setItem(name, Date.now());
    } catch {
      return false; // who cannot remember it would do it again and again
    }
    this.spread(() => location.reload());
    return true;
  }

  close() {
    this.#keep();
    this.pusher.disconnect();
  }

  #join(room) {
    const at = this.pusher.subscribe(room.name);
    if (at === room.at) return;
    room.at = at;
    room.recent = [];
    room.forgot = false;
    at.bind_global((event, data) => {
      if (event === 'pusher:subscription_succeeded') {
        room.tell('ready', data, {});
        if (room.gap) room.tell('gap', undefined, {});
        room.gap = false;
      } else if (event === 'pusher:subscription_error') {
        at.subscribed = at.subscriptionPending = false; // pusher-js would wait for ever
        room.joined = null;
        room.tell(data.type === 'AccessWithdrawn' ? 'gone' : 'refused', data, {});
      } else {
        room.tell(event, data, this.#meta);
      }
    });
  }

  #leave(room, channel) {
    if (!room.channels.delete(channel) || room.channels.size) return;
    room.joined = null;
    this.pusher.unsubscribe(room.name);
  }

  #catchUp(room, channel) {
    if (room.joined) tell(channel, 'ready', undefined, {});
    if (room.forgot) tell(channel, 'gap', undefined, {});
    for (const event of room.recent) tell(channel, ...event);
  }

  /** A frame came. Whether pusher-js shall not see it. */
  #heard(text, line) {
    this.#heardAt = Date.now();
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return false; // pusher-js says what is wrong with it
    }
    const { event, channel, id, pos, user_id: userId } = frame;
    const room = this.#rooms.get(channel);
    this.#meta = { id, userId };
    switch (event) {
      case 'pusher:connection_established':
        this.#prove(line);
        return false;
      case 'pusher_internal:subscription_succeeded':
        room?.succeeded(line, frame);
        break;
      case 'pusher:pong':
      case 'pusher_internal:position':
        for (const one of this.#rooms.values()) if (one.joined === line) one.reach(pos);
        break;
      default:
        if (id && room?.takes(id) === false) return true;
    }
    this.#keepSoon();
    return event === 'pusher_internal:position' || event === 'jsocketd:form_token_accepted';
  }

  /** The page's token goes ahead of all that pusher-js sends, which does so a little later. */
  #prove(line) {
    const token = this.#options.member && globalThis.Joomla?.getOptions('csrf.token');
    if (token) line.send(JSON.stringify({ event: 'jsocketd:form_token', data: { form_token: token } }));
  }

  #ended({ code, reason }, opened) {
    this.#why = { code, reason };
    // pusher-js would sit out its 15 s.
    if (!opened) this.pusher.connection.retryIn(1000);
  }

  /** In place of pusher-js's own, which has all come back in the same moment. It calls with 0 for "at once", and often twice. */
  #retryIn(delay) {
    const { connection } = this.pusher;
    if (connection.retryTimer && delay) return;
    connection.clearRetryTimer();
    if (this.#since && Date.now() - this.#since > STABLE) this.#tries = 0;
    this.#since = 0;
    const wait = delay || this.#tries ? SHORTEST + Math.random() * Math.min(LONGEST, SPREAD * 2 ** this.#tries) : 0;
    this.#tries += 1;
    if (connection.state === 'connected') connection.updateState('connecting');
    const timer = setTimeout(() => {
      connection.disconnectInternally();
      connection.connect();
    }, wait);
    connection.retryTimer = { ensureAborted: () => clearTimeout(timer) };
  }

  #changed(state) {
    if (this.#paused) return;
    if (state === 'connected') this.#since = Date.now();
    if (state === 'connecting' && this.state === 'unavailable') return; // until it is there again
    this.state = state === 'disconnected' ? 'closed' : state;
    tell(this, 'state', this.state, this.state === 'connected' ? undefined : this.#why);
  }

  #pause() {
    this.#keep();
    if (this.state === 'closed') return;
    this.#paused = true;
    this.pusher.disconnect();
  }

  #resume() {
    if (!this.#paused) return;
    this.#paused = false;
    this.#tries = 0;
    this.state = 'connecting';
    this.pusher.connect();
  }

  /** Somebody looks at the page again: what may be dead is asked, what waits does so no longer. */
  #seen() {
    const { connection } = this.pusher;
    if (document.hidden) return;
    this.#tries = 0;
    if (connection.retryTimer) connection.retryIn(0);
    else if (connection.connection && Date.now() - this.#heardAt > SILENT) connection.sendActivityCheck();
  }

  #keepSoon() {
    this.#keeping ??= setTimeout(() => this.#keep(), KEEP_AFTER);
  }

  #keep() {
    clearTimeout(this.#keeping);
    this.#keeping = undefined;
    const rooms = [...this.#rooms.values()].filter(({ keep, positions }) => keep && Object.keys(positions).length);
    if (!rooms.length) return;
    for (const { name, positions, heard } of rooms) {
      delete this.#kept[name]; // the last ones are the newest
      this.#kept[name] = [Object.values(positions), heard];
    }
    for (const name of Object.keys(this.#kept).slice(0, -KEPT_CHANNELS)) delete this.#kept[name];
    try {
      sessionStorage.setItem(this.#storage, JSON.stringify(this.#kept));
    } catch {} // refused or full: the next page begins where it was made
  }
}

export function connect(options = globalThis.Joomla?.getOptions('com_websockets')) {
  if (!options?.url || !options.key) throw new Error('com_websockets is not set up for this page.');
  const at = address(options.url, options.key);
  const known = lines.get(place(at))?.client;
  return known && known.state !== 'closed' ? known : new Client(options, at);
}
