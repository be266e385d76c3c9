//! Decides whether a request is a WebSocket handshake (RFC 6455 section 4.2) and writes the answer that accepts it.
//! Whether this client may open this path is decided elsewhere.
//!
//! Rejected: tungstenite's own check. It reads only the first line of `Connection`, and its errors are too coarse for a
//! helpful answer. Its key derivation is used.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode, Version};
use tungstenite::handshake::derive_accept_key;

use super::http::{DateLine, Refusal, has_token};

/// A valid handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept {
    /// The value of `Sec-WebSocket-Accept`.
    key: String,
}

impl Accept {
    /// Appends the response that makes the connection a WebSocket. Sub-protocols and extensions are never agreed to.
    pub fn write(&self, out: &mut Vec<u8>, date: &DateLine) {
        out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n");
        out.extend_from_slice(date.as_bytes());
        out.extend_from_slice(b"Sec-WebSocket-Accept: ");
        out.extend_from_slice(self.key.as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
    }
}

/// Whether the request is to be judged by [`check`]: it names the protocol, or carries what only a handshake carries.
///
/// The second case comes from a proxy that does not pass `Upgrade` on. A page as the answer would hide that. An
/// `Upgrade` to another protocol alone (`h2c`) may be ignored (RFC 9110 section 7.8).
pub fn wants_websocket(request: &Request<Bytes>) -> bool {
    let headers = request.headers();
    names_websocket(headers)
        || headers.contains_key(header::SEC_WEBSOCKET_KEY)
        || headers.contains_key(header::SEC_WEBSOCKET_VERSION)
}

/// Judges a handshake by RFC 6455 section 4.2.1. Unknown extensions and sub-protocols are ignored.
///
/// # Errors
///
/// 405 for another method than GET, 505 for another version than HTTP/1.1, 426 for another version of the protocol
/// than 13 or none, and 400 for everything else.
pub fn check(request: &Request<Bytes>) -> Result<Accept, Refusal> {
    let headers = request.headers();
    if request.method() != Method::GET {
        return Err(Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "A WebSocket handshake is a GET request.",
        )
        .with_header(header::ALLOW, HeaderValue::from_static("GET")));
    }
    if request.version() != Version::HTTP_11 {
        return Err(Refusal::new(
            StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            "A WebSocket handshake needs HTTP/1.1; a proxy in between may be set to HTTP/1.0.",
        ));
    }
    if !names_websocket(headers) {
        return Err(bad_request(if headers.contains_key(header::UPGRADE) {
            "This looks like a WebSocket handshake, but its Upgrade header is for something else."
        } else {
            "This looks like a WebSocket handshake without its Upgrade header; a proxy in between may drop it."
        }));
    }
    if !has_token(headers, &header::CONNECTION, "upgrade") {
        return Err(bad_request(
            "The Connection header of a WebSocket handshake must contain Upgrade.",
        ));
    }
    if has_body(request) {
        return Err(bad_request("A WebSocket handshake must not have a body."));
    }
    check_version(headers)?;
    let key = only(headers, &header::SEC_WEBSOCKET_KEY)
        .map_err(|_| bad_request("The handshake has more than one Sec-WebSocket-Key."))?
        .ok_or_else(|| bad_request("The handshake has no Sec-WebSocket-Key."))?;
    if !is_key(key.as_bytes()) {
        return Err(bad_request("The Sec-WebSocket-Key is not 16 bytes in base64."));
    }
    Ok(Accept {
        key: derive_accept_key(key.as_bytes()),
    })
}

fn bad_request(sentence: &'static str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, sentence)
}

fn names_websocket(headers: &HeaderMap) -> bool {
    has_token(headers, &header::UPGRADE, "websocket")
}

/// It needs the headers only, so it also works for a request whose body was left out.
fn has_body(request: &Request<Bytes>) -> bool {
    let headers = request.headers();
    let announces = |length: &HeaderValue| length.as_bytes().iter().any(|&byte| byte != b'0');
    !request.body().is_empty()
        || headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(announces)
}

/// The version must be 13. The refusal of another version names 13 (RFC 6455 section 4.4); 426 itself demands an
/// `Upgrade` header (RFC 9110 section 15.5.22).
fn check_version(headers: &HeaderMap) -> Result<(), Refusal> {
    let version = only(headers, &header::SEC_WEBSOCKET_VERSION)
        .map_err(|_| bad_request("The handshake has more than one Sec-WebSocket-Version."))?;
    let sentence = match version.map(HeaderValue::as_bytes) {
        Some(b"13") => return Ok(()),
        Some(version) if version.contains(&b',') => {
            return Err(bad_request("The handshake has more than one Sec-WebSocket-Version."));
        }
        Some(_) => "The only WebSocket version spoken here is 13.",
        None => "The handshake has no Sec-WebSocket-Version; the only one spoken here is 13.",
    };
    Err(Refusal::new(StatusCode::UPGRADE_REQUIRED, sentence)
        .with_header(header::UPGRADE, HeaderValue::from_static("websocket"))
        .with_header(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")))
}

/// More than one line where one is allowed.
struct Doubled;

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Doubled> {
    let mut lines = headers.get_all(name).into_iter();
    match (lines.next(), lines.next()) {
        (_, Some(_)) => Err(Doubled),
        (line, None) => Ok(line),
    }
}

/// 16 bytes in base64 are 22 digits and two signs of padding. Unused bits of the last digit are not checked, since the
/// key is never decoded. RFC 6455 section 4.2.1 allows that, and node's `ws` does the same.
fn is_key(key: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
    key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(is_digit)
}

#[cfg(test)]
mod tests;
