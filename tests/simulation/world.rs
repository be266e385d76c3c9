//! A network that exists only in memory and is as unkind as a kernel may be: readiness comes as edges only, in any
//! order, late, or for a closed connection; a write takes as little as it likes; accepting fails for want of
//! descriptors; the wall clock jumps. Every choice comes from one seed.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::time::Duration;

use jsocketd::config::ListenAddr;
use jsocketd::id::ConnectionId;
use jsocketd::net::io::{Io, Peer, Ready, Signal, Socket};
use jsocketd::net::polled::Edges;
use jsocketd::time::{Now, Time};

use crate::tables::Answers;
use crate::words::Notes;

/// xorshift64*: small, and the same on every machine and with every version of every library.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// 0 to `n - 1`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.roll() >> 33) as usize % n
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// Both directions of one connection, as the kernel sees them.
#[derive(Default)]
pub struct Pipe {
    pub to_server: VecDeque<u8>,
    pub to_client: VecDeque<u8>,
    /// How much `to_client` holds.
    pub room: usize,
    /// The client has ended its side.
    pub client_ended: bool,
    /// The client is gone; writing to it fails.
    pub reset: bool,
    /// The server has ended its side; the client reads the end after the rest.
    pub server_ended: bool,
    /// The server has freed its socket.
    pub freed: bool,
    /// It closed with a reset.
    pub server_reset: bool,
    linger_zero: bool,
    owner: Option<Owner>,
    /// Of a connection of the server's own: how the attempt goes on.
    connecting: Option<Connecting>,
    /// Where the server went.
    pub address: Option<ListenAddr>,
    readable_edge: bool,
    writable_edge: bool,
    /// The server met a full buffer and waits for an edge.
    starved: bool,
}

/// The server's owner of its end.
#[derive(Clone, Copy)]
enum Owner {
    Client(ConnectionId),
    Outgoing(usize),
}

/// The fate of a connection that the server makes.
#[derive(Clone, Copy, PartialEq)]
pub enum Connecting {
    /// It is made at the next edge.
    Soon,
    /// It is refused at the next edge.
    Refused,
    /// No answer ever comes.
    Never,
}

pub struct World {
    pub dice: Dice,
    pub now: Now,
    pub pipes: Vec<Pipe>,
    pub backlog: VecDeque<usize>,
    listener_edge: bool,
    /// Descriptors that are free.
    pub descriptors: usize,
    pub signals: Vec<Signal>,
    /// Ids that were registered once.
    past: Vec<ConnectionId>,
    /// Whether edges may be late and events of unknown connections come.
    pub unkind: bool,
    /// How long the last wait was allowed to take.
    pub patience: Option<Duration>,
    /// Everything that would be observable from outside, hashed: the same seed must give the same.
    pub history: u64,
    /// What clients and the network do, in words, for a story that is printed.
    pub notes: Option<Notes>,
    /// Socket calls, by which a test can recognize a loop that spins.
    pub reads: usize,
    pub writes: usize,
    pub accepts: usize,
    /// How long one read holds the loop up.
    pub read_takes: Duration,
    /// Fates of the next connections that the server makes; without one it is made soon.
    pub connects: VecDeque<Connecting>,
    /// Pipes that the server opened.
    pub outgoing: Vec<usize>,
    /// The behaviour of port 3306 towards every client.
    pub database: Answers,
}

pub type Shared = Rc<RefCell<World>>;

impl World {
    pub fn new(seed: u64) -> Shared {
        Rc::new(RefCell::new(World {
            dice: Dice::new(seed),
            now: Now {
                at: Time(0),
                unix_ms: 1_700_000_000_000,
            },
            pipes: Vec::new(),
            backlog: VecDeque::new(),
            listener_edge: false,
            descriptors: usize::MAX,
            signals: Vec::new(),
            past: Vec::new(),
            unkind: false,
            patience: None,
            history: 0,
            notes: None,
            reads: 0,
            writes: 0,
            accepts: 0,
            read_takes: Duration::ZERO,
            connects: VecDeque::new(),
            outgoing: Vec::new(),
            database: Answers::Greets,
        }))
    }

