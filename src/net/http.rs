//! HTTP/1.1 as a server reads and writes it: bytes in, requests out; responses in, bytes out. It has no socket,
//! no clock and no paths. Whether a request becomes a WebSocket is decided in `net::handshake`.
//!
//! It is strict on purpose. A proxy in front reads the same bytes. Where two readers may disagree (RFC 9112 section
//! 11.2) the request is refused instead of repaired. The result does not depend on the pieces in which bytes come,
//! except whether a `100 Continue` is asked for.

pub(in crate::net) mod chunked;
mod date;
mod request;
mod response;
mod scan;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, StatusCode};

use chunked::Chunked;
use request::understand;
use scan::{Flaw, Head};

pub use date::DateLine;
pub use response::write_response;

/// The limits of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Bytes of request line and headers together; also of all chunk extensions and trailers of a body.
    pub head: usize,
    /// Header lines; also trailer lines.
    pub headers: usize,
    /// Bytes of a body, without its transfer coding.
    pub body: usize,
}

/// Reads the requests of one connection, one after the other. Between two requests it holds no memory.
#[derive(Debug, Default)]
pub struct Parser {
    state: State,
}

#[derive(Debug)]
enum State {
    /// `seen` are the scanned bytes of a head that began in an earlier piece.
    Head {
        head: Head,
        seen: Vec<u8>,
    },
    Body(Box<Pending>),
    /// After a refusal. The start of the next request is unknown.
    Refused,
}

impl Default for State {
    fn default() -> Self {
        Self::Head {
            head: Head::new(),
            seen: Vec::new(),
        }
    }
}

/// A request whose body is still to come.
#[derive(Debug)]
struct Pending {
    incoming: Incoming,
    framing: Framing,
    /// It grows with the bytes that come, never with the length that was announced.
    body: Vec<u8>,
    /// The client waits for `100 Continue`, which was not sent yet.
    waits: bool,
}

/// How the end of a body is found (RFC 9112 section 6.3).
#[derive(Debug)]
enum Framing {
    /// So many bytes are still to come.
    Length(usize),
    Chunked(Chunked),
}

/// The result of [`Parser::read`].
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "it is moved once per request; a box would be one more allocation"
)]
pub enum Progress {
    /// All input is consumed, and the request is not complete.
    More,
    /// The client waits before it sends the body: write [`CONTINUE`] now, then read again.
    Continue,
    /// A request is complete. The rest of the input is not part of it.
    Request(Incoming),
    /// The request cannot be answered otherwise: write the refusal, then close.
    Refused(Refusal),
}

/// The bytes to write for [`Progress::Continue`].
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A complete request.
///
/// Its URI is in origin form or `*`. A URI in absolute form is brought into origin form, and its authority replaces the
/// `Host` header (RFC 9112 section 3.2.2). So `Host` always names the host that is meant. Header values share the
/// memory of the head, so code that keeps a value for long must copy it.
#[derive(Debug)]
pub struct Incoming {
    /// Head and body; trailers are dropped.
    pub request: Request<Bytes>,
    /// Whether the client wants to use the connection again.
    pub keep_alive: bool,
    /// A HEAD request: the response is written without its body.
    pub head_only: bool,
    /// Whether there is an `Upgrade` header, for whatever protocol.
    pub upgrade: bool,
}

