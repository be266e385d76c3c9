//! A client on a raw socket. It sends exactly the bytes of the test, and any byte that the test does not expect is a
//! failure. A test can expect the end of a stream and a reset too.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use socket2::SockRef;

use super::frame::{BINARY, CLOSE, CONTINUATION, Frame, PING, PONG, TEXT};
use super::{PATIENCE, Server};

/// The example of RFC 6455 section 1.3, and the answer to it.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// How long nothing must happen to be taken for "nothing happens now".
const MOMENT: Duration = Duration::from_millis(5);

/// One connection.
pub struct Peer {
    /// The socket, for calls that have no method here.
    pub stream: TcpStream,
    /// Came, and is not expected yet.
    unread: BytesMut,
    /// How long an expected answer may take.
    patience: Duration,
}

/// An HTTP answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Everything up to and with the empty line.
    pub head: String,
    /// As long as `Content-Length` says.
    pub body: String,
}

impl Reply {
    /// The value of a header, if there is exactly one line of it.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.head.lines().skip(1).filter_map(|line| {
            let (given, value) = line.split_once(':')?;
            given.eq_ignore_ascii_case(name).then_some(value.trim())
        });
        match (values.next(), values.next()) {
            (value, None) => value,
            _ => panic!("more than one {name} in {}", self.head),
        }
    }
}

/// The end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer's FIN.
    Eof,
    /// The peer's RST.
    Reset,
}

/// The handshake of a well-behaved client.
pub fn handshake(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
}

impl Peer {
    /// Connects and sends nothing.
    pub fn connect(server: &Server) -> Self {
        Self::connect_to(server.addr)
    }

    /// Connects to a server at this address and sends nothing.
    pub fn connect_to(addr: SocketAddr) -> Self {
        Self::over(TcpStream::connect_timeout(&addr, PATIENCE).expect("the server takes the connection"))
    }

