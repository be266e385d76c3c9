//! A proxy of the test's own, for what nginx cannot do. Each connection is passed on to the site, or to the server
//! where the path is the socket's; `Trick` says what happens to handshakes.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What happens to handshakes, or to all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trick {
    /// Each connection ends as soon as a handshake comes.
    Block,
    /// The first answer is kept, and given to everybody.
    Cache,
    /// These bytes are the answer to a handshake; then the connection ends.
    Answer(Vec<u8>),
    /// These bytes are the answer to everything, over and over while the client reads.
    Flood(Vec<u8>),
    /// Nothing is answered.
    Silence,
}

/// Starts the proxy. Its threads end with the process or with the connections.
pub fn start(at: (Ipv4Addr, u16), site: SocketAddr, server: SocketAddr, trick: Trick) {
    let listener = TcpListener::bind(at).expect("the port is free");
    let kept = Arc::new(Mutex::new(None));
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (trick, kept) = (trick.clone(), Arc::clone(&kept));
            thread::spawn(move || serve(client, site, server, &trick, &kept));
        }
    });
}

/// Nobody waits for a result: the client sees what it sees.
fn serve(
    mut client: TcpStream,
    site: SocketAddr,
    server: SocketAddr,
    trick: &Trick,
    kept: &Mutex<Option<Vec<u8>>>,
) -> Option<()> {
    let head = head(&mut client)?;
    let text = String::from_utf8_lossy(&head).into_owned();
    let is_handshake = text.to_ascii_lowercase().contains("\r\nupgrade: websocket");
    match trick {
        Trick::Silence => {
            let mut rest = [0; 1024];
            while matches!(client.read(&mut rest), Ok(1..)) {}
            return None;
        }
        Trick::Flood(bytes) => {
            while client.write_all(bytes).is_ok() {}
            return None;
        }
        Trick::Block if is_handshake => return None,
        Trick::Answer(bytes) if is_handshake => {
            client.write_all(bytes).ok()?;
            // Its end must not overtake its bytes.
            client.shutdown(Shutdown::Write).ok()?;
            let _ = client.read(&mut [0; 1024]);
            return None;
        }
        Trick::Cache if is_handshake => {
            let kept = kept.lock().expect("no thread panics with it").clone();
            if let Some(answer) = kept {
                client.write_all(&answer).ok()?;
                let mut rest = [0; 1024];
                while matches!(client.read(&mut rest), Ok(1..)) {}
                return None;
            }
        }
        _ => {}
    }
    let (target, passed) = match text.contains(" /ws/") {
        true => (server, text.replacen(" /ws/", " /", 1)),
        false => (site, text),
    };
    let lines = format!("\r\nX-Forwarded-For: {}\r\n\r\n", client.peer_addr().ok()?.ip());
    let passed = passed.trim_end().to_owned() + &lines;
    let mut upstream = TcpStream::connect(target).ok()?;
    upstream.write_all(passed.as_bytes()).ok()?;
    if *trick == Trick::Cache && is_handshake {
        let answer = self::head(&mut upstream)?;
        *kept.lock().expect("no thread panics with it") = Some(answer.clone());
        client.write_all(&answer).ok()?;
    }
    let (mut up, mut down) = (upstream.try_clone().ok()?, client.try_clone().ok()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut down, &mut up);
        let _ = up.shutdown(Shutdown::Both);
    });
    let _ = std::io::copy(&mut upstream, &mut client);
    client.shutdown(Shutdown::Both).ok()
}

/// Bytes up to the end of a head; what follows it in the same packet comes with it.
fn head(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    Some(head)
}
