//! The loop. One `Server` owns everything through one `&mut self`; `tick` is its phases and nothing else. This module
//! alone uses both the sockets (`net`) and the decisions (`service`). It is generic over the operating system, so
//! that the simulator can replace it.
//!
//! Each file owns one part: `connections` the table and the lists, `accept` the listeners, `act` the way between
//! events, inputs and actions, `database` SQL, `posts` webhooks, `engine` the connections of a cluster, `drain` the
//! shutdown, `heard` the input of one read, `reading` one read of a connection, `tls` its handshakes, `numbers` and
//! `rates` what administrators see, and `process` the life of the process around the loop. How long each phase took
//! goes to the flight recorder (`flight`).

mod accept;
mod access_log;
mod act;
mod blame;
mod connections;
mod database;
mod decisions;
mod drain;
mod engine;
mod numbers;
mod orders;
mod posts;
pub mod process;
mod rates;
mod reading;
mod share;
mod tls;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::Config;
use crate::flight::{Kind, Phase, Report, SAMPLE};
use crate::joomla::site::SiteConfig;
use crate::net::io::{Io, Ready};
use crate::net::probe::NUMBER as PROBE;
use crate::net::tls::ServerSettings;
use crate::service::{Input, Process, Seed, Service};
use crate::store::Store;
use crate::time::Time;
pub use crate::trace::{Payloads, Recording};

use self::accept::Acceptor;
use self::access_log::BadAccessLog;
use self::act::Dispatcher;
use self::database::Database;
use self::drain::Drain;
use self::engine::Engine;
use self::numbers::Numbers;
use self::posts::Posts;

/// Bytes of the one read buffer of the loop. A connection that fills the buffer is read again in the next tick, after
/// the other connections.
const READ_BUFFER: usize = 64 * 1024;

/// Messages that one tick handles. The connections that have input share them, and each may have [`LEAST`] in any case.
/// Without this limit a tick would handle as many small messages of one peer as fit into the read buffer, and the other
/// peers would wait.
const MESSAGES: usize = 128;

/// See [`MESSAGES`]: enough for a handshake and a message in the same segment.
const LEAST: usize = 2;

/// Reports of the poller whose handling is timed. That of fewer counts as the beginning of the read phase.
const MANY_EVENTS: usize = 32;

/// Whether the loop goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Another tick.
    Continue,
    /// The drain is over.
    Drained,
    /// A second signal came: end at once.
    Abandon,
}

/// The requests of the loop to its owner after a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// SIGHUP came, or the order of a supervisor: read the configuration again and hand it to `reconfigure`.
    Reload,
    /// Draining has begun.
    Draining,
    /// SIGUSR1 came, or the order of a supervisor: write the records of the loop.
    Report,
    /// The supervisor asks whether the configuration could be used.
    Weigh,
    /// The supervisor has refused the configuration: only the access log and the certificates are opened again.
    Refresh,
}

/// The whole server.
pub struct Server<I: Io> {
    dispatcher: Dispatcher<I>,
    database: Database<I::Socket>,
    posts: Posts<I::Socket>,
    /// The engine of a cluster, if there is one.
    engine: Option<Box<Engine<I::Socket>>>,
    drain: Drain,
    acceptor: Acceptor,
    buffer: Vec<u8>,
    /// The events of the last wait.
    ready: Vec<Ready>,
    wishes: Vec<Wish>,
    heartbeat: Option<Duration>,
    /// When the last tick ended, or its last phase that had work.
    ended: Time,
    numbers: Numbers,
}

impl<I: Io> Server<I> {
    /// A server over `io` that takes at most `max_connections`.
    pub fn new(io: I, config: Config, max_connections: usize, seed: Seed) -> Self {
        let acceptor = Acceptor::new(io.listeners(), max_connections);
        let posts = Posts::new(&config);
        let engine = Engine::new(&config);
        let dispatcher = Dispatcher::new(io, config, seed);
        Self {
            ended: dispatcher.now.at,
            acceptor,
            posts,
            engine,
            dispatcher,
            database: Database::new(),
            drain: Drain::new(),
            buffer: vec![0; READ_BUFFER],
            ready: Vec::new(),
            wishes: Vec::new(),
            heartbeat: None,
            numbers: Numbers::default(),
        }
    }

