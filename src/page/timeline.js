'use strict';

// The timeline of the Loop tab: one bar a tick on a canvas, only as many as fit. A hovered tick or the one that the arrow
// keys chose is reported to the owner, which describes it in words. The element is a slider, so that a screen reader
// speaks the chosen tick. Rejected: an element for each part of a bar, because a thousand of them are laid out anew every
// second.

/** The phases of a tick in their order, with what the loop does in them. */
const PHASES = {
  wait: 'asks the system what is ready; the sleep is not counted',
  read: 'reads bytes and handles messages',
  time: 'handles what is due',
  write: 'sends what waits for connections',
  work: 'asks the database',
  post: 'sends webhooks',
  accept: 'takes new connections',
  reap: 'frees closed connections',
  between: 'works between two ticks',
};

/** A pattern for each phase where the system chooses the colours: rows of four pixels, each row a hexadecimal digit. */
const PATTERNS = {
  wait: '0000', read: 'f0f0', time: '8080', write: 'aaaa', work: 'ffff', post: '8421', accept: 'a5a5', reap: 'f888', between: '0600',
};

/** Draws with the colours of the style sheet or, where the system chooses the colours, with patterns. */
class Paint {
  #element;
  #fills = {};
  #forced = matchMedia('(forced-colors: active)');

