//! The listeners: how many clients are accepted in one tick, and the pause when descriptors are out.

use std::io;
use std::time::Duration;

use crate::flight::Kind;
use crate::id::ConnectionId;
use crate::logging;
use crate::net::connection::Connection;
use crate::net::event::Over;
use crate::net::io::{Io, Peer};
use crate::service::caller::direct_address;
use crate::time::Time;

use super::act::Dispatcher;
use super::tls;

/// Clients accepted in one tick: enough for a burst, few enough that open connections do not wait for new ones.
const ACCEPTS: usize = 256;

/// How long a listener is paused after the system had no free descriptor. No edge reports that one became free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections beyond `max_connections` that are accepted only to be answered that the server is full.
const SURPLUS: usize = 64;

/// The listeners and the limit of connections.
#[derive(Debug)]
pub(super) struct Acceptor {
    listeners: Vec<Waiting>,
    pub(super) max_connections: usize,
}

/// Whether clients wait in a listener's backlog.
#[derive(Clone, Copy, Debug)]
enum Waiting {
    Nobody,
    Somebody,
    /// Clients may wait, but the system has no descriptors; try again at this time.
    Paused(Time),
}

impl Acceptor {
    pub(super) fn new(listeners: usize, max_connections: usize) -> Self {
        Self {
            // Clients may have come before the first wait.
            listeners: vec![Waiting::Somebody; listeners],
            max_connections,
        }
    }

    /// Clients wait at this listener.
    pub(super) fn ready(&mut self, n: usize) {
        if let Some(waiting @ Waiting::Nobody) = self.listeners.get_mut(n) {
            *waiting = Waiting::Somebody;
        }
    }

    /// When `accept` has something to do; `NEVER`: when an edge comes.
    pub(super) fn next(&self) -> Time {
        let next = |waiting: &Waiting| match waiting {
            Waiting::Somebody => Time(0),
            Waiting::Paused(until) => *until,
            Waiting::Nobody => Time::NEVER,
        };
        self.listeners.iter().map(next).min().unwrap_or(Time::NEVER)
    }

    /// Accepts the clients that wait at each listener, a bounded number.
    pub(super) fn accept<I: Io>(&mut self, dispatcher: &mut Dispatcher<I>) {
        let now = dispatcher.now.at;
        for n in 0..self.listeners.len() {
            match self.listeners[n] {
                Waiting::Nobody => continue,
                Waiting::Paused(until) if until > now => continue,
                Waiting::Somebody | Waiting::Paused(_) => self.listeners[n] = Waiting::Somebody,
            }
            let before = dispatcher.connections.len();
            for _ in 0..ACCEPTS {
                self.accept_one(n, dispatcher);
                if !matches!(self.listeners[n], Waiting::Somebody) {
                    break;
                }
            }
            let accepted = (dispatcher.connections.len() - before) as u32;
            dispatcher.flight.counts().accepts += accepted;
            dispatcher.piece(|culprit| (culprit.kind, culprit.count) = (Kind::Accepts, accepted));
        }
    }

    fn accept_one<I: Io>(&mut self, listener: usize, dispatcher: &mut Dispatcher<I>) {
        let most = self.max_connections;
        let (now, many) = (dispatcher.now.at, dispatcher.connections.len());
        let paused = Waiting::Paused(now + ACCEPT_PAUSE);
        if many >= most + SURPLUS {
            dispatcher.warn(logging::Kind::Full, format_args!("{many} connections: newcomers wait"));
            self.listeners[listener] = paused;
            return;
        }
        match dispatcher.io.accept(listener) {
            Ok((socket, peer)) => {
                if many >= most {
                    dispatcher.warn(logging::Kind::Full, format_args!("max_connections ({most}) reached"));
                }
                let mut connection = Connection::new(socket, peer, &dispatcher.config.limits, now);
                tls::begin(dispatcher, &mut connection);
                let id = dispatcher.connections.insert(connection, many >= most);
                log::debug!("{id} came from {peer} by listener {listener}");
                begin(dispatcher, id, peer);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.listeners[listener] = Waiting::Nobody,
            // The client or its network failed while the client waited. The next client may be fine.
            Err(error) if is_the_clients(&error) => log::debug!("a client was lost while it waited: {error}"),
            Err(error) => {
                dispatcher.warn(
                    logging::Kind::Accept,
                    format_args!("no new connections for a moment: {error}"),
                );
                self.listeners[listener] = paused;
            }
        }
    }
}

/// Registers a connection that was just accepted with the poller, and opens it, unless its PROXY header comes first.
/// Only a trusted proxy may send one.
fn begin<I: Io>(dispatcher: &mut Dispatcher<I>, id: ConnectionId, peer: Peer) {
    let caller = dispatcher.caller(id);
    if peer.proxy_protocol && direct_address(&caller, &dispatcher.config.server.trusted_proxies).is_some() {
        return end(dispatcher, id, Over::Stranger(peer));
    }
    if let Some(entry) = dispatcher.connections.find(id)
        && let Err(error) = dispatcher.io.register(&mut entry.connection.socket.stream, id)
    {
        entry.connection.doom();
        dispatcher.warn(logging::Kind::Accept, format_args!("{id} cannot be polled: {error}"));
    }
    if !peer.proxy_protocol {
        dispatcher.opened(id);
    }
    dispatcher.requeue(id);
}

/// Reads the PROXY header of a connection, and opens the connection when the header is complete.
pub(super) fn read_header<I: Io>(dispatcher: &mut Dispatcher<I>, id: ConnectionId) {
    let Some(entry) = dispatcher.connections.find(id) else {
        return;
    };
    let proxy = entry.connection.peer;
    match entry.connection.read_header() {
        Ok(false) => {}
        Ok(true) => {
            log::debug!("{id} is of {}, says the proxy {proxy}", entry.connection.peer);
            dispatcher.opened(id);
        }
        Err(over) => dispatcher.note_end(id, over),
    }
}

/// Ends a connection before anything was read.
fn end<I: Io>(dispatcher: &mut Dispatcher<I>, id: ConnectionId, over: Over) {
    if let Some(entry) = dispatcher.connections.find(id) {
        entry.connection.doom();
    }
    dispatcher.note_end(id, over);
    dispatcher.requeue(id);
}

/// Whether an error of `accept(2)` concerns one client and not the listener. Linux reports pending network errors of
/// the new connection here. Any other error, a lack of descriptors above all, lasts for a moment at least.
fn is_the_clients(error: &io::Error) -> bool {
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
