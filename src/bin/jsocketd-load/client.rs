//! One connection of the load generator, from the connecting socket to decoded frames. The connection implements the
//! protocol. The script decides about the messages. The fleet calls the connection when its socket is ready.

use std::io::{self, Read, Write};

use jsocketd::time::Time;
use mio::net::TcpStream;

use crate::wire::{self, Decoded, Frame, Reply};

/// The actions of a scenario on its connections. `id` counts the connections from 0 in the order of opening. A method
/// appends to `out` the bytes to send on the connection of the call.
pub trait Script {
    /// The server accepted the upgrade.
    fn upgraded(&mut self, _id: usize, _out: &mut Vec<u8>) {}
    /// The scenario begins to talk on this connection.
    fn begin(&mut self, _id: usize, _out: &mut Vec<u8>, _now: Time) {}
    /// An answer came on an HTTP connection.
    fn answered(&mut self, _id: usize, _status: u16, _body: &[u8], _out: &mut Vec<u8>, _now: Time) {}
    /// A whole message came in, or, on a raw connection, some bytes.
    fn received(&mut self, _id: usize, _bytes: &[u8], _out: &mut Vec<u8>, _now: Time) {}
    /// The connection ended after its upgrade.
    fn ended(&mut self, _id: usize) {}
}

/// How a connection presents itself.
#[derive(Clone, Debug)]
pub enum Greeting {
    /// A whole handshake with more `headers`, whole lines each, and with `early` bytes in the same segment.
    Whole { headers: String, early: Vec<u8>, raw: bool },
    /// Half a handshake, and then silence.
    Half,
    /// Not at all: plain HTTP requests follow.
    Http,
}

impl Greeting {
    /// A handshake and no more.
    pub fn plain() -> Self {
        Self::Whole {
            headers: String::new(),
            early: Vec::new(),
            raw: false,
        }
    }
}

/// The kind of bytes that an open connection receives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speaks {
    /// Frames.
    WebSocket,
    /// Bytes that are passed on as they are.
    Raw,
    /// HTTP answers.
    Http,
}

/// How far a connection is.
#[derive(Debug)]
pub enum Stage {
    /// The kernel is connecting; the key is the handshake's.
    Connecting { key: String },
    /// The request is sent, or on its way.
    Upgrading { key: String },
    /// Half a handshake was sent.
    HalfOpen,
    /// Messages are exchanged.
    Open,
}

/// The result of one turn with a connection.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// Everything that was readable has been handled.
    Quiet,
    /// There may be more to read although no event will say so.
    MoreToRead,
    /// The connection is over, and why.
    Ended(String),
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    pub socket: TcpStream,
    pub stage: Stage,
    pub speaks: Speaks,
    /// When `connect` was called.
    pub opened: Time,
    /// Bytes that wait to be written; those before `written` are gone already.
    pub out: Vec<u8>,
    written: usize,
    /// The beginning of a head or frame whose rest has not come yet.
    input: Vec<u8>,
    /// The beginning of a fragmented message.
    message: Vec<u8>,
    /// Of the frames that are not the script's own: pongs.
    mask: [u8; 4],
}

/// Full buffers read in one turn before others get theirs.
const READS_PER_TURN: usize = 4;

impl Client {
    pub fn new(socket: TcpStream, key: String, speaks: Speaks, mask: [u8; 4], opened: Time) -> Self {
        Self {
            socket,
            stage: Stage::Connecting { key },
            speaks,
            opened,
            out: Vec::new(),
            written: 0,
            input: Vec::new(),
            message: Vec::new(),
            mask,
        }
    }

