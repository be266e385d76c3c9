'use strict';

// Reads the answer of `GET /debug/loop`. The server may be older or newer than the page, and a proxy may answer with
// something else. So each part gets its type here and a missing part its default, and the Loop tab need not look again.
// Phases, counts and kinds that the page does not know are kept: the server has named them.

const LONGEST_TEXT = 400; // characters of a name; those of the server are shorter
const LATEST_TIME = 8.64e15; // milliseconds since 1970, the last moment that a Date can show

/** A number that is not negative. JSON can hold numbers beyond all numbers, too. */
const amount = (value) => (typeof value === 'number' && value > 0 ? Math.min(value, Number.MAX_SAFE_INTEGER) : 0);
const words = (value) => (typeof value === 'string' ? shorten(value, LONGEST_TEXT) : '');
const part = (value) => (typeof value === 'object' && value !== null ? value : {});
const amounts = (value) => Object.fromEntries(Object.entries(part(value)).map(([name, number]) => [name, amount(number)]));
const moment = (value) => Math.min(amount(value), LATEST_TIME);
const ticksOf = (value) => (Array.isArray(value) ? value.map(readTick).filter(({ n }) => n > 0) : []);

function readTick(value) {
  const { n, unix_ms, slept_us, late_us, us, waiting, phases_us, counts, culprit } = part(value);
  const { kind, name, text } = part(culprit);
  return {
    n: Math.floor(amount(n)),
    unix_ms: moment(unix_ms),
    slept_us: amount(slept_us),
    late_us: amount(late_us),
    us: amount(us),
    waiting: amount(waiting),
    phases_us: amounts(phases_us),
    counts: amounts(counts),
    culprit: { kind: words(kind), name: words(name), text: words(text) },
  };
}

function readBlame(value) {
  const { kind, name, ticks, us, worst_us } = part(value);
  return { kind: words(kind), name: words(name) || words(kind) || 'other', ticks: amount(ticks), us: amount(us), worst_us: amount(worst_us) };
}

/** The report in the text of an answer; undefined: it is none. */
function readReport(text) {
  const said = part(json(text));
  if (!Array.isArray(said.recent)) return undefined;
  const recent = ticksOf(said.recent).sort((a, b) => a.n - b.n);
  const numbers = ['now_us', 'slow_ms', 'slow_ticks', 'busy_us', 'sample', 'p50_us', 'p99_us', 'max_us'];
  return {
    ...Object.fromEntries(numbers.map((name) => [name, amount(said[name])])),
    unix_ms: moment(said.unix_ms),
    ticks: Math.max(amount(said.ticks), recent.at(-1)?.n ?? 0),
    recent,
    worst: ticksOf(said.worst),
    worst_hour: ticksOf(said.worst_hour),
    blame: Array.isArray(said.blame) ? said.blame.map(readBlame) : [],
  };
}
