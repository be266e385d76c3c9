/*
 * The console of the back end: one WebSocket to the server's console. A command is a text frame, and so is its reply.
 * Two panes show what was sent and received. The page also shows the state of the connection, and who the administrator
 * is to the server. Each connection begins with the session's form token, because the cookie alone allows no command
 * that shows the server's state or publishes. Replies are added as text, never as markup. Sections: numbers, words,
 * panes, connection, replies, command box.
 *
 * (C) 2026 the jsocketd maintainers; GNU General Public License version 2 or later; see LICENSE
 */

const KEPT_ENTRIES = 500; // in each pane; the oldest are removed first
const KEPT_COMMANDS = 100; // in the history
const HISTORY_KEY = 'com_websockets.console.history';
const FIRST_WAIT = 500; // milliseconds before the second try, which double with each failure
const LONGEST_WAIT = 30_000; // up to this
const CONNECT_TIMEOUT = 10_000; // milliseconds
const STEADY_AFTER = 5_000; // milliseconds after which a connection resets the wait
const SHOWN_CHARACTERS = 8_000; // of a reply

const options = Joomla.getOptions('com_websockets.console', {});

// ---- Words -------------------------------------------------------------------------------------------------------

const $ = (name) => document.getElementById(`websockets-${name}`);

/** A text of the language file with values in the places of %s and %1$s. */
function words(key, ...values) {
  let next = 0;
  return Joomla.Text._(`COM_WEBSOCKETS_${key}`).replace(/%(?:(\d+)\$)?[sd]/g, (_all, place) => String(values[place ? place - 1 : next++] ?? ''));
}

/** The meaning of a close code, with the server's reason. */
function closeWords({ code, reason }) {
  const key = `CLOSED_${code}`;
  const known = Joomla.Text._(`COM_WEBSOCKETS_${key}`, '');
  const meaning = known || words('CLOSED_CODE');
  return reason ? `${code}, ${meaning} (${reason})` : `${code}, ${meaning}`;
}

/** Whether a command contains a token, and the command without its token. */
const isSecret = (command) => /^\s*token\s/i.test(command);
const masked = (command) => (isSecret(command) ? 'token ••••' : command);

/** Announces a text to screen readers. Texts that come within a moment are read as one message. */
const announce = (() => {
  let waiting = [];
  let timer = 0;
  return (text) => {
    waiting = [...waiting, text.length > 160 ? `${text.slice(0, 159)}…` : text].slice(-3);
    clearTimeout(timer);
    timer = setTimeout(() => {
      $('said').textContent = waiting.join('. ');
      waiting = [];
    }, 150);
  };
})();

// ---- Panes -------------------------------------------------------------------------------------------------------

/** A bounded log. It scrolls to its newest entry unless the reader scrolled away from it. */
class Pane {
  #log;

