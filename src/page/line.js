'use strict';

// The connection of a tab: the line, which is one WebSocket that reconnects, and the lamp, which shows the state of a
// connection. The Console and Channels tabs show each state of their line in the same words. Sections: words, line, lamp,
// shown line.

// ---- Numbers and words --------------------------------------------------------------------------------------------

const FIRST_WAIT = 500; // milliseconds before the second try, which double with each failure
const LONGEST_WAIT = 30_000; // up to this
const CONNECT_TIMEOUT = 10_000;
const STEADY_AFTER = 5_000; // milliseconds after which a connection resets the wait

/** The meaning of a close code (RFC 6455 section 7.4.1 and the IANA registry). */
const CLOSE_WORDS = new Map([
  [1000, 'closed as asked'],
  [1001, 'the server is going away'],
  [1002, 'protocol error'],
  [1003, 'this kind of message is not accepted'],
  [1005, 'closed without a reason'],
  [1006, 'the connection broke off'],
  [1007, 'the text was not valid UTF-8'],
  [1008, 'against the server’s policy'],
  [1009, 'the message was too large'],
  [1010, 'a needed extension is missing'],
  [1011, 'the server met an error'],
  [1012, 'the server restarts'],
  [1013, 'the server is busy, try again later'],
  [1014, 'a gateway got a bad answer'],
  [1015, 'the TLS handshake failed'],
]);

function closeWords(code, reason) {
  const words = CLOSE_WORDS.get(code) ?? 'closed by the server';
  return reason ? `${code}, ${words}: ${reason}` : `${code}, ${words}`;
}

const nextTry = (ms) => `Next try in ${Math.ceil(ms / 1000)} s`;

/** An address of the server, also behind a proxy that serves the page under a path. */
const beside = (path) => new URL(path, location.href);

/** The address of a socket of the server. */
function socketAddress(path) {
  const address = beside(path);
  address.protocol = address.protocol === 'https:' ? 'wss:' : 'ws:';
  return address.href;
}

// ---- The line -----------------------------------------------------------------------------------------------------

/**
 * Keeps one WebSocket open until it is stopped. It has no protocol of its own: it reports its state, each received text
 * and each close, and refuses to send while it is not open. `after` decides what follows a close code: 'later' (after a
 * pause), 'now' or 'never'.
 */
class Line {
  #url;
  #on;
  #after;
  #socket = null;
  #state = 'stopped';
  #tries = 0; // since the last steady connection
  #timers = new Set();

  constructor(url, on, after = () => 'later') {
    this.#url = url;
    this.#on = on;
    this.#after = after;
    // When the network is back or the page is visible again, do not wait for the timer.
    const retry = () => this.#state === 'waiting' && this.connect();
    window.addEventListener('online', retry);
    window.addEventListener('pageshow', retry);
    document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && retry());
  }

  get state() {
    return this.#state;
  }

  /** The address of the next connection. */
  set url(url) {
    this.#url = url;
  }

  connect() {
    if (this.#state === 'connecting' || this.#state === 'open') return;
    this.#enter('connecting', { tries: this.#tries });
    let socket;
    try {
      socket = new WebSocket(this.#url);
    } catch (error) {
      this.#enter('stopped', { words: `this browser refused the address: ${error.message}` });
      return;
    }
    this.#socket = socket;
    let late = false;
    this.#in(CONNECT_TIMEOUT, () => {
      late = true;
      socket.close();
    });
    // Events of an earlier socket are ignored.
    const ifCurrent = (act) => (event) => socket === this.#socket && act(event);
    socket.addEventListener('open', ifCurrent(() => {
      this.#enter('open');
      this.#in(STEADY_AFTER, () => (this.#tries = 0));
    }));
    socket.addEventListener('message', ifCurrent((event) => this.#on.message(event.data)));
    socket.addEventListener('close', ifCurrent((event) => {
      const wasOpen = this.#state === 'open';
      this.#lost(wasOpen ? closeWords(event.code, event.reason)
        : late ? `no answer within ${CONNECT_TIMEOUT / 1000} s`
        : 'the server cannot be reached', wasOpen, wasOpen ? this.#after(event.code) : 'later');
    }));
  }

  /** Closes for good. Only connect() opens again. */
  stop() {
    if (this.#state === 'stopped') return;
    const wasOpen = this.#state === 'open';
    const socket = this.#socket;
    this.#socket = null;
    this.#tries = 0;
    this.#enter('stopped', { words: wasOpen ? closeWords(1000, '') : 'not trying any more', wasOpen });
    socket?.close(1000);
  }

  /** Ends the connection and connects again after a pause, as after a loss. */
  drop(pause) {
    const socket = this.#socket;
    if (this.#state !== 'open') return;
    this.#lost('dropped on purpose', true, 'later', pause);
    socket.close(1000);
  }

  /** Sends a text. It returns false if there is no connection. */
  send(text) {
    if (this.#state !== 'open' || this.#socket.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(text);
    return true;
  }

  #lost(words, wasOpen, then, pause) {
    this.#socket = null;
    if (then === 'never') {
      this.#tries = 0;
      this.#enter('stopped', { words, wasOpen });
      return;
    }
    const ceiling = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.#tries);
    // Half of the wait is random, so that not all pages come back at once after a restart of the server.
    const chance = Math.max(FIRST_WAIT, ceiling * (0.5 + Math.random() / 2));
    // 'now' connects at once, but not twice in a row.
    const wait = pause ?? (then === 'now' && this.#tries === 0 ? 0 : chance);
    this.#tries += 1;
    const due = performance.now() + wait;
    this.#enter('waiting', { words, wasOpen, wait });
    this.#in(wait, () => this.connect());
    const tick = () => {
      const left = due - performance.now();
      if (left <= 0) return;
      this.#on.countdown(left);
      this.#in(left % 1000 || 1000, tick);
    };
    tick();
  }

  /** Enters a state and ends the timers of the last one. */
  #enter(state, details = {}) {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    this.#state = state;
    this.#on.state(state, details);
  }

  #in(ms, act) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      act();
    }, ms);
    this.#timers.add(timer);
  }
}

