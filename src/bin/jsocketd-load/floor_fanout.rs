//! The floor of a fan-out: the least that it can cost to send the same bytes to all connections. This server answers
//! upgrades. It encodes each posted event once and writes the frame to each connection with one write. It has no
//! channels, no subscriptions and no history. It only serves as the reference for a comparison.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use slab::Slab;
use tungstenite::handshake::derive_accept_key;

use crate::failure::Failure;
use crate::floor::listen;

const LISTENER: Token = Token(usize::MAX);
/// The same as the server's shared read buffer.
const BUFFER: usize = 64 << 10;
const MAX_INPUT: usize = 16 << 20;

struct Peer {
    socket: TcpStream,
    subscribed: bool,
    /// Requests that are not whole yet.
    input: Vec<u8>,
    /// Bytes that the kernel would not take yet.
    waiting: Vec<u8>,
}

/// A whole request.
enum Request {
    Upgrade(String),
    Post(Vec<u8>),
}

/// Listens on `address` for at most `lifetime`, so that a forgotten one goes away by itself.
pub fn run(address: SocketAddr, lifetime: Duration) -> Result<(), Failure> {
    let hard = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: hard,
        maximum: hard,
    };
    // Where this is not allowed, connections will be refused, and the generator says so.
    let _ = setrlimit(Resource::Nofile, raised);
    let mut listener = listen(address)?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut peers: Slab<Peer> = Slab::new();
    let mut buffer = vec![0; BUFFER];
    let end = Instant::now() + lifetime;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        match poll.poll(&mut events, Some(left)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            let Token(key) = event.token();
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut peers)?;
                continue;
            }
            let Some(peer) = peers.get_mut(key) else { continue };
            match peer.serve(&mut buffer, event.is_read_closed()) {
                Err(_) => drop(peers.remove(key)),
                Ok(posted) => posted.iter().for_each(|payload| fan_out(&mut peers, payload)),
            }
        }
    }
    Ok(())
}

/// One frame, one write for each.
fn fan_out(peers: &mut Slab<Peer>, payload: &[u8]) {
    let frame = frame(payload);
    peers.retain(|_, peer| !peer.subscribed || peer.send(&frame).is_ok());
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81];
    match payload.len() {
        length @ 0..126 => frame.push(length as u8),
        length @ 126..=0xffff => {
            frame.push(126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

fn accept(listener: &TcpListener, poll: &Poll, peers: &mut Slab<Peer>) -> Result<(), Failure> {
    loop {
        let mut socket = match listener.accept() {
            Ok((socket, _)) => socket,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => continue,
            Err(error) => return Err(Failure::Run(format!("the floor cannot accept: {error}"))),
        };
        socket.set_nodelay(true)?;
        let entry = peers.vacant_entry();
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut socket, Token(entry.key()), interest)?;
        entry.insert(Peer {
            socket,
            subscribed: false,
            input: Vec::new(),
            waiting: Vec::new(),
        });
    }
}

impl Peer {
    /// Handles one readiness; returns the posted events. An error is the end of the connection.
    fn serve(&mut self, buffer: &mut [u8], read_closed: bool) -> io::Result<Vec<Vec<u8>>> {
        self.flush()?;
        let mut posted = Vec::new();
        loop {
            let length = match self.socket.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(posted),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if !self.subscribed {
                self.input.extend_from_slice(&buffer[..length]);
                self.requests(&mut posted)?;
            }
            if length < buffer.len() && !read_closed {
                return Ok(posted);
            }
        }
    }

    fn requests(&mut self, posted: &mut Vec<Vec<u8>>) -> io::Result<()> {
        let input = std::mem::take(&mut self.input);
        let mut rest = input.as_slice();
        while let Some((request, used)) = read_request(rest)? {
            rest = &rest[used..];
            match request {
                Request::Post(body) => {
                    posted.push(body);
                    self.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")?;
                }
                Request::Upgrade(accept) => {
                    let reply = format!(
                        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                         Sec-WebSocket-Accept: {accept}\r\n\r\n"
                    );
                    self.subscribed = true;
                    return self.send(reply.as_bytes());
                }
            }
        }
        self.input = rest.to_vec();
        Ok(())
    }

    /// Writes; bytes that the kernel does not take at once wait.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = match self.waiting.is_empty() {
            true => match self.socket.write(bytes) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
                written => written?,
            },
            false => 0,
        };
        self.waiting.extend_from_slice(&bytes[written..]);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.waiting.is_empty() {
            match self.socket.write(&self.waiting) {
                Ok(length) => drop(self.waiting.drain(..length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The first request in some bytes and its length; `None`: it is not whole.
fn read_request(bytes: &[u8]) -> io::Result<Option<(Request, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Request::new(&mut headers);
    let used = match head.parse(bytes).map_err(|_| ErrorKind::InvalidData)? {
        httparse::Status::Complete(used) => used,
        httparse::Status::Partial if bytes.len() < MAX_INPUT => return Ok(None),
        httparse::Status::Partial => return Err(ErrorKind::InvalidData.into()),
    };
    let find = |name: &str| {
        head.headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name))
    };
    if let Some(key) = find("sec-websocket-key") {
        return Ok(Some((Request::Upgrade(derive_accept_key(key.value)), used)));
    }
    let length = find("content-length")
        .and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok())
        .filter(|length| *length < MAX_INPUT)
        .ok_or(ErrorKind::InvalidData)?;
    let body = bytes.get(used..used + length);
    Ok(body.map(|body| (Request::Post(body.to_vec()), used + length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_one_behind_the_other_and_only_whole() {
        let one = crate::pusher::post("127.0.0.1:1", "/", "first");
        let both = [one.clone(), crate::pusher::post("127.0.0.1:1", "/", "second")].concat();
        for cut in 0..one.len() {
            assert!(read_request(&one[..cut]).unwrap().is_none(), "cut at {cut}");
        }
        let (Request::Post(body), used) = read_request(&both).unwrap().unwrap() else {
            panic!("it is a post");
        };
        assert_eq!((body.as_slice(), used), (b"first".as_slice(), one.len()));
        assert!(
            read_request(b"GET / HTTP/1.1\r\n\r\n").is_err(),
            "neither an upgrade nor a post"
        );
    }

    #[test]
    fn the_frame_is_one_that_a_client_reads() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let payload = vec![b'x'; length];
            let bytes = frame(&payload);
            let crate::wire::Decoded::Frame(read) = crate::wire::decode(&bytes) else {
                panic!("{length}");
            };
            assert_eq!((read.payload, read.length), (payload.as_slice(), bytes.len()));
        }
    }
}
