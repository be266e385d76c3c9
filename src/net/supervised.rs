//! The line between the supervisor and one of its workers, when several processes are one server. It is a Unix socket,
//! the worker's standard input: the supervisor hands its listeners over in the first message, gives orders, and reads
//! the worker's words. A line that ends tells each side that the other one is gone.
//!
//! Rejected: descriptors that the worker inherits by their numbers. To own a number that an environment variable names
//! needs `unsafe`, and the children of a child would inherit them too.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use super::listener::{Listener, Speaks};

/// The version of what is spoken here. After an upgrade a supervisor may start a worker of another version.
const VERSION: u32 = 1;

/// Descriptors that one message of the kernel carries at most (`SCM_MAX_FD`).
const MOST_LISTENERS: usize = 253;

/// Bytes of a line's text that are kept while its end is missing. A worker that writes more is not one of ours.
const LONGEST_TEXT: usize = 64 * 1024;

/// An order of the supervisor to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Read the configuration and say whether it could be used.
    Weigh,
    /// Use it.
    Reload,
    /// Open the access log and read the certificates again; the configuration stays.
    Refresh,
    /// Write the records of the loop.
    Report,
    /// Drain, then exit.
    Drain,
    /// Do the same for a successor that accepts already.
    Replace,
    /// Exit at once.
    Abandon,
    /// The supervisor is gone: drain, and let others bind the addresses.
    Orphaned,
}

/// The orders that are sent, with their texts.
const ORDERS: [(Order, &str); 7] = [
    (Order::Weigh, "weigh"),
    (Order::Reload, "reload"),
    (Order::Refresh, "refresh"),
    (Order::Report, "report"),
    (Order::Drain, "drain"),
    (Order::Replace, "replace"),
    (Order::Abandon, "abandon"),
];

/// A word of a worker to the supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// It serves clients.
    Ready,
    /// The loop turns.
    Alive,
    /// The configuration could be used.
    Fit,
    /// It could not, for this reason.
    Unfit(String),
    /// The configuration was read again.
    Reloaded,
}

/// What the supervisor hands over, in one line of JSON. The descriptors stand in the same order.
#[derive(Serialize, Deserialize)]
struct Handover {
    version: u32,
    listeners: Vec<Facts>,
    /// The worker must be silent for a shorter time than this.
    watchdog_ms: Option<u64>,
}

/// One listener.
#[derive(Serialize, Deserialize)]
struct Facts {
    speaks: Speaks,
    proxy_protocol: bool,
    admin: bool,
}

/// What a worker got from its supervisor.
#[derive(Debug)]
pub struct Inheritance {
    /// The listeners.
    pub listeners: Vec<Listener>,
    /// The index of the one for administrators.
    pub admin: Option<usize>,
    /// The worker must say [`Word::Alive`] more often than this.
    pub watchdog: Option<Duration>,
    /// The line to the supervisor.
    pub line: Line,
}

/// One end of the line. It never blocks.
#[derive(Debug)]
pub struct Line {
    stream: UnixStream,
    /// What has come of a text.
    begun: Vec<u8>,
    is_over: bool,
}

impl Line {
    /// Makes a line, and puts the listeners into it. Returns the worker's end too.
    ///
    /// # Errors
    /// Those of the operating system, or there are too many listeners.
    pub fn open(listeners: &[(&Listener, bool)], watchdog: Option<Duration>) -> io::Result<(Self, OwnedFd)> {
        if listeners.len() > MOST_LISTENERS {
            let why = format!("several processes can share at most {MOST_LISTENERS} listeners");
            return Err(io::Error::other(why));
        }
        let (ours, theirs) = UnixStream::pair()?;
        let handover = Handover {
            version: VERSION,
            listeners: listeners
                .iter()
                .map(|(listener, admin)| facts(listener, *admin))
                .collect(),
            watchdog_ms: watchdog.and_then(|limit| u64::try_from(limit.as_millis()).ok()),
        };
        let mut text = serde_json::to_vec(&handover)?;
        text.push(b'\n');
        let descriptors: Vec<BorrowedFd<'_>> = listeners.iter().map(|(listener, _)| listener.socket.as_fd()).collect();
        let rights = SendAncillaryMessage::ScmRights(&descriptors);
        let mut space = vec![MaybeUninit::uninit(); rights.size()];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fits = ancillary.push(rights);
        debug_assert!(fits, "the room was made for it");
        let sent = sendmsg(&ours, &[IoSlice::new(&text)], &mut ancillary, SendFlags::NOSIGNAL)?;
        // The socket is empty: it takes some hundred bytes for each listener.
        debug_assert_eq!(sent, text.len(), "the handover fits into an empty socket");
        ours.set_nonblocking(true)?;
        Ok((Self::over(ours), theirs.into()))
    }