  /** `changed` is called when another theme is chosen. */
  constructor(element, changed) {
    this.#element = element;
    const refresh = () => {
      this.#fills = {};
      changed();
    };
    for (const media of [this.#forced, matchMedia('(prefers-color-scheme: dark)')]) media.addEventListener('change', refresh);
  }

  /** The colour of a variable of the style sheet. */
  of(name) {
    return (this.#fills[name] ??= getComputedStyle(this.#element).getPropertyValue(`--${name}`).trim());
  }

  phase(name, context) {
    if (!Object.hasOwn(PHASES, name)) return this.of('edge');
    if (!this.#forced.matches) return this.of(`phase-${name}`);
    return (this.#fills[`pattern-${name}`] ??= this.#pattern(name, context));
  }

  #pattern(name, context) {
    const tile = document.createElement('canvas');
    tile.width = tile.height = 4;
    const pen = tile.getContext('2d');
    pen.fillStyle = this.of('surface');
    pen.fillRect(0, 0, 4, 4);
    pen.fillStyle = this.of('ink');
    [...PATTERNS[name]].forEach((row, y) => {
      for (let x = 0; x < 4; x += 1) if ((parseInt(row, 16) >> (3 - x)) & 1) pen.fillRect(x, y, 1, 1);
    });
    return context.createPattern(tile, 'repeat');
  }
}

class Timeline {
  static #PITCH = 8; // pixels from bar to bar
  static #AXIS = 56; // pixels for the scale's words
  static #LOWEST = 10; // microseconds at the foot of the scale
  static #HIGHEST = 1e10; // microseconds at its top at most, longer than the server can count
  static #PAGE = 10; // ticks that Page Up and Page Down pass over

  #bars = $('bars');
  #canvas = $('bars-canvas');
  #paint;
  #onShow;
  #ticks = [];
  #slow = 0;
  #isWhole = false; // whether a missing number between two ticks is one that was left out
  #chosen = null; // the number of the tick that the keyboard chose
  #hovered = null; // the number of the tick under the pointer
  #last = null; // the number of the right-most tick, while a reader looks at the bars

  /** `onShow` gets the tick to describe: the hovered, the chosen or the newest one; null: there is none. */
  constructor(onShow) {
    this.#onShow = onShow;
    this.#paint = new Paint(this.#bars, () => this.#draw());
    new ResizeObserver(() => this.#draw()).observe(this.#bars);
    this.#bars.addEventListener('keydown', (event) => this.#onKey(event));
    this.#bars.addEventListener('focus', () => this.#choose(this.#chosenAt()));
    this.#bars.addEventListener('blur', () => {
      this.#chosen = null;
      this.#release();
    });
    for (const type of ['pointermove', 'pointerdown']) this.#bars.addEventListener(type, (event) => this.#hover(event));
    this.#bars.addEventListener('pointerleave', () => {
      this.#hovered = null;
      this.#release();
    });
  }

  /** Fills a small canvas with the look of a phase. */
  swatch(canvas, phase) {
    const pen = canvas.getContext('2d');
    pen.fillStyle = this.#paint.of('edge');
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.fillStyle = this.#paint.phase(phase, pen);
    pen.fillRect(1, 1, canvas.width - 2, canvas.height - 2);
  }

  /** How many bars fit. */
  get room() {
    return Math.max(1, Math.floor((this.#bars.clientWidth - Timeline.#AXIS) / Timeline.#PITCH));
  }

  /**
   * Shows these ticks, oldest first. `slow`: microseconds from which a tick is slow. `isWhole`: they are all ticks, so that
   * a gap between two numbers is shown.
   */
  show(ticks, slow, isWhole) {
    this.#ticks = ticks;
    this.#slow = slow;
    this.#isWhole = isWhole;
    this.#draw();
  }

  #at = (n) => this.#ticks.findIndex((tick) => tick.n === n);

  /** The place of the chosen tick. A tick that is not kept any more gives way to the oldest one. */
  #chosenAt() {
    if (this.#chosen === null) return this.#ticks.length - 1;
    return Math.max(0, this.#ticks.findIndex((tick) => tick.n >= this.#chosen));
  }

  /** The places of the first bar and of the one after the last. */
  #window() {
    const fit = this.room;
    const held = this.#last === null ? -1 : this.#at(this.#last);
    let end = held < 0 ? this.#ticks.length : held + 1;
    if (this.#chosen !== null) {
      const chosen = this.#chosenAt();
      end = Math.min(Math.max(end, chosen + 1), chosen + fit);
    }
    end = Math.max(end, Math.min(fit, this.#ticks.length));
    return [Math.max(0, end - fit), end];
  }

  /** While a reader looks at the bars they stand still. */
  #hold() {
    this.#last = this.#ticks[this.#window()[1] - 1]?.n ?? null;
  }

  #release() {
    if (this.#chosen === null && this.#hovered === null) this.#last = null;
    this.#draw();
  }

  #choose(at) {
    if (at < 0) return;
    this.#chosen = this.#ticks[at].n;
    this.#hovered = null;
    this.#hold();
    this.#draw();
  }

  #onKey(event) {
    if (!isAlone(event)) return;
    const at = this.#chosenAt();
    const last = this.#ticks.length - 1;
    const to = {
      ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1,
      PageDown: at - Timeline.#PAGE, PageUp: at + Timeline.#PAGE, Home: 0, End: last,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.#choose(Math.min(Math.max(to, 0), last));
  }

  #hover({ clientX }) {
    const [start, end] = this.#window();
    const x = clientX - this.#bars.getBoundingClientRect().left - Timeline.#AXIS;
    const tick = x < 0 ? undefined : this.#ticks.slice(start, end)[Math.floor(x / Timeline.#PITCH)];
    if ((tick?.n ?? null) === this.#hovered) return;
    this.#hovered = tick?.n ?? null;
    this.#hold();
    this.#draw();
  }

  #draw() {
    const [width, height] = [this.#bars.clientWidth, this.#bars.clientHeight];
    if (width === 0) return; // not on the screen
    const ratio = devicePixelRatio;
    if (this.#canvas.width !== Math.round(width * ratio) || this.#canvas.height !== Math.round(height * ratio)) {
      this.#canvas.width = Math.round(width * ratio);
      this.#canvas.height = Math.round(height * ratio);
    }
    const pen = this.#canvas.getContext('2d');
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const [start, end] = this.#window();
    const bars = this.#ticks.slice(start, end);
    const shown = this.#hovered ?? this.#ticks[this.#chosenAt()]?.n;
    const top = Math.min(Timeline.#HIGHEST, Math.max(1000, this.#slow * 4, ...bars.map(({ us }) => us * 1.5)));
    const share = (us) => Math.log(us / Timeline.#LOWEST) / Math.log(top / Timeline.#LOWEST);
    const scale = (us) => Math.min(1, Math.max(0, share(us))) * (height - 4);
    this.#drawScale(pen, width, height, top, scale);
    bars.forEach((tick, at) => {
      const x = Timeline.#AXIS + at * Timeline.#PITCH;
      if (tick.n === shown && (this.#hovered !== null || this.#chosen !== null)) {
        pen.fillStyle = this.#paint.of('accent');
        pen.fillRect(x - 1, 0, 1, height);
        pen.fillRect(x + Timeline.#PITCH - 1, 0, 1, height);
      }
      if (this.#isWhole && tick.n - (bars[at - 1]?.n ?? tick.n) > 1) this.#drawGap(pen, x - 1, height);
      this.#drawBar(pen, tick, x, Math.max(4, scale(tick.us)), height);
    });
    this.#report(shown);
  }

  #drawScale(pen, width, height, top, scale) {
    pen.font = '12px system-ui, sans-serif';
    pen.textBaseline = 'middle';
    const slow = this.#slow ? Math.round(height - scale(this.#slow)) : -Infinity;
    for (let us = 100; us < top; us *= 10) {
      const y = Math.round(height - scale(us)) - 0.5;
      pen.fillStyle = this.#paint.of('line');
      pen.fillRect(Timeline.#AXIS, y, width, 1);
      if (Math.abs(y - slow) < 12) continue; // the word of that line stands here
      pen.fillStyle = this.#paint.of('soft');
      pen.fillText(us < 1000 ? '0.1 ms' : us < 1e6 ? `${us / 1000} ms` : `${us / 1e6} s`, 0, Math.max(8, y));
    }
    if (!this.#slow) return;
    pen.fillStyle = this.#paint.of('bad');
    pen.fillText('slow', 0, Math.max(8, slow));
    for (let x = Timeline.#AXIS; x < width; x += 8) pen.fillRect(x, slow - 1, 4, 2);
  }

  #drawGap(pen, x, height) {
    pen.fillStyle = this.#paint.of('edge');
    for (let y = 0; y < height; y += 6) pen.fillRect(x, y, 1, 3);
  }

  /** The height is the tick's time; each phase has its share of the height. */
  #drawBar(pen, tick, x, tall, height) {
    const wide = Timeline.#PITCH - 1;
    pen.fillStyle = this.#paint.of('edge');
    pen.fillRect(x, height - tall, wide, tall);
    const inner = tall - 2;
    const whole = Math.max(1, Object.values(tick.phases_us).reduce((sum, us) => sum + us, 0));
    let foot = height - 1;
    for (const phase of Object.keys(PHASES)) {
      const part = ((tick.phases_us[phase] ?? 0) / whole) * inner;
      if (part === 0) continue;
      pen.fillStyle = this.#paint.phase(phase, pen);
      pen.fillRect(x + 1, foot - part, wide - 2, part);
      foot -= part;
    }
  }

  #report(shown) {
    const at = this.#at(shown);
    const tick = this.#ticks[at] ?? null;
    this.#onShow(tick, this.#hovered !== null || this.#chosen !== null);
    if (this.#hovered !== null) return;
    const values = { valuemax: Math.max(0, this.#ticks.length - 1), valuenow: Math.max(0, at), valuetext: tick ? tickWords(tick) : 'No tick yet' };
    for (const [name, value] of Object.entries(values)) this.#bars.setAttribute(`aria-${name}`, String(value));
  }
}

/** A tick in one sentence. */
const tickWords = ({ n, us, culprit }) => `Tick ${n}, ${micros(us)}${culprit.text ? `: ${culprit.text}` : ''}`;