/// An answer after which the connection is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status that fits.
    pub status: StatusCode,
    /// One plain sentence for the author of the client.
    pub sentence: Cow<'static, str>,
    /// A header that the status demands, for instance `Allow`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Parser {
    /// A parser that waits for the first byte of a request. Allocates nothing.
    pub fn new() -> Self {
        Self {
            state: State::Head {
                head: Head::new(),
                seen: Vec::new(),
            },
        }
    }

    /// Whether some bytes of a request have come but not all. Empty lines between requests belong to none.
    pub fn in_request(&self) -> bool {
        match &self.state {
            State::Head { head, .. } => head.has_begun(),
            State::Body(_) => true,
            State::Refused => false,
        }
    }

    /// Bytes of an unfinished request that it holds.
    pub fn held(&self) -> usize {
        match &self.state {
            State::Head { seen, .. } => seen.len(),
            State::Body(pending) => pending.body.len(),
            State::Refused => 0,
        }
    }

    /// Consumes bytes from the front of `input` until something is complete, and never a byte beyond the end of the
    /// current request. The rest is the next request, or the first WebSocket frames.
    ///
    /// After [`Progress::Refused`] it must not be called again.
    pub fn read(&mut self, input: &mut &[u8], limits: &HttpLimits) -> Progress {
        match self.advance(input, limits) {
            Ok(progress) => progress,
            Err(refusal) => {
                self.state = State::Refused;
                Progress::Refused(refusal)
            }
        }
    }

    fn advance(&mut self, input: &mut &[u8], limits: &HttpLimits) -> Result<Progress, Refusal> {
        let mut pending = match std::mem::take(&mut self.state) {
            State::Head { mut head, mut seen } => {
                let Some(bytes) = take_head(&mut head, &mut seen, input, limits)? else {
                    self.state = State::Head { head, seen };
                    return Ok(Progress::More);
                };
                let pending = understand(bytes, head.fields(), limits)?;
                if matches!(pending.framing, Framing::Length(0)) {
                    return Ok(Progress::Request(pending.incoming));
                }
                Box::new(pending)
            }
            State::Body(pending) => pending,
            State::Refused => {
                debug_assert!(false, "a connection is closed after a refusal, not read");
                return Err(bad_request("The connection is to be closed."));
            }
        };
        // A client that did not wait gets no 100 (RFC 9110 section 10.1.1).
        if std::mem::take(&mut pending.waits) && input.is_empty() {
            self.state = State::Body(pending);
            return Ok(Progress::Continue);
        }
        if !pending.take(input, limits)? {
            self.state = State::Body(pending);
            return Ok(Progress::More);
        }
        let mut incoming = pending.incoming;
        *incoming.request.body_mut() = Bytes::from(pending.body);
        Ok(Progress::Request(incoming))
    }
}

impl Pending {
    /// Consumes bytes of the body from the front of `input`; true when it is complete.
    fn take(&mut self, input: &mut &[u8], limits: &HttpLimits) -> Result<bool, Flaw> {
        match &mut self.framing {
            Framing::Length(remaining) => {
                let (bytes, rest) = input.split_at(input.len().min(*remaining));
                self.body.extend_from_slice(bytes);
                *input = rest;
                *remaining -= bytes.len();
                Ok(*remaining == 0)
            }
            Framing::Chunked(chunked) => chunked.take(input, &mut self.body, limits),
        }
    }
}

impl Refusal {
    /// A refusal with a status and one sentence.
    pub fn new(status: StatusCode, sentence: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            sentence: sentence.into(),
            headers: Vec::new(),
        }
    }

    /// The same with one more header.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The refusal as plain text that says to close the connection.
    pub fn into_response(self) -> http::Response<Bytes> {
        let mut response = http::Response::new(Bytes::from(format!("{}\n", self.sentence)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        response
    }
}

impl From<Flaw> for Refusal {
    fn from(Flaw(status, sentence): Flaw) -> Self {
        Self::new(status, sentence)
    }
}

/// The refusal for a request that did not come in time (408).
pub fn timeout() -> Refusal {
    Refusal::new(StatusCode::REQUEST_TIMEOUT, "The request did not come in time.")
}

/// The members of a comma-separated header over all its lines, trimmed, empty ones left out (RFC 9110 section 5.6.1).
/// For fields of tokens: a comma within quotes would separate too.
pub fn members<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let lines = headers.get_all(name).into_iter();
    lines
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

/// Whether the list in a header has this token, in any case.
pub fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    members(headers, name).any(|member| member.eq_ignore_ascii_case(token.as_bytes()))
}

fn bad_request(sentence: &'static str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, sentence)
}

/// Consumes bytes of a head from the front of `input`. Returns the whole head once its last byte is there.
fn take_head(
    head: &mut Head,
    seen: &mut Vec<u8>,
    input: &mut &[u8],
    limits: &HttpLimits,
) -> Result<Option<Bytes>, Flaw> {
    let bytes = *input;
    let mut start = 0;
    for (index, &byte) in bytes.iter().enumerate() {
        let done = head.take(byte, limits)?;
        if !head.has_begun() {
            start = index + 1;
        }
        if done {
            let (piece, rest) = bytes.split_at(index + 1);
            *input = rest;
            return Ok(Some(if seen.is_empty() {
                Bytes::copy_from_slice(&piece[start..])
            } else {
                seen.extend_from_slice(piece);
                Bytes::from(std::mem::take(seen))
            }));
        }
    }
    seen.extend_from_slice(&bytes[start..]);
    *input = &[];
    Ok(None)
}
