//! Takes the chunked coding (RFC 9112 section 7.1) off a body, byte by byte. Extensions and trailers are
//! dropped; both count against the limit of a head.
//!
//! Rejected: `httparse::parse_chunk_size`. It wants the whole line, and accepts an empty size as 0 and a lone LF inside
//! an extension. Requests are smuggled past servers that read the same chunk differently.

use http::StatusCode;

use super::HttpLimits;
use super::scan::{Fields, Flaw};

const BAD_SIZE: Flaw = Flaw(
    StatusCode::BAD_REQUEST,
    "A chunk size is not a hexadecimal number on its own line.",
);
const BAD_EXTENSION: Flaw = Flaw(
    StatusCode::BAD_REQUEST,
    "A chunk extension holds bytes that must not be in one.",
);
const BAD_END: Flaw = Flaw(StatusCode::BAD_REQUEST, "A chunk is not followed by CRLF.");
const LONG_EXTRAS: Flaw = Flaw(
    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    "The chunk extensions and trailers are too long.",
);
/// Also used for a Content-Length: the sentence is the same.
pub(super) const LARGE_BODY: Flaw = Flaw(StatusCode::PAYLOAD_TOO_LARGE, "The request's body is too large.");

/// 16 hexadecimal digits are all of a `u64`; more can only be leading zeros.
const MAX_DIGITS: u8 = 16;

/// How far a chunked body has come.
#[derive(Debug)]
pub(in crate::net) struct Chunked {
    at: At,
    /// Of the current chunk: the size while its line is read, then the bytes still to come.
    size: u64,
    digits: u8,
    /// Bytes of extensions and trailers in all chunks. In an attack each of ten thousand chunks has one byte of body
    /// and a long extension (CVE-2023-39326).
    extras: usize,
    trailers: Fields,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Size,
    /// Blanks that only an extension may follow.
    Blank,
    Extension,
    SizeLf,
    Bytes,
    BytesCr,
    BytesLf,
    Trailers,
}

impl Chunked {
    pub(in crate::net) fn new() -> Self {
        Self {
            at: At::Size,
            size: 0,
            digits: 0,
            extras: 0,
            trailers: Fields::new(),
        }
    }

    /// Moves bytes from the front of `input` to `body`; true when the body is complete.
    pub(in crate::net) fn take(
        &mut self,
        input: &mut &[u8],
        body: &mut Vec<u8>,
        limits: &HttpLimits,
    ) -> Result<bool, Flaw> {
        loop {
            if self.at == At::Bytes {
                let len = input.len().min(usize::try_from(self.size).unwrap_or(usize::MAX));
                let (bytes, rest) = input.split_at(len);
                body.extend_from_slice(bytes);
                *input = rest;
                self.size -= len as u64;
                if self.size > 0 {
                    return Ok(false);
                }
                self.at = At::BytesCr;
            }
            let Some((&byte, rest)) = input.split_first() else {
                return Ok(false);
            };
            *input = rest;
            if self.line(byte, body.len(), limits)? {
                return Ok(true);
            }
        }
    }

    /// Consumes a byte of the coding; `received` is the length of the body so far.
    fn line(&mut self, byte: u8, received: usize, limits: &HttpLimits) -> Result<bool, Flaw> {
        if matches!(self.at, At::Blank | At::Extension | At::Trailers) {
            self.extras += 1;
            if self.extras > limits.head {
                return Err(LONG_EXTRAS);
            }
        }
        self.at = match (self.at, byte) {
            (At::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.digit(byte)?;
                if self.size > limits.body.saturating_sub(received) as u64 {
                    return Err(LARGE_BODY);
                }
                At::Size
            }
            (At::Size, _) if self.digits == 0 => return Err(BAD_SIZE),
            (At::Size | At::Extension, b'\r') => At::SizeLf,
            (At::Size | At::Blank, b';') => At::Extension,
            (At::Size | At::Blank, b' ' | b'\t') => At::Blank,
            (At::Size | At::Blank, _) => return Err(BAD_SIZE),
            (At::Extension, b'\t' | b' '..=b'~' | 0x80..) => At::Extension,
            (At::Extension, _) => return Err(BAD_EXTENSION),
            (At::SizeLf, b'\n') if self.size > 0 => At::Bytes,
            (At::SizeLf, b'\n') => At::Trailers,
            (At::SizeLf, _) => return Err(BAD_SIZE),
            (At::BytesCr, b'\r') => At::BytesLf,
            (At::BytesLf, b'\n') => {
                self.digits = 0;
                At::Size
            }
            (At::Bytes | At::BytesCr | At::BytesLf, _) => return Err(BAD_END),
            (At::Trailers, _) => return self.trailers.take(byte, limits.headers),
        };
        Ok(false)
    }

    fn digit(&mut self, byte: u8) -> Result<(), Flaw> {
        if self.digits == MAX_DIGITS {
            return Err(BAD_SIZE);
        }
        let digit = char::from(byte).to_digit(16).ok_or(BAD_SIZE)?;
        self.digits += 1;
        self.size = self.size << 4 | u64::from(digit);
        Ok(())
    }
}