// ---- The lamp -----------------------------------------------------------------------------------------------------

/** The lamp of one tab: its words, its state and its buttons. A button that submits a form needs no `connect`. */
class Lamp {
  #box;
  #word;
  #detail;
  #connect;
  #disconnect;
  #next;

  /** `next` gets the focus if the focused button is removed and no other button takes the focus. */
  constructor(prefix, { connect, disconnect }, next) {
    this.#next = next;
    this.#box = $(`${prefix}status`);
    this.#word = $(`${prefix}status-word`);
    this.#detail = $(`${prefix}status-detail`);
    this.#connect = $(`${prefix}connect`);
    this.#disconnect = $(`${prefix}disconnect`);
    if (connect) this.#connect.addEventListener('click', connect);
    this.#disconnect.addEventListener('click', disconnect);
  }

  set word(word) {
    this.#word.textContent = word;
  }

  set detail(detail) {
    this.#detail.textContent = detail;
  }

  /** Shows a state with its words, and the buttons that have a label in it. */
  show(state, word, detail, { connect = '', disconnect = '' }) {
    this.#box.dataset.state = state;
    this.#word.textContent = word;
    this.#detail.textContent = detail;
    const focused = document.activeElement;
    for (const [shown, label] of [[this.#connect, connect], [this.#disconnect, disconnect]]) {
      shown.hidden = !label;
      if (label) shown.textContent = label;
    }
    // The focus must not be lost with a button.
    if (focused === this.#connect && !connect) (this.#disconnect.hidden ? this.#next : this.#disconnect).focus();
    if (focused === this.#disconnect && !disconnect) (this.#connect.hidden ? this.#next : this.#connect).focus();
  }
}

// ---- A line that is shown -------------------------------------------------------------------------------------------

/**
 * A line whose states are shown by its lamp, in the pane and to screen readers. `peer` returns what the lamp says about
 * the server. `heard` gets each text, `opened` and `ended` are called after the line has changed. `connect` is what the
 * lamp's button does; a button that submits a form needs none.
 */
function shownLine(prefix, pane, next, { url, peer, heard, opened, ended, connect, after }) {
  const lamp = new Lamp(prefix, { connect, disconnect: () => line.stop() }, next);
  const closed = (words, wasOpen) => (wasOpen ? `Closed (${words})` : `Not connected: ${words}`);
  const states = {
    connecting({ tries }) {
      lamp.show('connecting', 'Connecting…', tries ? `${peer()}, try ${tries + 1}` : peer(), { disconnect: 'Stop' });
    },
    open() {
      lamp.show('open', 'Connected', peer(), { disconnect: 'Disconnect' });
      opened();
    },
    waiting({ words, wasOpen, wait }) {
      const said = closed(words, wasOpen);
      lamp.show('waiting', nextTry(wait), said, { connect: 'Connect now', disconnect: 'Stop' });
      pane.add({ kind: 'trouble', text: `${said}. Next try in ${span(wait / 1000)}.` });
      announce(`${said}. Next try in ${span(Math.ceil(wait / 1000))}`);
      ended();
    },
    stopped({ words, wasOpen }) {
      const said = closed(words, wasOpen);
      lamp.show('stopped', 'Disconnected', said, { connect: 'Connect' });
      pane.add({ kind: 'note', text: `${said}.` });
      announce('Disconnected');
      ended();
    },
  };
  const line = new Line(url, {
    message: heard,
    countdown: (left) => (lamp.word = nextTry(left)),
    state: (state, details) => states[state](details),
  }, after);
  return { line, lamp };
}