  constructor(name) {
    this.#log = $(name);
    $(`${name}-clear`).addEventListener('click', () => this.#log.replaceChildren());
  }

  /** `kind` is note, trouble or said. */
  add(text, kind = 'note') {
    const log = this.#log;
    const following = log.scrollHeight - log.scrollTop - log.clientHeight < 24;
    const now = new Date();
    const time = document.createElement('time');
    time.dateTime = now.toISOString();
    time.textContent = now.toLocaleTimeString(document.documentElement.lang || undefined, { hour12: false });
    const body = document.createElement('span');
    body.textContent = text;
    const entry = document.createElement('div');
    entry.dataset.kind = kind;
    entry.append(time, body);
    log.append(entry);
    while (log.childElementCount > KEPT_ENTRIES) log.firstElementChild.remove();
    if (following) log.scrollTop = log.scrollHeight;
  }
}

const client = new Pane('client');
const server = new Pane('server');

// ---- The connection ----------------------------------------------------------------------------------------------

let socket = null;
let state = 'stopped'; // connecting, open, waiting
let tries = 0; // since the last steady connection
let lastWhy = ''; // the reason of the last failure, which is not shown twice in a row
let timers = [];
let pending = []; // commands without a reply yet; the server answers each one, in order

function later(ms, act) {
  timers.push(setTimeout(act, ms));
}

/** Enters a state and ends the timers of the last one. The button stays on the page, so that it can keep the focus. */
function enter(next, word, detail, button) {
  timers.forEach(clearTimeout);
  timers = [];
  state = next;
  $('lamp').dataset.state = next;
  $('lamp-word').textContent = word;
  $('lamp-detail').textContent = detail;
  $('connect').textContent = words(button);
}

function connect() {
  enter('connecting', words('LAMP_CONNECTING'), options.url, 'BUTTON_DISCONNECT');
  let opened;
  try {
    opened = new WebSocket(options.url);
  } catch (error) {
    // For example a page on https:// and an address on ws://.
    const why = words('REFUSED_ADDRESS', options.url, error.message);
    enter('stopped', words('LAMP_STOPPED'), why, 'BUTTON_CONNECT');
    server.add(why, 'trouble');
    announce(why);
    return;
  }
  socket = opened;
  let late = false;
  later(CONNECT_TIMEOUT, () => {
    late = true;
    opened.close();
  });
  // Events of an earlier socket are ignored.
  const ifCurrent = (act) => (event) => opened === socket && act(event);
  opened.addEventListener('open', ifCurrent(onOpen));
  opened.addEventListener('message', ifCurrent((event) => onMessage(event.data)));
  opened.addEventListener('close', ifCurrent((event) => onClose(event, late)));
}

function onOpen() {
  enter('open', words('LAMP_OPEN'), options.url, 'BUTTON_DISCONNECT');
  lastWhy = '';
  later(STEADY_AFTER, () => (tries = 0));
  server.add(words('LOG_OPENING', socket.readyState));
  announce(words('LAMP_OPEN'));
  // The reply to `whoami` depends on the token, so the token goes first.
  const token = options.sendsToken ? Joomla.getOptions('csrf.token', '') : '';
  for (const command of [...(token ? [`token ${token}`] : []), 'whoami', 'help']) {
    client.add(words('LOG_ASKING', masked(command)));
    socket.send(command);
    pending.push({ command: masked(command), own: true });
  }
}

function onClose(event, late) {
  const wasOpen = state === 'open';
  const why = wasOpen ? words('CLOSED', closeWords(event)) : late ? words('NO_ANSWER', options.url) : words('NOT_REACHED', options.url);
  server.add(words('LOG_CLOSING', socket.readyState));
  socket = null;
  forgetPending();
  identity('unknown', words('IDENTITY_UNKNOWN'));
  // After 4000 to 4099 a client must not connect again.
  if (event.code >= 4000 && event.code < 4100) {
    enter('stopped', words('LAMP_STOPPED'), why, 'BUTTON_CONNECT');
    server.add(why, 'trouble');
    announce(why);
    return;
  }
  // Half of the wait is random, so that not all pages come back at once after a restart of the server.
  const ceiling = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** tries);
  const wait = event.code >= 4200 && event.code < 4300 && tries === 0 ? 0 : Math.max(FIRST_WAIT, ceiling * (0.5 + Math.random() / 2));
  tries += 1;
  const due = performance.now() + wait;
  const waiting = () => words('LAMP_WAITING', Math.max(1, Math.ceil((due - performance.now()) / 1000)));
  enter('waiting', waiting(), why, 'BUTTON_CONNECT_NOW');
  server.add(why === lastWhy ? waiting() : `${why} ${waiting()}`, 'trouble');
  if (why !== lastWhy) announce(why);
  lastWhy = why;
  const tick = () => {
    $('lamp-word').textContent = waiting();
    later(1000, tick);
  };
  later(1000, tick);
  later(wait, connect);
}

function disconnect() {
  const closing = socket;
  socket = null;
  tries = 0;
  forgetPending();
  enter('stopped', words('LAMP_STOPPED'), '', 'BUTTON_CONNECT');
  identity('unknown', words('IDENTITY_UNKNOWN'));
  if (closing) {
    closing.close(1000);
    server.add(words('LOG_CLOSING', closing.readyState));
  }
  announce(words('LAMP_STOPPED'));
}