    /// Uses a connection that exists.
    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Self {
            stream,
            unread: BytesMut::new(),
            patience: PATIENCE,
        }
    }

    /// Connects and becomes a WebSocket.
    pub fn upgrade(server: &Server, path: &str) -> Self {
        let mut peer = Self::connect(server);
        peer.send(handshake(path));
        peer.expect_switch();
        peer
    }

    /// Waits longer (or shorter) than usual.
    pub fn patient(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    // --- saying ----------------------------------------------------------------------------------------------------

    /// Sends these bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref();
        self.stream
            .write_all(bytes)
            .unwrap_or_else(|error| panic!("sending {}: {error}", show(bytes)));
        self
    }

    /// Sends these bytes in pieces, each in a segment of its own as far as the kernel lets us.
    pub fn send_torn(&mut self, bytes: impl AsRef<[u8]>, size: usize) -> &mut Self {
        bytes.as_ref().chunks(size).for_each(|piece| {
            self.send(piece);
        });
        self
    }

    /// Sends these bytes, or as many as the other side takes before it ends the connection.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.stream.write_all(bytes.as_ref());
        self
    }

    /// Whether the other side still takes bytes, or may take some again.
    pub fn stream_takes(&mut self, bytes: &[u8]) -> bool {
        self.write_within(MOMENT, bytes).is_ok()
    }

    /// Sends as much as the other side takes at once, and returns the number of bytes.
    pub fn send_some(&mut self, bytes: &[u8]) -> usize {
        self.write_within(MOMENT, bytes).unwrap_or(0)
    }

    /// Sends the same bytes again and again, reading nothing, until the other side takes no more for half a second, or
    /// `most` times; returns how often they were sent whole.
    pub fn stuff(&mut self, bytes: &[u8], most: usize) -> usize {
        for sent in 0..most {
            let mut rest = bytes;
            while !rest.is_empty() {
                match self.write_within(Duration::from_millis(500), rest) {
                    Ok(0) | Err(_) => return sent,
                    Ok(taken) => rest = &rest[taken..],
                }
            }
        }
        most
    }

    /// How much is taken before `wait` is over; an error when nothing will be taken any more.
    fn write_within(&mut self, wait: Duration, bytes: &[u8]) -> std::io::Result<usize> {
        self.stream.set_write_timeout(Some(wait)).expect("a timeout");
        let taken = self.stream.write(bytes);
        self.stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        match taken {
            Err(error) if is_wait(&error) => Ok(0),
            taken => taken,
        }
    }

    /// Sends a frame.
    pub fn frame(&mut self, frame: &Frame) -> &mut Self {
        self.send(frame.bytes())
    }

    /// Sends a text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.frame(&Frame::text(text))
    }

    /// Sends a binary message.
    pub fn binary(&mut self, bytes: &[u8]) -> &mut Self {
        self.frame(&Frame::binary(bytes))
    }

    /// Sends a ping.
    pub fn ping(&mut self, payload: impl AsRef<[u8]>) -> &mut Self {
        self.frame(&Frame::ping(payload))
    }

    /// Sends a close frame.
    pub fn close(&mut self, code: u16, reason: &str) -> &mut Self {
        self.frame(&Frame::close(code, reason))
    }

    /// Ends the sending side (FIN).
    pub fn finish(&mut self) -> &mut Self {
        self.stream.shutdown(Shutdown::Write).expect("the socket is open");
        self
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .expect("SO_LINGER");
    }

    /// Ends the sending side, if it is still open, and reads and forgets up to the end of the stream.
    pub fn finish_and_drain(&mut self) -> End {
        let _ = self.stream.shutdown(Shutdown::Write);
        self.drain()
    }

    // --- expecting -------------------------------------------------------------------------------------------------

    /// Exactly these bytes come next.
    pub fn expect(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref();
        let got = self.take(bytes.len());
        assert!(got == bytes, "expected {}\n     got {}", show(bytes), show(&got));
        self
    }

    /// The answer to a handshake that is accepted; returns its head.
    pub fn expect_switch(&mut self) -> String {
        let reply = self.head();
        assert_eq!(reply.status, 101, "{}", reply.head);
        assert!(
            reply
                .header("upgrade")
                .is_some_and(|value| value.eq_ignore_ascii_case("websocket")),
            "{}",
            reply.head
        );
        assert!(
            reply
                .header("connection")
                .is_some_and(|v| v.eq_ignore_ascii_case("upgrade")),
            "{}",
            reply.head
        );
        assert_eq!(reply.header("sec-websocket-accept"), Some(ACCEPT), "{}", reply.head);
        reply.head
    }

    /// An answer to a request.
    pub fn reply(&mut self) -> Reply {
        let mut reply = self.head();
        self.body_of(&mut reply);
        reply
    }

    /// The body that belongs to this head.
    pub fn body_of(&mut self, reply: &mut Reply) {
        let len = reply.header("content-length").and_then(|n| n.parse().ok());
        let len = len.unwrap_or_else(|| panic!("no length in {}", reply.head));
        reply.body = String::from_utf8(self.take(len)).expect("bodies here are text");
    }

    /// The answer to a HEAD request.
    pub fn head(&mut self) -> Reply {
        let deadline = Instant::now() + self.patience;
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if let Some(end) = self.fill(deadline) {
                panic!("expected an HTTP answer, got {} and {end:?}", show(&self.unread));
            }
        };
        let head = String::from_utf8(self.take(end)).expect("heads are ASCII");
        let status = head
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok());
        Reply {
            status: status.unwrap_or_else(|| panic!("no status in {head:?}")),
            head,
            body: String::new(),
        }
    }

    /// An answer with this status and, when it is a refusal, a sentence for people.
    pub fn expect_status(&mut self, status: u16) -> Reply {
        let reply = self.reply();
        assert_eq!(reply.status, status, "{}{}", reply.head, reply.body);
        if status >= 400 {
            let words = reply.body.split_whitespace().count();
            assert!(
                words >= 3 && reply.body.ends_with('\n'),
                "no sentence in a {status}: {:?}",
                reply.body
            );
            let kind = reply.header("content-type").unwrap_or_default();
            assert!(kind.starts_with("text/plain"), "a sentence is text/plain, not {kind:?}");
        }
        reply
    }

    /// Refused: this status, a sentence, `Connection: close`, and the end of the stream.
    pub fn expect_refusal(&mut self, status: u16) -> Reply {
        let reply = self.expect_status(status);
        let connection = reply.header("connection").unwrap_or_default().to_ascii_lowercase();
        assert!(
            connection.split(',').any(|token| token.trim() == "close"),
            "no close in {}",
            reply.head
        );
        self.expect_eof();
        reply
    }

    /// The next frame that is no ping: opcode and payload. Pings are answered, as clients do: on a slow machine a test
    /// can be silent for so long that the server asks.
    pub fn next_frame(&mut self) -> (u8, Vec<u8>) {
        loop {
            match self.any_frame() {
                (PING, payload) => drop(self.frame(&Frame::pong(payload))),
                frame => return frame,
            }
        }
    }

    /// The next frame, also a ping. It is final, has no reserved bits and no mask, or the test fails.
    pub fn any_frame(&mut self) -> (u8, Vec<u8>) {
        let head = self.take(2);
        assert!(
            head[0] & 0x70 == 0 && head[0] & 0x80 != 0,
            "reserved bits or a fragment: {}",
            show(&head)
        );
        assert!(head[1] & 0x80 == 0, "servers do not mask: {}", show(&head));
        let len = match head[1] {
            126 => self.take(2).iter().fold(0, |n, &byte| n << 8 | usize::from(byte)),
            127 => self.take(8).iter().fold(0, |n, &byte| n << 8 | usize::from(byte)),
            len => usize::from(len),
        };
        (head[0] & 0x0f, self.take(len))
    }

    /// This frame comes next.
    pub fn expect_frame(&mut self, opcode: u8, payload: impl AsRef<[u8]>) -> &mut Self {
        let payload = payload.as_ref();
        let (got_opcode, got) = self.next_frame();
        assert!(
            got_opcode == opcode && got == payload,
            "expected {} {}\n     got {} {}",
            name(opcode),
            show(payload),
            name(got_opcode),
            show(&got)
        );
        self
    }

    /// This text comes next.
    pub fn expect_text(&mut self, text: &str) -> &mut Self {
        self.expect_frame(TEXT, text)
    }

    /// This binary message comes next.
    pub fn expect_binary(&mut self, bytes: &[u8]) -> &mut Self {
        self.expect_frame(BINARY, bytes)
    }

    /// This pong comes next.
    pub fn expect_pong(&mut self, payload: impl AsRef<[u8]>) -> &mut Self {
        self.expect_frame(PONG, payload)
    }

    /// A close frame with this code comes next, and then the end of the stream: the server closes first (RFC 6455
    /// section 7.1.1). Returns the reason.
    pub fn expect_close(&mut self, code: u16) -> String {
        let (opcode, payload) = self.next_frame();
        let got = payload.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]]));
        let reason = String::from_utf8_lossy(payload.get(2..).unwrap_or_default()).into_owned();
        assert!(
            opcode == CLOSE,
            "expected close {code}, got {} {}",
            name(opcode),
            show(&payload)
        );
        assert_eq!(got, Some(code), "the close code; its reason is {reason:?}");
        self.expect_eof();
        reason
    }

    /// A close frame without a code comes next, and then the end of the stream.
    pub fn expect_bare_close(&mut self) {
        self.expect_frame(CLOSE, b"");
        self.expect_eof();
    }

    /// The stream ends here.
    pub fn expect_eof(&mut self) {
        assert_eq!(self.expect_end(), End::Eof);
    }

    /// The stream is reset here. Bytes before the reset are ignored, because a reset may overtake them.
    pub fn expect_reset(&mut self) {
        assert_eq!(self.drain(), End::Reset);
    }

    /// The stream ends here, in whichever way.
    pub fn expect_end(&mut self) -> End {
        let deadline = Instant::now() + self.patience;
        loop {
            assert!(self.unread.is_empty(), "expected the end, got {}", show(&self.unread));
            if let Some(end) = self.fill(deadline) {
                return end;
            }
        }
    }

    /// Reads and forgets up to the end of the stream.
    pub fn drain(&mut self) -> End {
        let deadline = Instant::now() + self.patience;
        loop {
            self.unread.clear();
            if let Some(end) = self.fill(deadline) {
                return end;
            }
        }
    }

    /// Whether something (an answer, or the end) comes within `moment`.
    pub fn hears_within(&self, moment: Duration) -> bool {
        if !self.unread.is_empty() {
            return true;
        }
        let mut byte = [0];
        self.stream.set_read_timeout(Some(moment)).expect("a timeout");
        let heard = self.stream.peek(&mut byte);
        !heard.is_err_and(|error| is_wait(&error))
    }

    /// Reads the bytes that are there, 64 KiB at most, and drops them.
    pub fn read_some(&mut self) {
        let mut buffer = [0; 65_536];
        self.stream.set_read_timeout(Some(MOMENT)).expect("a timeout");
        let _ = self.stream.read(&mut buffer);
    }

    /// Takes that many bytes.
    fn take(&mut self, len: usize) -> Vec<u8> {
        let deadline = Instant::now() + self.patience;
        while self.unread.len() < len {
            if let Some(end) = self.fill(deadline) {
                panic!("expected {len} bytes, got {} and {end:?}", show(&self.unread));
            }
        }
        self.unread.split_to(len).to_vec()
    }

    /// Reads once; says so when that was the end.
    fn fill(&mut self, deadline: Instant) -> Option<End> {
        let mut buffer = [0; 65536];
        let left = deadline
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(1));
        self.stream.set_read_timeout(Some(left)).expect("a timeout");
        match self.stream.read(&mut buffer) {
            Ok(0) => return Some(End::Eof),
            Ok(n) => self.unread.extend_from_slice(&buffer[..n]),
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                return Some(End::Reset);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!(
                "waited for {:?}: {error}; so far came {}",
                self.patience,
                show(&self.unread)
            ),
        }
        None
    }
}

/// Only the time is over.
fn is_wait(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

/// Bytes for people: as text where they are text, and not all of a megabyte.
pub fn show(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(200)];
    format!("\"{}\" ({} bytes)", start.escape_ascii(), bytes.len())
}

fn name(opcode: u8) -> String {
    match opcode {
        CONTINUATION => "continuation".to_owned(),
        TEXT => "text".to_owned(),
        BINARY => "binary".to_owned(),
        CLOSE => "close".to_owned(),
        PING => "ping".to_owned(),
        PONG => "pong".to_owned(),
        other => format!("opcode {other}"),
    }
}
