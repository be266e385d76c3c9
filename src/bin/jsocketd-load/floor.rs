//! The floor: the least that an echo over a WebSocket port can cost. This server answers the upgrade properly and then
//! writes back all bytes that it reads, one read and one write per readiness, without decoding them. It is not a
//! WebSocket server (frames come back masked). It only serves as the reference for a comparison.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use socket2::{Domain, Socket, Type};
use tungstenite::handshake::derive_accept_key;

use crate::failure::Failure;

const LISTENER: Token = Token(usize::MAX);
/// The same as the server's shared read buffer, so that both move bytes in equal portions.
const BUFFER: usize = 64 << 10;
const MAX_HEAD: usize = 16 << 10;

struct Peer {
    socket: TcpStream,
    /// The head of the request, until it is complete.
    head: Option<Vec<u8>>,
    /// Bytes that the kernel would not take yet; nothing is read while there are any.
    waiting: Vec<u8>,
}

/// Listens on `address` and echoes for at most `lifetime`, so that a forgotten one goes away by itself.
pub fn run(address: SocketAddr, lifetime: Duration) -> Result<(), Failure> {
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
            } else if let Some(peer) = peers.get_mut(key)
                && peer.serve(&mut buffer, event.is_read_closed()).is_err()
            {
                peers.remove(key);
            }
        }
    }
    Ok(())
}

/// Listens on a loopback address and says so as the server does.
pub fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    if !address.ip().is_loopback() {
        return Err(Failure::Usage(format!(
            "{address}: the floor listens on loopback addresses only"
        )));
    }
    let listen = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(65_535)?; // the kernel caps it
        let listener = TcpListener::from_std(socket.into());
        println!("listening on http://{}/", listener.local_addr()?);
        io::stdout().flush()?;
        Ok(listener)
    };
    listen().map_err(|error: io::Error| Failure::Usage(format!("{address}: {error}")))
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
            head: Some(Vec::new()),
            waiting: Vec::new(),
        });
    }
}

impl Peer {
    /// One readiness; an error is the end of the connection. After a short read there is nothing more, unless the event
    /// said that the peer closed its side: no other event will.
    fn serve(&mut self, buffer: &mut [u8], read_closed: bool) -> io::Result<()> {
        self.flush()?;
        while self.waiting.is_empty() {
            let length = match self.socket.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            match &mut self.head {
                None => self.send(&buffer[..length])?,
                Some(head) => {
                    head.extend_from_slice(&buffer[..length]);
                    self.upgrade()?;
                }
            }
            if length < buffer.len() && !read_closed {
                return Ok(());
            }
        }
        Ok(())
    }

    fn upgrade(&mut self) -> io::Result<()> {
        let head = self.head.take().unwrap_or_default();
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&head).map_err(|_| ErrorKind::InvalidData)? {
            httparse::Status::Partial if head.len() < MAX_HEAD => {
                self.head = Some(head);
                Ok(())
            }
            httparse::Status::Partial => Err(ErrorKind::InvalidData.into()),
            httparse::Status::Complete(used) => {
                let key = request
                    .headers
                    .iter()
                    .find(|header| header.name.eq_ignore_ascii_case("sec-websocket-key"));
                let Some(key) = key else {
                    self.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")?;
                    return Err(ErrorKind::InvalidData.into());
                };
                let reply = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Accept: {}\r\n\r\n",
                    derive_accept_key(key.value)
                );
                self.send(reply.as_bytes())?;
                self.send(&head[used..])
            }
        }
    }

    /// Writes; bytes that the kernel does not take at once wait.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let written = match self.waiting.is_empty() {
            true => match self.socket.write(bytes) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
                written => written?,
            },
            false => 0,
        };
        self.waiting.extend_from_slice(&bytes[written..]);
        self.flush()
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