    /// Whether the connection is made; an error when it was refused.
    pub fn connected(&self) -> io::Result<bool> {
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        match self.socket.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads the bytes that are there; `to_the_end` when the event says that the server closed its side.
    pub fn read(
        &mut self,
        id: usize,
        buffer: &mut [u8],
        to_the_end: bool,
        now: Time,
        script: &mut impl Script,
    ) -> Outcome {
        let mut reads = 0;
        while to_the_end || reads < READS_PER_TURN {
            reads += 1;
            let length = match self.socket.read(buffer) {
                Ok(0) => return Outcome::Ended("the server closed the connection".into()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Outcome::Quiet,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Outcome::Ended(error.to_string()),
            };
            if let Err(why) = self.take(id, &buffer[..length], now, script) {
                return Outcome::Ended(why);
            }
            if length < buffer.len() && !to_the_end {
                return Outcome::Quiet;
            }
        }
        Outcome::MoreToRead
    }

    /// Writes what waits, as far as the kernel takes it.
    pub fn flush(&mut self) -> io::Result<()> {
        while self.written < self.out.len() {
            match self.socket.write(&self.out[self.written..]) {
                Ok(length) => self.written += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    fn take(&mut self, id: usize, bytes: &[u8], now: Time, script: &mut impl Script) -> Result<(), String> {
        if self.input.is_empty() {
            let used = self.consume(id, bytes, now, script)?;
            self.input.extend_from_slice(&bytes[used..]);
        } else {
            let mut input = std::mem::take(&mut self.input);
            input.extend_from_slice(bytes);
            let used = self.consume(id, &input, now, script)?;
            input.drain(..used);
            self.input = input;
        }
        Ok(())
    }

    /// Handles the complete replies and frames in `bytes`; returns their length in bytes.
    fn consume(&mut self, id: usize, bytes: &[u8], now: Time, script: &mut impl Script) -> Result<usize, String> {
        let mut used = 0;
        if let Stage::Upgrading { key } = &self.stage {
            match wire::read_reply(bytes, key) {
                Reply::Incomplete => return Ok(0),
                Reply::Refused(why) => return Err(why),
                Reply::Upgraded(length) => used = length,
            }
            self.stage = Stage::Open;
            script.upgraded(id, &mut self.out);
        }
        if !matches!(self.stage, Stage::Open) {
            return Ok(bytes.len());
        }
        match self.speaks {
            Speaks::WebSocket => {}
            Speaks::Raw => {
                script.received(id, &bytes[used..], &mut self.out, now);
                return Ok(bytes.len());
            }
            Speaks::Http => return self.answers(id, bytes, now, script),
        }
        loop {
            match wire::decode(&bytes[used..]) {
                Decoded::Incomplete => return Ok(used),
                Decoded::Broken(why) => return Err(why.into()),
                Decoded::Frame(frame) => {
                    used += frame.length;
                    self.frame(id, &frame, now, script)?;
                }
            }
        }
    }

    fn answers(&mut self, id: usize, bytes: &[u8], now: Time, script: &mut impl Script) -> Result<usize, String> {
        let mut used = 0;
        while used < bytes.len()
            && let Some(answer) = wire::read_answer(&bytes[used..])?
        {
            used += answer.length;
            script.answered(id, answer.status, answer.body, &mut self.out, now);
        }
        Ok(used)
    }

    fn frame(&mut self, id: usize, frame: &Frame, now: Time, script: &mut impl Script) -> Result<(), String> {
        match (frame.opcode, frame.finished) {
            (wire::TEXT | wire::BINARY, true) => script.received(id, frame.payload, &mut self.out, now),
            (wire::TEXT | wire::BINARY | wire::CONTINUATION, finished) => {
                if self.message.len() + frame.payload.len() > wire::MAX_PAYLOAD {
                    return Err("a message is larger than 16 MiB".into());
                }
                self.message.extend_from_slice(frame.payload);
                if finished {
                    let message = std::mem::take(&mut self.message);
                    script.received(id, &message, &mut self.out, now);
                }
            }
            (wire::PING, _) => wire::encode(wire::PONG, frame.payload, self.mask, &mut self.out),
            (wire::PONG, _) => {}
            (wire::CLOSE, _) => {
                let (code, reason) = frame.payload.split_at_checked(2).unwrap_or_default();
                let code = code.try_into().map_or(1005, u16::from_be_bytes);
                return Err(format!("close frame {code} {}", String::from_utf8_lossy(reason)));
            }
            (opcode, _) => return Err(format!("a frame has the reserved opcode {opcode}")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const REPLY: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                           Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

    #[derive(Default)]
    struct Received(Vec<String>);

    impl Script for Received {
        fn upgraded(&mut self, id: usize, _: &mut Vec<u8>) {
            self.0.push(format!("{id} upgraded"));
        }
        fn received(&mut self, id: usize, bytes: &[u8], _: &mut Vec<u8>, _: Time) {
            self.0.push(format!("{id} {}", String::from_utf8_lossy(bytes)));
        }
        fn answered(&mut self, id: usize, status: u16, body: &[u8], _: &mut Vec<u8>, _: Time) {
            self.0.push(format!("{id} {status} {}", String::from_utf8_lossy(body)));
        }
    }

    fn client() -> Client {
        // Nothing is ever sent on this socket; it only has to exist.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut client = Client::new(socket, String::new(), Speaks::WebSocket, [1, 2, 3, 4], Time(0));
        client.stage = Stage::Upgrading { key: KEY.into() };
        client
    }

    /// The messages received from `stream` in pieces of `piece` bytes, the end of the connection, and the bytes sent
    /// back.
    fn receive(stream: &[u8], piece: usize) -> (Vec<String>, Option<String>, Vec<u8>) {
        let (mut client, mut received) = (client(), Received::default());
        let end = stream
            .chunks(piece)
            .find_map(|bytes| client.take(7, bytes, Time(0), &mut received).err());
        (received.0, end, client.out)
    }

    #[test]
    fn a_dialogue_is_read_alike_in_pieces_of_any_size() {
        let mut stream = REPLY.to_vec();
        stream.extend(b"\x81\x03one"); // text
        stream.extend(b"\x89\x01p"); // ping
        stream.extend(b"\x01\x01t\x8a\x00\x00\x01w\x80\x01o"); // text in three fragments, a pong in between
        stream.extend(b"\x82\x7e\x00\x05three"); // binary, two bytes of length
        stream.extend(b"\x88\x05\x03\xe9bye"); // close 1001
        stream.extend(b"\x81\x04late");
        let mut pong = Vec::new();
        wire::encode(wire::PONG, b"p", [1, 2, 3, 4], &mut pong);
        for piece in 1..=stream.len() {
            let (received, end, out) = receive(&stream, piece);
            assert_eq!(
                received,
                ["7 upgraded", "7 one", "7 two", "7 three"],
                "pieces of {piece}"
            );
            assert_eq!(end.as_deref(), Some("close frame 1001 bye"), "pieces of {piece}");
            assert_eq!(out, pong, "pieces of {piece}");
        }
    }

    #[test]
    fn http_answers_are_read_alike_in_pieces_of_any_size() {
        let stream = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 204 No Content\r\n\r\n\
                       HTTP/1.1 401 Unauthorized\r\ncontent-length: 3\r\n\r\nno!";
        for piece in 1..=stream.len() {
            let (mut client, mut received) = (client(), Received::default());
            (client.stage, client.speaks) = (Stage::Open, Speaks::Http);
            for bytes in stream.chunks(piece) {
                client.take(7, bytes, Time(0), &mut received).unwrap();
            }
            assert_eq!(received.0, ["7 200 {}", "7 204 ", "7 401 no!"], "pieces of {piece}");
        }
    }

    #[test]
    fn a_refused_upgrade_ends_with_the_status() {
        let (received, end, _) = receive(b"HTTP/1.1 503 Service Unavailable\r\n\r\nfull", 5);
        assert!(received.is_empty());
        assert_eq!(end.as_deref(), Some("HTTP 503 Service Unavailable"));
    }

    #[test]
    fn a_close_frame_without_a_code_is_understood() {
        let (_, end, _) = receive(&[REPLY, b"\x88\x00"].concat(), 3);
        assert_eq!(end.as_deref(), Some("close frame 1005 "));
    }
}
