//! Turns a response into bytes. The framing is decided here alone: the response's own headers for length, transfer
//! coding and connection are replaced, so that they cannot contradict the bytes that are written.

use std::io::Write;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{Response, StatusCode, Version};

use super::{DateLine, has_token};

/// Appends the encoded response.
///
/// `version` is the request's; a response always says HTTP/1.1, the highest version spoken here (RFC 9110 section 2.5).
/// With `head_only` the headers are those of the whole response and the body stays out; 1xx, 204 and 304 have none. The
/// response says `Connection: close` when `keep_alive` is false or the response itself says `Connection: close`. `date`
/// is the time of the answer; every answer has it.
///
/// A name or value cannot end its line early: `HeaderName` and `HeaderValue` hold no CR, LF or NUL, and the reason
/// phrase comes from a fixed table.
pub fn write_response(
    out: &mut Vec<u8>,
    response: &Response<Bytes>,
    version: Version,
    head_only: bool,
    keep_alive: bool,
    date: &DateLine,
) {
    let (status, headers, body) = (response.status(), response.headers(), response.body());
    let bodiless = status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(date.as_bytes());
    for (name, value) in headers {
        if *name != header::CONTENT_LENGTH && *name != header::TRANSFER_ENCODING && *name != header::CONNECTION {
            push_name(out, name);
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
    let close = !keep_alive || has_token(headers, &header::CONNECTION, "close");
    // A sender of Upgrade must name it in Connection (RFC 9110 section 7.8).
    let connection = match (
        close && !status.is_informational(),
        headers.contains_key(header::UPGRADE),
    ) {
        (true, true) => "Connection: close, Upgrade\r\n",
        (true, false) => "Connection: close\r\n",
        (false, true) => "Connection: Upgrade\r\n",
        (false, false) if version == Version::HTTP_10 => "Connection: keep-alive\r\n",
        (false, false) => "",
    };
    out.extend_from_slice(connection.as_bytes());
    if !bodiless {
        // Writing to a Vec cannot fail.
        let _ = write!(out, "Content-Length: {}\r\n", body.len());
    }
    out.extend_from_slice(b"\r\n");
    if !bodiless && !head_only {
        out.extend_from_slice(body);
    }
}

/// Names in the spelling of the RFCs. Case has no meaning, but scripts search for `Allow:`.
fn push_name(out: &mut Vec<u8>, name: &HeaderName) {
    if let Some(rest) = name.as_str().strip_prefix("sec-websocket-") {
        out.extend_from_slice(b"Sec-WebSocket-");
        return push_words(out, rest);
    }
    push_words(out, name.as_str());
}

fn push_words(out: &mut Vec<u8>, words: &str) {
    let mut starts_word = true;
    for byte in words.bytes() {
        out.push(if starts_word { byte.to_ascii_uppercase() } else { byte });
        starts_word = byte == b'-';
    }
}