    fn note(&mut self, what: u64) {
        self.history = (self.history ^ what).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(5);
    }

    pub fn connect(&mut self, room: usize) -> usize {
        self.pipes.push(Pipe {
            room,
            ..Pipe::default()
        });
        self.backlog.push_back(self.pipes.len() - 1);
        self.listener_edge = true;
        let n = self.pipes.len() - 1;
        self.tell(|| format!("client {n} connects; its socket takes {room} bytes"));
        n
    }

    /// Notes what a client or the network does before the next tick.
    pub fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(notes) = &mut self.notes {
            notes.before(self.now, what());
        }
    }

    /// Notes what the network gives to the server in the tick.
    fn tell_in(&mut self, what: impl FnOnce() -> String) {
        if let Some(notes) = &mut self.notes {
            notes.arrives(self.now, what());
        }
    }

    /// Notes what the network takes from the server in the tick.
    fn tell_out(&mut self, what: impl FnOnce() -> String) {
        if let Some(notes) = &mut self.notes {
            notes.leaves(self.now, what());
        }
    }

    pub fn send(&mut self, n: usize, bytes: &[u8]) {
        let pipe = &mut self.pipes[n];
        if pipe.reset || pipe.freed || bytes.is_empty() {
            return;
        }
        pipe.to_server.extend(bytes);
        pipe.readable_edge = true;
        self.tell(|| format!("client {n} sends {} bytes", bytes.len()));
    }

    /// Takes at most `most` of the bytes that the server wrote.
    pub fn receive(&mut self, n: usize, most: usize) -> Vec<u8> {
        let pipe = &mut self.pipes[n];
        let taken: Vec<u8> = pipe.to_client.drain(..most.min(pipe.to_client.len())).collect();
        if !taken.is_empty() && pipe.starved {
            pipe.starved = false;
            pipe.writable_edge = true;
        }
        taken
    }

    /// The client sends its FIN.
    pub fn end(&mut self, n: usize) {
        self.pipes[n].client_ended = true;
        self.pipes[n].readable_edge = true;
        self.tell(|| format!("client {n} ends its side"));
    }

    /// The client sends a reset.
    pub fn reset(&mut self, n: usize) {
        let pipe = &mut self.pipes[n];
        pipe.reset = true;
        pipe.to_client.clear();
        pipe.readable_edge = true;
        pipe.writable_edge = true;
        self.tell(|| format!("client {n} resets the connection"));
    }

    pub fn pass(&mut self, span: Duration) {
        let before = self.now.at;
        self.now.at = before + span;
        // Parts of milliseconds add up, or one clock would fall behind the other.
        self.now.unix_ms += self.now.at.0 / 1000 - before.0 / 1000;
    }

    /// Whether an edge is or soon will be pending for the server.
    pub fn has_edges(&self) -> bool {
        let live = |pipe: &&Pipe| pipe.owner.is_some() && !pipe.freed;
        self.listener_edge
            || self
                .pipes
                .iter()
                .filter(live)
                .any(|pipe| pipe.readable_edge || pipe.writable_edge)
    }

    /// The newest registered id is no stranger.
    pub fn forget_newest(&mut self) {
        self.past.pop();
    }

    /// A descriptor becomes free. No edge announces it.
    pub fn free_descriptors(&mut self, n: usize) {
        self.descriptors = n;
    }

    fn ready(&mut self, n: usize, late: bool) -> Option<Ready> {
        let pipe = &mut self.pipes[n];
        let owner = pipe.owner.filter(|_| !pipe.freed)?;
        let has_edge = pipe.readable_edge || pipe.writable_edge;
        if late && has_edge {
            self.tell_in(|| format!("the event of client {n} is late"));
        }
        if late || !has_edge {
            return None;
        }
        let pipe = &mut self.pipes[n];
        let edges = Edges {
            readable: pipe.readable_edge,
            writable: pipe.writable_edge,
            read_closed: pipe.client_ended || pipe.reset,
        };
        let ready = match owner {
            Owner::Client(id) => Ready::Connection(id, edges),
            Owner::Outgoing(n) => Ready::Outgoing(n, edges),
        };
        pipe.readable_edge = false;
        pipe.writable_edge = false;
        Some(ready)
    }
}

