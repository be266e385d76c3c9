//! A socket and the readiness that the kernel reported. The poller is edge-triggered: it reports a change once. So a
//! report stays noted here until a read or a write has used it up.

use std::io::{self, IoSlice};

use super::io::Socket;

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
}

impl<S: Socket> Polled<S> {
    /// A stream of which nothing was reported yet.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            ready: Edges::default(),
        }
    }

    /// Notes what the kernel reported.
    pub fn note(&mut self, reported: Edges) {
        self.ready.readable |= reported.readable;
        self.ready.writable |= reported.writable;
        self.ready.read_closed |= reported.read_closed;
    }

    /// Reads once; 0: the peer has ended its side. `None`: there is nothing before the next edge.
    ///
    /// # Errors
    /// Those of the socket; the connection is then of no more use.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
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
    #[inline]
    pub fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
        match until_blocked(&mut self.ready.writable, || self.stream.write_vectored(slices))? {
            Some(0) => Err(io::ErrorKind::WriteZero.into()),
            written => Ok(written),
        }
    }
}

/// Makes a system call while the socket is ready, again if a signal interrupted it.
fn until_blocked(ready: &mut bool, mut call: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
    while *ready {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => *ready = false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map(Some),
        }
    }
    Ok(None)
}
