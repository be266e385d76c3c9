'use strict';

// The code that all tabs of the page share: words, elements, panes and the line, which is the connection. replies.js and
// units.js show data. The scripts of the page share one scope. Code for one tab is in a block of its own file. Data of
// the server is added to the page as text, never as markup. Sections: numbers, words, document, panes, line, lamp.

// ---- Numbers ----------------------------------------------------------------------------------------------------

const KEPT_ENTRIES = 500; // in each pane; the oldest are removed first
const ENTRIES_A_FRAME = 50; // at most, so that thousands of entries at once do not stop the page
const FIRST_WAIT = 500; // milliseconds before the second try, which double with each failure
const LONGEST_WAIT = 30_000; // up to this
const CONNECT_TIMEOUT = 10_000;
const STEADY_AFTER = 5_000; // milliseconds after which a connection resets the wait

// ---- Words ------------------------------------------------------------------------------------------------------

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

function duration(ms) {
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return seconds(ms);
}

const seconds = (ms) => `${(ms / 1000).toFixed(ms < 9950 ? 1 : 0)} s`;

const pad = (number, width = 2) => String(number).padStart(width, '0');
const clock = (date) =>
  `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}.${pad(date.getMilliseconds(), 3)}`;
const plural = (count, word) => `${count.toLocaleString('en')} ${word}${count === 1 ? '' : 's'}`;
const shorten = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

/** The value of a JSON text; undefined: it is none. */
const json = (text) => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};

// ---- The document ------------------------------------------------------------------------------------------------

const $ = (id) => document.getElementById(id);

/** Makes an element from a tag, a class, and text or nodes. Text is never parsed. */
function element(tag, className = '', ...content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...content);
  return made;
}

function button(label, onClick) {
  const made = element('button', 'quiet', label);
  made.type = 'button';
  made.addEventListener('click', onClick);
  return made;
}

/** Announces a text to screen readers. Texts that come within a moment are read as one message. */
const announce = (() => {
  const region = $('announcer');
  let waiting = [];
  let timer = 0;
  return (text) => {
    waiting.push(shorten(text, 160));
    waiting = waiting.slice(-3);
    clearTimeout(timer);
    timer = setTimeout(() => {
      region.textContent = waiting.join('. ');
      waiting = [];
    }, 150);
  };
})();

// ---- Panes -------------------------------------------------------------------------------------------------------

/**
 * A bounded log. It scrolls to its newest entry unless the reader scrolled away from it. Entries are shown once a frame:
 * a layout for each one would stop the page when thousands come.
 */
class Pane {
  #log;
  #newest;
  #count; // shows how many entries there were, and is empty while all of them are kept
  #added = 0; // since the last clear
  #waiting = []; // entries for the next frame, each with the entry that it follows, if it does not come last
  #texts = new WeakMap(); // the text of an entry for the button Copy
  #following = true;
  #aim = 0; // the scroll position that shows the newest entry
  #shown = null; // the entry that must be in sight with everything after it, as far as there is room

