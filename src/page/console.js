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

  /** Whether the numbers in the reply of a command are counts if they have no unit. Those of `whoami` are ids. */
  const isCounts = (command) => /^\s*(stats|lag)\b/.test(command ?? '');

  // ---- The column --------------------------------------------------------------------------------------------------

  const talk = new Pane('talk');

  // ---- The line ----------------------------------------------------------------------------------------------------

  const address = socketAddress('.');
  const { line, lamp } = shownLine('', talk, $('command'), {
    url: address,
    peer: () => address,
    heard: onMessage,
    opened: onOpen,
    ended: forgetPending,
    connect: () => line.connect(),
  });

  function onOpen() {
    talk.add({ kind: 'note', text: 'Connected.' });
    announce('Connected');
    if (tokenWasUsed) {
      talk.add({ kind: 'note', text: 'This is a new connection: send the token again for the commands that need it.' });
      tokenWasUsed = false;
    }
    if (line.send('help')) pending.push({ command: 'help', at: performance.now(), forList: true });
  }

  // ---- Commands and their replies ----------------------------------------------------------------------------------

  /** Commands that wait for their reply. The server answers each one, in order. */
  let pending = [];
  let tokenWasUsed = false; // the token itself is never stored

  /**
   * Sends a command. If that is impossible, it shows the reason and what it has `kept` of the command, and returns false.
   */
  function send(command, kept = '') {
    const shown = masked(command);
    if (!line.send(command)) {
      const why = line.state === 'connecting' ? 'still connecting' : 'not connected';
      talk.add({ kind: 'trouble', text: `Not sent, ${why}: ${shown}` });
      say(`Not sent: ${why}.${kept}`, 'trouble');
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
    const meta = asked ? micros((performance.now() - asked.at) * 1000) : 'unasked';
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
    const body = () => shownText(shown, { empty: '(empty)', measures: isCounts(asked?.command) ? 'counts' : 'units' });
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

  const HINT = HAS_KEYBOARD ? 'Enter sends · ↑ ↓ earlier commands · Esc clears' : 'Type a command, or tap one to send it.';

  const say = (text = HINT, kind = 'note') => hint('hint', text, kind);

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
      if (!isAlone(event)) return;
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
      if (send(input.value, ' Your command is still here.')) {
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
        if (!send(command)) return;
        const typed = input.value;
        remember(command);
        show(typed);
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
    lamp.show('stopped', 'Disconnected', 'This browser has no WebSocket', {});
  }
}
