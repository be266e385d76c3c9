'use strict';

// The Loop tab asks the server once a second for the ticks of its loop (`GET debug/loop` beside the page), and only while
// the tab is on the screen and not paused. It shows them as a timeline and, with the same content, as tables. Sections:
// numbers, questions, answers, figures, one tick, tables, start.

{
  // ---- Numbers -----------------------------------------------------------------------------------------------------

  const PERIOD = 1000; // milliseconds between two questions
  const LONGEST_PERIOD = 30_000; // after failures, which double the period
  const HOUR = 3_600_000;
  const LONGEST_NAME = 80; // characters in the first line; the table of the blame has the rest
  const ANSWER_TIMEOUT = 10_000;
  const KEPT_TICKS = 1024; // for each choice of the filter
  const TABLE_ROWS = 100;
  const SAME_START = 5000; // milliseconds by which two reports of one server may differ about its start

  const WHY = {
    401: 'The server wants the admin token (401). Reload the page and give the token as the password.',
    403: 'The server refuses its state (403). It shows it with admin_token, on admin_listen, or to a user with the permission websockets.monitor.',
    404: 'There is no debug/loop beside this page (404). The server is older than the page, or the proxy does not pass the path on.',
    429: 'The server says that this address asks too often (429).',
  };
  const why = (status) => WHY[status] ?? (status >= 500 ? `The server or its proxy fails (${status}).` : `The answer is no report of the loop (${status}).`);

  // ---- Questions ---------------------------------------------------------------------------------------------------

  let isShown = false;
  let isPaused = false;
  let failures = 0; // since the last good answer
  let timer = 0;
  let question = null; // its AbortController
  let answeredAt = 0; // when the last report came

  const lamp = new Lamp('loop-', { connect: () => goOn(), disconnect: () => pause() }, $('bars'));

  /** Begins or ends the questions, as far as anybody can see the answers. */
  function follow() {
    const wanted = isShown && !isPaused && document.visibilityState === 'visible';
    if (!wanted) {
      clearTimeout(timer);
      timer = 0;
      question?.abort();
      question = null;
    } else if (!timer && !question) {
      ask();
    }
  }

  function pause() {
    isPaused = true;
    follow();
    lamp.show('idle', 'Paused', 'The server is not asked.', { connect: 'Go on' });
    announce('Paused');
  }

  function goOn() {
    isPaused = false;
    clearTimeout(timer);
    timer = 0;
    lamp.show('connecting', 'Asking…', '', { disconnect: 'Pause' });
    announce('Going on');
    follow();
  }

  /**
   * How many ticks to ask for: at first, and after a while without an answer, all that the server keeps; otherwise as many
   * as the bars and the table show. A busy loop has thousands a second.
   */
  const limit = () => {
    const wantsAll = report === NOTHING || performance.now() - answeredAt > 3 * PERIOD;
    return wantsAll ? KEPT_TICKS : Math.max(timeline.room, TABLE_ROWS);
  };

  /** Asks once. Returns the report, or in `failure` why there is none. */
  async function exchange(ended) {
    let text;
    try {
      const address = beside(`debug/loop?since=${report.since}&limit=${limit()}`);
      const answer = await fetch(address, { cache: 'no-store', signal: AbortSignal.any([ended, AbortSignal.timeout(ANSWER_TIMEOUT)]) });
      if (!answer.ok) return { failure: why(answer.status), isFinal: answer.status === 401 };
      text = await answer.text();
    } catch (error) {
      return { failure: error.name === 'TimeoutError' ? `No answer within ${ANSWER_TIMEOUT / 1000} s.` : 'The server cannot be reached.' };
    }
    const said = readReport(text);
    return said ? { said } : { failure: 'The answer is no report of the loop.' };
  }

  async function ask() {
    const own = new AbortController();
    question = own;
    const { said, failure, isFinal } = await exchange(own.signal);
    if (own.signal.aborted) return;
    question = null;
    if (said) {
      failures = 0;
      answeredAt = performance.now();
      timer = setTimeout(nextQuestion, PERIOD);
      take(said);
      lamp.show('open', 'Live', 'asked once a second', { disconnect: 'Pause' });
      return;
    }
    failures += 1;
    if (failures === 1) announce(failure);
    if (report === NOTHING) hint('loop-first', failure, 'trouble');
    if (isFinal) stop(failure);
    else waitOut(Math.min(LONGEST_PERIOD, PERIOD * 2 ** failures), failure);
  }

  /** Waits for the reader. After a 401 the browser would ask for the password again with each question. */
  function stop(failure) {
    isPaused = true;
    lamp.show('stopped', 'Refused', failure, { connect: 'Ask again' });
  }

  function nextQuestion() {
    timer = 0;
    follow();
  }

  /** Counts down to the next question. */
  function waitOut(left, failure) {
    lamp.show('waiting', nextTry(left), failure, { connect: 'Ask now', disconnect: 'Pause' });
    timer = setTimeout(() => (left > 1000 ? waitOut(left - 1000, failure) : nextQuestion()), Math.min(left, 1000));
  }

  // ---- Answers -----------------------------------------------------------------------------------------------------

  const NOTHING = { since: 0, slow_ms: 0, recent: [], worst: [], worst_hour: [], blame: [] };
  const filter = $('loop-filter');
  let report = NOTHING;
  let kept = {}; // the newest ticks for each choice of the filter

  const isKept = { 0: () => true, 1000: ({ us }) => us >= 1000, slow: ({ us }) => us >= report.slow_ms * 1000 };

  function take(answer) {
    // A server that started anew counts from the beginning, so the next question must not name a tick of the old one.
    const began = answer.unix_ms - answer.now_us / 1000;
    if (answer.ticks < report.since || Math.abs(began - (report.began ?? began)) > SAME_START) {
      report = NOTHING;
      kept = {};
      return;
    }
    const recent = answer.recent.filter(({ n }) => n > report.since);
    const before = report;
    // The lists of the worst are left out while no new tick belongs to them.
    const worst = answer.worst.length ? answer.worst : before.worst;
    const worst_hour = (answer.worst_hour.length ? answer.worst_hour : before.worst_hour).filter(({ unix_ms }) => unix_ms >= answer.unix_ms - HOUR);
    report = { ...answer, worst, worst_hour, began, since: recent.at(-1)?.n ?? before.since };
    for (const [choice, wanted] of Object.entries(isKept)) {
      // A slow tick may be older than the latest ones, or one of those that were left out.
      const found = choice === '0' ? recent : [...worst_hour.filter(wanted), ...recent.filter(wanted)];
      const all = new Map([...(kept[choice] ?? []), ...found].map((tick) => [tick.n, tick]));
      kept[choice] = [...all.values()].sort((a, b) => a.n - b.n).slice(-KEPT_TICKS);
    }
    showFirst();
    showFigures(before);
    showAll();
  }

  const chosenTicks = () => kept[filter.value] ?? [];

  function showAll() {
    timeline.show(chosenTicks(), report.slow_ms * 1000, filter.value === '0');
    showTicks();
    showBlame();
  }

  // ---- Figures -----------------------------------------------------------------------------------------------------

  /** What to look at first. */
  function showFirst() {
    const slow = micros(report.slow_ms * 1000);
    const [worst] = report.worst_hour;
    const [blamed] = report.blame;
    const isSlow = worst !== undefined && isKept.slow(worst);
    const tallest = `Look at the tallest bar first: ${HAS_KEYBOARD ? 'point at it, or choose it with the arrow keys' : 'tap it'}.`;
    if (!isSlow) hint('loop-first', `No tick of the last hour took ${slow} or longer. ${tallest}`);
    else if (!blamed) hint('loop-first', tallest, 'trouble');
    else hint('loop-first', `Look at the blame first: ${micros(blamed.us)} of the slowest ticks of the last hour went to “${shorten(blamed.name, LONGEST_NAME)}”.`, 'trouble');
  }

  function showFigures(before) {
    const elapsed = report.now_us - (before.now_us ?? 0);
    if (elapsed <= 0) return;
    const busy = (report.busy_us - (before.busy_us ?? 0)) / elapsed;
    const rate = (report.ticks - (before.ticks ?? 0)) / (elapsed / 1e6);
    const figures = [
      ['busy', `${(busy * 100).toFixed(busy < 0.1 ? 1 : 0)} %`],
      ['ticks a second', count(Math.round(rate))],
      ['slow ticks', `${count(report.slow_ticks)} of ${count(report.ticks)}`],
      ['running', span(Math.floor(report.now_us / 1e6))],
      [`latest ${count(report.sample)}: median`, micros(report.p50_us)],
      ['99 % below', micros(report.p99_us)],
      ['longest', micros(report.max_us)],
    ];
    $('loop-figures').replaceChildren(...figures.map(([name, value]) => element('li', '', element('span', '', name), ' ', element('strong', '', value))));
  }

  // ---- One tick ----------------------------------------------------------------------------------------------------

  const momentOf = ({ unix_ms }) => clock(new Date(unix_ms));

  /** The phases that took time, the longest first. */
  const phasesOf = ({ phases_us }) => Object.entries(phases_us).filter(([, us]) => us > 0).sort(([, a], [, b]) => b - a);
  const phaseWords = (tick) => phasesOf(tick).map(([phase, us]) => `${phase} ${micros(us)}`).join(', ') || '–';

  function countWords({ counts }) {
    const words = Object.entries(counts).filter(([, number]) => number > 0).map(([name, number]) => {
      const [, direction] = /^bytes_(in|out)$/.exec(name) ?? [];
      if (direction) return `${size(number)} ${direction}`;
      return `${count(number)} ${number === 1 ? name.replace(/ies$/, 'y').replace(/s$/, '') : name}`;
    });
    return words.join(', ') || '–';
  }

  const waitWords = ({ slept_us, late_us, waiting }) =>
    [`slept ${micros(slept_us)} before`, late_us > 0 && `woke ${micros(late_us)} late`, waiting > 0 && `${count(waiting)} waited meanwhile`].filter(Boolean).join(', ');

  /** Describes the hovered or chosen tick, or else the newest one. */
  function describe(tick, isChosen) {
    if (tick === null) {
      $('readout').replaceChildren(element('p', 'readout-head', 'No such tick yet.'));
      return;
    }
    const phases = element('ul', 'readout-phases', ...phasesOf(tick).map(([phase, us]) => element('li', '', swatch(phase), `${phase} ${micros(us)}`)));
    $('readout').replaceChildren(
      element('p', 'readout-head', element('strong', '', `${micros(tick.us)}`), ` ${isChosen ? 'tick' : 'newest tick,'} ${count(tick.n)} at ${momentOf(tick)}`),
      element('p', 'readout-culprit', tick.culprit.text || 'no culprit'),
      phases,
      element('p', 'readout-counts', `${countWords(tick)}; ${waitWords(tick)}`),
    );
  }

  function swatch(phase) {
    const made = element('canvas', 'swatch');
    made.width = made.height = 14;
    made.setAttribute('aria-hidden', 'true');
    timeline.swatch(made, phase);
    return made;
  }

  // ---- Tables ------------------------------------------------------------------------------------------------------

  const choice = $('loop-table-choice');

  const TICK_COLUMNS = [
    ['Tick', ({ n }) => count(n), 'number'],
    ['Time', momentOf],
    ['Took', ({ us }) => micros(us), 'number'],
    ['Culprit', ({ culprit }) => culprit.text || '–', 'wide'],
    ['Phases', phaseWords, 'wide'],
    ['Done', countWords, 'wide'],
    ['Sleep', waitWords, 'wide'],
  ];
  const BLAME_COLUMNS = [
    ['Culprit', ({ name }) => name, 'wide'],
    ['Kind', ({ kind }) => kind],
    ['Ticks', ({ ticks }) => count(ticks), 'number'],
    ['Time in all', ({ us }) => micros(us), 'number'],
    ['Worst', ({ worst_us }) => micros(worst_us), 'number'],
  ];

  /** Fills a table, unless it has this content already: a reader may have marked something in it. */
  function fill(id, columns, rows, nothing) {
    const table = $(id);
    const content = JSON.stringify(rows);
    if (table.content === content) return;
    table.content = content;
    const head = element('tr', '', ...columns.map(([name, , kind = '']) => {
      const cell = element('th', kind, name);
      cell.scope = 'col';
      return cell;
    }));
    const body = rows.map((row) => element('tr', '', ...columns.map(([, words, kind = '']) => element('td', kind, words(row)))));
    if (rows.length === 0) {
      const cell = element('td', '', nothing);
      cell.colSpan = columns.length;
      body.push(element('tr', '', cell));
    }
    table.replaceChildren(element('thead', '', head), element('tbody', '', ...body));
  }

  function showTicks() {
    const rows = choice.value === 'recent' ? chosenTicks().toReversed() : report[choice.value];
    fill('ticks-table', TICK_COLUMNS, rows.slice(0, TABLE_ROWS), 'No such tick yet.');
  }

  const showBlame = () => fill('blame-table', BLAME_COLUMNS, report.blame, 'No tick to blame anybody for yet.');

  // ---- Start -------------------------------------------------------------------------------------------------------

  const timeline = new Timeline(describe);
  const showLegend = () => $('legend').replaceChildren(...Object.entries(PHASES).map(([phase, what]) =>
    Object.assign(element('li', '', swatch(phase), phase), { title: what })));

  hint('bars-hint', 'One bar is one tick. The height is its time, on a logarithmic scale; the colours are the shares of its phases. '
    + `Where a dotted line stands, ticks were left out. ${HAS_KEYBOARD ? '← → choose a tick, Home and End the oldest and the newest, p pauses.' : 'Tap a bar to read about it.'}`);
  filter.addEventListener('change', showAll);
  choice.addEventListener('change', showTicks);
  $('loop-panel').addEventListener('keydown', (event) => {
    if (event.key !== 'p' || !isAlone(event) || event.target.tagName === 'SELECT') return;
    (isPaused ? goOn : pause)();
  });
  for (const query of ['(forced-colors: active)', '(prefers-color-scheme: dark)']) matchMedia(query).addEventListener('change', showLegend);
  window.addEventListener('tab', ({ detail }) => {
    isShown = detail === 'loop';
    follow();
  });
  document.addEventListener('visibilitychange', follow);
  showLegend();
  showAll();
}
