// The console page: one WebSocket to the address this page came from, a text frame a command, a text frame the reply.
// It keeps what was sent and received in two bounded panes and says in words what the connection is doing. Whatever the
// server says is put on the page as text, never as markup. Sections: numbers, words, panes, replies, line, commands, box.

// ---- Numbers ----------------------------------------------------------------------------------------------------

const KEPT_ENTRIES = 500; // a pane; the oldest go first
const KEPT_COMMANDS = 100; // in the history
const SHOWN_CHARACTERS = 4000; // of a reply before "show all"
const SHOWN_LINES = 60;
const SHOWN_MEMBERS = 100; // of one array or object before "show more"
const OPEN_MEMBERS = 24; // a nested value with more members starts closed
const FIRST_WAIT = 500; // milliseconds before the second try; doubles …
const LONGEST_WAIT = 30_000; // … up to this
const CONNECT_TIMEOUT = 10_000;
const STEADY_AFTER = 5_000; // a connection that lasted so long starts the back-off anew
const HISTORY_KEY = 'jsocketd.console.history';

// ---- Words ------------------------------------------------------------------------------------------------------

/** What a close code means (RFC 6455 section 7.4.1 and the IANA registry). */
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

/** A command that carries the admin token, and what of it may be seen. */
const isSecret = (command) => /^\s*token\b\W*\S/i.test(command) || /^\s*token\s/i.test(command);
const seen = (command) => (isSecret(command) ? 'token ••••' : command);

// ---- The document ------------------------------------------------------------------------------------------------

const $ = (id) => document.getElementById(id);

/** An element from a tag, its class, and its content as text or nodes; text is never parsed. */
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

/** One polite live region for the whole page; what comes within a moment is read as one message. */
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

/** A bounded log that stays at its newest entry unless the reader scrolled away from it. */
class Pane {
  #log;
  #newest;
  #lines = []; // what Copy gives, one string an entry
  #following = true;

