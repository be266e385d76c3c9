//! An echo server from `net` alone: a poller, a table of connections, a timer wheel. There is no service behind it, no
//! SQL and no configuration. It is the loop of `src/server/mod.rs` with everything left out that an echo can do
//! without, and stands beside `select.rs`, its ancestor.
//!
//! `cargo run --example echo [ADDRESS]`

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use jsocketd::config::{Limits, ListenAddr};
use jsocketd::id::ConnectionId;
use jsocketd::net::close;
use jsocketd::net::connection::Connection;
use jsocketd::net::event::Event;
use jsocketd::net::io::{Io, Ready, Socket};
use jsocketd::net::listener::Listener;
use jsocketd::net::poll::{MioIo, Stream};
use jsocketd::net::table::Table;
use jsocketd::net::wheel::Wheel;
use jsocketd::time::Time;

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8081".to_owned());
    let address = address.parse().map_err(io::Error::other)?;
    let io = MioIo::new(vec![Listener::bind(&ListenAddr::Tcp(address), 0)?], None)?;
    println!("listening on {}", io.urls().concat());
    let mut echo = Echo {
        io,
        limits: Limits::default(),
        table: Table::new(),
        wheel: Wheel::new(),
        again: Vec::new(),
        somebody_waits: true,
        now: Time(0),
        buffer: vec![0; 64 * 1024],
    };
    while echo.tick()? {}
    Ok(())
}

struct Echo {
    io: MioIo,
    limits: Limits,
    /// Each connection with the second in which the wheel will name it.
    table: Table<(Connection<Stream>, u64)>,
    wheel: Wheel,
    /// Connections to be read in this tick: no edge will tell of what was left unread.
    again: Vec<ConnectionId>,
    /// A client may wait at the listener.
    somebody_waits: bool,
    now: Time,
    buffer: Vec<u8>,
}

impl Echo {
    /// One turn: wait, read, look at deadlines, accept. False when a signal ends it.
    fn tick(&mut self) -> io::Result<bool> {
        let mut ready = Vec::new();
        let next = self.wheel.next_look().map(|at| at.since(self.now));
        // A client still waits because descriptors are out, and no edge will say that one is free.
        let pause = self.somebody_waits.then_some(Duration::from_millis(100));
        let work = (!self.again.is_empty()).then_some(Duration::ZERO);
        let timeout = [next, pause, work].into_iter().flatten().min();
        self.io.wait(timeout, &mut ready)?;
        self.now = self.io.now().at;
        for ready in ready {
            match ready {
                Ready::Listener(_) => self.somebody_waits = true,
                Ready::Signal(_) => return Ok(false),
                Ready::Connection {
                    id,
                    readable,
                    writable,
                    read_closed,
                } => {
                    let Some((connection, _)) = self.table.find(id) else {
                        continue;
                    };
                    connection.readable |= readable;
                    connection.read_closed |= read_closed;
                    connection.blocked &= !writable;
                    self.settle(id);
                }
                Ready::Outgoing { .. } => {}
            }
        }
        for id in std::mem::take(&mut self.again) {
            self.read(id);
            self.settle(id);
        }
        let mut due = Vec::new();
        self.wheel.expire(self.now, &mut due);
        for id in due {
            let Some((connection, check_at)) = self.table.find(id) else {
                continue;
            };
            *check_at = u64::MAX;
            connection.check_deadlines(&self.limits, self.now);
            self.settle(id);
        }
        while self.somebody_waits && self.accept() {}
        Ok(true)
    }

    /// One read at most, then an answer to each event that it brought.
    fn read(&mut self, id: ConnectionId) {
        let Some((connection, _)) = self.table.find(id) else {
            return;
        };
        let (limits, now) = (&self.limits, self.now);
        let unread = connection.take_unread();
        let mut input: &[u8] = &unread;
        if input.is_empty() && connection.readable {
            match connection.socket.read(&mut self.buffer) {
                Ok(0) => {
                    connection.readable = false;
                    connection.ended(limits, now);
                }
                Ok(n) => {
                    // A short read has emptied the socket; after a full one there may be more, and no edge will say so.
                    connection.readable = n == self.buffer.len() || connection.read_closed;
                    connection.note_received(now);
                    input = &self.buffer[..n];
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => connection.readable = false,
                Err(_) => connection.doom(),
            }
        }
        while let Some(event) = connection.decode(&mut input, limits, now) {
            match event {
                Event::Handshake(_) => connection.accept(&close::PLAIN),
                Event::Request(_) => {
                    let body = Bytes::from_static(b"This is an echo server for WebSockets.\n");
                    connection.respond(&Response::new(body), false, limits, now);
                }
                Event::Message(message) => connection.send(&message),
                Event::Over(_) => {}
            }
        }
        if !input.is_empty() {
            connection.keep_unread(Bytes::copy_from_slice(input));
        }
    }

    /// Writes what waits, frees what ended, and notes what is still to be done for a connection.
    fn settle(&mut self, id: ConnectionId) {
        let Some((connection, check_at)) = self.table.find(id) else {
            return;
        };
        let (limits, now) = (&self.limits, self.now);
        if connection.wants_flush(limits) {
            connection.flush(limits, now);
        }
        connection.note_backlog(limits, now);
        let has_more = connection.readable || connection.has_unread();
        if has_more && !connection.is_paused(limits, now) && !self.again.contains(&id) {
            self.again.push(id);
        }
        let deadline = connection.deadline(limits, now);
        if deadline != Time::NEVER && self.wheel.second(deadline) < *check_at {
            *check_at = self.wheel.insert(id, deadline);
        }
        if connection.is_doomed() {
            self.table.remove(id);
        }
    }

    /// Takes in one client; false when no further one can be taken.
    fn accept(&mut self) -> bool {
        match self.io.accept(0) {
            Ok((socket, peer)) => {
                let connection = Connection::new(socket, peer, &self.limits, self.now);
                let id = self.table.insert((connection, u64::MAX));
                let registered = match self.table.find(id) {
                    Some((connection, _)) => self.io.register(&mut connection.socket, id).is_ok(),
                    None => false,
                };
                if !registered {
                    self.table.remove(id);
                }
                self.settle(id);
                true
            }
            Err(error) => {
                self.somebody_waits = error.kind() != io::ErrorKind::WouldBlock;
                false
            }
        }
    }
}
