//! TLS as a layer between a socket and its connection: bytes of the socket in, bytes of the peer's program out, and the
//! other way round. [`Polled`](super::polled::Polled) owns the session and the socket; this module reads no clock and
//! decides nothing. It serves accepted and outgoing connections alike.
//!
//! A session keeps little: rustls's state, one incomplete record, and the records that the kernel has not taken. The
//! last are at most [`MOST_UNSENT`] bytes of content, since no more is encrypted before they are written.
//!
//! What works for a session is never inlined: a connection without TLS would pay for it with registers.
//!
//! Rejected: rustls's interface without buffers. It saves the 4 KB that an idle session holds here, and costs a state
//! machine of our own around each record.

use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConfig, ServerConnection};

use super::io::Socket;
use super::polled::{Edges, until_blocked};

/// The settings of a server's sessions. The library shares them between its sessions.
pub type ServerSettings = Arc<ServerConfig>;

/// The settings of a client's sessions.
pub type ClientSettings = Arc<ClientConfig>;

/// Bytes of content that may be encrypted and not yet written: the library's own limit.
pub const MOST_UNSENT: usize = 64 * 1024;

/// A little more than the largest record: what one record may add to the content, however few bytes complete it.
const RECORD: usize = 18 * 1024;

/// Reads of the socket in one call, if they bring no content.
const READS: usize = 4;

/// The answer to a client that speaks plain HTTP here.
const SPEAK_HTTPS: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\
    Content-Length: 44\r\n\r\nthis port speaks https; use https:// or wss\n";

/// The TLS of one connection.
#[derive(Debug)]
pub struct Session {
    tls: rustls::Connection,
    stage: Stage,
    /// Records that the kernel has not taken, and how much of them it has.
    unsent: Vec<u8>,
    sent: usize,
    /// Decrypted content may be left that did not fit into the caller's buffer.
    has_content: bool,
    end: PeerEnd,
}

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing came from the peer.
    New,
    Handshaking,
    Open,
    /// We have said that we will send no more.
    Closing,
    /// The peer broke TLS, or speaks none. What it sends is thrown away.
    Failed(&'static str),
}

/// Whether the peer has said that it will send no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PeerEnd {
    No,
    /// It has, and a read has still to return that.
    Came,
    Returned,
}

/// Why a session failed, apart from the errors of rustls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTls {
    /// The client speaks HTTP without TLS.
    #[error("plain HTTP came to a port that speaks https")]
    PlainHttp,
    /// The peer ended the connection in the handshake.
    #[error("it closed the connection in the TLS handshake")]
    Ended,
}

impl Session {
    /// The session of an accepted connection.
    ///
    /// # Errors
    /// If the settings cannot be used.
    pub fn server(settings: &ServerSettings) -> Result<Self, rustls::Error> {
        Ok(Self::new(ServerConnection::new(settings.clone())?.into()))
    }

    /// The session of an outgoing connection to a server of this name. The name is verified.
    ///
    /// # Errors
    /// If the settings cannot be used.
    pub fn client(settings: &ClientSettings, name: ServerName<'static>) -> Result<Self, rustls::Error> {
        let mut own = Self::new(ClientConnection::new(settings.clone(), name)?.into());
        own.stage = Stage::Handshaking;
        Ok(own)
    }

    fn new(tls: rustls::Connection) -> Self {
        Self {
            tls,
            stage: Stage::New,
            unsent: Vec::new(),
            sent: 0,
            has_content: false,
            end: PeerEnd::No,
        }
    }

    /// Whether the handshake is neither complete nor failed.
    pub fn is_handshaking(&self) -> bool {
        matches!(self.stage, Stage::New | Stage::Handshaking)
    }

    /// Whether the peer broke TLS or speaks none.
    pub fn has_failed(&self) -> bool {
        self.failure().is_some()
    }