  constructor(name) {
    this.#log = $(`${name}-log`);
    this.#newest = $(`${name}-newest`);
    this.#log.addEventListener('scroll', () => this.#onScroll(), { passive: true });
    this.#newest.addEventListener('click', () => {
      this.#follow();
      this.#log.focus();
    });
    // A row that opens, a font that loads, a window that turns: the newest entry stays in sight.
    new ResizeObserver(() => this.#following && this.#follow()).observe(this.#log);
    $(`${name}-clear`).addEventListener('click', () => this.#clear());
    const copy = $(`${name}-copy`);
    copy.addEventListener('click', () => copyText(this.#lines.join('\n'), copy));
  }

  /** Adds an entry and returns it: `kind` is note, trouble, sent or reply; `pair` binds a reply to its command. */
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
    // Without HTTPS there is no clipboard object; the old way still works.
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

const client = new Pane('client');
const server = new Pane('server');

// Pointing at a command shows its reply in the other pane, and the other way round.
for (const type of ['pointerover', 'pointerout']) {
  document.addEventListener(type, (event) => {
    const pair = event.target.closest?.('[data-pair]')?.dataset.pair;
    if (!pair) return;
    for (const entry of document.querySelectorAll(`[data-pair="${pair}"]`)) {
      entry.classList.toggle('is-paired', type === 'pointerover');
    }
  });
}

// ---- Replies -----------------------------------------------------------------------------------------------------

/** Text with its line breaks; a very long one shows its beginning and a button for the rest. */
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

/** A number as the server wrote it: JSON.parse would round a 64-bit id. */
class Digits {
  constructor(source) {
    this.source = source;
  }
}

/** The object or array that a reply is, else nothing. */
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
const ROOT = Symbol('root'); // stands for the key that the outermost value does not have
const isBranch = (value) => typeof value === 'object' && value !== null && !(value instanceof Digits);

/** A structured reply: a tree to fold, and the text exactly as it came. */
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

/** One object or array. Its members are built when it is first opened, so that a deep or wide one costs nothing. */
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

// ---- The line: one WebSocket, and what happens when it goes -------------------------------------------------------

/**
 * Keeps one WebSocket open until it is told to stop. It knows nothing of commands: it reports its state, each text that
 * comes in and each end, and refuses to send while it is not open.
 */
class Line {
  #url;
  #on;
  #socket = null;
  #state = 'stopped';
  #tries = 0; // since the last steady connection
  #timers = new Set();

  constructor(url, on) {
    this.#url = url;
    this.#on = on;
    // A network or a reader that came back is a better reason to try than a timer.
    const retry = () => this.#state === 'waiting' && this.connect();
    window.addEventListener('online', retry);
    window.addEventListener('pageshow', retry);
    document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && retry());
  }

  get state() {
    return this.#state;
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
    this.#after(CONNECT_TIMEOUT, () => {
      late = true;
      socket.close();
    });
    // Events of a socket that was given up are nobody's business any more.
    const ifCurrent = (act) => (event) => socket === this.#socket && act(event);
    socket.addEventListener('open', ifCurrent(() => {
      this.#enter('open');
      this.#after(STEADY_AFTER, () => (this.#tries = 0));
    }));
    socket.addEventListener('message', ifCurrent((event) => this.#on.message(event.data)));
    socket.addEventListener('close', ifCurrent((event) => {
      const opened = this.#state === 'open';
      this.#lost(opened ? closeWords(event.code, event.reason)
        : late ? `no answer within ${CONNECT_TIMEOUT / 1000} s`
        : 'the server cannot be reached', opened);
    }));
  }

  /** Closes for good; only connect() opens again. */
  stop() {
    if (this.#state === 'stopped') return;
    const opened = this.#state === 'open';
    const socket = this.#socket;
    this.#socket = null;
    this.#tries = 0;
    this.#enter('stopped', { words: opened ? closeWords(1000, '') : 'not trying any more', opened });
    socket?.close(1000);
  }

  /** False when there is nobody to send to. */
  send(text) {
    if (this.#state !== 'open' || this.#socket.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(text);
    return true;
  }

  #lost(words, opened) {
    this.#socket = null;
    const ceiling = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.#tries);
    this.#tries += 1;
    // Half fixed, half chance: the pages of a restarted server do not all come back in the same moment.
    const wait = Math.max(FIRST_WAIT, ceiling * (0.5 + Math.random() / 2));
    const due = performance.now() + wait;
    this.#enter('waiting', { words, opened, wait });
    this.#after(wait, () => this.connect());
    const tick = () => {
      const left = due - performance.now();
      if (left <= 0) return;
      this.#on.countdown(left);
      this.#after(left % 1000 || 1000, tick);
    };
    tick();
  }

  /** Leaving a state ends its timers. */
  #enter(state, details = {}) {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    this.#state = state;
    this.#on.state(state, details);
  }

  #after(ms, act) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      act();
    }, ms);
    this.#timers.add(timer);
  }
}

// The page and its socket share an address, also behind a proxy that serves both under some path.
const address = new URL('.', location.href);
address.protocol = address.protocol === 'https:' ? 'wss:' : 'ws:';
address.search = '';
address.hash = '';

const status = {
  box: $('status'),
  word: $('status-word'),
  detail: $('status-detail'),
  connect: $('connect'),
  disconnect: $('disconnect'),
};

const line = new Line(address.href, {
  message: onMessage,
  countdown(left) {
    status.word.textContent = `Waiting ${Math.ceil(left / 1000)} s before the next try`;
  },
  state(state, details) {
    status.box.dataset.state = state;
    ({ connecting: onConnecting, open: onOpen, waiting: onWaiting, stopped: onStopped })[state](details);
  },
});

function showStatus(word, detail, { connect = '', disconnect = '' }) {
  status.word.textContent = word;
  status.detail.textContent = detail;
  const focused = document.activeElement;
  for (const [shown, label] of [[status.connect, connect], [status.disconnect, disconnect]]) {
    shown.hidden = !label;
    if (label) shown.textContent = label;
  }
  // A button that goes away must not take the keyboard's place with it.
  if (focused === status.connect && !connect) (status.disconnect.hidden ? $('command') : status.disconnect).focus();
  if (focused === status.disconnect && !disconnect) status.connect.focus();
}

function onConnecting({ tries }) {
  showStatus('Connecting…', tries ? `${address.href}, try ${tries + 1}` : address.href, { disconnect: tries ? 'Stop' : 'Disconnect' });
}