  constructor(name) {
    this.#log = $(`${name}-log`);
    this.#newest = $(`${name}-newest`);
    this.#count = $(`${name}-count`);
    this.#log.addEventListener('scroll', () => this.#onScroll(), { passive: true });
    this.#newest.addEventListener('click', () => {
      this.#shown = null;
      this.#follow();
      this.#log.focus();
    });
    // The newest entry stays visible when a row opens, a font loads or the window turns.
    new ResizeObserver(() => this.#following && this.#follow()).observe(this.#log);
    $(`${name}-clear`).addEventListener('click', () => this.#clear());
    const copy = $(`${name}-copy`);
    copy.addEventListener('click', () => {
      this.#flush(KEPT_ENTRIES);
      copyText([...this.#log.children].map((entry) => this.#texts.get(entry)).join('\n'), copy);
    });
  }

  /**
   * Adds an entry and returns it. `kind` is note, trouble, sent, reply, event or away. `body` makes its content when it is
   * shown. `after` is the entry that it belongs below, else it is the last.
   */
  add({ kind, text, body = () => plainText(text), meta = '', after = null }) {
    const now = new Date();
    const time = element('time', '', clock(now));
    time.dateTime = now.toISOString();
    time.title = now.toLocaleString();
    const entry = element('div', 'entry', time, element('span', 'entry-meta', meta));
    entry.dataset.kind = kind;
    this.#texts.set(entry, [clock(now), meta && `[${meta}]`, text].filter(Boolean).join('  '));
    this.#waiting.push({ entry, body, after });
    this.#added += 1;
    // A page in the background has no frames.
    if (this.#waiting.length > KEPT_ENTRIES) this.#waiting.shift();
    if (this.#waiting.length === 1) requestAnimationFrame(() => this.#flush(ENTRIES_A_FRAME));
    return entry;
  }

  /** Shows up to so many of the waiting entries. The next frames show the rest. */
  #flush(most) {
    if (this.#waiting.length === 0) return;
    for (const { entry, body, after } of this.#waiting.splice(0, most)) {
      entry.lastElementChild.before(element('div', 'entry-body', body()));
      if (after?.parentElement === this.#log) after.after(entry);
      else this.#log.append(entry);
      this.#shown = after;
    }
    if (this.#waiting.length > 0) requestAnimationFrame(() => this.#flush(most));
    while (this.#log.childElementCount > KEPT_ENTRIES) this.#log.firstElementChild.remove();
    if (this.#following) this.#follow();
    else this.#newest.hidden = false;
    this.#showCount();
  }

  #showCount() {
    const { childElementCount } = this.#log;
    this.#count.textContent = this.#added > childElementCount ? `the last ${childElementCount} of ${this.#added.toLocaleString('en')}` : '';
  }

  #follow() {
    const end = this.#log.scrollHeight - this.#log.clientHeight;
    this.#aim = this.#shown?.parentElement === this.#log ? Math.min(end, this.#shown.offsetTop) : end;
    this.#log.scrollTop = this.#aim;
    this.#following = true;
    this.#newest.hidden = true;
  }

  #onScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.#log;
    this.#following = scrollHeight - scrollTop - clientHeight < 24 || Math.abs(scrollTop - this.#aim) < 2;
    if (this.#following) this.#newest.hidden = true;
  }

  #clear() {
    this.#waiting = [];
    this.#log.replaceChildren();
    this.#added = 0;
    this.#showCount();
    this.#follow();
    announce('Cleared');
  }
}

async function copyText(text, from) {
  let done = false;
  try {
    await navigator.clipboard.writeText(text);
    done = true;
  } catch {
    // Without HTTPS there is no clipboard object. The old way still works.
    const area = element('textarea', 'unseen');
    area.value = text;
    document.body.append(area);
    area.select();
    done = document.execCommand('copy');
    area.remove();
    from.focus();
  }
  from.textContent = done ? 'Copied' : 'Refused';
  announce(done ? 'Copied' : 'The browser refused to copy');
  setTimeout(() => (from.textContent = 'Copy'), 1500);
}

// ---- The line: one WebSocket that reconnects ----------------------------------------------------------------------

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
      this.#enter('stopped', { words: `This browser refused the address: ${error.message}` });
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
      const opened = this.#state === 'open';
      this.#lost(opened ? closeWords(event.code, event.reason)
        : late ? `no answer within ${CONNECT_TIMEOUT / 1000} s`
        : 'the server cannot be reached', opened, opened ? this.#after(event.code) : 'later');
    }));
  }

  /** Closes for good. Only connect() opens again. */
  stop() {
    if (this.#state === 'stopped') return;
    const opened = this.#state === 'open';
    const socket = this.#socket;
    this.#socket = null;
    this.#tries = 0;
    this.#enter('stopped', { words: opened ? closeWords(1000, '') : 'not trying any more', opened });
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

  #lost(words, opened, then, pause) {
    this.#socket = null;
    if (then === 'never') {
      this.#tries = 0;
      this.#enter('stopped', { words, opened });
      return;
    }
    const ceiling = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.#tries);
    // Half of the wait is random, so that not all pages come back at once after a restart of the server.
    const chance = Math.max(FIRST_WAIT, ceiling * (0.5 + Math.random() / 2));
    // 'now' connects at once, but not twice in a row.
    const wait = pause ?? (then === 'now' && this.#tries === 0 ? 0 : chance);
    this.#tries += 1;
    const due = performance.now() + wait;
    this.#enter('waiting', { words, opened, wait });
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

// ---- The lamp ----------------------------------------------------------------------------------------------------

/** The lamp of one tab: its words, its state and its buttons. A button that submits a form needs no `connect`. */
class Lamp {
  #box;
  #word;
  #detail;
  #connect;
  #disconnect;

  constructor(prefix, { connect, disconnect }) {
    this.#box = $(`${prefix}status`);
    this.#word = $(`${prefix}status-word`);
    this.#detail = $(`${prefix}status-detail`);
    this.#connect = $(`${prefix}connect`);
    this.#disconnect = $(`${prefix}disconnect`);
    if (connect) this.#connect.addEventListener('click', connect);
    this.#disconnect.addEventListener('click', disconnect);
  }

  set state(state) {
    this.#box.dataset.state = state;
  }

  set word(word) {
    this.#word.textContent = word;
  }

  /** `next` gets the focus if the focused button is removed and no other button takes the focus. */
  show(word, detail, { connect = '', disconnect = '' }, next) {
    this.#word.textContent = word;
    this.#detail.textContent = detail;
    const focused = document.activeElement;
    for (const [shown, label] of [[this.#connect, connect], [this.#disconnect, disconnect]]) {
      shown.hidden = !label;
      if (label) shown.textContent = label;
    }
    // The focus must not be lost with a button.
    if (focused === this.#connect && !connect) (this.#disconnect.hidden ? next : this.#disconnect).focus();
    if (focused === this.#disconnect && !disconnect) (this.#connect.hidden ? next : this.#connect).focus();
  }
}

/** The address of a socket beside the page, also behind a proxy that serves both under a path. */
function beside(path) {
  const address = new URL(path, new URL('.', location.href));
  address.protocol = address.protocol === 'https:' ? 'wss:' : 'ws:';
  return address.href;
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
