'use strict';

// The code that all tabs of the page share: words, elements and panes. line.js has the connections; replies.js and units.js
// show data. The scripts of the page share one scope. Code for one tab is in a block of its own file. Data of the server is
// added to the page as text, never as markup. Sections: numbers, words, document, panes.

// ---- Numbers ----------------------------------------------------------------------------------------------------

const KEPT_ENTRIES = 500; // in each pane; the oldest are removed first
const ENTRIES_A_FRAME = 50; // at most, so that thousands of entries at once do not stop the page

// ---- Words ------------------------------------------------------------------------------------------------------

const pad = (number, width = 2) => String(number).padStart(width, '0');
const clock = (date) =>
  `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}.${pad(date.getMilliseconds(), 3)}`;
const count = (number) => number.toLocaleString('en');
const plural = (number, word) => `${count(number)} ${word}${number === 1 ? '' : 's'}`;
const shorten = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

/** The value of a JSON text; undefined: it is none. */
const json = (text) => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};

// On a phone the keyboard would cover the page too early, and it has no arrow keys.
const HAS_KEYBOARD = matchMedia('(pointer: fine)').matches;

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

/** Shows what the tab has to say about a part of it. */
function hint(id, text, kind = 'note') {
  $(id).textContent = text;
  $(id).dataset.kind = kind;
}

/** The suggestions for a field. */
const suggest = (id, values) =>
  $(id).replaceChildren(...values.map((value) => Object.assign(element('option'), { value })));

/** Whether a key was pressed alone. With another key it belongs to the browser. */
const isAlone = ({ ctrlKey, altKey, metaKey, shiftKey, isComposing }) => !(ctrlKey || altKey || metaKey || shiftKey || isComposing);

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
    this.#count.textContent = this.#added > childElementCount ? `the last ${childElementCount} of ${count(this.#added)}` : '';
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