    /// Takes over what the supervisor has put into the line whose end is this process's standard input.
    ///
    /// # Errors
    /// Standard input is no such line, or the supervisor's version is another one.
    pub fn inherit(end: BorrowedFd<'_>) -> io::Result<Inheritance> {
        let mut line = Self::over(UnixStream::from(end.try_clone_to_owned()?));
        let mut text = vec![0; LONGEST_TEXT];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_LISTENERS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let slices = &mut [IoSliceMut::new(&mut text)];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received = recvmsg(&line.stream, slices, &mut ancillary, flags)?;
        let mut descriptors = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        let bad = |what: &str| io::Error::other(what.to_owned());
        let end = text[..received.bytes].iter().position(|byte| *byte == b'\n');
        let end = end.ok_or_else(|| bad("it has no handover of a supervisor"))?;
        let handover: Handover = serde_json::from_slice(&text[..end])?;
        if handover.version != VERSION || handover.listeners.len() != descriptors.len() {
            return Err(bad("the supervisor is of another version"));
        }
        line.begun.extend_from_slice(&text[end + 1..received.bytes]);
        line.stream.set_nonblocking(true)?;
        let admin = handover.listeners.iter().position(|facts| facts.admin);
        let both = handover.listeners.iter().zip(descriptors);
        Ok(Inheritance {
            listeners: both
                .map(|(facts, socket)| Listener::inherited(socket, facts.speaks, facts.proxy_protocol))
                .collect(),
            admin,
            watchdog: handover.watchdog_ms.map(Duration::from_millis),
            line,
        })
    }

    fn over(stream: UnixStream) -> Self {
        Self {
            stream,
            begun: Vec::new(),
            is_over: false,
        }
    }

    /// A second handle of the same end.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn twin(&self) -> io::Result<Self> {
        self.stream.try_clone().map(Self::over)
    }

    /// Gives an order. One that the other side does not take, because it reads no more, is lost.
    pub fn order(&mut self, order: Order) {
        if let Some((_, text)) = ORDERS.iter().find(|(known, _)| *known == order) {
            self.send(text.as_bytes());
        }
    }

    /// Says a word.
    pub fn say(&mut self, word: &Word) {
        // JSON has no line end, whatever the reason quotes.
        self.send(&serde_json::to_vec(word).unwrap_or_default());
    }

    fn send(&mut self, text: &[u8]) {
        let line = [text, b"\n"].concat();
        match self.stream.write(&line) {
            Ok(sent) if sent == line.len() => {}
            // The other side would read half a line next. It reads nothing more.
            Ok(_) => self.is_over = true,
            Err(error) => log::debug!("the line to the other process is not written: {error}"),
        }
    }

    /// The orders that have come; at last [`Order::Orphaned`] when the line has ended.
    pub fn orders(&mut self) -> Vec<Order> {
        let texts = self.texts();
        let find = |text: &Vec<u8>| ORDERS.iter().find(|(_, known)| known.as_bytes() == text);
        let mut orders: Vec<Order> = texts.iter().filter_map(find).map(|(order, _)| *order).collect();
        orders.extend(self.is_over.then_some(Order::Orphaned));
        orders
    }

    /// The words that have come.
    pub fn words(&mut self) -> Vec<Word> {
        let texts = self.texts();
        texts
            .iter()
            .filter_map(|text| serde_json::from_slice(text).ok())
            .collect()
    }

    /// The whole texts that have come.
    fn texts(&mut self) -> Vec<Vec<u8>> {
        let mut buffer = [0; 4096];
        while !self.is_over && self.begun.len() < LONGEST_TEXT {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.is_over = true,
                Ok(n) => self.begun.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.is_over = true,
            }
        }
        let whole = self
            .begun
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        if whole == 0 && self.begun.len() >= LONGEST_TEXT {
            self.is_over = true;
        }
        let lines: Vec<u8> = self.begun.drain(..whole).collect();
        lines
            .split(|byte| *byte == b'\n')
            .filter(|text| !text.is_empty())
            .map(<[u8]>::to_vec)
            .collect()
    }
}

