'use strict';

// The Console tab: one WebSocket to the address of this page. A command is a text frame, and so is its reply. One column
// shows each command with its reply below it. The tab also shows the state of the connection. Sections: words, column,
// line, commands, command box.

{
  // ---- Numbers and words -------------------------------------------------------------------------------------------

  const KEPT_COMMANDS = 100; // in the history
  const HISTORY_KEY = 'jsocketd.console.history';

  /** Whether a command contains the admin token, and the command without its token. */
  const isSecret = (command) => /^\s*token\b\W*\S/i.test(command) || /^\s*token\s/i.test(command);
  const masked = (command) => (isSecret(command) ? 'token ••••' : command);

  /** Whether the reply of a command is measurements. */
  const isMeasured = (command) => /^\s*(stats|lag)\b/.test(command ?? '');

  // ---- The column --------------------------------------------------------------------------------------------------

  const talk = new Pane('talk');

  // ---- The line ----------------------------------------------------------------------------------------------------

  const address = beside('.');

  const lamp = new Lamp('', { connect: () => line.connect(), disconnect: () => line.stop() });
  const showStatus = (word, detail, buttons) => lamp.show(word, detail, buttons, $('command'));

  const line = new Line(address, {
    message: onMessage,
    countdown: (left) => (lamp.word = `Waiting ${Math.ceil(left / 1000)} s before the next try`),
    state(state, details) {
      lamp.state = state;
      ({ connecting: onConnecting, open: onOpen, waiting: onWaiting, stopped: onStopped })[state](details);
    },
  });

  function onConnecting({ tries }) {
    showStatus('Connecting…', tries ? `${address}, try ${tries + 1}` : address, { disconnect: tries ? 'Stop' : 'Disconnect' });
  }

  function onOpen() {
    showStatus('Connected', address, { disconnect: 'Disconnect' });
    talk.add({ kind: 'note', text: 'Connected.' });
    announce('Connected');
    if (tokenWasUsed) {
      talk.add({ kind: 'note', text: 'This is a new connection: send the token again for the commands that need it.' });
      tokenWasUsed = false;
    }
    if (line.send('help')) pending.push({ command: 'help', at: performance.now(), forList: true });
  }

  function onWaiting({ words, opened, wait }) {
    const pause = Math.ceil(wait / 1000);
    showStatus(`Waiting ${pause} s before the next try`, opened ? `Closed (${words})` : capital(words), {
      connect: 'Connect now',
      disconnect: 'Stop',
    });
    const said = opened ? `Closed (${words}).` : `Not connected: ${words}.`;
    talk.add({ kind: 'trouble', text: `${said} Next try in ${seconds(wait)}.` });
    announce(`${said} Next try in ${plural(pause, 'second')}`);
    forgetPending();
  }

  function onStopped({ words, opened }) {
    const said = opened ? `Closed (${words})` : capital(words);
    showStatus('Disconnected', said, { connect: 'Connect' });
    talk.add({ kind: 'note', text: `${said}.` });
    announce('Disconnected');
    forgetPending();
  }

  // ---- Commands and their replies ----------------------------------------------------------------------------------

  /** Commands that wait for their reply. The server answers each one, in order. */
  let pending = [];
  let tokenWasUsed = false; // the token itself is never stored

  /** Sends a command. If that is impossible, it shows the reason on the page and returns false. */
  function send(command) {
    const shown = masked(command);
    if (!line.send(command)) {
      const why = line.state === 'connecting' ? 'still connecting' : 'not connected';
      talk.add({ kind: 'trouble', text: `Not sent, ${why}: ${shown}` });
      say(`Not sent: ${why}. Your command is still here.`, 'trouble');
      announce(`Not sent: ${why}`);
      return false;
    }
    if (isSecret(command)) tokenWasUsed = true;
    const entry = talk.add({ kind: 'sent', text: shown });
    pending.push({ command: shown, at: performance.now(), entry });
    say();
    return true;
  }

  function onMessage(text) {
    if (typeof text !== 'string') {
      talk.add({ kind: 'note', text: `A binary message of ${plural(text.size ?? 0, 'byte')}.` });
      return;
    }
    const asked = pending.shift();
    const meta = asked ? duration(performance.now() - asked.at) : 'unasked';
    if (asked?.forList) {
      const found = readHelp(text);
      if (found.length) showCommands(found);
      else talk.add({ kind: 'note', text: 'The server gave no list of commands.' });
      $('commands').dataset.from = 'server';
      return;
    }
    const value = structure(text);
    // The line break at the end of "Command not found\n" belongs to the protocol.
    const shown = text.replace(/\r?\n$/, '');
    const body = () => (value === undefined ? plainText(shown || '(empty)') : structuredReply(shown, value, isMeasured(asked?.command)));
    talk.add({ kind: 'reply', text: shown, body, meta, after: asked?.entry });
    const brief = value === undefined ? shown : `structured reply, ${plural(members(value).length, 'member')}`;
    announce(asked ? `${asked.command}: ${brief}` : brief);
  }

  /** Marks the commands that will get no reply, because the connection ended. */
  function forgetPending() {
    for (const { entry } of pending) {
      if (entry) entry.querySelector('.entry-meta').textContent = 'no reply';
    }
    const lost = pending.filter(({ forList }) => !forList).length;
    if (lost) talk.add({ kind: 'trouble', text: `${plural(lost, 'command')} got no reply before the connection ended.` });
    pending = [];
  }

  /** The commands in lines of `name  description` with two or more spaces between them. Other lines are ignored. */
  function readHelp(text) {
    const found = [];
    for (const row of text.split('\n')) {
      const match = /^\s*(\S(?:.*?\S)?)\s{2,}(\S.*?)\s*$/.exec(row);
      if (match) found.push({ name: match[1], what: match[2] });
    }
    return found;
  }

  /** Shows the list. A command without an argument is sent at once. One with an argument is put into the box. */
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

  // On a phone the keyboard would cover the page too early, and it has no arrow keys.
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
      // A token is never stored.
      const entry = isSecret(command) ? 'token ' : command;
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
      /** Sends a command of the list. The text in the box stays. */
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
    talk.add({ kind: 'note', text: `Welcome. First ${HAS_KEYBOARD ? 'press' : 'tap'} “test” in the list of commands, or type it and press Enter. The answer appears below the command.` });
    if (HAS_KEYBOARD) box.focus();
    line.connect();
  } else {
    talk.add({ kind: 'trouble', text: 'This browser has no WebSocket, which this page needs.' });
    lamp.state = 'stopped';
    showStatus('Disconnected', 'This browser has no WebSocket', {});
  }
}