$('connect').addEventListener('click', () => {
  if (state === 'stopped' || state === 'waiting') connect();
  else disconnect();
});

// When the network is back or the page is visible again, do not wait for the timer.
const retry = () => state === 'waiting' && connect();
window.addEventListener('online', retry);
document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && retry());

// ---- Commands and their replies ----------------------------------------------------------------------------------

/** Sends a command. If that is impossible, it shows the reason in the pane and returns false. */
function send(command) {
  if (state !== 'open') {
    client.add(words('LOG_NOT_SENT', masked(command)), 'trouble');
    announce(words('LOG_NOT_SENT', masked(command)));
    return false;
  }
  socket.send(command);
  pending.push({ command: masked(command), own: false });
  client.add(words('LOG_SENDING', masked(command)), 'said');
  return true;
}

function onMessage(text) {
  const asked = pending.shift();
  if (typeof text !== 'string') {
    server.add(words('LOG_BINARY', text.size ?? text.byteLength ?? 0));
    return;
  }
  if (asked?.own && isSecret(asked.command)) noteRefusal(text);
  if (asked?.command === 'whoami') showIdentity(text);
  if (asked?.command === 'help') showCommands(text);
  if (asked?.own) return;
  // The line break at the end of "Command not found\n" belongs to the protocol.
  const shown = words('LOG_RECEIVE', pretty(text.replace(/\r?\n$/, '')));
  server.add(shown, 'said');
  announce(shown);
}

/** Handles the reply to this page's form token. It shows only a refusal. */
function noteRefusal(reply) {
  if (reply.startsWith('Allowed:')) return;
  const why = words('LOG_TOKEN_REFUSED', reply.trim());
  server.add(why, 'trouble');
  announce(why);
}

/**
 * Formats JSON: each member on a line of its own, and simple lists on one line. Text that is no JSON, or whose numbers
 * would change, stays as it is.
 */
