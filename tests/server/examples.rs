//! The two examples, which are to be read side by side, do the same: each of these cases is put to both.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::{Error, Message, WebSocket};

/// How long an answer may take that should take milliseconds.
const PATIENCE: Duration = Duration::from_secs(15);

/// Bytes of a message that does not fit into one segment, and of all that a slow reader is sent: more than the kernel
/// keeps for it.
const LARGE: usize = 60_000;
const MUCH: usize = 40_000_000;

/// A case's name, and the dialogue with the server at this address.
type Case = (&'static str, fn(&str));

const CASES: [Case; 8] = [
    ("text", text),
    ("binary", binary),
    ("fragments", fragments),
    ("ping", ping),
    ("close", close),
    ("several clients at once", several_clients),
    ("a large message", large_message),
    ("a slow reader", slow_reader),
];

#[test]
fn echo_passes_every_case() {
    every_case("echo");
}

#[test]
fn select_passes_every_case() {
    every_case("select");
}

fn every_case(example: &str) {
    let (running, address) = start(example);
    for (name, case) in CASES {
        println!("{example}: {name}");
        case(&address);
    }
    drop(running);
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Starts an example on a free port. Cargo puts it next to the binaries.
fn start(example: &str) -> (Running, String) {
    let program = Path::new(env!("CARGO_BIN_EXE_jsocketd"))
        .with_file_name("examples")
        .join(example);
    assert!(
        program.exists(),
        "{} is not built: cargo build --examples",
        program.display()
    );
    let mut child = Command::new(program)
        .arg("127.0.0.1:0")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let running = Running(child);
    let address = line.trim().strip_prefix("listening on http://").unwrap();
    (running, address.trim_end_matches('/').to_owned())
}

fn connect(address: &str) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    tungstenite::client(format!("ws://{address}/"), stream).unwrap().0
}

fn expect(client: &mut WebSocket<TcpStream>, message: Message) {
    client.send(message.clone()).unwrap();
    assert_eq!(client.read().unwrap(), message);
}

fn text(address: &str) {
    let mut client = connect(address);
    for text in ["a", "", "Grüße, 世界"] {
        expect(&mut client, Message::text(text));
    }
}

fn binary(address: &str) {
    let mut client = connect(address);
    for bytes in [&b"\0\xff"[..], b"", &[7; 200]] {
        expect(&mut client, Message::binary(bytes.to_vec()));
    }
}

/// Three frames, one of them empty, with a ping in between, are one message.
fn fragments(address: &str) {
    let mut client = connect(address);
    let mut frame = |text: &str, opcode, last| {
        let frame = Frame::message(text.to_owned().into_bytes(), OpCode::Data(opcode), last);
        client.send(Message::Frame(frame)).unwrap();
    };
    frame("one ", Data::Text, false);
    frame("", Data::Continue, false);
    client.send(Message::Ping("p".into())).unwrap();
    let frame = Frame::message("message".as_bytes().to_vec(), OpCode::Data(Data::Continue), true);
    client.send(Message::Frame(frame)).unwrap();
    assert_eq!(client.read().unwrap(), Message::Pong("p".into()));
    assert_eq!(client.read().unwrap(), Message::text("one message"));
}

fn ping(address: &str) {
    let mut client = connect(address);
    client.send(Message::Ping("are you there?".into())).unwrap();
    assert_eq!(client.read().unwrap(), Message::Pong("are you there?".into()));
}

/// The close is answered with its code, and the stream ends.
fn close(address: &str) {
    let mut client = connect(address);
    let frame = CloseFrame {
        code: 1000.into(),
        reason: "done".into(),
    };
    client.close(Some(frame)).unwrap();
    match client.read().unwrap() {
        Message::Close(Some(answer)) => assert_eq!(u16::from(answer.code), 1000),
        other => panic!("{other:?}"),
    }
    assert!(matches!(client.read(), Err(Error::ConnectionClosed)));
}

/// Each of them gets its own messages back, in their order.
fn several_clients(address: &str) {
    let mut clients: Vec<_> = (0..20).map(|_| connect(address)).collect();
    for round in 0..5 {
        for (n, client) in clients.iter_mut().enumerate() {
            client.send(Message::text(format!("{n}: {round}"))).unwrap();
        }
    }
    for round in 0..5 {
        for (n, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.read().unwrap(), Message::text(format!("{n}: {round}")));
        }
    }
}

fn large_message(address: &str) {
    expect(&mut connect(address), Message::binary(vec![7; LARGE]));
}

/// A client sends without reading until the server takes no more. Others do not notice; and when it reads, nothing is
/// lost.
fn slow_reader(address: &str) {
    let mut slow = connect(address);
    let message = |n: usize| Message::binary(vec![n as u8; LARGE]);
    slow.get_ref()
        .set_write_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let mut sent = 0;
    let is_full = loop {
        match slow.send(message(sent)) {
            Ok(()) => sent += 1,
            Err(Error::Io(_)) => break true,
            Err(error) => panic!("{error}"),
        }
        if sent > MUCH / LARGE {
            break false;
        }
    };
    assert!(
        is_full,
        "the server reads without limit from a client that reads nothing"
    );
    expect(&mut connect(address), Message::text("no other client waits"));
    // The message that did not fit is in the client's own buffer and leaves while it reads.
    slow.get_ref().set_write_timeout(Some(PATIENCE)).unwrap();
    let mut reader = slow.get_ref().try_clone().unwrap();
    let received = thread::spawn(move || {
        let mut bytes = vec![0; (sent + 1) * (LARGE + 4)];
        std::io::Read::read_exact(&mut reader, &mut bytes).unwrap();
        bytes
    });
    slow.flush().unwrap();
    let received = received.join().unwrap();
    for (n, frame) in received.chunks(LARGE + 4).enumerate() {
        assert_eq!(&frame[..2], &[0x82, 126], "message {n}");
        assert!(frame[4..].iter().all(|byte| *byte == n as u8), "message {n}");
    }
}
