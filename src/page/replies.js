'use strict';

// Shows replies and the data of events: text, and JSON as a tree to fold beside the exact text. Data is added to the page
// as text, never as markup.

const SHOWN_CHARACTERS = 4000; // of a reply before "show all"
const SHOWN_LINES = 60;
const SHOWN_MEMBERS = 100; // of one array or object before "show more"
const OPEN_MEMBERS = 24; // a nested value with more members starts closed

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

/** The text of a server, with its structure if it has one. */
function shownText(text, { empty = '', measures = '' } = {}) {
  const value = structure(text);
  return value === undefined ? plainText(text || empty) : structuredReply(text, value, measures);
}

const members = (value) => (Array.isArray(value) ? value.map((item, at) => [at, item]) : Object.entries(value));
const ROOT = Symbol('root'); // the key of the outermost value
const isBranch = (value) => typeof value === 'object' && value !== null && !(value instanceof Digits);

/**
 * A structured reply: a foldable tree, and the exact text. `measures` is 'units' if the tree shows numbers in the units that
 * their names say, and 'counts' if all other numbers are counts.
 */
function structuredReply(text, value, measures) {
  const tree = element('div', 'tree', branch(ROOT, value, true, { measures }));
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
function branch(key, value, open, view) {
  const all = members(value);
  const size = Array.isArray(value) ? `[${all.length}]` : `{${all.length}}`;
  const words = plural(all.length, Array.isArray(value) ? 'item' : 'member');
  const sizeMark = element('span', 'size', key === ROOT ? words : size);
  sizeMark.title = words;
  const { name: label, unit } = view.measures && typeof key === 'string' ? unitOf(key, view.unit) : { name: key, unit: view.unit };
  const summary = element('summary', '', ...keyMark(label), sizeMark);
  const inside = element('div');
  const details = element('details', '', summary, inside);
  let built = 0;
  const build = () => {
    const upTo = Math.min(all.length, built + SHOWN_MEMBERS);
    for (const [name, member] of all.slice(built, upTo)) {
      const opens = open && key === ROOT && isBranch(member) && members(member).length <= OPEN_MEMBERS;
      inside.append(isBranch(member) ? branch(name, member, opens, { ...view, unit }) : leaf(name, member, { ...view, unit }));
    }
    built = upTo;
    if (built === all.length) return;
    const more = button(`Show more (${count(all.length - built)} left)`, () => {
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

function leaf(key, value, { measures, unit }) {
  const isNumber = value instanceof Digits || typeof value === 'number';
  const source = value instanceof Digits ? value.source : typeof value === 'string' ? JSON.stringify(value) : String(value);
  const kind = isNumber ? 'number' : typeof value === 'string' ? 'string' : 'literal';
  const known = typeof key === 'string' ? unitOf(key, unit) : { name: key, unit };
  const isPlain = !isNumber || !measures || (measures === 'units' && !known.unit);
  if (isPlain) return element('div', 'leaf', ...keyMark(key), element('span', kind, source));
  const made = element('div', 'leaf', ...keyMark(known.name), element('span', kind, measured(Number(source), known.unit)));
  made.title = `${key}: ${source}`;
  return made;
}
