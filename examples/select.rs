//! The ancestor: an echo server in the manner of a PHP daemon of 2012 that called `socket_select` in a loop. In each
//! turn it gives the kernel the list of all its sockets, and is told which of them can be read or written. The kernel
//! tells it again in the next turn if something was left (level-triggered), so nothing can be forgotten, and each turn
//! costs as much as there are sockets. What each of its steps became is in `docs/architecture.md`; `echo.rs` stands
//! beside it.
//!
//! `cargo run --example select [ADDRESS]`

use std::io;
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
        // Backwards, so that who is taken out moves nobody who is still to come.
        for n in (0..clients.len()).rev() {
            if ready[n + 1] {
                let client = clients.swap_remove(n);
                clients.extend(client.turn());
            }
        }
        if ready[0] {
            clients.extend(accept(&listener));
        }
    }
}

/// Waits until somebody is ready; whether the listener is, and each client in order.
fn select(listener: &TcpListener, clients: &[Client]) -> io::Result<Vec<bool>> {
    let mut sockets = vec![PollFd::new(listener, PollFlags::IN)];
    for client in clients {
        // A client that has not taken its answers is not read until it has.
        let wanted = match client {
            Client::Open { unsent: true, .. } => PollFlags::OUT,
            _ => PollFlags::IN,
        };
        sockets.push(PollFd::new(client.socket(), wanted));
    }
    match poll(&mut sockets, None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(sockets.iter().map(|socket| !socket.revents().is_empty()).collect())
}

fn accept(listener: &TcpListener) -> Option<Client> {
    // A failure is told again in the next turn, as long as somebody waits.
    let (stream, _) = listener.accept().ok()?;
    stream.set_nonblocking(true).ok()?;
    stream.set_nodelay(true).ok()?;
    Client::shaken(tungstenite::accept(stream))
}

type Shaking = MidHandshake<ServerHandshake<TcpStream, NoCallback>>;
type Shaken = Result<WebSocket<TcpStream>, HandshakeError<ServerHandshake<TcpStream, NoCallback>>>;

/// A client, as far as it has come.
enum Client {
    /// Its handshake is not complete yet.
    Shaking(Shaking),
    /// An open WebSocket. `unsent`: the kernel has not taken all of its answers.
    Open { socket: WebSocket<TcpStream>, unsent: bool },
}

impl Client {
    fn socket(&self) -> &TcpStream {
        match self {
            Client::Shaking(shaking) => shaking.get_ref().get_ref(),
            Client::Open { socket, .. } => socket.get_ref(),
        }
    }

    /// What a step of a handshake came to; a bad one ends the connection.
    fn shaken(result: Shaken) -> Option<Self> {
        match result {
            Ok(socket) => Client::Open { socket, unsent: false }.turn(),
            Err(HandshakeError::Interrupted(shaking)) => Some(Client::Shaking(shaking)),
            Err(HandshakeError::Failure(_)) => None,
        }
    }

    /// Does what can be done without waiting; `None`: the connection has ended, and its socket is closed with it.
    fn turn(self) -> Option<Self> {
        match self {
            Client::Shaking(shaking) => Self::shaken(shaking.handshake()),
            Client::Open { mut socket, .. } => loop {
                match echo(&mut socket) {
                    Ok(()) => {}
                    Err(Step::Read) => return Some(Client::Open { socket, unsent: false }),
                    Err(Step::Write) => return Some(Client::Open { socket, unsent: true }),
                    Err(Step::End) => return None,
                }
            },
        }
    }
}

/// Why a client cannot go on now: there is nothing to read, no room to write, or it has ended.
enum Step {
    Read,
    Write,
    End,
}

/// Writes what waits, reads one message and sends it back.
fn echo(socket: &mut WebSocket<TcpStream>) -> Result<(), Step> {
    socket.flush().map_err(|error| step(&error, Step::Write))?;
    let message = socket.read().map_err(|error| step(&error, Step::Read))?;
    match message {
        Message::Text(_) | Message::Binary(_) => socket.send(message).map_err(|error| step(&error, Step::Write)),
        // tungstenite answers pings and closes by itself.
        _ => Ok(()),
    }
}

fn step(error: &Error, blocked: Step) -> Step {
    match error {
        Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock => blocked,
        _ => Step::End,
    }
}
