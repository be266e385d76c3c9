'use strict';

// The Loop tab asks the server once a second for the ticks of its loop (`GET debug/loop` beside the page), and only while
// the tab is on the screen and not paused. It shows them as a timeline and, with the same content, as tables. Sections:
// numbers, questions, answers, figures, one tick, tables, start.

{
  // ---- Numbers -----------------------------------------------------------------------------------------------------

  const PERIOD = 1000; // milliseconds between two questions
  const LONGEST_PERIOD = 30_000; // after failures, which double the period
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

  const lamp = new Lamp('loop-', { connect: () => goOn(), disconnect: () => pause() });
  const showStatus = (state, word, detail, buttons) => {
    lamp.state = state;
    lamp.show(word, detail, buttons, $('bars'));
  };

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
    showStatus('idle', 'Paused', 'The server is not asked.', { connect: 'Go on' });
    announce('Paused');
  }

  function goOn() {
    isPaused = false;
    clearTimeout(timer);
    timer = 0;
    showStatus('connecting', 'Asking…', '', { disconnect: 'Pause' });
    announce('Going on');
    follow();
  }

  /** Asks once, and returns why there was no report; undefined: there was one. */
  async function exchange(ended) {
    let text;
    try {
      const address = new URL(`debug/loop?since=${report.since}`, new URL('.', location.href));
      const answer = await fetch(address, { cache: 'no-store', signal: AbortSignal.any([ended, AbortSignal.timeout(ANSWER_TIMEOUT)]) });
      if (!answer.ok) return why(answer.status);
      text = await answer.text();
    } catch (error) {
      return error.name === 'TimeoutError' ? `No answer within ${ANSWER_TIMEOUT / 1000} s.` : 'The server cannot be reached.';
    }
    const said = json(text);
    if (!Array.isArray(said?.recent)) return 'The answer is no report of the loop.';
    take(said);
    return undefined;
  }

  async function ask() {
    const own = new AbortController();
    question = own;
    const failure = await exchange(own.signal);
    if (own.signal.aborted) return;
    question = null;
    timer = setTimeout(nextQuestion, PERIOD);
    if (failure === undefined) {
      failures = 0;
      showStatus('open', 'Live', 'asked once a second', { disconnect: 'Pause' });
    } else {
      failures += 1;
      clearTimeout(timer);
      if (failures === 1) announce(failure);
      waitOut(Math.min(LONGEST_PERIOD, PERIOD * 2 ** failures), failure);
    }
  }

  function nextQuestion() {
    timer = 0;
    follow();
  }

  /** Counts down to the next question. */
  function waitOut(left, failure) {
    showStatus('waiting', `Waiting ${seconds(left).replace('.0', '')} before the next try`, failure, { connect: 'Ask now', disconnect: 'Pause' });
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
    report = { ...before, ...answer, began, since: recent.at(-1)?.n ?? before.since };
    for (const [choice, wanted] of Object.entries(isKept)) {
      kept[choice] = [...(kept[choice] ?? []), ...recent.filter(wanted)].slice(-KEPT_TICKS);
    }
    showFirst();
    showFigures(before);
    showAll();
  }

  const chosenTicks = () => kept[filter.value] ?? [];

  function showAll() {
    timeline.show(chosenTicks(), report.slow_ms * 1000);
    showTicks();
    showBlame();
  }

  // ---- Figures -----------------------------------------------------------------------------------------------------

  /** What to look at first. */
  function showFirst() {
    const slow = micros(report.slow_ms * 1000);
    const [worst] = report.worst_hour;
    const [blamed] = report.blame;
    const isSlow = worst !== undefined && worst.us >= report.slow_ms * 1000;
    $('loop-first').textContent = isSlow && blamed
      ? `Look at the blame first: ${culpritName(blamed)} took ${micros(blamed.us)} of the slowest ticks of the last hour.`
      : `No tick of the last hour took ${slow} or longer. Look at the tallest bar first: point at it, or choose it with the arrow keys.`;
    $('loop-first').dataset.kind = isSlow ? 'trouble' : 'note';
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
      ['median', micros(report.p50_us)],
      ['99 % below', micros(report.p99_us)],
      ['longest', micros(report.max_us)],
      ['running', span(Math.floor(report.now_us / 1e6))],
    ];
    $('loop-figures').replaceChildren(...figures.map(([name, value]) => element('li', '', element('span', '', name), ' ', element('strong', '', value))));
  }

  const culpritName = ({ kind, name }) => name || kind;

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
      element('p', 'readout-culprit', tick.culprit?.text || 'no culprit'),
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
    ['Culprit', ({ culprit }) => culprit?.text || '–', 'wide'],
    ['Phases', phaseWords, 'wide'],
    ['Done', countWords, 'wide'],
    ['Sleep', waitWords, 'wide'],
  ];
  const BLAME_COLUMNS = [
    ['Culprit', culpritName, 'wide'],
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

  filter.addEventListener('change', showAll);
  choice.addEventListener('change', showTicks);
  $('loop').addEventListener('keydown', (event) => {
    if (event.key !== 'p' || event.ctrlKey || event.altKey || event.metaKey || event.target.tagName === 'SELECT') return;
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
