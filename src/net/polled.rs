//! A socket, perhaps with TLS above it, and the readiness that the kernel reported. The poller is edge-triggered: it
//! reports a change once. So a report stays noted here until a read or a write has used it up.

use std::io::{self, IoSlice};

use super::io::Socket;
use super::tls::{NoTls, Session};

/// Bytes that one read of an outgoing handshake takes.
const HANDSHAKE: usize = 4096;

/// The readiness that the kernel reported for a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edges {
    /// Bytes, an end or an error can be read.
    pub readable: bool,
    /// There is room to write, or an error to be reported.
    pub writable: bool,
    /// The peer closed its side or the connection failed: no edge will report the end after the last bytes.
    pub read_closed: bool,
}

/// A socket that the poller watches.
#[derive(Debug)]
pub struct Polled<S> {
    /// Its stream.
    pub stream: S,
    /// The reported readiness that is not used up.
    pub ready: Edges,
    /// What encrypts and decrypts; `None`: nothing does.
    tls: Option<Box<Session>>,
}

impl<S: Socket> Polled<S> {
    /// A stream of which nothing was reported yet.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            ready: Edges::default(),
            tls: None,
        }
    }

    /// Speaks TLS from here on. Nothing was read or written before.
    pub fn secure(&mut self, session: Session) {
        self.tls = Some(Box::new(session));
    }

    /// The TLS of the connection, if it speaks TLS.
    pub fn session(&self) -> Option<&Session> {
        self.tls.as_deref()
    }

    /// Whether it speaks TLS.
    pub fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether the peer broke TLS: nothing more can be read or written.
    pub fn has_failed(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.has_failed())
    }

    /// Whether a TLS handshake is under way: nothing can be written.
    pub fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    /// Whether a read may return something: the kernel reported it, or TLS has read more than was taken.
    pub fn has_more(&self) -> bool {
        self.ready.readable || self.tls.as_ref().is_some_and(|tls| tls.has_more())
    }

    /// Bytes that a write has taken and the kernel has not: 0 without TLS.
    #[inline]
    pub fn unsent(&self) -> usize {
        self.tls.as_ref().map_or(0, |tls| tls.unsent())
    }

    /// Notes what the kernel reported.
    pub fn note(&mut self, reported: Edges) {
        self.ready.readable |= reported.readable;
        self.ready.writable |= reported.writable;
        self.ready.read_closed |= reported.read_closed;
    }

    /// Reads once; 0: the peer has ended its side. `None`: there is nothing before the next edge; or TLS had much to do
    /// and `has_more` is still true.
    ///
    /// # Errors
    /// Those of the socket, after which the connection is of no more use; and those of TLS. What was to be said about
    /// these to the peer is flushed by `finish`.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match &mut self.tls {
            Some(tls) => tls.read(&mut self.stream, &mut self.ready, buffer),
            None => self.read_raw(buffer),
        }
    }

    /// Reads the bytes of the socket as they are, below TLS.
    ///
    /// # Errors
    /// Those of the socket; the connection is then of no more use.
    pub fn read_raw(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let read = until_blocked(&mut self.ready.readable, || self.stream.read(buffer))?;
        if let Some(n) = read {
            // A short read has emptied the socket, so the next byte brings a new edge. A full read has not; and when
            // the peer has closed, no edge will come for the end.
            self.ready.readable = n > 0 && (n == buffer.len() || self.ready.read_closed);
        }
        Ok(read)
    }

    /// Writes once, as much as the kernel takes. `None`: it takes nothing before the next edge.
    ///
    /// # Errors
    /// Those of the socket; the connection is then of no more use.
    #[inline(always)]
    pub fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
        if let Some(tls) = &mut self.tls {
            return tls.write(&mut self.stream, &mut self.ready, slices);
        }
        match until_blocked(&mut self.ready.writable, || self.stream.write_vectored(slices))? {
            Some(0) => Err(io::ErrorKind::WriteZero.into()),
            written => Ok(written),
        }
    }

    /// Writes what TLS has to say by itself, and what an earlier write has left.
    ///
    /// # Errors
    /// Those of the socket.
    #[inline]
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => tls.flush(&mut self.stream, &mut self.ready),
            None => Ok(()),
        }
    }

    /// Goes on with a TLS handshake as far as it can without waiting. Returns whether a write can be taken: always
    /// without TLS.
    ///
    /// # Errors
    /// Those of the socket and of TLS, and content that came before anything was asked for.
    pub fn shake_hands(&mut self) -> io::Result<bool> {
        self.flush()?;
        while self.is_handshaking() && self.ready.readable {
            let mut buffer = [0; HANDSHAKE];
            match self.read(&mut buffer)? {
                None => {}
                Some(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, NoTls::Ended)),
                Some(_) => {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "it answered before it was asked",
                    ));
                }
            }
        }
        Ok(!self.is_handshaking())
    }

    /// Ends the writing side of TLS. Returns whether nothing is left to write, so that the socket can be shut down.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn finish(&mut self) -> io::Result<bool> {
        match &mut self.tls {
            Some(tls) => tls.finish(&mut self.stream, &mut self.ready),
            None => Ok(true),
        }
    }
}

/// Makes a system call while the socket is ready, again if a signal interrupted it.
#[inline(always)]
pub(super) fn until_blocked(
    ready: &mut bool,
    mut call: impl FnMut() -> io::Result<usize>,
) -> io::Result<Option<usize>> {
    while *ready {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => *ready = false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map(Some),
        }
    }
    Ok(None)
}
