//! A connection's send queue: the frames that wait to be written, its own and shared ones. A flush writes them with one
//! `send` or `writev`, mostly once a tick. The queue counts its bytes, so that the connection can recognise a slow
//! consumer. The connection decides what happens to a slow consumer.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

use bytes::Bytes;

use super::io::Socket;
use super::polled::Polled;

/// Own frames are gathered into segments of about so many bytes: a copy is cheaper than an allocation and an iovec for
/// each frame.
const GATHER: usize = 16 * 1024;

/// Segments of one `writev`. The kernel allows 1024, but 64 segments of small frames fill a socket's buffer already.
const SLICES: usize = 64;

/// Whole frames, in the order in which they will be written.
#[derive(Debug, Default)]
pub struct SendQueue {
    /// The first segment. Usually it is the only one. In the deque, a fan-out to ten thousand connections would
    /// allocate ten thousand deques and fetch them into the cache.
    first: Option<Segment>,
    /// The segments behind it; empty when there is no first one.
    rest: VecDeque<Segment>,
    /// How much of the first segment has been written.
    written: usize,
    /// Bytes that wait in all segments.
    bytes: usize,
}

/// One or more whole frames; a segment never starts or ends inside one.
#[derive(Debug)]
enum Segment {
    Own(Vec<u8>),
    Shared(Bytes),
}

impl Segment {
    fn as_slice(&self) -> &[u8] {
        match self {
            Segment::Own(bytes) => bytes,
            Segment::Shared(bytes) => bytes,
        }
    }
}

impl SendQueue {
    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Lets `encode` append whole frames of this connection.
    pub fn append_with(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let last = match self.rest.back_mut() {
            None => self.first.as_mut(),
            last => last,
        };
        if let Some(Segment::Own(own)) = last
            && own.len() < GATHER
        {
            let before = own.len();
            encode(own);
            self.bytes += own.len() - before;
            return;
        }
        let mut own = Vec::new();
        encode(&mut own);
        self.push_segment(Segment::Own(own));
    }

    /// Appends a whole frame that other connections share.
    pub fn push(&mut self, frame: Bytes) {
        self.push_segment(Segment::Shared(frame));
    }

    fn push_segment(&mut self, segment: Segment) {
        let len = segment.as_slice().len();
        if len == 0 {
            return;
        }
        self.bytes += len;
        match self.first {
            None => self.first = Some(segment),
            Some(_) => self.rest.push_back(segment),
        }
    }

    /// Writes as much as the kernel takes.
    ///
    /// # Errors
    /// Those of the socket; the connection is then of no more use.
    #[inline(always)]
    pub fn flush(&mut self, socket: &mut Polled<impl Socket>) -> io::Result<()> {
        while self.bytes > 0 {
            let written = match &self.first {
                // The usual case needs no array of slices.
                Some(only) if self.rest.is_empty() => {
                    socket.write(&[IoSlice::new(&only.as_slice()[self.written..])])?
                }
                _ => self.write_many(socket)?,
            };
            match written {
                Some(n) => self.advance(n),
                None => break,
            }
        }
        Ok(())
    }

    #[inline(never)]
    fn write_many(&self, socket: &mut Polled<impl Socket>) -> io::Result<Option<usize>> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut count = 0;
        for (slice, segment) in slices.iter_mut().zip(self.first.iter().chain(&self.rest)) {
            let skip = if count == 0 { self.written } else { 0 };
            *slice = IoSlice::new(&segment.as_slice()[skip..]);
            count += 1;
        }
        socket.write(&slices[..count])
    }

    /// Drops the segments that have not begun to be written. A close frame can still follow the rest.
    pub fn drop_unwritten(&mut self) {
        self.rest = VecDeque::new();
        self.first.take_if(|_| self.written == 0);
        self.bytes = self
            .first
            .as_ref()
            .map_or(0, |first| first.as_slice().len() - self.written);
    }

    fn advance(&mut self, n: usize) {
        self.bytes -= n;
        self.written += n;
        while let Some(first) = &self.first {
            let len = first.as_slice().len();
            if self.written < len {
                return;
            }
            self.written -= len;
            self.first = self.rest.pop_front();
        }
        // An idle connection holds no buffer: at ten thousand of them it would be most of the cost of a queue.
        self.rest = VecDeque::new();
    }
}

/// tungstenite writes its own frames (pongs, closes) through this. A write takes a whole frame and never fails.
impl Write for SendQueue {
    fn write(&mut self, frame: &[u8]) -> io::Result<usize> {
        self.append_with(|out| out.extend_from_slice(frame));
        Ok(frame.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes the given numbers of bytes in turn, then blocks.
    struct Takes(Vec<usize>, Vec<u8>);

    impl Socket for Takes {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            unreachable!("never read")
        }
        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let all: Vec<u8> = slices.iter().flat_map(|s| s.iter().copied()).collect();
            let n = self.0.remove(0).min(all.len());
            self.1.extend_from_slice(&all[..n]);
            Ok(n)
        }
        fn is_connected(&mut self) -> io::Result<bool> {
            Ok(true)
        }

        fn shutdown_write(&mut self) {}
        fn reset_on_close(&mut self) {}
    }

    fn polled(takes: Vec<usize>) -> Polled<Takes> {
        let mut socket = Polled::new(Takes(takes, Vec::new()));
        socket.ready.writable = true;
        socket
    }

    /// An edge comes, since there is room for all.
    fn take_again(socket: &mut Polled<Takes>) {
        socket.stream.0 = vec![100];
        socket.ready.writable = true;
    }

    #[test]
    fn partial_writes_keep_the_order_at_every_cut() {
        for cut in 1..12 {
            let mut queue = SendQueue::default();
            queue.append_with(|out| out.extend_from_slice(b"one"));
            queue.push(Bytes::from_static(b"two"));
            queue.append_with(|out| out.extend_from_slice(b"three"));
            let mut socket = polled(vec![cut]);
            queue.flush(&mut socket).unwrap();
            assert_eq!(socket.ready.writable, cut == 11, "the kernel's refusal is noted");
            assert_eq!(queue.len(), 11usize.saturating_sub(cut));
            take_again(&mut socket);
            queue.flush(&mut socket).unwrap();
            assert!(queue.is_empty());
            assert_eq!(socket.stream.1, b"onetwothree");
        }
    }

    #[test]
    fn only_the_begun_segment_stays_when_the_rest_is_dropped() {
        let mut queue = SendQueue::default();
        queue.push(Bytes::from_static(b"begun"));
        queue.push(Bytes::from_static(b"never"));
        let mut socket = polled(vec![2]);
        queue.flush(&mut socket).unwrap();
        queue.drop_unwritten();
        queue.append_with(|out| out.extend_from_slice(b"!"));
        take_again(&mut socket);
        queue.flush(&mut socket).unwrap();
        assert_eq!(socket.stream.1, b"begun!");
        queue.push(Bytes::from_static(b"never"));
        queue.drop_unwritten();
        assert!(queue.is_empty());
    }
}