    /// Why the session failed, in a word.
    pub fn failure(&self) -> Option<&'static str> {
        match self.stage {
            Stage::Failed(reason) => Some(reason),
            _ => None,
        }
    }

    /// Whether the handshake went on from an earlier session, without a signature.
    pub fn was_resumed(&self) -> bool {
        self.tls.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Bytes of records that the kernel has not taken.
    pub(super) fn unsent(&self) -> usize {
        self.unsent.len() - self.sent
    }

    /// Reads the socket and decrypts, as [`Polled::read`](super::polled::Polled::read) promises.
    #[inline(never)]
    pub(super) fn read(
        &mut self,
        stream: &mut impl Socket,
        ready: &mut Edges,
        buffer: &mut [u8],
    ) -> io::Result<Option<usize>> {
        if self.has_content {
            let left = self.take(buffer)?;
            if left > 0 {
                return Ok(Some(left));
            }
        }
        if self.end != PeerEnd::No {
            // RFC 8446 section 6.1: what comes after it is ignored.
            (ready.readable, self.end) = (false, PeerEnd::Returned);
            return Ok(Some(0));
        }
        // Content is never longer than its record. So it fits into the buffer before the records that are still to be
        // decrypted, if these begin one record behind the start.
        let from = RECORD.min(buffer.len() / 2);
        for _ in 0..READS {
            let Some(n) = until_blocked(&mut ready.readable, || stream.read(&mut buffer[from..]))? else {
                return Ok(None);
            };
            let end = from + n;
            ready.readable = n > 0 && (end == buffer.len() || ready.read_closed);
            if n == 0 {
                return match self.is_handshaking() && self.stage != Stage::New {
                    true => Err(self.fail(io::Error::new(io::ErrorKind::UnexpectedEof, NoTls::Ended))),
                    false => Ok(Some(0)),
                };
            }
            let taken = self.decrypt(buffer, from, end);
            self.flush(stream, ready)?;
            let content = taken?;
            if content == 0 && self.end == PeerEnd::Came {
                (ready.readable, self.end) = (false, PeerEnd::Returned);
                return Ok(Some(0));
            }
            if content > 0 {
                return Ok(Some(content));
            }
            if !ready.readable {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Whether a read has something to return without the socket.
    pub(super) fn has_more(&self) -> bool {
        self.has_content || self.end == PeerEnd::Came
    }

    /// Takes content out that is decrypted.
    fn take(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut taken = 0;
        while taken < buffer.len() {
            match self.tls.reader().read(&mut buffer[taken..]) {
                // The end is noticed where the records are decrypted.
                Ok(0) => break,
                Ok(n) => taken += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.has_content = taken == buffer.len();
        Ok(taken)
    }

    /// Decrypts the bytes of the buffer from `from` to `end`, and puts the content at its start. Returns the length of
    /// the content.
    fn decrypt(&mut self, buffer: &mut [u8], from: usize, end: usize) -> io::Result<usize> {
        if self.has_failed() {
            return Ok(0);
        }
        if self.stage == Stage::New {
            self.stage = Stage::Handshaking;
            // No record of TLS begins with a letter, and each request of HTTP does.
            if buffer[from].is_ascii_uppercase() {
                let error = self.fail(io::Error::new(io::ErrorKind::InvalidData, NoTls::PlainHttp));
                self.unsent = SPEAK_HTTPS.to_vec();
                return Err(error);
            }
        }
        let (mut at, mut content) = (from, 0);
        while at < end && self.end == PeerEnd::No {
            let mut rest = &buffer[at..end];
            let taken = self.tls.read_tls(&mut rest).map_err(|error| self.fail(error))?;
            at += taken;
            let processed = self.tls.process_new_packets();
            let state = processed.map_err(|error| self.fail(io::Error::new(io::ErrorKind::InvalidData, error)))?;
            if state.peer_has_closed() {
                self.end = PeerEnd::Came;
            }
            if self.stage == Stage::Handshaking && !self.tls.is_handshaking() {
                self.stage = Stage::Open;
            }
            content += self.take(&mut buffer[content..at])?;
        }
        // The library's buffer for an incomplete record is given back when a read begins.
        let _ = self.tls.read_tls(&mut Nothing);
        Ok(content)
    }

    fn fail(&mut self, error: io::Error) -> io::Error {
        (self.stage, self.has_content, self.end) = (Stage::Failed(reason(&error)), false, PeerEnd::No);
        error
    }

    /// Encrypts and writes, as [`Polled::write`](super::polled::Polled::write) promises. Nothing is taken before the
    /// handshake is complete, nor while older records wait.
    #[inline(never)]
    pub(super) fn write(
        &mut self,
        stream: &mut impl Socket,
        ready: &mut Edges,
        slices: &[IoSlice<'_>],
    ) -> io::Result<Option<usize>> {
        self.flush(stream, ready)?;
        if self.stage != Stage::Open || self.unsent() > 0 || !ready.writable {
            return Ok(None);
        }
        // Frames that are flushed together share their records.
        let taken = match slices {
            [one] => self.tls.writer().write(one)?,
            many => self.tls.writer().write_vectored(many)?,
        };
        self.flush(stream, ready)?;
        match taken {
            0 => Err(io::ErrorKind::WriteZero.into()),
            taken => Ok(Some(taken)),
        }
    }

    /// Writes the records that are ready, as far as the kernel takes them.
    #[inline(never)]
    pub(super) fn flush(&mut self, stream: &mut impl Socket, ready: &mut Edges) -> io::Result<()> {
        loop {
            if self.unsent() > 0 {
                let rest = &self.unsent[self.sent..];
                match until_blocked(&mut ready.writable, || stream.write_vectored(&[IoSlice::new(rest)]))? {
                    None => return Ok(()),
                    Some(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Some(n) => self.sent += n,
                }
                if self.unsent() == 0 {
                    // An idle session holds no buffer.
                    (self.unsent, self.sent) = (Vec::new(), 0);
                }
            } else if !self.tls.wants_write() {
                return Ok(());
            } else if ready.writable {
                match self.tls.write_tls(&mut Kernel { stream, ready }) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    written => drop(written?),
                }
            } else {
                while self.tls.wants_write() {
                    self.tls.write_tls(&mut self.unsent)?;
                }
                return Ok(());
            }
        }
    }

    /// Says that no more will be sent. Returns whether all is written, so that the socket can be shut down.
    #[inline(never)]
    pub(super) fn finish(&mut self, stream: &mut impl Socket, ready: &mut Edges) -> io::Result<bool> {
        if matches!(self.stage, Stage::New | Stage::Handshaking | Stage::Open) {
            if self.stage != Stage::New {
                self.tls.send_close_notify();
            }
            self.stage = Stage::Closing;
        }
        self.flush(stream, ready)?;
        Ok(self.unsent() == 0)
    }
}

/// The word for an error.
fn reason(error: &io::Error) -> &'static str {
    let inner = error.get_ref();
    match inner.and_then(|why| why.downcast_ref()) {
        Some(NoTls::PlainHttp) => return "plain_http",
        Some(NoTls::Ended) => return "ended",
        None => {}
    }
    match inner.and_then(|why| why.downcast_ref()) {
        Some(rustls::Error::AlertReceived(_)) => "alert",
        Some(rustls::Error::PeerIncompatible(_)) => "incompatible",
        _ => "protocol",
    }
}

/// The socket, as rustls writes to it.
struct Kernel<'a, S> {
    stream: &'a mut S,
    ready: &'a mut Edges,
}

impl<S: Socket> Write for Kernel<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let written = until_blocked(&mut self.ready.writable, || self.stream.write_vectored(slices))?;
        written.ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Nothing to read for now.
struct Nothing;

impl Read for Nothing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}