    /// From here on no tick waits longer than this, because the owner has work of its own between ticks.
    pub fn wake_within(&mut self, heartbeat: Option<Duration>) {
        self.heartbeat = heartbeat;
    }

    /// Shows these facts about the process to administrators from here on.
    pub fn set_process(&mut self, process: Process) {
        self.numbers.set_process(process, self.dispatcher.now);
    }

    /// Writes every input and action to a trace from here on. Returns the path of the trace.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn record(&mut self, recording: &Recording) -> io::Result<PathBuf> {
        self.dispatcher.decisions.record(recording, &self.dispatcher.config)
    }

    /// Writes the access log to this file from here on, opened anew; an empty path: to none.
    ///
    /// # Errors
    /// When the file cannot be opened. Then the one of before stays.
    pub fn open_access_log(&mut self, path: &str) -> Result<(), BadAccessLog> {
        self.dispatcher.access_log.open(path, self.ended)
    }

    /// Uses another configuration from here on. Listeners stay as they are.
    pub fn reconfigure(&mut self, config: Config, max_connections: usize) {
        self.acceptor.max_connections = max_connections;
        self.posts.configure(&config);
        self.engine.iter_mut().for_each(|engine| engine.configure(&config));
        self.dispatcher.reconfigure(config);
    }

    /// Uses these certificates for connections that come from here on. `expires`: when the first of them does, in
    /// seconds since 1970.
    pub fn set_tls(&mut self, settings: ServerSettings, expires: u64) {
        self.dispatcher.tls.set(settings, expires);
    }

    /// Redirects plain requests to this port.
    pub fn redirect_to(&mut self, port: u16) {
        self.dispatcher.tls.set_port(port);
    }

    /// Uses another database than before.
    pub fn set_store(&mut self, store: Box<dyn Store>) {
        self.database.replace(store);
    }

    /// Sets the site or a new state of it; `store`: another database than before.
    pub fn set_site(&mut self, site: SiteConfig, store: Option<Box<dyn Store>>) {
        if let Some(store) = store {
            self.set_store(store);
        }
        self.dispatcher.set_site(site);
    }

    /// The requests of the last tick to the owner.
    pub fn wishes(&mut self) -> Vec<Wish> {
        std::mem::take(&mut self.wishes)
    }

    /// The records of the loop.
    pub fn report(&self) -> Report {
        let Dispatcher {
            flight, config, now, ..
        } = &self.dispatcher;
        Report::new(flight, 0, SAMPLE, config.looping.slow_ms, *now)
    }

    /// Ascribes the time since the last tick, or since the last call, to a piece of work of the owner.
    pub fn did(&mut self, kind: Kind, name: &str) {
        self.dispatcher.piece(|culprit| culprit.is(kind, name));
    }

    /// The service, for tests.
    pub fn service(&self) -> &Service {
        &self.dispatcher.decisions.service
    }

    /// Whether clients may come: the process is alone, or knows what the others of its cluster hold.
    pub fn is_ready(&self) -> bool {
        !self.service().is_joining(self.dispatcher.now)
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.dispatcher.connections.len()
    }

    /// One turn of the loop.
    ///
    /// # Errors
    /// When the poller fails; the loop cannot go on then.
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
        self.ended = self.dispatcher.flight.last_lap();
        self.dispatcher.flight.enter(Phase::Between);
        let flow = self.drain.flow();
        self.dispatcher.end_tick(self.ended, flow);
        Ok(flow)
    }

    // --- wait ----------------------------------------------------------------------------------------------------

    /// Waits for readiness and notes it at connections, listeners and outgoing connections; handles signals.
    fn wait(&mut self) -> io::Result<()> {
        self.ended = self.dispatcher.lap();
        let timeout = self.timeout();
        self.ready.clear();
        self.dispatcher.io.wait(timeout, &mut self.ready)?;
        if self.dispatcher.begin_tick(self.ready.len(), timeout) {
            self.numbers.note(&self.dispatcher);
        }
        let mut is_piece = self.ready.len() >= MANY_EVENTS;
        for n in 0..self.ready.len() {
            match self.ready[n] {
                Ready::Listener(n) => self.acceptor.ready(n),
                Ready::Connection(id, edges) => {
                    if let Some(entry) = self.dispatcher.connections.find(id) {
                        entry.connection.socket.note(edges);
                        self.dispatcher.requeue(id);
                    }
                }
                Ready::Outgoing(PROBE, edges) => self.database.note_probe(edges),
                Ready::Outgoing(n, edges) if engine::NUMBERS.contains(&n) => {
                    self.engine.iter_mut().for_each(|engine| engine.note(n, edges));
                }
                Ready::Outgoing(n, edges) => self.posts.outgoing.note(n, edges),
                Ready::Signal(signal) => {
                    self.wishes
                        .extend(orders::take(signal, &mut self.drain, &mut self.dispatcher));
                    is_piece = true;
                }
            }
        }
        if is_piece {
            let events = self.ready.len();
            self.dispatcher.piece(|culprit| culprit.are(Kind::Events, events));
        }
        Ok(())
    }

    /// How long the next tick may wait, counted from the end of the last one. `None`: until an edge or a signal comes.
    pub fn timeout(&self) -> Option<Duration> {
        let dispatcher = &self.dispatcher;
        let reads = !dispatcher.decisions.service.is_crowded();
        let has_work = dispatcher.connections.has_work(reads) || !dispatcher.wants_stats.is_empty();
        if has_work || !dispatcher.posts.is_empty() {
            return Some(Duration::ZERO);
        }
        let due = [
            self.acceptor.next(),
            dispatcher.connections.next_check(),
            dispatcher.decisions.service.deadline(),
            self.posts.deadline(),
            self.engine.as_ref().map_or(Time::NEVER, |engine| engine.deadline()),
            self.database.due(dispatcher),
            self.drain.next(&dispatcher.config, self.ended),
        ];
        let nearest = due.into_iter().min().filter(|at| *at != Time::NEVER);
        let until = nearest.map(|at| at.since(self.ended));
        until.into_iter().chain(self.heartbeat).min()
    }

    // --- read ----------------------------------------------------------------------------------------------------

    /// Reads the connections that have something to read, each at most one buffer, and then the engine.
    fn read(&mut self) {
        self.dispatcher.flight.enter(Phase::Read);
        self.dispatcher.refill_fan_out();
        self.dispatcher.tls.refill();
        let list = self.dispatcher.connections.again.take();
        let messages = (MESSAGES / list.len().max(1)).max(LEAST);
        for id in &list {
            let was_read = reading::read_one(&mut self.dispatcher, &mut self.buffer, *id, messages);
            self.dispatcher.requeue(*id);
            if was_read {
                self.dispatcher.was_read(*id);
            }
        }
        self.dispatcher.connections.again.recycle(list);
        if let Some(engine) = &mut self.engine {
            engine.turn(&mut self.dispatcher, &mut self.buffer);
        }
    }

    // --- time ----------------------------------------------------------------------------------------------------

    /// Checks the connections whose deadline may have come, and goes on with a drain.
    fn time(&mut self) {
        self.dispatcher.flight.enter(Phase::Time);
        let now = self.dispatcher.now.at;
        let filled = self.dispatcher.connections.dirty.len();
        let due = self.dispatcher.connections.expire(now);
        for _ in 0..due {
            let dispatcher = &mut self.dispatcher;
            let Some((id, connection)) = dispatcher.connections.next_due(now) else {
                continue;
            };
            if let Some(over) = connection.check_deadlines(&dispatcher.config.limits, now, &dispatcher.date) {
                dispatcher.note_end(id, over);
            }
            dispatcher.requeue(id);
        }
        if due > 0 {
            self.dispatcher.flight.counts().timers += due as u32;
            self.dispatcher
                .piece_since(filled, |culprit| culprit.are(Kind::Timers, due));
        }
        self.drain.drain_step(&mut self.dispatcher);
    }

    // --- write ---------------------------------------------------------------------------------------------------

    /// Writes each send queue that is not empty, with one `writev`, and closes slow consumers.
    fn write(&mut self) {
        if self.dispatcher.connections.dirty.is_empty() {
            return;
        }
        self.dispatcher.flight.enter(Phase::Write);
        let list = self.dispatcher.connections.dirty.take();
        for id in &list {
            let dispatcher = &mut self.dispatcher;
            let (limits, now) = (&dispatcher.config.limits, dispatcher.now.at);
            let Some(entry) = dispatcher.connections.clean(*id) else {
                continue;
            };
            let connection = &mut entry.connection;
            let over = connection.flush(limits, now);
            let flushed = entry.tell_when_flushed && over.is_none() && connection.waiting() == 0;
            entry.tell_when_flushed &= !flushed;
            if let Some(over) = over {
                dispatcher.note_end(*id, over);
            }
            if flushed {
                dispatcher.input(*id, Input::Flushed);
            }
            dispatcher.requeue_written(*id);
        }
        let dispatcher = &mut self.dispatcher;
        let (now, last) = (dispatcher.io.clock(), dispatcher.connections.departed.len());
        dispatcher.flight.written(now, list.len(), last);
        dispatcher.connections.dirty.recycle(list);
    }

    // --- work, post and accept -----------------------------------------------------------------------------------

    /// Does the work that may take time. It comes after a flush for that reason.
    fn work(&mut self) {
        self.dispatcher.flight.enter(Phase::Work);
        if !self.dispatcher.wants_stats.is_empty() {
            let most = self.acceptor.max_connections;
            let stats = self.numbers.gather(&self.dispatcher, &self.database, most);
            self.dispatcher.hand_out(&stats);
            self.dispatcher.piece(|culprit| culprit.kind = Kind::Report);
        }
        self.database.ask(&mut self.dispatcher);
        self.drain.finish(&mut self.database, &mut self.dispatcher);
    }

    /// Sends and receives the bytes of webhooks, and lets the service do the work that is due.
    fn post(&mut self) {
        self.dispatcher.flight.enter(Phase::Post);
        self.posts.carry(&mut self.dispatcher, &mut self.buffer);
    }

    /// Accepts the clients that wait at a listener, a bounded number.
    fn accept(&mut self) {
        self.dispatcher.flight.enter(Phase::Accept);
        self.acceptor.accept(&mut self.dispatcher);
    }

    // --- reap ----------------------------------------------------------------------------------------------------

    /// Reports to the service the connections that said their last word, and frees the connections that have ended.
    /// Their last words were flushed before. What this tick shares with a cluster goes to the engine. The access log
    /// has its last line of the tick then, and is written.
    fn reap(&mut self) {
        let dispatcher = &mut self.dispatcher;
        dispatcher.flight.enter(Phase::Reap);
        if !dispatcher.connections.departed.is_empty() {
            let filled = dispatcher.connections.dirty.len();
            let departed = dispatcher.connections.departed.take();
            for id in &departed {
                dispatcher.left(*id);
                dispatcher.input(*id, Input::Closed);
                dispatcher.flight.counts().closes += 1;
                dispatcher.piece(|culprit| (culprit.kind, culprit.connection) = (Kind::Close, id.raw()));
            }
            dispatcher.caused(filled, |culprit| culprit.are(Kind::Closes, departed.len()));
            dispatcher.connections.departed.recycle(departed);
        }
        if let Some(engine) = &mut self.engine {
            engine.ask(dispatcher);
        }
        dispatcher.free_doomed();
        dispatcher
            .connections
            .admit_waiting(&dispatcher.config.limits, dispatcher.now.at);
        let lines = dispatcher.access_log.flush(dispatcher.now.at);
        if lines > 0 {
            dispatcher.piece(|culprit| (culprit.kind, culprit.count) = (Kind::AccessLog, lines));
        }
    }
}
