// A loop that never ran, for the tests of the Loop tab: answers of GET /debug/loop with ticks that the test chooses; and
// what these tests share.

const PHASES = ['wait', 'read', 'time', 'write', 'work', 'post', 'accept', 'reap', 'between'];
const COUNTS = ['events', 'reads', 'bytes_in', 'messages', 'writes', 'bytes_out', 'deliveries', 'statements', 'rows', 'timers', 'accepts', 'closes'];
const BEGAN = Date.UTC(2026, 0, 2, 3, 4, 5);

const zeros = (names) => Object.fromEntries(names.map((name) => [name, 0]));

/** One tick. `phases` are microseconds. */
export function tick(n, phases, { counts = {}, culprit = null, waiting = 0 } = {}) {
  const us = Object.values(phases).reduce((sum, part) => sum + part, 0);
  return {
    n, unix_ms: BEGAN + n * 250, slept_us: 249_000, late_us: 40, us, waiting, culprit,
    phases_us: { ...zeros(PHASES), ...phases }, counts: { ...zeros(COUNTS), ...counts },
  };
}

/** A tick of an ordinary moment: a message comes and is answered. */
export const quick = (n) =>
  tick(n, { wait: 3, read: 60 + (n * 37) % 240, write: 40 + (n * 53) % 160, between: 2, time: n % 5 === 0 ? 90 : 0, reap: n % 7 === 0 ? 30 : 0, accept: n % 11 === 0 ? 60 : 0, post: n % 13 === 0 ? 80 : 0 }, {
    counts: { events: 1, reads: 1, bytes_in: 300, messages: 1, writes: 1, bytes_out: 304 },
    culprit: { kind: 'input', name: `#${n % 9} message of 300 bytes on /echo`, us: 60, text: `#${n % 9} message of 300 bytes on /echo 0.1 ms` },
  });

/** The tick of a database that stopped. */
export const stopped = (n) =>
  tick(n, { wait: 3, read: 900, write: 800, work: 521_000, between: 3 }, {
    counts: { events: 3, reads: 3, statements: 1, rows: 0 }, waiting: 3,
    culprit: { kind: 'statement', name: 'statement sessions', us: 500_000, text: 'statement sessions 500 ms (no answer)' },
  });

/** A loop that turned these ticks. `answer(since, limit)` is what the server would say now. */
export class Loop {
  ticks = [];
  slow_ms = 50;
  asked = 100;

  turn(...ticks) {
    this.ticks.push(...ticks);
  }

  answer(since = 0, limit = 1024) {
    const slow = this.ticks.filter(({ us }) => us >= this.slow_ms * 1000);
    const worst = this.ticks.toSorted((a, b) => b.us - a.us).slice(0, 100);
    const last = this.ticks.at(-1)?.n ?? 0;
    const news = worst.some(({ n }) => n > since) ? worst : [];
    this.asked += 1; // once a second
    return {
      now_us: this.asked * 1_000_000, unix_ms: BEGAN + this.asked * 1000, slow_ms: this.slow_ms, ticks: last, slow_ticks: slow.length,
      busy_us: this.ticks.reduce((sum, { us }) => sum + us, 0), sample: this.ticks.length, p50_us: 210, p99_us: 1400, max_us: worst[0]?.us ?? 0,
      recent: this.ticks.filter(({ n }) => n > since).slice(-limit), worst: news, worst_hour: news,
      blame: slow.length ? [{ kind: 'statement', name: 'statement sessions', ticks: slow.length, us: slow.reduce((sum, { us }) => sum + us, 0), worst_us: slow[0].us }] : [],
    };
  }
}

/** A loop that turned so many quick ticks, of which some met a stopped database. */
export function turned(ticks, ...slow) {
  const loop = new Loop();
  for (let n = 1; n <= ticks; n += 1) loop.turn(slow.includes(n) ? stopped(n) : quick(n));
  return loop;
}

/**
 * Answers the questions of a page: with a report, with a text in its place, or with a status. `answer` and `asked` get
 * the `since` and `limit` of each question, `asked` also its time in milliseconds.
 */
async function serveLoop(page, answer, asked = []) {
  await page.route('**/debug/loop?*', async (route) => {
    const { searchParams } = new URL(route.request().url());
    const [since, limit] = ['since', 'limit'].map((name) => Number(searchParams.get(name)));
    asked.push({ since, limit, at: Date.now() });
    const said = await answer(since, limit);
    if (said === 'abort') await route.abort('connectionrefused');
    else if (typeof said === 'number') await route.fulfill({ status: said, body: 'no' });
    else await route.fulfill({ contentType: 'application/json', body: typeof said === 'string' ? said : JSON.stringify(said) });
  });
}

/** Opens the Loop tab for the tests of a stage (suite.mjs). */
export function loopTab(stage) {
  /** `answer` says what the loop answers; without it the real server does. */
  const open = ({ answer, asked, prepare, ...options } = {}) =>
    stage.open({
      hash: '#loop',
      prepare: async (page) => {
        await prepare?.(page);
        if (answer) await serveLoop(page, answer, asked);
      },
      ...options,
    });

  /** On a loop of 300 quick ticks, of which the 290th met a stopped database. */
  async function openOn(loop = turned(300, 290), options = {}) {
    const page = await open({ answer: (...asked) => loop.answer(...asked), ...options });
    await live(page);
    return page;
  }
  return { open, openOn };
}

export const live = (page) => page.locator('#loop-status[data-state="open"]').waitFor();
export const valueText = (page) => page.locator('#bars').getAttribute('aria-valuetext');
export const readout = (page) => page.locator('#readout').innerText();
export const rows = (page, table) => page.locator(`#${table} tbody tr`);
export const cells = (page, table, at) => rows(page, table).nth(at).locator('td').allTextContents();
