//! The loop. One `Server` owns everything through one `&mut self`; `tick` is its phases and nothing else. It is the only
//! place that knows both the sockets (`net`) and the decisions (`service`): it carries events from one to the other and actions
//! back. It is generic over the operating system, so that the simulator can stand in for it.

mod lag;
pub mod process;
mod share;

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use crate::config::{Config, ListenAddr};
use crate::id::ConnectionId;
use crate::joomla::site::Site;

use crate::logging::{Kind, More, Quiet};
use crate::net::close::{self, CloseReason};
use crate::net::connection::{Connection, Event, Over};
use crate::net::frame::{self, Opcode};
use crate::net::io::{Io, Ready, Signal, Socket};
use crate::net::outgoing::{self, Outgoing};
use crate::net::probe::{self, NUMBER as PROBE, Probe};
use crate::net::table::Table;
use crate::net::wheel::Wheel;
use crate::protocol::actions::{Action, Actions, Dialect, Message, Post};
use crate::room::give_back;
use crate::service::caller::Caller;
use crate::service::{Facts, Input, Seed, Service, Sql};
use crate::store::{Missed, Readiness, Store};
use crate::time::{Now, Time};
use crate::trace::Recorder;
use crate::webhooks;

use self::share::Share;

/// One read buffer for the whole loop. A connection that fills it goes on in the next tick, after the others.
const READ_BUFFER: usize = 64 * 1024;

/// Clients accepted in one tick: enough for a burst, little enough that those who are in do not wait for those who come.
const ACCEPTS: usize = 256;

/// Connections looked at in one tick when their deadlines come: ten thousand that came in one second are pinged in a few
/// ticks, with the others' messages in between.
const LOOKS: usize = 2048;

/// Messages that one tick handles, shared out among the connections that have something to say, but [`LEAST`] for each. A peer
/// that floods small messages would otherwise have as many handled as fit into the read buffer, and the others wait for that.
const MESSAGES: usize = 128;

/// See [`MESSAGES`]: a handshake and what comes in the same segment.
const LEAST: usize = 2;

/// Bytes that are read at once from a connection when all of them together hold much that may not be decoded yet.
const SMALL_READ: usize = 4096;

/// Copies of events that one tick appends to outboxes before every connection may say but one more thing in it. A client that
/// pipelines publishes to a large channel, or several, would otherwise hold the loop for seconds. Not less: the more frames a
/// recipient gets in one `writev`, the cheaper each of them is: ten at once were measured at four times the cost of fifty.
const FAN_OUT: usize = 500_000;

/// How long a listener rests after the system had no descriptor left. No edge will say that one became free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections beyond `max_connections` that are taken in only to be told that the server is full.
const SURPLUS: usize = 64;

/// Bytes of unfinished request bodies, and of what may not be decoded yet, in all connections together. Above a quarter of it
/// connections are read by [`SMALL_READ`]. Beyond it, those that hold more than [`READ_BUFFER`] wait
/// for the others: a body may be a megabyte, and ten thousand of them would be all memory there is.
const BODIES: usize = 64 * 1024 * 1024;

/// Seconds that a connection has for its request if it will be refused in any case.
const HURRY: Duration = Duration::from_secs(2);

/// Whether the loop goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Another tick.
    Continue,
    /// Drained: everybody is gone.
    Drained,
    /// A second signal came: leave at once.
    Abandon,
}

/// What the loop asks of its owner after a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// SIGHUP came: read the configuration again and hand it to `reconfigure`.
    Reload,
    /// Draining has begun.
    Draining,
}

/// The whole server.
pub struct Server<I: Io> {
    io: I,
    config: Config,
    max_connections: usize,
    service: Service,
    /// What the service's randomness began with, for the trace.
    seed: Seed,
    table: Table<I::Socket>,
    wheel: Wheel,
    now: Now,
    buffer: Vec<u8>,
    /// What the last wait told.
    ready: Vec<Ready>,
    /// Connections to be read in this tick, or again in the next.
    again: Vec<ConnectionId>,
    /// Connections with something to write.
    dirty: Vec<ConnectionId>,
    /// Connections that said their last word since the last reap.
    left: Vec<ConnectionId>,
    /// Connections that ended.
    doomed: Vec<ConnectionId>,
    /// Connections whose deadline may have come.
    due: Vec<ConnectionId>,
    /// Connections whose service asked for facts.
    curious: Vec<ConnectionId>,
    /// Actions of the input that is being handled.
    actions: Actions,
    /// Copies that this tick may still append: see [`FAN_OUT`].
    fan_out_left: usize,
    /// Messages of one connection that this tick handles: see [`MESSAGES`].
    share_of_messages: usize,
    listeners: Vec<Waiting>,
    /// What the connections hold of unfinished requests, and those who wait until it is less.
    bodies: usize,
    hungry: VecDeque<ConnectionId>,
    /// Connections of our own: to the targets of webhooks.
    outgoing: Outgoing<I::Socket>,
    /// The site's database, if there is one, and the connection that finds out whether it is there.
    store: Option<Box<dyn Store>>,
    probe: Probe<I::Socket>,
    share: Share,
    /// See `database_is_away`.
    away: bool,
    sql: Sql,
    drain: Option<Drain>,
    flow: Flow,
    wishes: Vec<Wish>,
    heartbeat: Option<Duration>,
    lag: lag::Recorder,
    quiet: Quiet,
    recorder: Option<Recorder>,
}

