//! Between the sockets and the decisions: decoded events go to the service as inputs, and the actions that the service
//! answers with are carried out on connections.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytes::Bytes;
use http::Request;

use crate::config::Config;
use crate::flight::{Culprit, Kind as Blamed, Recorder as FlightRecorder};
use crate::id::ConnectionId;
use crate::joomla::site::SiteConfig;
use crate::logging::{Kind, More, Quiet};
use crate::net::close::{self, CloseReason};
use crate::net::event::{Event, Over};
use crate::net::frame;
use crate::net::http::DateLine;
use crate::net::io::Io;
use crate::protocol::actions::{Action, Actions, Dialect, Post};
use crate::protocol::frames;
use crate::service::caller::Caller;
use crate::service::{Ends, Input, ProcessStats, Seed};
use crate::time::{Now, Time};

use super::Flow;
use super::access_log::AccessLog;
use super::blame::{self, Heard, SlowTicks};
use super::connections::{Connections, List};
use super::decisions::Decisions;
use super::tls::{self, Tls};

/// Copies of events that one tick appends to send queues. After that, each connection may send only one more message in
/// the tick. Clients that pipeline publishes to a large channel would otherwise hold the loop for seconds. A smaller
/// number costs more: a frame is the cheaper, the more frames a recipient gets in one `writev`. A frame of ten was
/// measured at four times the cost of a frame of fifty.
const FAN_OUT: usize = 500_000;

/// The time that a connection that will be refused has for its request.
const HURRY: Duration = Duration::from_secs(2);

/// The service, and the connections and lists that its actions change.
pub(super) struct Dispatcher<I: Io> {
    pub(super) io: I,
    pub(super) config: Config,
    /// The clocks as the tick began.
    pub(super) now: Now,
    /// The line `Date` of this tick's answers.
    pub(super) date: DateLine,
    pub(super) decisions: Decisions,
    pub(super) connections: Connections<I::Socket>,
    /// Connections for which the service requested the facts of the process.
    pub(super) wants_stats: List,
    /// Posts for the `post` phase.
    pub(super) posts: Vec<Post>,
    /// Copies that this tick may still append: see [`FAN_OUT`].
    fan_out_left: usize,
    /// Messages that were sent since the start, each copy of a fan-out counted.
    pub(super) sent: u64,
    /// How connections ended.
    pub(super) ends: Ends,
    draining: bool,
    /// The times of the tick's phases.
    pub(super) flight: FlightRecorder,
    slow_ticks: SlowTicks,
    pub(super) tls: Tls,
    /// What the connection that is being read sent.
    heard: Heard,
    pub(super) access_log: AccessLog,
    quiet: Quiet,
}

impl<I: Io> Dispatcher<I> {
    pub(super) fn new(mut io: I, config: Config, seed: Seed) -> Self {
        let now = io.now();
        Self {
            now,
            date: DateLine::default(),
            io,
            decisions: Decisions::new(&config, seed, now),
            config,
            connections: Connections::new(),
            wants_stats: List::default(),
            posts: Vec::new(),
            fan_out_left: FAN_OUT,
            sent: 0,
            ends: Ends::default(),
            draining: false,
            flight: FlightRecorder::default(),
            slow_ticks: SlowTicks::default(),
            tls: Tls::default(),
            heard: Heard::default(),
            access_log: AccessLog::default(),
            quiet: Quiet::new(),
        }
    }

    // --- calls of the owner ----------------------------------------------------------------------------------------

    pub(super) fn reconfigure(&mut self, config: Config) {
        let filled = self.connections.dirty.len();
        self.config = config.clone();
        self.decisions.reconfigure(config);
        self.carry_out();
        self.caused(filled, |culprit| culprit.kind = Blamed::Reload);
        self.decisions.flush();
    }

    pub(super) fn set_site(&mut self, site: SiteConfig) {
        let filled = self.connections.dirty.len();
        self.decisions.set_site(site, self.now);
        self.carry_out();
        self.caused(filled, |culprit| culprit.kind = Blamed::Site);
        self.decisions.flush();
    }

    /// From here on the server shuts down.
    pub(super) fn drain(&mut self) {
        self.draining = true;
        self.decisions.drain();
    }

