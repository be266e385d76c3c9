'use strict';

// The code that all tabs of the page share: words, elements, panes, replies and the line, which is the connection. The
// scripts of the page share one scope. Code for one tab is in a block of its own file. Data of the server is added to
// the page as text, never as markup. Sections: numbers, words, document, panes, replies, line, lamp.

// ---- Numbers ----------------------------------------------------------------------------------------------------

const KEPT_ENTRIES = 500; // in each pane; the oldest are removed first
const SHOWN_CHARACTERS = 4000; // of a reply before "show all"
const SHOWN_LINES = 60;
const SHOWN_MEMBERS = 100; // of one array or object before "show more"
const OPEN_MEMBERS = 24; // a nested value with more members starts closed
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

/** A bounded log. It scrolls to its newest entry unless the reader scrolled away from it. */
class Pane {
  #log;
  #newest;
  #lines = []; // the text for the button Copy, one string for each entry
  #following = true;

  constructor(name) {
    this.#log = $(`${name}-log`);
    this.#newest = $(`${name}-newest`);
    this.#log.addEventListener('scroll', () => this.#onScroll(), { passive: true });
    this.#newest.addEventListener('click', () => {
      this.#follow();
      this.#log.focus();
    });
    // The newest entry stays visible when a row opens, a font loads or the window turns.
    new ResizeObserver(() => this.#following && this.#follow()).observe(this.#log);
    $(`${name}-clear`).addEventListener('click', () => this.#clear());
    const copy = $(`${name}-copy`);
    copy.addEventListener('click', () => copyText(this.#lines.join('\n'), copy));
  }

  /** Adds an entry and returns it. `kind` is note, trouble, sent or reply. `pair` connects a reply with its command. */
  add({ kind, text, body, meta = '', pair = 0 }) {
    const now = new Date();
    const time = element('time', '', clock(now));
    time.dateTime = now.toISOString();
    time.title = now.toLocaleString();
    const metaCell = element('span', 'entry-meta', meta);
    const entry = element('div', 'entry', time, element('div', 'entry-body', body ?? plainText(text)), metaCell);
    entry.dataset.kind = kind;
    if (pair) entry.dataset.pair = pair;
    this.#log.append(entry);
    this.#lines.push([clock(now), meta && `[${meta}]`, text].filter(Boolean).join('  '));
    while (this.#lines.length > KEPT_ENTRIES) {
      this.#lines.shift();
      this.#log.firstElementChild.remove();
    }
    if (this.#following) this.#follow();
    else this.#newest.hidden = false;
    return entry;
  }

  #follow() {
    this.#log.scrollTop = this.#log.scrollHeight;
    this.#following = true;
    this.#newest.hidden = true;
  }

  #onScroll() {
    this.#following = this.#log.scrollHeight - this.#log.scrollTop - this.#log.clientHeight < 24;
    if (this.#following) this.#newest.hidden = true;
  }

  #clear() {
    this.#log.replaceChildren();
    this.#lines = [];
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

// ---- Replies -----------------------------------------------------------------------------------------------------

/** Text with its line breaks. A very long text shows its beginning and a button for the rest. */
function plainText(text) {
  const shown = beginning(text);
  const line = element('div', 'entry-text', shown);
  if (shown.length === text.length) return line;
  const all = button(`Show all (${plural(text.length, 'character')})`, () => {
    line.textContent = text;
    tools.remove();
    line.tabIndex = -1;
    line.focus({ preventScroll: true });
  });
  const tools = element('div', 'reply-tools', all);
  line.append('…');
  return element('div', '', line, tools);
}

function beginning(text) {
  let end = Math.min(text.length, SHOWN_CHARACTERS);
  for (let at = -1, lines = 0; lines < SHOWN_LINES; lines += 1) {
    at = text.indexOf('\n', at + 1);
    if (at < 0 || at >= end) break;
    if (lines === SHOWN_LINES - 1) end = at;
  }
  const isSplitPair = end < text.length && /[\uD800-\uDBFF]/.test(text[end - 1]);
  return text.slice(0, isSplitPair ? end - 1 : end);
}

/** A number as the server wrote it. JSON.parse would round a 64-bit id. */
class Digits {
  constructor(source) {
    this.source = source;
  }
}

/** The object or array in a reply; undefined: the reply is neither. */
function structure(text) {
  if (!/^\s*[[{]/.test(text)) return undefined;
  try {
    return JSON.parse(text, (_key, value, context) =>
      typeof value === 'number' && context?.source ? new Digits(context.source) : value);
  } catch {
    return undefined;
  }
}

const members = (value) => (Array.isArray(value) ? value.map((item, at) => [at, item]) : Object.entries(value));
const ROOT = Symbol('root'); // the key of the outermost value
const isBranch = (value) => typeof value === 'object' && value !== null && !(value instanceof Digits);

/** A structured reply: a foldable tree, and the exact text. */
function structuredReply(text, value) {
  const tree = element('div', 'tree', branch(ROOT, value, true));
  const raw = plainText(text);
  raw.hidden = true;
  const views = [[button('Tree', () => show(tree)), tree], [button('Raw', () => show(raw)), raw]];
  const show = (chosen) => {
    for (const [toggle, view] of views) {
      view.hidden = view !== chosen;
      toggle.setAttribute('aria-pressed', String(view === chosen));
    }
  };
  show(tree);
  const tools = element('div', 'reply-tools', ...views.map(([toggle]) => toggle));
  tools.setAttribute('role', 'group');
  tools.setAttribute('aria-label', 'View of this reply');
  return element('div', '', tree, raw, tools);
}

/** One object or array. Its members are built when it is first opened, so that a large reply costs nothing. */
function branch(key, value, open) {
  const all = members(value);
  const size = Array.isArray(value) ? `[${all.length}]` : `{${all.length}}`;
  const words = plural(all.length, Array.isArray(value) ? 'item' : 'member');
  const sizeMark = element('span', 'size', key === ROOT ? words : size);
  sizeMark.title = words;
  const summary = element('summary', '', ...keyMark(key), sizeMark);
  const inside = element('div');
  const details = element('details', '', summary, inside);
  let built = 0;
  const build = () => {
    const upTo = Math.min(all.length, built + SHOWN_MEMBERS);
    for (const [name, member] of all.slice(built, upTo)) {
      inside.append(isBranch(member) ? branch(name, member, open && members(member).length <= OPEN_MEMBERS && key === ROOT) : leaf(name, member));
    }
    built = upTo;
    if (built === all.length) return;
    const more = button(`Show more (${(all.length - built).toLocaleString('en')} left)`, () => {
      const next = more.parentElement;
      build();
      next.remove();
      summary.focus();
    });
    inside.append(element('div', 'reply-tools', more));
  };
  details.addEventListener('toggle', () => details.open && built === 0 && build());
  if (open) {
    build();
    details.open = true;
  }
  return details;
}

function keyMark(key) {
  if (key === ROOT) return [];
  return [element('span', typeof key === 'number' ? 'index' : 'key', key === '' ? '""' : String(key)), ': '];
}

function leaf(key, value) {
  const [kind, text] =
    value instanceof Digits ? ['number', value.source]
    : typeof value === 'string' ? ['string', JSON.stringify(value)]
    : typeof value === 'number' ? ['number', String(value)]
    : ['literal', String(value)];
  return element('div', 'leaf', ...keyMark(key), element('span', kind, text));
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

/** The lamp of one tab: its words, its state and its buttons. */
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
    this.#connect.addEventListener('click', connect);
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
