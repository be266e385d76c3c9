'use strict';

// Measurements in words. The server counts in plain numbers, and the end of a name says the unit (`p99_us`,
// `resident_bytes`). The page shows "1.5 ms" and "8.2 MB" instead. The exact number is in the title and in the raw text.

/** Microseconds. */
function micros(us) {
  if (us < 1000) return `${Math.round(us)} µs`;
  if (us < 1e6) return `${(us / 1000).toFixed(us < 9950 ? 1 : 0)} ms`;
  return span(us / 1e6);
}

/** Seconds: "4.2 s", "3 min 5 s", "2 h 10 min", "6 d 3 h". */
function span(s) {
  if (s < 60) return `${Number.isInteger(s) ? s : s.toFixed(1)} s`;
  const [size, unit, rest, smaller] = s < 3600 ? [60, 'min', 1, 's'] : s < 86_400 ? [3600, 'h', 60, 'min'] : [86_400, 'd', 3600, 'h'];
  const left = Math.floor((s % size) / rest);
  return `${Math.floor(s / size)} ${unit}${left ? ` ${left} ${smaller}` : ''}`;
}

/** Bytes: thousands, as in the names of disks and lines. */
function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  const [by, unit] = bytes < 1e6 ? [1e3, 'kB'] : bytes < 1e9 ? [1e6, 'MB'] : [1e9, 'GB'];
  return `${(bytes / by).toFixed(1)} ${unit}`;
}

/** The end of a name, and how its numbers are shown. */
const UNITS = {
  us: micros,
  ms: (ms) => micros(ms * 1000),
  s: span,
  seconds: span,
  bytes: size,
};

/** The unit in a name, and the name without it. A member without a unit has the one of the value that contains it. */
function unitOf(name, inherited) {
  const [, rest, unit] = /^(.+)_(us|ms|s|seconds|bytes)$/.exec(name) ?? [];
  return rest && rest !== 'unix' ? { name: rest, unit } : { name, unit: inherited };
}

/** A number in its unit. */
const measured = (number, unit) => (UNITS[unit] ?? count)(number);