/// Edges in both directions.
fn both(read_closed: bool) -> Edges {
    Edges {
        readable: true,
        writable: true,
        read_closed,
    }
}

pub struct SimIo(pub Shared);

pub struct SimSocket {
    world: Shared,
    n: usize,
}

impl Io for SimIo {
    type Socket = SimSocket;

    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        let mut world = self.0.borrow_mut();
        world.patience = timeout;
        world.notes.iter_mut().for_each(Notes::tick);
        if std::mem::take(&mut world.listener_edge) {
            ready.push(Ready::Listener(0));
        }
        for n in 0..world.pipes.len() {
            let late = world.unkind && world.dice.one_in(4);
            ready.extend(world.ready(n, late));
        }
        if world.unkind && !world.outgoing.is_empty() && world.dice.one_in(3) {
            let count = world.outgoing.len();
            let n = world.dice.below(count);
            ready.push(Ready::Outgoing(n, both(false)));
        }
        if world.unkind && !world.past.is_empty() && world.dice.one_in(3) {
            let count = world.past.len();
            let which = world.dice.below(count);
            let id = world.past[which];
            world.tell_in(|| format!("an event comes for {id} without a reason"));
            ready.push(Ready::Connection(id, both(world.dice.one_in(2))));
        }
        if world.unkind {
            for n in (1..ready.len()).rev() {
                let other = world.dice.below(n + 1);
                ready.swap(n, other);
            }
        }
        let signals = std::mem::take(&mut world.signals);
        ready.extend(signals.into_iter().map(Ready::Signal));
        Ok(())
    }

    fn now(&mut self) -> Now {
        self.0.borrow().now
    }

    fn listeners(&self) -> usize {
        1
    }

    fn accept(&mut self, _: usize) -> io::Result<(SimSocket, Peer)> {
        let mut world = self.0.borrow_mut();
        world.accepts += 1;
        if world.descriptors == 0 && !world.backlog.is_empty() {
            world.tell_in(|| "accepting fails: there is no descriptor".to_owned());
            return Err(io::Error::from_raw_os_error(24));
        }
        if world.unkind && world.dice.one_in(8) {
            world.tell_in(|| "accepting fails: the connection was aborted".to_owned());
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let Some(n) = world.backlog.pop_front() else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        world.descriptors -= 1;
        let socket = SimSocket {
            world: self.0.clone(),
            n,
        };
        Ok((
            socket,
            Peer {
                address: Some([203, 0, 113, 1].into()),
                ..Peer::default()
            },
        ))
    }

    fn register(&mut self, socket: &mut SimSocket, id: ConnectionId) -> io::Result<()> {
        let mut world = self.0.borrow_mut();
        world.past.push(id);
        world.tell_in(|| format!("client {} is {id} for the server", socket.n));
        let pipe = &mut world.pipes[socket.n];
        pipe.owner = Some(Owner::Client(id));
        pipe.readable_edge = !pipe.to_server.is_empty() || pipe.client_ended || pipe.reset;
        pipe.writable_edge = true;
        Ok(())
    }

    fn connect(&mut self, address: &ListenAddr, n: usize) -> io::Result<SimSocket> {
        let mut world = self.0.borrow_mut();
        if world.descriptors == 0 {
            return Err(io::Error::from_raw_os_error(24));
        }
        world.descriptors -= 1;
        let is_database = matches!(address, ListenAddr::Tcp(address) if address.port() == 3306);
        let fate = match world.database {
            Answers::Refuses if is_database => Connecting::Refused,
            _ => world.connects.pop_front().unwrap_or(Connecting::Soon),
        };
        let greeting: &[u8] = match world.database {
            Answers::Greets if is_database => b"\x09\0\0\0\x0a10.11.1\0",
            _ => b"",
        };
        world.pipes.push(Pipe {
            room: 10_000,
            owner: Some(Owner::Outgoing(n)),
            connecting: Some(fate),
            address: Some(address.clone()),
            reset: fate == Connecting::Refused,
            readable_edge: fate == Connecting::Refused || fate == Connecting::Soon && !greeting.is_empty(),
            writable_edge: fate != Connecting::Never,
            to_server: greeting.iter().copied().collect(),
            ..Pipe::default()
        });
        let pipe = world.pipes.len() - 1;
        world.outgoing.push(pipe);
        Ok(SimSocket {
            world: self.0.clone(),
            n: pipe,
        })
    }
}

