//! Reads every byte of a request's head exactly once, as it comes, and finds the end of the head or an error in it. It
//! checks the grammar of lines, not their meaning. `httparse` slices the complete head.
//!
//! Rejected: calling `httparse` whenever bytes come. It reads the same bytes again and again
//! (tungstenite 376, CVE-2023-43669), answers differently when the bytes come in other pieces, and lets lines end with
//! a lone LF.

use http::StatusCode;

use super::HttpLimits;

/// An error in a request: a status and one plain sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net) struct Flaw(pub(super) StatusCode, pub(super) &'static str);

/// RFC 9112 section 2.2 asks to ignore *at least one* empty line before a request; a few more are harmless.
pub(super) const MAX_EMPTY_LINES: usize = 8;

/// A longer method is none that is supported. The longest registered one is `UPDATEREDIRECTREF`, 17 bytes.
pub(super) const MAX_METHOD: usize = 20;

pub(super) const NOT_HTTP: Flaw = Flaw(StatusCode::BAD_REQUEST, "This is not an HTTP request.");
const BAD_TARGET: Flaw = Flaw(
    StatusCode::BAD_REQUEST,
    "The request target holds bytes that must not be in one.",
);
const BAD_VERSION: Flaw = Flaw(
    StatusCode::BAD_REQUEST,
    "The request line does not end with an HTTP version.",
);
const OTHER_VERSION: Flaw = Flaw(
    StatusCode::HTTP_VERSION_NOT_SUPPORTED,
    "Only HTTP/1.1 and HTTP/1.0 are spoken here.",
);
const LONG_METHOD: Flaw = Flaw(StatusCode::NOT_IMPLEMENTED, "This method is not known here.");
const LONG_TARGET: Flaw = Flaw(StatusCode::URI_TOO_LONG, "The request target is too long.");
const LARGE_HEAD: Flaw = Flaw(
    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    "The request's headers are too large.",
);
const MANY_FIELDS: Flaw = Flaw(
    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    "The request has too many header lines.",
);
const BAD_NAME: Flaw = Flaw(
    StatusCode::BAD_REQUEST,
    "A header name holds bytes that must not be in one.",
);
const SPACE_BEFORE_COLON: Flaw = Flaw(
    StatusCode::BAD_REQUEST,
    "There is a space between a header name and its colon.",
);
const FOLDED: Flaw = Flaw(
    StatusCode::BAD_REQUEST,
    "A header line starts with a space; folded lines are not taken.",
);
const BAD_VALUE: Flaw = Flaw(StatusCode::BAD_REQUEST, "A header value holds control bytes.");
/// RFC 9112 section 2.2 says that a recipient MAY accept a lone LF as a line end. It is refused here. If two servers in
/// a row differ in this, one sees a request where the other sees a header (request smuggling). No client sends it.
const BARE_LF: Flaw = Flaw(
    StatusCode::BAD_REQUEST,
    "A line ends with LF alone; lines must end with CRLF.",
);
const BARE_CR: Flaw = Flaw(StatusCode::BAD_REQUEST, "There is a CR that no LF follows.");

/// How far a head has come. It holds no bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    at: At,
    /// The count for the part that is being read: empty lines, then bytes of the method, of the target, or of the
    /// version.
    run: usize,
    /// Bytes from the method's first on.
    len: usize,
    fields: Fields,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before the first byte of the method.
    Start,
    StartLf,
    Method,
    Target,
    Version,
    LineLf,
    Fields,
}

impl Head {
    pub(super) fn new() -> Self {
        Self {
            at: At::Start,
            run: 0,
            len: 0,
            fields: Fields::new(),
        }
    }

    /// Whether a byte of the head itself has been seen; empty lines before it are not part of it.
    pub(super) fn has_begun(&self) -> bool {
        self.len > 0
    }

    /// Header lines so far.
    pub(super) fn fields(&self) -> usize {
        self.fields.count
    }

