//! An echo server over `net` alone: a poller, a table of connections, a timer wheel. It has no service, no SQL and no
//! configuration. It is the loop of `src/server/mod.rs`, reduced to the parts that an echo needs; `select.rs` is its
//! ancestor.
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
use jsocketd::net::http::DateLine;
use jsocketd::net::io::{Io, Ready};
use jsocketd::net::listener::Listener;
use jsocketd::net::poll::MioIo;
use jsocketd::net::stream::Stream;
use jsocketd::net::table::Table;
use jsocketd::net::wheel::Wheel;
use jsocketd::time::Time;

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8081".to_owned());
    let address = ListenAddr::Tcp(address.parse().map_err(io::Error::other)?);
    let listener = Listener::bind(&address, 0)?;
    println!("listening on {}", listener.url());
    let mut io = MioIo::new(vec![listener], None)?;
    let mut echo = Echo {
        now: io.now().at,
        date: DateLine::default(),
        io,
        limits: Limits::default(),
        table: Table::new(),
        wheel: Wheel::new(),
        again: Vec::new(),
        buffer: vec![0; 64 * 1024],
    };
    while echo.tick()? {}
    Ok(())
}

struct Echo {
    io: MioIo,
    now: Time,
    /// The line `Date` of all answers.
    date: DateLine,
    limits: Limits,
    /// Each connection with the second in which the wheel will name it.
    table: Table<(Connection<Stream>, u64)>,
    wheel: Wheel,
    /// Connections that have something to do in the next tick: no edge will come for what was left unread.
    again: Vec<ConnectionId>,
    buffer: Vec<u8>,
}

impl Echo {
    /// One tick: wait, then give a turn to each connection that is ready or due, and accept. False: a signal ends it.
    fn tick(&mut self) -> io::Result<bool> {
        // Without a free descriptor a client waits at the listener, and no edge will say that one is free.
        let longest = Duration::from_millis(if self.again.is_empty() { 100 } else { 0 });
        let mut ready = Vec::new();
        self.io.wait(Some(longest), &mut ready)?;
        let now = self.io.now();
        self.now = now.at;
        self.date.set(now.unix_ms);
        let mut turns = std::mem::take(&mut self.again);
        for ready in ready {
            match ready {
                Ready::Connection(id, edges) => {
                    if let Some((connection, _)) = self.table.find(id) {
                        connection.socket.note(edges);
                        turns.push(id);
                    }
                }
                Ready::Signal(_) => return Ok(false),
                Ready::Listener(_) | Ready::Outgoing(..) => {}
            }
        }
        self.wheel.expire(self.now, &mut turns);
        for id in turns {
            self.turn(id);
        }
        while let Ok((stream, peer)) = self.io.accept(0) {
            let connection = Connection::new(stream, peer, &self.limits, self.now);
            let id = self.table.insert((connection, u64::MAX));
            if let Some((connection, _)) = self.table.find(id) {
                self.io.register(&mut connection.socket.stream, id)?;
            }
            self.again.push(id);
        }
        Ok(true)
    }

    /// Reads once, answers each event that came out, and writes what waits.
    fn turn(&mut self, id: ConnectionId) {
        let Some((connection, check_at)) = self.table.find(id) else {
            return;
        };
        let (limits, now, date) = (&self.limits, self.now, &self.date);
        if *check_at <= now.seconds() {
            *check_at = u64::MAX;
            connection.check_deadlines(limits, now, date);
        }
        let unread = connection.take_unread();
        let mut input: &[u8] = &unread;
        if input.is_empty()
            && !connection.is_paused(limits, now)
            && let Ok(n) = connection.read(&mut self.buffer, limits, now)
        {
            input = &self.buffer[..n];
        }
        while let Some(event) = connection.decode(&mut input, limits, now, date) {
            match event {
                Event::Handshake(_) => connection.accept(&close::PLAIN, now, date),
                Event::Request(_) => {
                    let body = Bytes::from_static(b"This is an echo server for WebSockets.\n");
                    connection.respond(&Response::new(body), false, limits, now, date);
                }
                Event::Message(message) => connection.send(&message),
                Event::Over(_) => {}
            }
        }
        connection.keep_unread(Bytes::copy_from_slice(input));
        connection.flush(limits, now);
        connection.note_backlog(limits, now);
        if connection.has_more() && !connection.is_paused(limits, now) {
            self.again.push(id);
        }
        self.wheel.schedule(id, connection.deadline(limits, now), check_at);
        if connection.is_doomed() {
            self.table.remove(id);
        }
    }
}