function onOpen() {
  showStatus('Connected', address.href, { disconnect: 'Disconnect' });
  server.add({ kind: 'note', text: 'Socket open.' });
  announce('Connected');
  if (tokenWasUsed) {
    client.add({ kind: 'note', text: 'This is a new connection: send the token again for the commands that need it.' });
    tokenWasUsed = false;
  }
  if (line.send('help')) {
    pending.push({ command: 'help', at: performance.now(), forList: true });
    client.add({ kind: 'note', text: 'Asking for the list of commands: help' });
  }
}

function onWaiting({ words, opened, wait }) {
  const pause = Math.ceil(wait / 1000);
  showStatus(`Waiting ${pause} s before the next try`, opened ? `Closed (${words})` : capital(words), {
    connect: 'Connect now',
    disconnect: 'Stop',
  });
  const said = opened ? `Closed (${words}).` : `Not connected: ${words}.`;
  server.add({ kind: 'trouble', text: `${said} Next try in ${seconds(wait)}.` });
  announce(`${said} Next try in ${plural(pause, 'second')}`);
  forgetPending();
}

function onStopped({ words, opened }) {
  const said = opened ? `Closed (${words})` : capital(words);
  showStatus('Disconnected', said, { connect: 'Connect' });
  server.add({ kind: 'note', text: `${said}.` });
  announce('Disconnected');
  forgetPending();
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

status.connect.addEventListener('click', () => line.connect());
status.disconnect.addEventListener('click', () => line.stop());

// ---- Commands and their replies ----------------------------------------------------------------------------------

/** Commands that wait for their reply. The server answers each one, in order. */
let pending = [];
let sentCount = 0;
let tokenWasUsed = false; // that it was, never what it was

/** Sends a command; false, with the reason on the page, when it cannot be sent. */
function send(command) {
  const shown = seen(command);
  if (!line.send(command)) {
    const why = line.state === 'connecting' ? 'still connecting' : 'not connected';
    client.add({ kind: 'trouble', text: `Not sent, ${why}: ${shown}` });
    say(`Not sent: ${why}. Your command is still here.`, 'trouble');
    announce(`Not sent: ${why}`);
    return false;
  }
  if (isSecret(command)) tokenWasUsed = true;
  sentCount += 1;
  const entry = client.add({ kind: 'sent', text: shown, pair: sentCount });
  pending.push({ command: shown, at: performance.now(), pair: sentCount, entry });
  say();
  return true;
}

function onMessage(text) {
  if (typeof text !== 'string') {
    server.add({ kind: 'note', text: `A binary message of ${plural(text.size ?? 0, 'byte')}.` });
    return;
  }
  const asked = pending.shift();
  const meta = asked ? duration(performance.now() - asked.at) : 'unasked';
  if (asked?.forList) {
    const found = readHelp(text);
    if (found.length) showCommands(found);
    server.add({ kind: 'note', meta, text: found.length ? `The list of commands: ${found.length}.` : 'The server gave no list of commands.' });
    return;
  }
  const value = structure(text);
  // The trailing line break of "Command not found\n" is the protocol's, not the reader's.
  const shown = text.replace(/\r?\n$/, '');
  const body = value === undefined ? plainText(shown || '(empty)') : structuredReply(shown, value);
  server.add({ kind: 'reply', text: shown, body, meta, pair: asked?.pair });
  const brief = value === undefined ? shown : `structured reply, ${plural(members(value).length, 'member')}`;
  announce(asked ? `${asked.command}: ${brief}` : brief);
}

/** A connection that ended answers no more; the commands it left open say so. */
function forgetPending() {
  for (const { entry } of pending) {
    if (entry) entry.querySelector('.entry-meta').textContent = 'no reply';
  }
  const lost = pending.filter(({ forList }) => !forList).length;
  if (lost) client.add({ kind: 'trouble', text: `${plural(lost, 'command')} got no reply before the connection ended.` });
  pending = [];
}

/** Lines of `name  description`, two or more spaces between; anything else is prose. */
function readHelp(text) {
  const found = [];
  for (const row of text.split('\n')) {
    const match = /^\s*(\S(?:.*?\S)?)\s{2,}(\S.*?)\s*$/.exec(row);
    if (match) found.push({ name: match[1], what: match[2] });
  }
  return found;
}

/** Puts the list on the page. A command without an argument is sent at once, one with an argument is begun. */
function showCommands(commands) {
  const list = $('commands');
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.name : undefined;
  list.replaceChildren(...commands.map(({ name, what }) => {
    const made = element('button', 'command', element('span', 'command-name', name), ' ', element('span', 'command-what', what));
    made.type = 'button';
    made.dataset.name = name;
    made.title = what;
    const [word, ...rest] = name.split(/\s+/);
    made.addEventListener('click', () => (rest.length ? box.begin(`${word} `) : box.submit(word)));
    return element('li', '', made);
  }));
  if (focused !== undefined) [...list.querySelectorAll('button')].find((made) => made.dataset.name === focused)?.focus();
}

// ---- The command box and its history -----------------------------------------------------------------------------

// A phone's keyboard should not cover the page before anybody asked for it, and has no arrow keys to speak of.
const HAS_KEYBOARD = matchMedia('(pointer: fine)').matches;
const HINT = HAS_KEYBOARD ? 'Enter sends · ↑ ↓ earlier commands · Esc clears' : 'Type a command, or tap one to send it.';

function say(text = HINT, kind = 'note') {
  const hint = $('hint');
  hint.textContent = text;
  hint.dataset.kind = kind;
}

const box = (() => {
  const input = $('command');
  let history = recall();
  let at = history.length; // which entry is shown; history.length is the draft
  let draft = '';

  function recall() {
    try {
      const kept = JSON.parse(sessionStorage.getItem(HISTORY_KEY) ?? '[]');
      return Array.isArray(kept) ? kept.filter((entry) => typeof entry === 'string') : [];
    } catch {
      return []; // storage may be forbidden; then the history ends with the page
    }
  }

  function remember(command) {
    // Of the token's command only the word is kept.
    const entry = isSecret(command) ? 'token ' : command;
    if (history.at(-1) !== entry) history = [...history, entry].slice(-KEPT_COMMANDS);
    at = history.length;
    draft = '';
    try {
      sessionStorage.setItem(HISTORY_KEY, JSON.stringify(history));
    } catch {
      // as above
    }
  }

  function show(text) {
    input.value = text;
    input.setSelectionRange(text.length, text.length);
    input.classList.toggle('is-secret', isSecret(text));
  }

  function step(by) {
    const to = at + by;
    if (to < 0 || to > history.length) return;
    if (at === history.length) draft = input.value;
    at = to;
    show(at === history.length ? draft : history[at]);
  }

  input.addEventListener('input', () => {
    input.classList.toggle('is-secret', isSecret(input.value));
    say(isSecret(input.value) ? 'The token’s value is hidden here and kept nowhere.' : HINT);
  });
  input.addEventListener('keydown', (event) => {
    if (event.isComposing || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    const act = { ArrowUp: () => step(-1), ArrowDown: () => step(1), Escape: clear }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  $('composer').addEventListener('submit', (event) => {
    event.preventDefault();
    if (input.value.trim() === '') {
      say('Nothing to send yet: type a command or choose one from the list.');
      input.focus();
      return;
    }
    if (send(input.value)) {
      remember(input.value);
      show('');
    }
    input.focus();
  });

  function clear() {
    at = history.length;
    draft = '';
    show('');
    say();
  }

  return {
    /** Sends a command of the list and leaves what is being typed alone. */
    submit(command) {
      if (send(command)) {
        const typed = input.value;
        remember(command);
        show(typed);
      } else {
        say(`Not sent: ${line.state === 'connecting' ? 'still connecting' : 'not connected'}.`, 'trouble');
      }
    },
    /** Puts the beginning of a command into the box. */
    begin(text) {
      at = history.length;
      show(text);
      input.focus();
    },
    focus: () => input.focus(),
  };
})();

// ---- Start -------------------------------------------------------------------------------------------------------

say();
showCommands([
  { name: 'test', what: 'Print text message' },
  { name: 'version', what: 'Show the version of the server' },
]);
if ('WebSocket' in window) {
  client.add({ kind: 'note', text: 'Checking: WebSocket available' });
  if (HAS_KEYBOARD) box.focus();
  line.connect();
} else {
  client.add({ kind: 'trouble', text: 'Error: No WebSocket available' });
  status.box.dataset.state = 'stopped';
  showStatus('Disconnected', 'This browser has no WebSocket', {});
}