    /// Reads the next byte; true: it was the last one of the head.
    #[inline]
    pub(super) fn take(&mut self, byte: u8, limits: &HttpLimits) -> Result<bool, Flaw> {
        if !matches!(self.at, At::Start | At::StartLf) {
            if self.len >= limits.head {
                return Err(if self.at == At::Fields { LARGE_HEAD } else { LONG_TARGET });
            }
            self.len += 1;
        }
        match self.at {
            At::Fields => return self.fields.take(byte, limits.headers),
            At::Start => return self.start(byte).map(|()| false),
            At::StartLf if byte == b'\n' => self.at = At::Start,
            At::StartLf => return Err(BARE_CR),
            At::Method => match byte {
                b' ' => self.enter(At::Target),
                _ if !is_token(byte) => return Err(NOT_HTTP),
                _ if self.run == MAX_METHOD => return Err(LONG_METHOD),
                _ => self.run += 1,
            },
            // RFC 3986: a target is visible ASCII, and a fragment is never sent.
            At::Target => match byte {
                b' ' if self.run > 0 => self.enter(At::Version),
                b'!'..=b'~' if byte != b'#' => self.run += 1,
                _ => return Err(BAD_TARGET),
            },
            At::Version => return self.version(byte).map(|()| false),
            At::LineLf if byte == b'\n' => self.at = At::Fields,
            At::LineLf => return Err(BARE_CR),
        }
        Ok(false)
    }

    fn enter(&mut self, at: At) {
        self.at = at;
        self.run = 0;
    }

    fn start(&mut self, byte: u8) -> Result<(), Flaw> {
        match byte {
            b'\r' if self.run < MAX_EMPTY_LINES => {
                self.run += 1;
                self.at = At::StartLf;
            }
            b'\n' => return Err(BARE_LF),
            _ if is_token(byte) => {
                self.at = At::Method;
                self.run = 1;
                self.len = 1;
            }
            _ => return Err(NOT_HTTP),
        }
        Ok(())
    }

    /// `HTTP/1.` and a digit; higher minor versions are read as 1. Another major version is refused at its first digit,
    /// so that the preface of HTTP/2 (`PRI * HTTP/2.0`) is answered with 505 and not for its method.
    fn version(&mut self, byte: u8) -> Result<(), Flaw> {
        match (self.run, byte) {
            (5, b'1') | (7, b'0'..=b'9') => {}
            (5, b'0'..=b'9') => return Err(OTHER_VERSION),
            (8, b'\r') => {
                self.at = At::LineLf;
                return Ok(());
            }
            (8, b'\n') => return Err(BARE_LF),
            (run, _) if b"HTTP/\0.\0".get(run).is_some_and(|&due| due == byte && due != 0) => {}
            _ => return Err(BAD_VERSION),
        }
        self.run += 1;
        Ok(())
    }
}

/// The lines of a header or trailer section up to and with the empty line that ends it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields {
    at: InFields,
    count: usize,
}

#[derive(Clone, Copy, Debug)]
enum InFields {
    LineStart,
    Name,
    Value,
    ValueLf,
    LastLf,
}

impl Fields {
    pub(super) fn new() -> Self {
        Self {
            at: InFields::LineStart,
            count: 0,
        }
    }

    /// Reads the next byte; true: it was the last one of the section. More than `most` lines are a flaw.
    #[inline]
    pub(super) fn take(&mut self, byte: u8, most: usize) -> Result<bool, Flaw> {
        self.at = match self.at {
            InFields::Value => match byte {
                b'\t' | b' '..=b'~' | 0x80.. => InFields::Value,
                b'\r' => InFields::ValueLf,
                b'\n' => return Err(BARE_LF),
                _ => return Err(BAD_VALUE),
            },
            InFields::Name => match byte {
                b':' => InFields::Value,
                b' ' | b'\t' => return Err(SPACE_BEFORE_COLON),
                _ if is_token(byte) => InFields::Name,
                _ => return Err(BAD_NAME),
            },
            InFields::LineStart => match byte {
                b'\r' => InFields::LastLf,
                b'\n' => return Err(BARE_LF),
                b' ' | b'\t' => return Err(FOLDED),
                _ if !is_token(byte) => return Err(BAD_NAME),
                _ if self.count >= most => return Err(MANY_FIELDS),
                _ => {
                    self.count += 1;
                    InFields::Name
                }
            },
            InFields::ValueLf if byte == b'\n' => InFields::LineStart,
            InFields::LastLf if byte == b'\n' => return Ok(true),
            InFields::ValueLf | InFields::LastLf => return Err(BARE_CR),
        };
        Ok(false)
    }
}

/// `tchar` of RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