impl AsRawFd for Line {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

fn facts(listener: &Listener, admin: bool) -> Facts {
    Facts {
        speaks: listener.speaks(),
        proxy_protocol: listener.proxy_protocol,
        admin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener() -> Listener {
        Listener::bind(&"127.0.0.1:0".parse().expect("an address"), 0).expect("a port")
    }

    #[test]
    fn a_worker_takes_over_the_listeners_that_the_supervisor_has() {
        let (mut first, second) = (listener(), listener().speaking(Speaks::Https));
        first.expect_header();
        let watchdog = Some(Duration::from_secs(30));
        let (mut ours, theirs) = Line::open(&[(&first, false), (&second, true)], watchdog).expect("a line");
        ours.order(Order::Drain);
        let got = Line::inherit(theirs.as_fd()).expect("the listeners");
        let urls: Vec<String> = got.listeners.iter().map(Listener::url).collect();
        assert_eq!(urls, [first.url(), second.url()]);
        assert!(got.listeners[0].proxy_protocol && !got.listeners[1].proxy_protocol);
        assert_eq!((got.admin, got.watchdog), (Some(1), watchdog));
        let mut line = got.line;
        assert_eq!(line.orders(), [Order::Drain], "it came behind the handover");
        assert_eq!(line.orders(), []);
        drop(ours);
        assert_eq!(line.orders(), [Order::Orphaned]);
    }

    #[test]
    fn orders_and_words_arrive_whole() {
        let (mut ours, theirs) = Line::open(&[], None).expect("a line");
        let mut worker = Line::inherit(theirs.as_fd()).expect("no listeners").line;
        drop(theirs);
        for (order, _) in ORDERS {
            ours.order(order);
        }
        assert_eq!(worker.orders(), ORDERS.map(|(order, _)| order));
        let unfit = Word::Unfit("two lines\n\"fit\"\n".into());
        worker.say(&Word::Ready);
        worker.say(&unfit);
        assert_eq!(ours.words(), [Word::Ready, unfit]);
        worker.send(b"a word of a later version");
        drop(worker);
        assert_eq!((ours.words(), ours.is_over), (vec![], true));
    }

    #[test]
    fn another_standard_input_is_no_line() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let error = |end: BorrowedFd<'_>| Line::inherit(end).expect_err("no handover").to_string();
        assert!(!error(theirs.as_fd()).is_empty(), "nothing came");
        (&ours).write_all(b"{\"version\":2,\"listeners\":[]}\n").expect("sent");
        assert_eq!(error(theirs.as_fd()), "the supervisor is of another version");
        (&ours).write_all(b"hello").expect("sent");
        assert_eq!(error(theirs.as_fd()), "it has no handover of a supervisor");
        let file = std::fs::File::open("/dev/null").expect("Linux has it");
        assert!(!error(file.as_fd()).is_empty(), "no socket");
    }

    #[test]
    fn a_text_without_an_end_ends_the_line() {
        let (mut ours, theirs) = Line::open(&[], None).expect("a line");
        let mut worker = Line::inherit(theirs.as_fd()).expect("no listeners").line;
        for _ in 0..LONGEST_TEXT / 1024 {
            worker.stream.write_all(&[b'x'; 1024]).expect("sent");
            assert_eq!(ours.words(), []);
        }
        assert!(ours.is_over && ours.begun.len() <= LONGEST_TEXT);
    }
}