impl Socket for SimSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut world = self.world.borrow_mut();
        world.reads += 1;
        let span = world.read_takes;
        world.pass(span);
        let pipe = &mut world.pipes[self.n];
        if pipe.reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if pipe.to_server.is_empty() {
            return if pipe.client_ended {
                Ok(0)
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            };
        }
        let n = buffer.len().min(pipe.to_server.len());
        for (to, from) in buffer.iter_mut().zip(pipe.to_server.drain(..n)) {
            *to = from;
        }
        world.note(n as u64);
        world.tell_in(|| format!("the server reads {n} bytes of client {}", self.n));
        Ok(n)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut world = self.world.borrow_mut();
        world.writes += 1;
        let pipe = &world.pipes[self.n];
        if pipe.reset {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        assert!(!pipe.server_ended, "written after the end was announced");
        let mut room = pipe.room.saturating_sub(pipe.to_client.len());
        if world.unkind && room > 1 && world.dice.one_in(3) {
            room = 1 + world.dice.below(room);
        }
        let pipe = &mut world.pipes[self.n];
        let bytes: Vec<u8> = slices
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .take(room)
            .collect();
        if room < slices.iter().map(|slice| slice.len()).sum() {
            pipe.starved = true;
            // When it took less than there was room for, the room that is left is an edge of its own.
            pipe.writable_edge |= pipe.room > pipe.to_client.len() + bytes.len();
        }
        let (taken, all) = (bytes.len(), slices.iter().map(|slice| slice.len()).sum::<usize>());
        if taken > 0 {
            pipe.to_client.extend(&bytes);
        }
        world.tell_out(|| format!("the socket of client {} takes {taken} of {all} bytes", self.n));
        if taken == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let hash = bytes
            .iter()
            .fold(7u64, |h, b| h.wrapping_mul(31).wrapping_add(u64::from(*b)));
        world.note(hash);
        Ok(bytes.len())
    }

    fn is_connected(&mut self) -> io::Result<bool> {
        match self.world.borrow().pipes[self.n].connecting {
            None | Some(Connecting::Soon) => Ok(true),
            Some(Connecting::Never) => Ok(false),
            Some(Connecting::Refused) => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }

    fn shutdown_write(&mut self) {
        let mut world = self.world.borrow_mut();
        world.pipes[self.n].server_ended = true;
        world.tell_out(|| format!("the server ends its side to client {}", self.n));
    }

    fn reset_on_close(&mut self) {
        self.world.borrow_mut().pipes[self.n].linger_zero = true;
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        let mut world = self.world.borrow_mut();
        world.descriptors = world.descriptors.saturating_add(1);
        let pipe = &mut world.pipes[self.n];
        pipe.freed = true;
        // As in a kernel, unread input or a linger time of zero makes the close a reset. The reset drops the bytes that
        // the client has not read yet.
        if pipe.linger_zero || !pipe.to_server.is_empty() {
            pipe.server_reset = true;
            pipe.to_client.clear();
        }
        pipe.server_ended = true;
        let reset = pipe.server_reset;
        world.note(99);
        let how = if reset { ", with a reset" } else { "" };
        world.tell_out(|| format!("the server frees the connection of client {}{how}", self.n));
    }
}
