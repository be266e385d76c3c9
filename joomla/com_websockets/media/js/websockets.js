// The live connection of a page: one client for all scripts that import this module. It adds recovery to pusher-js: a
// page gets the events that it missed since it was made, or since the last event in this tab, without a request to PHP
// (docs/client.md; docs/protocol.md has the rules under "Recovery"). It shows nothing. That is the work of the page. It
// adds nothing to window or to Joomla.
//
// pusher-js ignores what jsocketd adds to frames, so this module creates the sockets and sees every frame first.
// Rejected: a client without pusher-js. It would be smaller, but scripts for pusher-js could not share the connection.

import Pusher from './pusher.js?8.6.0';

const KEPT_EVENTS = 50; // for each channel, for scripts on the same page that subscribe later
const KEPT_CHANNELS = 50; // for each tab, over reloads
const SAVE_DELAY = 1000; // ms; after a crash of the tab the saved positions may be this old
const RETENTION = 3_600_000; // ms for which the server keeps events by default; the shortest time between two reloads
const STABLE = 10_000; // ms after which a connection counts as working
const SHORTEST = 1000; // ms before a lost connection is tried again,
const SPREAD = 2000; // plus a random part of this, which doubles with each failure
const LONGEST = 30_000; // up to this
const SILENT = 60_000; // ms without a frame; the server sends one every 25 s

const clients = new Map(); // the data that a socket needs from its client, by host and path
const address = (url, key) => `${url.replace(/\/+$/, '')}/app/${key}`;
const hostAndPath = (url) => new URL(url).host + new URL(url).pathname; // pusher-js may change scheme and port