/// What is known of a listener's backlog.
#[derive(Clone, Copy, Debug)]
enum Waiting {
    Nobody,
    Somebody,
    /// Somebody may wait, but the system has no descriptors until, perhaps, then.
    Paused(Time),
}

/// A shutdown that is under way.
#[derive(Debug)]
struct Drain {
    since: Time,
    /// Those who were there when it began and have not been asked to leave yet.
    leaving: Vec<ConnectionId>,
    left: usize,
}

impl<I: Io> Server<I> {
    /// A server over `io` that takes at most `max_connections`.
    pub fn new(mut io: I, config: Config, max_connections: usize, seed: Seed) -> Self {
        let now = io.now();
        // Before the first wait it is not known who waits: look once.
        let listeners = vec![Waiting::Somebody; io.listeners()];
        let mut outgoing = Outgoing::new();
        outgoing.configure(hook_urls(&config));
        Self {
            now,
            listeners,
            io,
            max_connections,
            service: Service::new(config.clone(), seed),
            seed,
            config,
            table: Table::new(),
            wheel: Wheel::new(),
            buffer: vec![0; READ_BUFFER],
            ready: Vec::new(),
            again: Vec::new(),
            dirty: Vec::new(),
            left: Vec::new(),
            doomed: Vec::new(),
            due: Vec::new(),
            curious: Vec::new(),
            actions: Actions::default(),
            fan_out_left: FAN_OUT,
            share_of_messages: MESSAGES,
            bodies: 0,
            hungry: VecDeque::new(),
            outgoing,
            store: None,
            probe: Probe::new(),
            share: Share::default(),
            away: false,
            sql: Sql::default(),
            drain: None,
            flow: Flow::Continue,
            wishes: Vec::new(),
            heartbeat: None,
            lag: lag::Recorder::default(),
            quiet: Quiet::new(),
            recorder: None,
        }
    }

    /// No tick waits longer than this from here on, also when nothing happens: for what the owner does between ticks.
    pub fn wake_within(&mut self, heartbeat: Option<Duration>) {
        self.heartbeat = heartbeat;
    }