    /// The tick ended at `ended`: its lines of the trace are written. `flow`: whether another tick follows.
    pub(super) fn end_tick(&mut self, ended: Time, flow: Flow) {
        if self.decisions.end_tick(self.now.at, ended, flow) {
            self.piece(|culprit| culprit.kind = Blamed::Trace);
        }
    }

    // --- the flight recorder ---------------------------------------------------------------------------------------

    /// The poller's wait is over: reads the clocks, ends the records of the last tick, and begins those of this one.
    /// Returns whether it is the first tick of a second.
    pub(super) fn begin_tick(&mut self, events: usize, timeout: Option<Duration>) -> bool {
        self.now = self.io.now();
        self.date.set(self.now.unix_ms);
        let (io, slow_ms) = (&mut self.io, self.config.looping.slow_ms);
        if let Some(tick) = self.flight.end(self.now.at, events, slow_ms, || io.processor()) {
            if let Some(id) = ConnectionId::from_raw(tick.culprit.connection)
                && let Some(address) = self.decisions.service.address(id)
            {
                tick.culprit.append(&format!(" from {address}"));
            }
            self.slow_ticks.note(tick, self.now.at);
        }
        self.flight.begin(self.now, events, timeout, || io.processor())
    }

    /// Adds the time since the last lap to the phase. Returns the time.
    pub(super) fn lap(&mut self) -> Time {
        let now = self.io.clock();
        self.flight.lap(now);
        now
    }

    /// Does the same at the end of a piece of work that can be blamed. `name` says what it was.
    pub(super) fn piece(&mut self, name: impl FnOnce(&mut Culprit)) {
        self.flight.piece(self.io.clock(), name);
    }

    /// The same for work before which so many send queues were `filled`. If it filled many, the time of writing them
    /// belongs to it too.
    pub(super) fn piece_since(&mut self, filled: usize, name: impl Fn(&mut Culprit)) {
        let us = self.flight.piece(self.io.clock(), &name);
        let queues = self.connections.dirty.len() - filled;
        self.flight.cause(us, queues, name);
    }

    /// The same for work whose own time is ascribed elsewhere.
    pub(super) fn caused(&mut self, filled: usize, name: impl FnOnce(&mut Culprit)) {
        let queues = self.connections.dirty.len() - filled;
        self.flight.cause(0, queues, name);
    }

    /// A connection was read, and its input was handled.
    pub(super) fn was_read(&mut self, id: ConnectionId) {
        let heard = &mut self.heard;
        let counts = self.flight.counts();
        counts.reads += 1;
        counts.messages += heard.count();
        self.flight.piece(self.io.clock(), |culprit| {
            culprit.connection = id.raw();
            heard.name(culprit);
        });
        heard.clear();
    }

    // --- from bytes to inputs --------------------------------------------------------------------------------------

    /// A new tick's fan-out budget.
    pub(super) fn refill_fan_out(&mut self) {
        self.fan_out_left = FAN_OUT;
    }

    /// Decodes `bytes` of a connection and handles the events in them, at most `messages` of them. Returns how many
    /// bytes at the end must wait.
    pub(super) fn decode(&mut self, id: ConnectionId, bytes: &[u8], mut messages: usize) -> usize {
        let mut rest = bytes;
        loop {
            let Some(entry) = self.connections.find(id) else {
                return 0;
            };
            if entry.is_held() {
                return rest.len();
            }
            let connection = &mut entry.connection;
            let (limits, now, date) = (&self.config.limits, self.now.at, &self.date);
            let mut decoded = None;
            let decode = AssertUnwindSafe(|| decoded = connection.decode(&mut rest, limits, now, date));
            // A panic ends this connection only.
            if catch_unwind(decode).is_err() {
                log::error!("{id} decoding panicked; the connection is closed");
                let over = connection.close_broken(limits, now);
                self.note_end(id, over);
                return 0;
            }
            let Some(event) = decoded else {
                if !rest.is_empty()
                    && let Some(limit) = connection.allowances.throttled_by(limits, now)
                {
                    self.ends.reached(limit);
                    self.warn(Kind::MessageRate, format_args!("{id} sends more than {limit}"));
                }
                return rest.len();
            };
            self.heard.note(&event);
            self.handle(id, event);
            messages -= 1;
            if self.fan_out_left == 0 || messages == 0 {
                // The rest is decoded in the next tick, after the other connections.
                return rest.len();
            }
        }
    }