// Another copy of pusher-js on the page has its own Runtime and its own cache in localStorage.
Pusher.Runtime.getLocalStorage = () => undefined;
Pusher.Runtime.createWebSocket = (url) => new RecoverySocket(clients.get(hostAndPath(url)), new URL(url).search);

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

  /** Calls all listeners of an event. If one throws, the error is reported and the others are still called. */
  static emit(listeners, event, ...values) {
    for (const listener of [...(listeners.#all.get(event) ?? [])]) {
      try {
        listener(...values);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}

const { emit } = Listeners;

/** A socket that asks for recovery. `left` is true after pusher-js closed it: later frames are ignored. */
class RecoverySocket extends WebSocket {
  #subscriptions;
  left = false;

  constructor({ address, subscriptions, onMessage, onClose }, query) {
    super(`${address}${query}&recovery=1`);
    this.#subscriptions = subscriptions;
    let opened = false;
    this.addEventListener('open', () => (opened = true));
    // This is the first listener, because pusher-js adds its own later.
    this.addEventListener('message', (event) => (this.left || onMessage(event.data, this)) && event.stopImmediatePropagation());
    this.addEventListener('close', (event) => this.left || onClose(event, opened));
  }

  send(text) {
    const { event, data } = JSON.parse(text);
    const subscription = event === 'pusher:subscribe' && this.#subscriptions.get(data.channel);
    if (subscription) {
      subscription.asked = Object.values(subscription.positions);
      text = JSON.stringify({ event, data: subscription.asked.length ? { ...data, since: subscription.asked } : data });
    }
    super.send(text);
  }

  close(...why) {
    this.left = true;
    super.close(...why);
  }
}

/** The one subscription to a channel for all scripts of the page. */
class Subscription {
  channels = new Set(); // one for each script
  positions = {}; // the newest position of each stream; a position begins with the letter of its stream
  streams = ''; // the letters of the streams from which an event came
  recent = []; // events for scripts that subscribe later
  dropped = false; // whether `recent` lacks some
  joined = null; // the socket on which the server accepted the subscription
  asked; // the positions of the last subscription
  gap = false; // whether a gap must still be reported

  constructor(name, saved, position) {
    this.name = name;
    this.setPositions(saved?.[0] ?? position);
    // Version 0.1 saved a list of ids here. Only their first letters, the streams, are used.
    for (const [stream] of saved?.[1] ?? '') this.#addStream(stream);
  }

  setPositions(pos) {
    for (const one of [pos ?? []].flat()) this.positions[one[0]] = one;
  }

  #addStream(stream) {
    if (!this.streams.includes(stream)) this.streams += stream;
  }

  succeeded(socket, { pos, recovered }) {
    // The stream `m` is the memory of a server and is lost at its restart. Without an event from it nothing was missed.
    const lost = (answer, at) => answer === false && (this.asked[at][0] !== 'm' || this.streams.includes('m'));
    this.gap ||= [recovered].flat().some(lost);
    this.joined = this.channels.size ? socket : null;
    this.positions = {};
    this.setPositions(pos);
  }

  /** Notes an event. It returns false if no script is subscribed. */
  accepts(id) {
    if (!this.channels.size) return false;
    this.setPositions(id);
    this.#addStream(id[0]);
    return true;
  }

  emit(event, data, meta) {
    if (meta.id) {
      this.recent.push([event, data, meta]);
      if (this.recent.length > KEPT_EVENTS) this.dropped = Boolean(this.recent.shift());
    }
    for (const channel of [...this.channels]) emit(channel, event, data, meta);
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
  #subscriptions = new Map();
  #options;
  #storage; // the key in sessionStorage
  #saved = {};
  #saveTimer;
  #scheduled = new Set(); // functions that `spread` will run
  #meta = {}; // of the current frame
  #connectedAt = 0;
  #receivedAt = 0;
  #attempts = 0; // failures in a row
  #paused = false; // while the page is in the browser's back-and-forward cache
  #lastClose;

  constructor(options, address) {
    super();
    this.#options = options;
    this.#storage = `com_websockets:${address}`;
    try {
      this.#saved = JSON.parse(sessionStorage.getItem(this.#storage)) ?? {};
    } catch {} // storage is forbidden or holds something else: begin without positions
    clients.set(hostAndPath(address), {
      client: this,
      address,
      subscriptions: this.#subscriptions,
      onMessage: (text, socket) => this.#onMessage(text, socket),
      onClose: (event, opened) => this.#onClose(event, opened),
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
      // `ws` uses the right address in both cases. With `wss` too, pusher-js would try a second address after 2 s.
      enabledTransports: ['ws'],
      enableStats: false,
      pongTimeout: 15_000,
      // The site decides by the session. pusher-js requires the id of a member, which the server ignores.
      channelAuthorization: { customHandler: (_, answer) => answer(null, { auth: '', channel_data: '{"user_id":""}' }) },
    });
    const { connection } = this.pusher;
    connection.retryIn = (delay) => this.#retryIn(delay);
    connection.bind('state_change', ({ current }) => this.#onStateChange(current));
    // The capture phase comes before the listener of pusher-js.
    addEventListener('online', () => (this.#attempts = 0), true);
    addEventListener('pagehide', () => this.#pause());
    addEventListener('pageshow', ({ persisted }) => persisted && this.#resume());
    document.addEventListener('visibilitychange', () => this.#onVisible());
  }

  get socketId() {
    return this.state === 'connected' ? this.pusher.connection.socket_id : null;
  }

  /** The first script that subscribes decides `from`. Later scripts get the events that the first one got. */
  subscribe(name, { from = 'page' } = {}) {
    let subscription = this.#subscriptions.get(name);
    if (!subscription) {
      subscription = new Subscription(name, from === 'last' && this.#saved[name], this.#options.position);
      this.#subscriptions.set(name, subscription);
    }
    subscription.keep ||= from === 'last';
    const channel = new Channel(name, (run) => this.spread(run), () => this.#leave(subscription, channel));
    if (subscription.channels.size) queueMicrotask(() => this.#catchUp(subscription, channel));
    this.#join(subscription); // also if others are subscribed, because a refused subscription is tried again
    subscription.channels.add(channel);
    return channel;
  }

  spread(run) {
    if (this.#scheduled.has(run)) return;
    this.#scheduled.add(run);
    setTimeout(() => {
      this.#scheduled.delete(run);
      run();
    }, Math.random() * (this.#options.spread ?? 3000));
  }

  reload() {
    const name = 'com_websockets:reloaded';
    try {
      if (!this.#options.member || Date.now() - sessionStorage.getItem(name) < RETENTION) return false;
      sessionStorage.setItem(name, Date.now());
    } catch {
      return false; // without storage the page could reload again and again
    }
    this.spread(() => location.reload());
    return true;
  }

  close() {
    this.#save();
    this.pusher.disconnect();
  }

  #join(subscription) {
    const at = this.pusher.subscribe(subscription.name);
    if (at === subscription.at) return;
    subscription.at = at;
    subscription.recent = [];
    subscription.dropped = false;
    at.bind_global((event, data) => {
      if (event === 'pusher:subscription_succeeded') {
        subscription.emit('ready', data, {});
        if (subscription.gap) subscription.emit('gap', undefined, {});
        subscription.gap = false;
      } else if (event === 'pusher:subscription_error') {
        at.subscribed = at.subscriptionPending = false; // pusher-js would wait forever
        subscription.joined = null;
        subscription.emit(data.type === 'AccessWithdrawn' ? 'gone' : 'refused', data, {});
      } else {
        subscription.emit(event, data, this.#meta);
      }
    });
  }

  #leave(subscription, channel) {
    if (!subscription.channels.delete(channel) || subscription.channels.size) return;
    subscription.joined = null;
    this.pusher.unsubscribe(subscription.name);
  }

  #catchUp(subscription, channel) {
    if (subscription.joined) emit(channel, 'ready', undefined, {});
    if (subscription.dropped) emit(channel, 'gap', undefined, {});
    for (const event of subscription.recent) emit(channel, ...event);
  }

  /** Handles a frame. It returns true if pusher-js must not get the frame. */
  #onMessage(text, socket) {
    this.#receivedAt = Date.now();
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return false; // pusher-js reports the error
    }
    const { event, channel, id, pos, user_id: userId } = frame;
    const subscription = this.#subscriptions.get(channel);
    this.#meta = { id, userId };
    switch (event) {
      case 'pusher:connection_established':
        this.#sendFormToken(socket);
        return false;
      case 'pusher_internal:subscription_succeeded':
        subscription?.succeeded(socket, frame);
        break;
      case 'pusher:pong':
      case 'pusher_internal:position':
        for (const one of this.#subscriptions.values()) if (one.joined === socket) one.setPositions(pos);
        break;
      default:
        if (id && subscription?.accepts(id) === false) return true;
    }
    this.#saveSoon();
    return event === 'pusher_internal:position' || event === 'jsocketd:form_token_accepted';
  }

  /** Sends the page's form token. pusher-js sends its first frame a little later. */
  #sendFormToken(socket) {
    const token = this.#options.member && globalThis.Joomla?.getOptions('csrf.token');
    if (token) socket.send(JSON.stringify({ event: 'jsocketd:form_token', data: { form_token: token } }));
  }

  #onClose({ code, reason }, opened) {
    this.#lastClose = { code, reason };
    // pusher-js would wait for 15 s.
    if (!opened) this.pusher.connection.retryIn(1000);
  }

  /**
   * Replaces the method of pusher-js, with which all pages would reconnect in the same moment. pusher-js calls it with
   * 0 for "at once", and often twice.
   */
  #retryIn(delay) {
    const { connection } = this.pusher;
    if (connection.retryTimer && delay) return;
    connection.clearRetryTimer();
    if (this.#connectedAt && Date.now() - this.#connectedAt > STABLE) this.#attempts = 0;
    this.#connectedAt = 0;
    const wait = delay || this.#attempts ? SHORTEST + Math.random() * Math.min(LONGEST, SPREAD * 2 ** this.#attempts) : 0;
    this.#attempts += 1;
    if (connection.state === 'connected') connection.updateState('connecting');
    const timer = setTimeout(() => {
      connection.disconnectInternally();
      connection.connect();
    }, wait);
    connection.retryTimer = { ensureAborted: () => clearTimeout(timer) };
  }

  #onStateChange(state) {
    if (this.#paused) return;
    if (state === 'connected') this.#connectedAt = Date.now();
    if (state === 'connecting' && this.state === 'unavailable') return; // it stays so until the connection works
    this.state = state === 'disconnected' ? 'closed' : state;
    emit(this, 'state', this.state, this.state === 'connected' ? undefined : this.#lastClose);
  }

  #pause() {
    this.#save();
    if (this.state === 'closed') return;
    this.#paused = true;
    this.pusher.disconnect();
  }

  #resume() {
    if (!this.#paused) return;
    this.#paused = false;
    this.#attempts = 0;
    this.state = 'connecting';
    this.pusher.connect();
  }

  /** The page is visible again: checks a connection that may be dead, and ends a wait. */
  #onVisible() {
    const { connection } = this.pusher;
    if (document.hidden) return;
    this.#attempts = 0;
    if (connection.retryTimer) connection.retryIn(0);
    else if (connection.connection && Date.now() - this.#receivedAt > SILENT) connection.sendActivityCheck();
  }

  #saveSoon() {
    this.#saveTimer ??= setTimeout(() => this.#save(), SAVE_DELAY);
  }

  #save() {
    clearTimeout(this.#saveTimer);
    this.#saveTimer = undefined;
    const subscriptions = [...this.#subscriptions.values()].filter(({ keep, positions }) => keep && Object.keys(positions).length);
    if (!subscriptions.length) return;
    for (const { name, positions, streams } of subscriptions) {
      delete this.#saved[name]; // the newest go to the end
      this.#saved[name] = [Object.values(positions), streams];
    }
    for (const name of Object.keys(this.#saved).slice(0, -KEPT_CHANNELS)) delete this.#saved[name];
    try {
      sessionStorage.setItem(this.#storage, JSON.stringify(this.#saved));
    } catch {} // storage is forbidden or full: the next page uses its own position
  }
}

export function connect(options = globalThis.Joomla?.getOptions('com_websockets')) {
  if (!options?.url || !options.key) throw new Error('com_websockets is not set up for this page.');
  const at = address(options.url, options.key);
  const known = clients.get(hostAndPath(at))?.client;
  return known && known.state !== 'closed' ? known : new Client(options, at);
}
