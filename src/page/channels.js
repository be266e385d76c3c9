'use strict';

// The Channels tab: a small client of the Pusher protocol that shows each of its steps. It connects with a key,
// subscribes, shows events, publishes, and follows the recovery extension. pusher.js has the rules of the protocol that
// are not to be seen. Sections: connection, frames, subscriptions, steps.

{
  const DROP_PAUSE = 5000; // milliseconds

  // ---- The connection --------------------------------------------------------------------------------------------

  const events = new Pane('events');
  const key = $('app-key');
  const recovery = $('recovery');
  let socketId = null;
  let leftAt = null; // when the last connection ended

  const note = (text, meta) => events.add({ kind: 'note', text, meta });
  const trouble = (text) => events.add({ kind: 'trouble', text });

  const address = () =>
    socketAddress(`.${path}/app/${encodeURIComponent(key.value.trim())}?protocol=7&client=jsocketd-page&version=1${recovery.checked ? '&recovery=1' : ''}`);

  const peer = () => (socketId === null ? `key ${key.value}` : `socket id ${socketId}`);
  const { line, lamp } = shownLine('channels-', events, key, {
    url: '',
    peer,
    heard,
    opened: () => ($('drop').disabled = false),
    ended,
    after: whenClosed,
  });
  const liveness = new Liveness(line);

  function connect() {
    if (key.value.trim() === '') {
      key.focus();
      return;
    }
    showUrl();
    line.connect();
  }

  function ended() {
    if (socketId !== null) leftAt ??= performance.now();
    socketId = null;
    $('socket-id').textContent = '–';
    $('drop').disabled = true;
    liveness.end();
    for (const subscription of subscriptions.values()) subscription.enter('waiting', 'waits for a connection');
  }

  /** Shows the gap that an absence left between the events, and what becomes of the events in it. */
  function showAbsence() {
    if (leftAt !== null && subscriptions.size) {
      const away = micros((performance.now() - leftAt) * 1000);
      const fate = recovery.checked ? 'What was published meanwhile follows, or a gap is reported.' : 'Recovery is off: what was published meanwhile is missing here.';
      events.add({ kind: 'away', text: `Away for ${away}. ${fate}` });
    }
    leftAt = null;
  }

  const say = (event, data, channel) => line.send(JSON.stringify(channel === undefined ? { event, data } : { event, channel, data }));

  // ---- Frames ----------------------------------------------------------------------------------------------------

  function heard(text) {
    liveness.heard();
    const frame = typeof text === 'string' ? json(text) : undefined;
    if (typeof frame?.event !== 'string') {
      trouble(`Not a frame of the protocol: ${typeof text === 'string' ? text : 'binary'}`);
      return;
    }
    // The data of protocol events is JSON in a string, and sometimes plain JSON.
    const data = typeof frame.data === 'string' ? json(frame.data) : frame.data;
    if (Object.hasOwn(FRAMES, frame.event)) FRAMES[frame.event](data ?? {}, frame, subscriptions.get(frame.channel));
    else if (frame.channel !== undefined) onEvent(frame);
    else note(`${frame.event} ${JSON.stringify(frame.data)}`);
  }

  const FRAMES = {
    'pusher:connection_established': ({ socket_id, activity_timeout }) => {
      socketId = socket_id;
      $('socket-id').textContent = socket_id;
      lamp.detail = `socket id ${socket_id}`;
      liveness.begin(activity_timeout * 1000);
      note(`Connected, the socket id is ${socket_id}.`);
      showAbsence();
      announce('Connected');
      for (const subscription of subscriptions.values()) subscription.ask();
    },
    'pusher:error': ({ message, code }) => trouble(`Error${code ? ` ${code}` : ''}: ${message}`),
    'pusher:ping': () => say('pusher:pong', {}),
    'pusher:pong': onPosition,
    'pusher_internal:position': onPosition,
    'pusher_internal:subscription_succeeded': (data, frame, subscription) => subscription?.succeeded(data, frame),
    'pusher:subscription_error': ({ type, error }, { channel }, subscription) => {
      subscription?.enter('refused', `refused: ${error}`);
      announce(`${channel} was refused`);
      trouble(`${channel} was refused (${type}): ${error}`);
    },
    'pusher_internal:member_added': ({ user_id }, { channel }, subscription) => {
      note(`${user_id} came to ${channel}.`);
      subscription?.memberCame(user_id);
    },
    'pusher_internal:member_removed': ({ user_id }, { channel }, subscription) => {
      note(`${user_id} left ${channel}.`);
      subscription?.memberLeft(user_id);
    },
    'pusher_internal:subscription_count': ({ subscription_count }, { channel }) => note(`${channel} has ${plural(subscription_count, 'subscriber')}.`),
    'pusher:cache_miss': (_data, { channel }) => note(`${channel} has no cached event.`),
  };

  /** A position of the whole connection. It is valid for every channel with a subscription on this connection. */
  function onPosition(_data, { pos }) {
    if (pos === undefined) return;
    for (const subscription of subscriptions.values()) subscription.reached(pos);
  }

  function onEvent(frame) {
    const subscription = subscriptions.get(frame.channel);
    if (subscription && !subscription.hears(frame)) {
      note(`A double of ${frame.event} was dropped.`, frame.id);
      return;
    }
    const text = typeof frame.data === 'string' ? frame.data : JSON.stringify(frame.data) ?? '';
    const from = frame.user_id === undefined ? '' : ` from ${frame.user_id}`;
    const head = () => element('div', 'event-head', element('span', 'event-name', frame.event), element('span', 'event-channel', ` · ${frame.channel}${from}`));
    const body = () => element('div', '', head(), shownText(text));
    events.add({ kind: 'event', text: `${frame.event} · ${frame.channel}${from}  ${text}`, body, meta: frame.id ?? '' });
    announce(`${frame.event} on ${frame.channel}`);
  }

  // ---- Subscriptions ---------------------------------------------------------------------------------------------

  const subscriptions = new Map();

  /** One channel, from its first subscription until it is removed. It outlives connections. */
  class Subscription {
    #name;
    #user;
    #state = 'waiting';
    #place = new Place();
    #members = new Set();
    #view = {};

    constructor(name, user) {
      this.#name = name;
      this.#user = user;
      this.#view.state = element('p', 'subscription-state');
      this.#view.members = element('ul', 'members');
      this.#view.members.setAttribute('aria-label', `Members of ${name}`);
      const leave = button('Unsubscribe', () => this.#leave());
      leave.setAttribute('aria-label', `Unsubscribe from ${name}`);
      const head = element('div', 'subscription-head', element('span', 'subscription-name', name), leave);
      this.#view.item = element('li', 'subscription', head, this.#view.state, this.#view.members);
      $('subscriptions').append(this.#view.item);
      this.enter('waiting', 'waits for a connection');
    }

    /** Subscribes if there is a connection: a private channel with a signature, a known one with its positions. */
    async ask() {
      const asker = socketId;
      if (asker === null) return;
      this.enter('waiting', 'asked');
      const data = { channel: this.#name, auth: '' };
      const kind = kindOf(this.#name);
      if (kind && app && kind !== '#server-to-user-') {
        if (kind === 'presence-') data.channel_data = JSON.stringify({ user_id: this.#user, user_info: { name: this.#user } });
        const signed = [asker, this.#name, data.channel_data].filter((part) => part !== undefined).join(':');
        data.auth = `${publicKey}:${await signature(signed)}`;
      }
      const { since } = this.#place;
      if (recovery.checked && since.length) data.since = since;
      // During the signing the connection may have changed, and the channel may have been removed.
      if (asker === socketId && subscriptions.get(this.#name) === this) say('pusher:subscribe', data);
    }

    succeeded({ presence }, { pos, recovered }) {
      // Missed events follow, and each moves the position. Without missed events this position is the newest.
      if (!recovered) {
        this.#place.forget();
        this.#place.at(pos);
      }
      this.#members = new Set(presence?.ids ?? []);
      this.enter('in', 'subscribed');
      this.#showMembers();
      const words = { true: ' Recovered: what was missed follows.', false: ' Not recovered: events are missing here, an application would load its state anew.' };
      events.add({ kind: recovered === false ? 'trouble' : 'note', text: `Subscribed to ${this.#name}.${words[recovered] ?? ''}`, meta: pos });
      announce(`Subscribed to ${this.#name}`);
    }

    hears(frame) {
      const isNew = this.#place.isNew(frame);
      this.#showState();
      return isNew;
    }

    reached(pos) {
      if (this.#state !== 'in') return;
      this.#place.at(pos);
      this.#showState();
    }

    memberCame(id) {
      this.#members.add(id);
      this.#showMembers();
    }

    memberLeft(id) {
      this.#members.delete(id);
      this.#showMembers();
    }

    forgetPosition() {
      this.#place.forget();
    }

    enter(state, words) {
      this.#state = state;
      this.#view.words = words;
      this.#view.item.dataset.state = state;
      if (state !== 'in') this.#members.clear();
      this.#showMembers();
    }

    get canSend() {
      return this.#state === 'in' && kindOf(this.#name) !== '';
    }

    #leave() {
      say('pusher:unsubscribe', { channel: this.#name });
      subscriptions.delete(this.#name);
      this.#view.item.remove();
      note(`Unsubscribed from ${this.#name}.`);
      $('channel').focus();
      showOwn();
    }

    #showState() {
      const count = this.#members.size ? `, ${plural(this.#members.size, 'member')}` : '';
      const { since } = this.#place;
      this.#view.state.textContent = `${this.#view.words}${count}${since.length ? ` · position ${since.join(' ')}` : ''}`;
    }

    #showMembers() {
      this.#view.members.replaceChildren(...[...this.#members].map((id) =>
        element('li', id === this.#user ? 'is-me' : '', id === this.#user ? `${id} (you)` : id)));
      this.#showState();
    }
  }

  function showOwn() {
    suggest('channel-own', [...subscriptions.keys()]);
  }

  // ---- The steps -------------------------------------------------------------------------------------------------

  /** Shows the address of the next connection. */
  function showUrl() {
    if (key.value.trim()) line.url = address();
    $('connect-url').textContent = key.value.trim() ? address() : '–';
  }
  key.addEventListener('input', () => {
    showUrl();
    // Another key needs another connection.
    if (line.state === 'open') lamp.show('open', 'Connected', peer(), { connect: 'Connect anew', disconnect: 'Disconnect' });
  });

  $('connect-form').addEventListener('submit', (event) => {
    event.preventDefault();
    if (line.state !== 'waiting') line.stop();
    connect();
  });
  $('drop').addEventListener('click', () => line.drop(DROP_PAUSE));
  recovery.addEventListener('change', () => {
    showUrl();
    if (!recovery.checked) for (const subscription of subscriptions.values()) subscription.forgetPosition();
    hintRecovery();
    // It is part of the address, so it needs a new connection.
    line.drop(0);
  });
  const hintRecovery = () => hint('recovery-hint', recovery.checked
    ? 'Drop the connection and publish meanwhile: what was missed comes when it is back.'
    : 'With recovery events carry ids, and what was missed while away comes later.');

  $('channel').addEventListener('input', () => {
    const name = $('channel').value.trim();
    $('user-row').hidden = !(app && kindOf(name) === 'presence-');
    hint('channel-hint', kindOf(name) && !app ? PRIVATE_ELSEWHERE : KINDS);
  });
  const KINDS = app
    ? 'Names that begin with private- or presence- are signed here, with the development secret. cache- keeps the last event.'
    : 'Public channels: any name without private- or presence-. cache- keeps the last event.';
  const PRIVATE_ELSEWHERE = 'Private and presence channels need a signature of your site: clients ask its authorization address (authEndpoint in pusher-js). This page has no secret to sign with.';

  $('subscribe-form').addEventListener('submit', (event) => {
    event.preventDefault();
    const name = $('channel').value.trim();
    if (kindOf(name) && !app) {
      hint('channel-hint', PRIVATE_ELSEWHERE, 'trouble');
      return;
    }
    if (subscriptions.has(name)) {
      hint('channel-hint', `${name} is in the list already.`);
      return;
    }
    hint('channel-hint', socketId === null ? 'Not connected: the subscription waits for step 1.' : KINDS);
    const subscription = new Subscription(name, $('user-id').value.trim());
    subscriptions.set(name, subscription);
    subscription.ask();
    $('publish-channel').value = name;
    showOwn();
  });

  $('publish-form').addEventListener('submit', async (event) => {
    event.preventDefault();
    const sent = { name: $('publish-event').value.trim(), channel: $('publish-channel').value.trim(), data: $('publish-data').value };
    if ($('not-me').checked && socketId !== null) sent.socket_id = socketId;
    const began = performance.now();
    try {
      const answer = await publish(sent);
      const text = await answer.text();
      const meta = micros((performance.now() - began) * 1000);
      if (answer.ok) {
        const reached = plural(Number(answer.headers.get('Jsocketd-Deliveries')), 'connection');
        events.add({ kind: 'sent', text: `Published ${sent.name} to ${sent.channel}: sent to ${reached}.`, meta });
      } else {
        events.add({ kind: 'trouble', text: `Not published ${sent.name} to ${sent.channel}: ${answer.status} ${json(text)?.error ?? text}`, meta });
      }
    } catch (error) {
      trouble(`Not published, the server cannot be reached: ${error.message}`);
    }
  });

  $('client-event').addEventListener('click', () => {
    const channel = $('publish-channel').value.trim();
    const name = $('publish-event').value.trim();
    const event = name.startsWith('client-') ? name : `client-${name}`;
    const text = $('publish-data').value;
    if (!subscriptions.get(channel)?.canSend) {
      hint('publish-hint', 'Client events go to private and presence channels that this page subscribes to.', 'trouble');
      return;
    }
    hintPublish();
    say(event, json(text) ?? text, channel);
    events.add({ kind: 'sent', text: `Sent ${event} to ${channel}, to everybody else in it.` });
  });
  const hintPublish = () => hint('publish-hint', app
    ? 'Publish asks the HTTP API, signed here with the development secret. Client events go over the socket.'
    : 'Publishing needs the app’s secret, which belongs on a server: use its library for the HTTP API, or “jsocketd publish CHANNEL EVENT DATA”. docs/protocol.md has recipes.');

  // ---- Start -----------------------------------------------------------------------------------------------------

  key.value = publicKey ?? '';
  $('user-id').value = `user-${100 + Math.floor(Math.random() * 900)}`;
  $('publish-fields').hidden = !app;
  suggest('channel-kinds', app ? ['my-channel', 'private-news', 'presence-room', 'cache-weather'] : ['my-channel', 'cache-weather']);
  showUrl();
  hint('channel-hint', KINDS);
  hintRecovery();
  hintPublish();
}