    /// Passes an event to the service.
    pub(super) fn handle(&mut self, id: ConnectionId, event: Event) {
        let input = match event {
            Event::Request(request) | Event::Handshake(request) if tls::redirects(self, id) => {
                return tls::redirect(self, id, &request);
            }
            Event::Request(request) => {
                let filled = self.connections.dirty.len();
                let caller = self.called(id, &request);
                self.input(id, Input::Request(caller, request));
                let queues = self.connections.dirty.len() - filled;
                return self.flight.cause(0, queues, |culprit| {
                    culprit.connection = id.raw();
                    self.heard.name(culprit);
                });
            }
            Event::Handshake(request) => Input::Handshake(self.called(id, &request), request),
            Event::Message(message) => Input::Message(message),
            Event::Over(over) => return self.note_end(id, over),
        };
        self.input(id, input);
    }

    /// Counts and notes how a connection ended. A limit is worth a warning.
    pub(super) fn note_end(&mut self, id: ConnectionId, over: Over) {
        self.ends.note(over.cause());
        if let Some(entry) = self.connections.find(id) {
            self.tls.note_end(&entry.connection, &over);
        }
        if let Some(kind) = over.limit() {
            self.warn(kind, format_args!("{id} {over}"));
        }
        self.access_log.ended(id, over);
    }

    /// A connection said its last word.
    pub(super) fn left(&mut self, id: ConnectionId) {
        self.access_log
            .left(id, || self.decisions.service.identity(id), self.now);
    }

    /// Logs a warning that thousands of peers may cause: at most one line a second of its kind.
    pub(super) fn warn(&mut self, kind: Kind, what: std::fmt::Arguments<'_>) {
        if let Some(more) = self.quiet.allow(kind, self.now.at) {
            log::warn!("{what}{}", More(more));
        }
    }

    /// Frees the connections that ended. Closing a socket takes as long as a write.
    pub(super) fn free_doomed(&mut self) {
        let freed = self.connections.free_doomed();
        if freed > 0 {
            self.piece(|culprit| culprit.are(Blamed::Closes, freed));
        }
    }

    /// Puts a connection that was changed into the lists where it now belongs.
    pub(super) fn requeue(&mut self, id: ConnectionId) {
        self.connections.requeue(id, &self.config.limits, self.now.at);
    }

    /// The same for a connection whose send queue alone has changed.
    pub(super) fn requeue_written(&mut self, id: ConnectionId) {
        self.connections.requeue_written(id, &self.config.limits, self.now.at);
    }

    /// Keeps bytes that may not be decoded yet with their connection.
    pub(super) fn keep(&mut self, id: ConnectionId, rest: Bytes) {
        if let Some(entry) = self.connections.find(id) {
            entry.connection.keep_unread(rest);
        }
    }

    /// The client of a connection is known: reports the connection to the service.
    pub(super) fn opened(&mut self, id: ConnectionId) {
        let caller = self.caller(id);
        self.access_log.opened(id, &caller, self.now.at);
        self.input(id, Input::Opened(caller));
    }

    /// The caller of a request or handshake that is complete.
    pub(super) fn called(&mut self, id: ConnectionId, request: &Request<Bytes>) -> Caller {
        let caller = self.caller(id);
        self.access_log
            .asked(id, &caller, request, &self.config.server, self.now.at);
        caller
    }

    pub(super) fn caller(&mut self, id: ConnectionId) -> Caller {
        let entry = self.connections.find(id).expect("the event is this connection's");
        let peer = entry.connection.peer;
        Caller {
            address: peer.address,
            admin: peer.admin,
            surplus: entry.surplus,
            secure: peer.secure,
        }
    }

    // --- inputs of the service -------------------------------------------------------------------------------------

    /// Something happened on a connection.
    pub(super) fn input(&mut self, id: ConnectionId, input: Input) {
        self.decisions.input(id, input, self.now);
        self.carry_out();
    }

    /// Something came from the database or the engine.
    pub(super) fn decide(&mut self, decide: impl FnOnce(&mut Decisions, Now)) {
        decide(&mut self.decisions, self.now);
        self.carry_out();
    }