    /// Writes every input and action to `path` from here on.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn record(&mut self, path: &Path) -> io::Result<()> {
        self.recorder = Some(Recorder::create(path, &self.config, self.seed)?);
        Ok(())
    }

    /// Obeys another configuration from here on. Listeners stay as they are.
    pub fn reconfigure(&mut self, config: Config, max_connections: usize) {
        self.max_connections = max_connections;
        self.outgoing.configure(hook_urls(&config));
        if let Some(recorder) = &mut self.recorder {
            recorder.reconfigured(&config);
        }
        self.config = config.clone();
        self.decide(|service, _, actions| service.reconfigure(config, actions));
    }

    /// Knows the site from here on, or something new of it; `store`: another database than before.
    pub fn know(&mut self, site: Site, store: Option<Box<dyn Store>>) {
        if store.is_some() {
            self.store = store;
            self.probe = Probe::new();
            self.away = false;
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.known(&site, self.now);
        }
        self.decide(|service, now, actions| service.know(site, now, actions));
    }

    /// Whether connecting to the database failed and it has answered nothing since. Its host may have other addresses.
    pub fn database_is_away(&self) -> bool {
        self.away
    }

    /// The database is at these endpoints from here on.
    pub fn move_database(&mut self, endpoints: Vec<ListenAddr>) {
        if let Some(store) = &mut self.store {
            store.move_to(endpoints);
            self.probe = Probe::new();
            self.away = false;
        }
    }

    /// The connections to the targets of webhooks, for whoever finds their addresses out.
    pub fn outgoing(&mut self) -> &mut Outgoing<I::Socket> {
        &mut self.outgoing
    }

    /// The database, for a test that plays it.
    pub fn store(&mut self) -> Option<&mut (dyn Store + 'static)> {
        self.store.as_deref_mut()
    }

    /// What the database cost the loop so far.
    pub fn sql(&self) -> Sql {
        self.sql
    }

    /// What the last tick wants of the owner.
    pub fn wishes(&mut self) -> Vec<Wish> {
        std::mem::take(&mut self.wishes)
    }

    /// The operating system, for a test that plays it.
    pub fn io(&mut self) -> &mut I {
        &mut self.io
    }

    /// The decisions' side, for a test that looks into it.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.table.len()
    }

    /// One turn of the loop.
    ///
    /// # Errors
    /// When the poller fails, which nothing can mend.
    pub fn tick(&mut self) -> io::Result<Flow> {
        self.wait()?;
        self.read();
        self.time();
        self.write();
        self.work();
        self.post();
        self.accept();
        self.write();
        self.reap();
        self.lag.tick(self.now.at, self.io.now().at);
        Ok(self.flow)
    }

    // --- wait ----------------------------------------------------------------------------------------------------

    /// Waits for readiness and sorts it: whom to read, whom to write, who knocks, what the system wants.
    fn wait(&mut self) -> io::Result<()> {
        let timeout = self.timeout();
        self.ready.clear();
        self.io.wait(timeout, &mut self.ready)?;
        self.now = self.io.now();
        let mut batch = std::mem::take(&mut self.ready);
        for ready in batch.drain(..) {
            match ready {
                Ready::Listener(n) => {
                    if let Some(waiting @ Waiting::Nobody) = self.listeners.get_mut(n) {
                        *waiting = Waiting::Somebody;
                    }
                }
                Ready::Connection {
                    id,
                    readable,
                    writable,
                    read_closed,
                } => {
                    let Some(connection) = self.table.find(id) else {
                        continue;
                    };
                    connection.readable |= readable;
                    connection.read_closed |= read_closed;
                    connection.blocked &= !writable;
                    self.settle(id);
                }
                Ready::Outgoing {
                    n,
                    readable,
                    writable,
                    read_closed,
                } => match n {
                    PROBE => self.probe.ready(),
                    n => self.outgoing.ready(n, readable, writable, read_closed),
                },
                Ready::Signal(signal) => self.obey(signal),
            }
        }
        self.ready = batch;
        Ok(())
    }

    /// How long nothing will be due: what the next tick waits for at the most.
    pub fn timeout(&self) -> Option<Duration> {
        let lists = [&self.again, &self.dirty, &self.left, &self.doomed, &self.due];
        let work_left = lists.iter().any(|list| !list.is_empty());
        if work_left
            || self
                .listeners
                .iter()
                .any(|waiting| matches!(waiting, Waiting::Somebody))
        {
            return Some(Duration::ZERO);
        }
        let paused = self.listeners.iter().filter_map(|waiting| match waiting {
            Waiting::Paused(until) => Some(*until),
            Waiting::Nobody | Waiting::Somebody => None,
        });
        let drain = self.drain.as_ref().map(|drain| drain.next(&self.config, self.now.at));
        let due = [self.service.deadline(), self.outgoing.deadline(), self.store_due()];
        let due = due.into_iter().filter(|at| *at != Time::NEVER);
        let nearest = paused.chain(self.wheel.next_look()).chain(drain).chain(due).min();
        let until = nearest.map(|at| at.since(self.now.at));
        until.into_iter().chain(self.heartbeat).min()
    }

    fn obey(&mut self, signal: Signal) {
        match signal {
            Signal::Reload => self.wishes.push(Wish::Reload),
            Signal::Terminate if self.drain.is_some() => self.flow = Flow::Abandon,
            Signal::Terminate => {
                log::info!(
                    "draining {} connections over {} s",
                    self.table.len(),
                    self.config.limits.drain_seconds
                );
                self.service.drain();
                if let Some(recorder) = &mut self.recorder {
                    recorder.drained();
                }
                self.drain = Some(Drain {
                    since: self.now.at,
                    leaving: self.table.ids().collect(),
                    left: 0,
                });
                self.wishes.push(Wish::Draining);
            }
        }
    }

    // --- read ----------------------------------------------------------------------------------------------------

    /// Reads everybody who has something to say, each at most one buffer.
    fn read(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        self.fan_out_left = FAN_OUT;
        let all = std::mem::take(&mut self.again);
        self.share_of_messages = (MESSAGES / all.len().max(1)).max(LEAST);
        for id in all {
            self.read_one(id, &mut buffer);
            self.settle(id);
        }
        self.buffer = buffer;
    }

    fn read_one(&mut self, id: ConnectionId, buffer: &mut [u8]) {
        let now = self.now.at;
        let Some(connection) = self.table.find(id) else { return };
        connection.queued = false;
        if connection.has_unread() {
            let unread = connection.take_unread();
            let left = self.decode(id, &unread);
            return self.keep(id, unread.slice(unread.len() - left..));
        }
        if !connection.readable || connection.is_paused(&self.config.limits, now) {
            return;
        }
        let most = if self.bodies > BODIES / 4 {
            SMALL_READ
        } else {
            buffer.len()
        };
        let buffer = &mut buffer[..most];
        match connection.socket.read(buffer) {
            Ok(0) => {
                connection.readable = false;
                if let Some(event) = connection.ended(&self.config.limits, now) {
                    self.handle(id, event);
                }
            }
            Ok(n) => {
                // A short read has emptied the socket, so the next byte brings a new edge; a full one has not, and when the
                // peer has closed no edge will come for the end.
                connection.readable = n == buffer.len() || connection.read_closed;
                connection.heard(now);
                let left = self.decode(id, &buffer[..n]);
                if left > 0 {
                    self.keep(id, Bytes::copy_from_slice(&buffer[n - left..n]));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => connection.readable = false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                log::debug!("{id} ended: {error}");
                connection.doom();
            }
        }
    }

    /// Lets those read on who waited for others to be done with their requests: all while there is room, else the first in
    /// line alone, who can finish and make room.
    fn feed(&mut self) {
        while let Some(id) = self.hungry.front().copied() {
            let room = self.bodies <= BODIES;
            let first = self.table.find(id).filter(|connection| connection.held() > 0);
            let waits = first.is_some();
            if let Some(connection) = first {
                connection.hungry = false;
                connection.in_line = !room;
                self.settle(id);
            }
            if waits && !room {
                return;
            }
            self.hungry.pop_front();
        }
    }

    /// What may not be decoded yet stays with its connection.
    fn keep(&mut self, id: ConnectionId, rest: Bytes) {
        if let Some(connection) = self.table.find(id) {
            connection.keep_unread(rest);
        }
    }

    /// Decodes `bytes` and handles what they say; how many at their end must wait.
    fn decode(&mut self, id: ConnectionId, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        let mut share = self.share_of_messages;
        loop {
            let Some(connection) = self.table.find(id) else {
                return 0;
            };
            let (limits, now) = (&self.config.limits, self.now.at);
            // One connection's bytes end that connection at worst.
            match catch_unwind(AssertUnwindSafe(|| connection.decode(&mut rest, limits, now))) {
                Ok(Some(event)) => {
                    self.handle(id, event);
                    share -= 1;
                    if self.fan_out_left == 0 || share == 0 {
                        // The rest is decoded in the next tick, when the others have had their turn.
                        return rest.len();
                    }
                }
                Ok(None) => {
                    if !rest.is_empty()
                        && let Some(limit) = connection.throttled_by(limits, now)
                    {
                        self.warn(Kind::MessageRate, format_args!("{id} sends more than {limit}"));
                    }
                    return rest.len();
                }
                Err(_) => {
                    log::error!("{id} decoding panicked; the connection is closed");
                    connection.close_broken(limits, now);
                    return 0;
                }
            }
        }
    }

    /// Carries an event to the service.
    fn handle(&mut self, id: ConnectionId, event: Event) {
        let input = match event {
            Event::Request(request) => Input::Request(self.caller(id), request),
            Event::Handshake(request) => Input::Handshake(self.caller(id), request),
            Event::Text(text) => Input::Text(text),
            Event::Binary(bytes) => Input::Binary(bytes),
            Event::Over(over) => return self.note_end(id, &over),
        };
        self.input(id, input);
    }

    /// Peers' doings are for those who debug; limits are for the administrator.
    fn note_end(&mut self, id: ConnectionId, over: &Over) {
        match over.limit() {
            Some(kind) => self.warn(kind, format_args!("{id} {over}")),
            None => log::debug!("{id} {over}"),
        }
    }

    fn caller(&mut self, id: ConnectionId) -> Caller {
        let connection = self.table.find(id).expect("the event is this connection's");
        Caller {
            address: connection.peer.address,
            admin: connection.peer.admin,
            surplus: connection.surplus,
        }
    }

    /// Tells the service what happened.
    fn input(&mut self, id: ConnectionId, input: Input) {
        if let Some(recorder) = &mut self.recorder {
            recorder.input(id, &input, self.now);
        }
        self.decide(|service, now, actions| service.input(id, input, now, actions));
    }

    /// Lets the service say what shall happen, and does it.
    fn decide(&mut self, decision: impl FnOnce(&mut Service, Now, &mut Actions)) {
        let mut actions = std::mem::take(&mut self.actions);
        decision(&mut self.service, self.now, &mut actions);
        if let Some(recorder) = &mut self.recorder {
            recorder.actions(&actions);
        }
        let mut list = actions.take();
        for action in list.drain(..) {
            self.act(action, &actions);
        }
        actions.reuse(list);
        self.actions = actions;
    }

    fn act(&mut self, action: Action, actions: &Actions) {
        let to = match action {
            Action::Respond(to, _) | Action::Accept(to, _) | Action::Send(to, _) => to,
            Action::Close(to, ..) | Action::Gather(to) | Action::WhenFlushed(to) | Action::Hurry(to) => to,
            Action::Hold(to) | Action::Release(to) | Action::Charge(to) => to,
            Action::Fanout(range, text) => return self.fan_out(actions.recipients(range), &text),
            Action::Post(post) => return self.outgoing.start(request(*post), &mut self.io, self.now.at),
        };
        let (limits, now) = (&self.config.limits, self.now.at);
        let Some(connection) = self.table.find(to) else { return };
        match action {
            Action::Respond(_, response) => connection.respond(&response, self.drain.is_some(), limits, now),
            Action::Accept(_, dialect) => {
                let manners = match dialect {
                    Dialect::Plain => &close::PLAIN,
                    Dialect::Pusher => &close::PUSHER,
                    Dialect::OldPusher => &close::OLD_PUSHER,
                };
                connection.accept(manners, limits, now);
                log::debug!("{to} became a WebSocket");
            }
            Action::Send(_, Message::Text(text)) => connection.send(Opcode::Text, text.as_bytes()),
            Action::Send(_, Message::Binary(bytes)) => connection.send(Opcode::Binary, &bytes),
            Action::Close(_, code, reason) => {
                log::debug!("{to} is closed: {code} {reason}");
                connection.close(&CloseReason { code, reason }, limits, now);
            }
            Action::Gather(_) => self.curious.push(to),
            Action::Hurry(_) => connection.hurry(now + HURRY),
            Action::Charge(_) => connection.charge(),
            Action::Hold(_) => connection.held_back = true,
            Action::Release(_) => connection.held_back = false,
            Action::WhenFlushed(_) => connection.tell_when_flushed = true,
            Action::Fanout(..) | Action::Post(_) => {}
        }
        self.settle(to);
    }

    /// Encodes once, sends to many.
    fn fan_out(&mut self, recipients: &[ConnectionId], text: &str) {
        let frame = frame::encode(Opcode::Text, text.as_bytes());
        self.fan_out_left = self.fan_out_left.saturating_sub(recipients.len());
        for id in recipients {
            if let Some(connection) = self.table.find(*id) {
                connection.send_shared(&frame);
                self.settle_written(*id);
            }
        }
    }

    /// Does what `settle` does, for a connection that something was only appended to or flushed from. That moves its deadline
    /// only when it crosses the high water, so the wheel is left alone otherwise: to compute a deadline is to fetch the
    /// decoder's memory, which costs a fan-out more than all else that it does for a recipient.
    fn settle_written(&mut self, id: ConnectionId) {
        let limits = &self.config.limits;
        let Some(connection) = self.table.find(id) else { return };
        let usual = connection.is_websocket() && !connection.readable && !connection.has_unread();
        if !usual || connection.weigh(limits, self.now.at) {
            return self.settle(id);
        }
        if !connection.dirty && connection.wants_flush(limits) {
            connection.dirty = true;
            self.dirty.push(id);
        }
    }

    /// Puts a connection that something was done to into the lists where it now belongs.
    fn settle(&mut self, id: ConnectionId) {
        let limits = &self.config.limits;
        let Some(connection) = self.table.find(id) else { return };
        if !connection.is_live() && !connection.left {
            connection.left = true;
            self.left.push(id);
        }
        if connection.is_doomed() {
            self.doomed.push(id);
            return;
        }
        let held = connection.held();
        self.bodies = self.bodies - std::mem::replace(&mut connection.counted, held) + held;
        if self.bodies > BODIES && held > READ_BUFFER && !connection.in_line {
            connection.hungry = true;
            connection.in_line = true;
            self.hungry.push_back(id);
        }
        connection.weigh(limits, self.now.at);
        if !connection.dirty && connection.wants_flush(limits) {
            connection.dirty = true;
            self.dirty.push(id);
        }
        let more = connection.readable || connection.has_unread();
        if more && !connection.queued && !connection.is_paused(limits, self.now.at) {
            connection.queued = true;
            self.again.push(id);
        }
        let deadline = connection.deadline(limits);
        if deadline != Time::NEVER && self.wheel.second(deadline) < connection.look {
            connection.look = self.wheel.insert(id, deadline);
        }
    }

    // --- time ----------------------------------------------------------------------------------------------------

    /// Looks at everybody whose deadline may have come.
    fn time(&mut self) {
        self.wheel.expire(self.now.at, &mut self.due);
        for id in self.due.split_off(self.due.len().saturating_sub(LOOKS)) {
            self.look(id);
        }
        give_back(&mut self.due);
        self.leave();
    }

    /// Lets the service do what is due.
    fn due(&mut self) {
        if self.service.deadline() <= self.now.at {
            if let Some(recorder) = &mut self.recorder {
                recorder.due(self.now);
            }
            self.decide(|service, now, actions| service.due(now, actions));
        }
    }

    fn look(&mut self, id: ConnectionId) {
        let Some(connection) = self.table.find(id) else { return };
        if connection.look > self.now.at.seconds() {
            // An older entry for somebody who has been looked at since.
            return;
        }
        connection.look = u64::MAX;
        if let Some(event) = connection.look(&self.config.limits, self.now.at) {
            self.handle(id, event);
        }
        self.settle(id);
    }

    /// Closes as many connections as the drain has come to.
    fn leave(&mut self) {
        let Some(mut drain) = self.drain.take() else { return };
        let now = self.now.at;
        for _ in 0..drain.due(&self.config, now) {
            let Some(id) = drain.leaving.pop() else { break };
            drain.left += 1;
            if let Some(connection) = self.table.find(id) {
                connection.leave(&self.config.limits, now);
            }
            self.settle(id);
        }
        let limits = &self.config.limits;
        let over = now >= drain.since + Duration::from_secs(limits.drain_seconds + limits.close_timeout + 1);
        let webhooks = self.service.webhooks();
        if self.table.is_empty() && !webhooks.is_busy() || over {
            let lost = webhooks.counts().waiting;
            if lost > 0 {
                log::warn!("{lost} webhook events are lost: their targets did not take them");
            }
            self.flow = Flow::Drained;
        }
        self.drain = Some(drain);
    }

    // --- write ---------------------------------------------------------------------------------------------------

    /// Writes everybody's outbox, each with one `writev`, and ends those who do not read theirs.
    fn write(&mut self) {
        for id in std::mem::take(&mut self.dirty) {
            let (limits, now) = (&self.config.limits, self.now.at);
            let Some(connection) = self.table.find(id) else {
                continue;
            };
            connection.dirty = false;
            connection.flush(limits, now);
            let flushed = connection.tell_when_flushed && connection.outbox.is_empty();
            connection.tell_when_flushed &= !flushed;
            if connection.is_over_full(limits) {
                let over = connection.close_slow("send_queue_bytes", limits, now);
                connection.flush(limits, now);
                self.note_end(id, &over);
            }
            if flushed {
                self.input(id, Input::Flushed);
            }
            self.settle_written(id);
        }
    }

    // --- work ----------------------------------------------------------------------------------------------------

    /// What takes time and stands behind a flush for that reason.
    fn work(&mut self) {
        self.gather();
        self.ask();
    }

    /// Asks the database, or makes a connection to it, as long as the tick's budget lasts and SQL has not had its share.
    /// Statements are bounded, so the budget is overrun by one at most.
    fn ask(&mut self) {
        let Some(mut store) = self.store.take() else { return };
        let budget = Duration::from_millis(self.config.database.budget_ms);
        let began = self.io.now().at;
        let (mut sql, mut longest) = (Duration::ZERO, Duration::ZERO);
        while !self.rests() {
            let before = self.io.now().at;
            if before.since(began) >= budget {
                break;
            }
            let answered = match store.readiness(self.now) {
                Readiness::Knock if self.knock(store.as_mut()) => None,
                Readiness::Knock | Readiness::Closed(_) => break,
                Readiness::Preparing => {
                    store.prepare(self.now);
                    None
                }
                Readiness::Ready => {
                    let Some(question) = self.service.question(self.now) else {
                        break;
                    };
                    let answer = store.ask(&question, self.now);
                    Some((question, answer))
                }
            };
            let took = self.io.now().at.since(before);
            (sql, longest) = (sql + took, longest.max(took));
            let Some((question, answer)) = answered else { continue };
            self.sql.statements += 1;
            self.away &= answer.is_err();
            if let Some(recorder) = &mut self.recorder {
                recorder.answered(&question, &answer, self.now);
            }
            self.decide(|service, now, actions| service.answer(&question, answer, now, actions));
        }
        if !sql.is_zero() {
            let now = self.io.now().at;
            match self.table.is_empty() {
                // Nobody is there who could be held up.
                true => self.share = Share::default(),
                false => self.share.spend(sql, longest, &self.config.database, now),
            }
            self.sql.spend(sql, budget);
        }
        self.sql.available = store.readiness(self.now) == Readiness::Ready;
        self.store = Some(store);
    }

    /// Whether SQL has to wait. Not in the middle of a transaction, for whose end others wait, and not before rows that were found
    /// are read, which is paid for afterwards.
    fn rests(&self) -> bool {
        self.share.rest() > self.now.at && !self.service.goes_on()
    }

    /// Finds out whether the database is there, without waiting for it. Whether it is known now.
    fn knock(&mut self, store: &mut dyn Store) -> bool {
        if !self.probe.is_running() {
            self.probe
                .start(store.endpoints(), store.patience(), &mut self.io, self.now.at);
        }
        let Some(found) = self.probe.turn(&mut self.io, self.now.at) else {
            return false;
        };
        let found = found.map_err(|probe::Missed { why, taken }| Missed { why, taken });
        store.reached(found, self.now);
        self.away = !matches!(store.readiness(self.now), Readiness::Ready | Readiness::Preparing);
        true
    }

    /// When the database is to be looked after next.
    fn store_due(&self) -> Time {
        let Some(store) = &self.store else { return Time::NEVER };
        let due = match store.readiness(self.now) {
            Readiness::Ready => self.service.question_due(),
            Readiness::Knock if self.probe.is_running() => self.probe.deadline(),
            Readiness::Knock | Readiness::Preparing => Time(0),
            Readiness::Closed(until) => until,
        };
        match self.rests() {
            true => due.max(self.share.rest()),
            false => due,
        }
    }

    /// Tells those who asked for facts about the process.
    fn gather(&mut self) {
        if self.curious.is_empty() {
            return;
        }
        let facts = Facts {
            connections: self.table.len(),
            max_connections: self.max_connections,
            resident_bytes: resident_bytes(),
            lag: self.lag.lag(),
            sql: self.store.is_some().then_some(self.sql),
        };
        for id in std::mem::take(&mut self.curious) {
            self.input(id, Input::Facts(Box::new(facts.clone())));
        }
    }

    // --- post ----------------------------------------------------------------------------------------------------

    /// Carries webhooks: bytes to and from their targets, outcomes to the service, and what is due back.
    fn post(&mut self) {
        let now = self.now;
        self.outgoing.turn(&mut self.io, &mut self.buffer, now.at);
        for outcome in self.outgoing.outcomes() {
            let result = outcome.result.as_ref().map(|status| *status).map_err(String::as_str);
            if let Some(recorder) = &mut self.recorder {
                recorder.posted(outcome.ticket, result, now);
            }
            self.service.posted(outcome.ticket, webhooks::Outcome::of(result), now);
        }
        self.due();
        // A connection that was kept takes its next post at once.
        self.outgoing.turn(&mut self.io, &mut self.buffer, now.at);
    }

    // --- accept --------------------------------------------------------------------------------------------------

    /// Takes in those who knock, a bounded number.
    fn accept(&mut self) {
        for n in 0..self.listeners.len() {
            let mut budget = ACCEPTS;
            match self.listeners[n] {
                Waiting::Nobody => continue,
                Waiting::Paused(until) if until > self.now.at => continue,
                Waiting::Somebody | Waiting::Paused(_) => self.listeners[n] = Waiting::Somebody,
            }
            while budget > 0 && matches!(self.listeners[n], Waiting::Somebody) {
                budget -= 1;
                self.accept_one(n);
            }
        }
    }

    fn accept_one(&mut self, listener: usize) {
        if self.table.len() >= self.max_connections + SURPLUS {
            let many = self.table.len();
            self.warn(Kind::Full, format_args!("{many} connections: newcomers wait"));
            self.listeners[listener] = Waiting::Paused(self.now.at + ACCEPT_PAUSE);
            return;
        }
        match self.io.accept(listener) {
            Ok((socket, peer)) => {
                let surplus = self.table.len() >= self.max_connections;
                if surplus {
                    let most = self.max_connections;
                    self.warn(Kind::Full, format_args!("max_connections ({most}) reached"));
                }
                let (config, now) = (&self.config, self.now.at);
                let id = self
                    .table
                    .insert(|id| Connection::new(id, socket, peer, &config.limits, now));
                log::debug!("{id} came by listener {listener}");
                let connection = self.table.find(id).expect("it was put in just now");
                connection.surplus = surplus;
                if let Err(error) = self.io.register(&mut connection.socket, id) {
                    connection.doom();
                    self.warn(Kind::Accept, format_args!("{id} cannot be polled: {error}"));
                }
                let caller = self.caller(id);
                self.input(id, Input::Opened(caller));
                self.settle(id);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.listeners[listener] = Waiting::Nobody,
            // The client went away while it waited, or its network did: the next one may be fine.
            Err(error) if is_the_client_s(&error) => log::debug!("a client was lost while it waited: {error}"),
            Err(error) => {
                self.warn(Kind::Accept, format_args!("no new connections for a moment: {error}"));
                self.listeners[listener] = Waiting::Paused(self.now.at + ACCEPT_PAUSE);
            }
        }
    }

    // --- reap ----------------------------------------------------------------------------------------------------

    /// Takes those that said their last word out of the service, so that nobody counts on them any more, and frees those
    /// that ended. Their last words were flushed before.
    fn reap(&mut self) {
        for id in std::mem::take(&mut self.left) {
            self.input(id, Input::Closed);
        }
        for id in std::mem::take(&mut self.doomed) {
            if let Some(connection) = self.table.remove(id) {
                self.bodies -= connection.counted;
                log::debug!("{id} is gone");
            }
        }
        self.feed();
    }

    /// A warning of a kind of which there may be thousands a second: one line a second.
    fn warn(&mut self, kind: Kind, what: std::fmt::Arguments<'_>) {
        if let Some(more) = self.quiet.allow(kind, self.now.at) {
            log::warn!("{what}{}", More(more));
        }
    }
}

impl Drain {
    /// How many of those who are left to leave must go by `now`.
    fn due(&self, config: &Config, now: Time) -> usize {
        let all = self.left + self.leaving.len();
        let span = Duration::from_secs(config.limits.drain_seconds).as_micros();
        let gone = now.since(self.since).as_micros();
        // The first goes at once, the last at the end.
        let by_now = if gone >= span {
            all
        } else {
            (all as u128 * gone / span) as usize + 1
        };
        by_now.min(all) - self.left
    }

    /// When the next one must go, or the end be looked for.
    fn next(&self, config: &Config, now: Time) -> Time {
        let all = (self.left + self.leaving.len()).max(1);
        let span = Duration::from_secs(config.limits.drain_seconds);
        let step = span / u32::try_from(all).unwrap_or(u32::MAX);
        now + step.clamp(Duration::from_millis(5), Duration::from_millis(100))
    }
}

fn hook_urls(config: &Config) -> impl Iterator<Item = &str> {
    let hooks = config.apps.iter().flat_map(|app| &app.webhooks);
    hooks.map(|hook| hook.url.as_str())
}

/// A post as it is sent: the number of its target stands in the upper half of its ticket.
fn request(post: Post) -> outgoing::Request {
    outgoing::Request {
        target: (post.ticket >> 32) as u32,
        ticket: post.ticket,
        url: post.url,
        headers: post.headers,
        body: post.body,
    }
}

/// Errors of `accept(2)` that are one client's, not the listener's; Linux hands pending network errors on here. Anything else,
/// a want of descriptors above all, lasts for a moment at least.
fn is_the_client_s(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let of_the_network = [
        Errno::CONNABORTED,
        Errno::INTR,
        Errno::PROTO,
        Errno::NOPROTOOPT,
        Errno::HOSTDOWN,
        Errno::NONET,
        Errno::HOSTUNREACH,
        Errno::OPNOTSUPP,
        Errno::NETDOWN,
        Errno::NETUNREACH,
    ];
    error.kind() == io::ErrorKind::ConnectionAborted
        || of_the_network
            .iter()
            .any(|known| error.raw_os_error() == Some(known.raw_os_error()))
}

/// The resident memory of this process; 0 where /proc does not tell.
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|line| line.split(' ').nth(1)?.parse::<u64>().ok())
        .unwrap_or(0);
    pages * rustix::param::page_size() as u64
}