function pretty(text) {
  const cut = text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text;
  if (!/^\s*[[{]/.test(text)) return cut;
  try {
    const value = JSON.parse(text);
    if (JSON.stringify(value) !== text) return cut;
    const simpleLists = /\[\n[^[\]{}]*\]/g;
    return JSON.stringify(value, null, 2).replace(simpleLists, (list) => list.replace(/\n\s*/g, ' ')).slice(0, SHOWN_CHARACTERS);
  } catch {
    return cut;
  }
}

/** Shows which commands will get no reply, because the connection ended. */
function forgetPending() {
  for (const { command, own } of pending) if (!own) client.add(words('LOG_NO_REPLY', command), 'trouble');
  pending = [];
}

/**
 * Makes buttons from lines of `name  description` with two or more spaces between them. The focused command stays so.
 */
function showCommands(text) {
  const found = text.split('\n').flatMap((row) => {
    const match = /^\s*(\S(?:.*?\S)?)\s{2,}(\S.*?)\s*$/.exec(row);
    return match ? [{ name: match[1], what: match[2] }] : [];
  });
  if (found.length === 0) return;
  const list = $('commands');
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.command : null;
  list.replaceChildren(...found.map(({ name, what }) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'btn btn-sm btn-outline-secondary';
    button.dataset.command = name;
    button.textContent = name;
    const description = document.createElement('span');
    description.textContent = what;
    const item = document.createElement('li');
    item.append(button, ' ', description);
    return item;
  }));
  if (focused !== null) [...list.querySelectorAll('button')].find((made) => made.dataset.command === focused)?.focus();
}

// A command without an argument is sent at once. One with an argument is put into the box.
$('commands').addEventListener('click', ({ target }) => {
  const name = target.closest('button')?.dataset.command;
  if (!name) return;
  const [word, ...rest] = name.split(/\s+/);
  if (rest.length || word === 'token' || word === 'publish') begin(`${word} `);
  else submit(word);
});

// ---- Who I am ----------------------------------------------------------------------------------------------------

function identity(kind, text) {
  $('identity').dataset.kind = kind;
  $('identity').textContent = text;
}

function showIdentity(text) {
  let who;
  try {
    who = JSON.parse(text);
  } catch {
    return;
  }
  if (who?.identity === 'user') {
    const levels = Array.isArray(who.levels) ? who.levels.join(', ') : '–';
    identity('user', words('IDENTITY_USER', who.username ?? who.user_id, levels));
  } else {
    identity('guest', words('IDENTITY_GUEST', words(guestKey(who ?? {}))));
  }
  announce($('identity').textContent);
}

/** The language key for the reason why the administrator is a guest to the server. */
function guestKey({ reason, provisional, levels }) {
  if (provisional || reason === 'database-unavailable') return 'GUEST_PROVISIONAL';
  if (levels === undefined) return 'GUEST_NO_SITE';
  if (!options.sharesCookie) return 'GUEST_OTHER_HOST';
  const known = {
    'foreign-origin': 'GUEST_FOREIGN_ORIGIN',
    'no-cookie': 'GUEST_NOT_LOGGED_IN',
    'bad-cookie': 'GUEST_NOT_LOGGED_IN',
    'no-row': 'GUEST_NOT_LOGGED_IN',
    expired: 'GUEST_NOT_LOGGED_IN',
    'guest-session': 'GUEST_NOT_LOGGED_IN',
    'other-client': 'GUEST_NOT_LOGGED_IN',
    'second-factor-pending': 'GUEST_SECOND_FACTOR',
    'second-factor-unknown': 'GUEST_SESSIONS_ELSEWHERE',
    'user-unknown': 'GUEST_SESSIONS_ELSEWHERE',
    'must-reset': 'GUEST_MUST_RESET',
    'no-form-token': 'GUEST_FORM_TOKEN',
    'wrong-form-token': 'GUEST_FORM_TOKEN',
  }[reason];
  return known ?? (options.sessionsInTables ? 'GUEST_SOMEHOW' : 'GUEST_SESSIONS_ELSEWHERE');
}

// ---- The command box and its history -----------------------------------------------------------------------------

const input = $('command');
let history = recall();
let at = history.length; // the index of the shown entry; history.length is the draft
let draft = '';

function recall() {
  try {
    const kept = JSON.parse(sessionStorage.getItem(HISTORY_KEY) ?? '[]');
    return Array.isArray(kept) ? kept.filter((entry) => typeof entry === 'string') : [];
  } catch {
    return []; // storage may be forbidden: then the history ends with the page
  }
}

function remember(command) {
  const entry = isSecret(command) ? 'token ' : command; // a token is never stored
  if (history.at(-1) !== entry) history = [...history, entry].slice(-KEPT_COMMANDS);
  at = history.length;
  draft = '';
  try {
    sessionStorage.setItem(HISTORY_KEY, JSON.stringify(history));
  } catch {
    // storage may be forbidden or full
  }
}

function show(text) {
  input.value = text;
  input.setSelectionRange(text.length, text.length);
}

function step(by) {
  const to = at + by;
  if (to < 0 || to > history.length) return;
  if (at === history.length) draft = input.value;
  at = to;
  show(at === history.length ? draft : history[at]);
}

function begin(text) {
  show(text);
  input.focus();
}

function submit(text) {
  const command = text.trim();
  if (command === '' || !send(command)) return false;
  remember(command);
  return true;
}

input.addEventListener('keydown', (event) => {
  if (event.isComposing) return;
  if (event.key === 'ArrowUp' || event.key === 'ArrowDown') {
    event.preventDefault();
    step(event.key === 'ArrowUp' ? -1 : 1);
  } else if (event.key === 'Escape') {
    show('');
    at = history.length;
  }
});

$('composer').addEventListener('submit', (event) => {
  event.preventDefault();
  if (submit(input.value)) show('');
});

// ---- Start -------------------------------------------------------------------------------------------------------

if (typeof WebSocket !== 'function') {
  client.add(words('LOG_NO_WEBSOCKET'), 'trouble');
  $('connect').disabled = true;
} else {
  client.add(words('LOG_CHECKING'));
  if (options.url) connect();
}