    /// Time has passed: the service does the work that is due.
    pub(super) fn due(&mut self) {
        let filled = self.connections.dirty.len();
        if let Some(part) = self.decisions.due(self.now) {
            self.carry_out();
            self.piece_since(filled, |culprit| culprit.is(Blamed::Due, part));
        }
    }

    /// Hands these facts to the connections in `wants_stats`.
    pub(super) fn hand_out(&mut self, facts: &ProcessStats) {
        let list = self.wants_stats.take();
        for id in &list {
            self.input(*id, Input::ProcessStats(Box::new(facts.clone())));
        }
        self.wants_stats.recycle(list);
    }

    // --- its actions -----------------------------------------------------------------------------------------------

    /// Carries out the actions of the last decision.
    fn carry_out(&mut self) {
        let mut actions = std::mem::take(&mut self.decisions.actions);
        let mut list = actions.take();
        for action in list.drain(..) {
            self.act(action, &actions);
        }
        actions.reuse(list);
        self.decisions.actions = actions;
    }

    pub(super) fn act(&mut self, action: Action, actions: &Actions) {
        let to = match action {
            Action::Respond(to, _) | Action::Accept(to, _) | Action::Send(to, _) => to,
            Action::Close(to, ..) | Action::Gather(to) | Action::WhenFlushed(to) | Action::Hurry(to) => to,
            Action::Hold(to) | Action::Release(to) | Action::Charge(to) => to,
            Action::Fanout(range, text) => return self.fan_out(actions.recipients(range), &text),
            Action::ShowLoop(to, view) => {
                let shown = blame::show(&self.flight, to, view, self.config.looping.slow_ms, self.now);
                return self.act(shown, actions);
            }
            Action::Post(post) => return self.posts.push(*post),
        };
        let (limits, now) = (&self.config.limits, self.now.at);
        let Some(entry) = self.connections.find(to) else { return };
        let connection = &mut entry.connection;
        match action {
            Action::Respond(_, response) => {
                self.flight.counts().bytes_out += response.body().len() as u64;
                connection.respond(&response, self.draining, limits, now, &self.date);
                self.access_log.answered(to, &response, || self.io.now());
            }
            Action::Accept(_, dialect) => {
                let manners = match dialect {
                    Dialect::Plain => &close::PLAIN,
                    Dialect::Pusher => &close::PUSHER,
                    Dialect::OldPusher => &close::OLD_PUSHER,
                };
                connection.accept(manners, now, &self.date);
                self.access_log.accepted(to, || self.io.now());
            }
            Action::Send(_, message) => {
                self.sent += 1;
                self.flight.counts().bytes_out += message.len() as u64;
                connection.send(&message);
            }
            Action::Close(_, code, reason) => {
                if let Some(over) = connection.close(CloseReason { code, reason }, limits, now) {
                    self.note_end(to, over);
                }
            }
            Action::Gather(_) => self.wants_stats.push(to),
            Action::Hurry(_) => connection.hurry(now + HURRY),
            Action::Charge(_) => connection.allowances.charge(limits, now),
            Action::Hold(_) => entry.on_hold = true,
            Action::Release(_) => entry.on_hold = false,
            Action::WhenFlushed(_) => entry.tell_when_flushed = true,
            Action::Fanout(..) | Action::ShowLoop(..) | Action::Post(_) => {}
        }
        self.requeue(to);
    }

    /// Sends a text to many connections: it is encoded once.
    fn fan_out(&mut self, recipients: &[ConnectionId], text: &str) {
        let is_timed = self.flight.counts_as_large(recipients.len(), text.len());
        if is_timed {
            self.flight.fan_out_began(self.io.clock());
        }
        let frame = frame::encode(frame::Opcode::Text, text.as_bytes());
        self.fan_out_left = self.fan_out_left.saturating_sub(recipients.len());
        self.sent += recipients.len() as u64;
        let (limits, now) = (&self.config.limits, self.now.at);
        self.connections.fan_out(recipients, &frame, limits, now);
        if is_timed {
            let label = frames::label(text);
            self.flight
                .fan_out_ended(self.io.clock(), label, recipients.len(), text.len());
        }
    }
}
