//! The ancestor: an echo server in the manner of a PHP daemon of 2012 that called `socket_select` in a loop. In each
//! turn it gives the kernel the list of all its sockets, and the kernel reports which of them can be read or written.
//! Input that was not read is reported again in the next turn (level-triggered). So no input can be forgotten, but the
//! cost of each turn grows with the number of sockets. `docs/architecture.md` compares each step with the loop of
//! today.
//!
//! `cargo run --example select [ADDRESS]`

use std::io::{self, ErrorKind};
use std::net::{TcpListener, TcpStream};

use rustix::event::{PollFd, PollFlags, poll};
use tungstenite::handshake::server::{NoCallback, ServerHandshake};
use tungstenite::handshake::{HandshakeError, MidHandshake};
use tungstenite::{Error, Message, WebSocket};

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8082".to_owned());
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    println!("listening on http://{}/", listener.local_addr()?);
    let mut clients: Vec<Client> = Vec::new();
    loop {
        let ready = select(&listener, &clients)?;
        let mut ready_clients = ready[1..].iter();
        let turn = |client: Client| match ready_clients.next() {
            Some(true) => client.turn(),
            _ => Some(client),
        };
        clients = clients.into_iter().filter_map(turn).collect();
        if ready[0] {
            // A failure is reported again in the next turn, as long as a client waits.
            clients.extend(listener.accept().ok().and_then(|(stream, _)| Client::new(stream)));
        }
    }
}

/// Waits until a socket is ready. Returns whether the listener is, and each client in order.
fn select(listener: &TcpListener, clients: &[Client]) -> io::Result<Vec<bool>> {
    let mut sockets = vec![PollFd::new(listener, PollFlags::IN)];
    sockets.extend(clients.iter().map(|client| match client {
        Client::Shaking(shaking) => PollFd::new(shaking.get_ref().get_ref(), PollFlags::IN),
        // A client that has not taken its answers is not read until it has.
        Client::Open(socket, Waits::ToWrite) => PollFd::new(socket.get_ref(), PollFlags::OUT),
        Client::Open(socket, Waits::ToRead) => PollFd::new(socket.get_ref(), PollFlags::IN),
    }));
    match poll(&mut sockets, None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(sockets.iter().map(|socket| !socket.revents().is_empty()).collect())
}

type Handshake = ServerHandshake<TcpStream, NoCallback>;

/// A client, as far as it has come.
enum Client {
    /// Its handshake is not complete yet.
    Shaking(MidHandshake<Handshake>),
    /// An open WebSocket.
    Open(WebSocket<TcpStream>, Waits),
}

/// The event that an open WebSocket waits for. It waits to write when the kernel has not taken all of its answers.
enum Waits {
    ToRead,
    ToWrite,
}

impl Client {
    fn new(stream: TcpStream) -> Option<Self> {
        stream.set_nonblocking(true).ok()?;
        stream.set_nodelay(true).ok()?;
        Self::shaken(tungstenite::accept(stream))
    }

    /// A client after a step of its handshake; a bad handshake ends the connection.
    fn shaken(result: Result<WebSocket<TcpStream>, HandshakeError<Handshake>>) -> Option<Self> {
        match result {
            Ok(socket) => Client::Open(socket, Waits::ToRead).turn(),
            Err(HandshakeError::Interrupted(shaking)) => Some(Client::Shaking(shaking)),
            Err(HandshakeError::Failure(_)) => None,
        }
    }

    /// Does what can be done without waiting. `None`: the connection has ended, and its socket is closed with it.
    fn turn(self) -> Option<Self> {
        let mut socket = match self {
            Client::Shaking(shaking) => return Self::shaken(shaking.handshake()),
            Client::Open(socket, _) => socket,
        };
        loop {
            let (step, waits) = match socket.flush() {
                Err(error) => (Err(error), Waits::ToWrite),
                Ok(()) => match socket.read() {
                    Ok(message @ (Message::Text(_) | Message::Binary(_))) => (socket.write(message), Waits::ToWrite),
                    // tungstenite answers pings and closes by itself.
                    Ok(_) => (Ok(()), Waits::ToRead),
                    Err(error) => (Err(error), Waits::ToRead),
                },
            };
            match step {
                Ok(()) => {}
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    return Some(Client::Open(socket, waits));
                }
                Err(_) => return None,
            }
        }
    }
}
