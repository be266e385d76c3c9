//! Interprets a complete head: method, target, host, the length of the body and the client's expectation. A head that
//! two readers could understand differently is refused.

use std::net::Ipv6Addr;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, StatusCode, Uri, Version};

use super::chunked::{Chunked, LARGE_BODY};
use super::scan::NOT_HTTP;
use super::{Framing, HttpLimits, Incoming, Pending, Refusal, bad_request, has_token, members};
use crate::protocol::percent::{self, AsSent};

/// The request of a complete head with so many header lines, with an empty body.
pub(super) fn understand(bytes: Bytes, fields: usize, limits: &HttpLimits) -> Result<Pending, Refusal> {
    let mut lines = vec![httparse::EMPTY_HEADER; fields];
    let mut parsed = httparse::Request::new(&mut lines);
    // The scanner is stricter than `httparse`. If the scanner has a bug, `httparse` still checks the head.
    match parsed.parse(&bytes) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Err(httparse::Error::Version) => {
            let as_known = as_known_version(&bytes).ok_or(NOT_HTTP)?;
            return understand(as_known, fields, limits);
        }
        _ => return Err(NOT_HTTP.into()),
    }
    let version = if parsed.version == Some(1) {
        Version::HTTP_11
    } else {
        Version::HTTP_10
    };
    let method = known_method(parsed.method.unwrap_or_default())?;
    let mut headers = HeaderMap::try_with_capacity(fields).map_err(|_| too_large())?;
    for line in parsed.headers.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| too_large())?;
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(line.value))
            .map_err(|_| bad_request("A header value holds control bytes."))?;
        headers.try_append(name, value).map_err(|_| too_large())?;
    }
    check_host(&headers, version)?;
    let (uri, as_sent) = target(
        bytes.slice_ref(parsed.path.unwrap_or_default().as_bytes()),
        &method,
        &mut headers,
    )?;
    let framing = framing(&headers, version, limits)?;
    let waits = expects_continue(&headers)? && version == Version::HTTP_11;
    if !matches!(framing, Framing::Length(0)) && has_token(&headers, &header::UPGRADE, "websocket") {
        return Err(bad_request("A WebSocket handshake must not have a body."));
    }
    let mut request = Request::new(Bytes::new());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = version;
    *request.headers_mut() = headers;
    if let Some(as_sent) = as_sent {
        request.extensions_mut().insert(as_sent);
    }
    let incoming = Incoming {
        keep_alive: keeps_alive(request.headers(), version),
        head_only: request.method() == Method::HEAD,
        upgrade: request.headers().contains_key(header::UPGRADE),
        request,
    };
    Ok(Pending {
        incoming,
        framing,
        body: Vec::new(),
        waits,
    })
}

/// A head of HTTP/1.2 to HTTP/1.9 as one of HTTP/1.1. A server handles a request with a higher minor version as one
/// with the highest that it speaks (RFC 9110 section 6.2), and `httparse` reads HTTP/1.0 and HTTP/1.1 only. `None`: the
/// head has no such version.
fn as_known_version(head: &Bytes) -> Option<Bytes> {
    let end = head.windows(2).position(|pair| pair == b"\r\n")?;
    let minor = end.checked_sub(1)?;
    let mut known = head.to_vec();
    let is_higher = matches!(std::mem::replace(known.get_mut(minor)?, b'1'), b'2'..=b'9');
    is_higher.then(|| Bytes::from(known))
}

fn too_large() -> Refusal {
    Refusal::new(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "The request's headers are too large.",
    )
}

/// The methods that a resource may have. CONNECT and TRACE are for proxies and for debugging proxies; a method is
/// spelled in capitals (RFC 9110 section 9.1).
fn known_method(name: &str) -> Result<Method, Refusal> {
    Ok(match name {
        "GET" => Method::GET,
        "HEAD" => Method::HEAD,
        "POST" => Method::POST,
        "PUT" => Method::PUT,
        "DELETE" => Method::DELETE,
        "PATCH" => Method::PATCH,
        "OPTIONS" => Method::OPTIONS,
        _ => {
            return Err(Refusal::new(
                StatusCode::NOT_IMPLEMENTED,
                "This method is not known here.",
            ));
        }
    })
}

/// RFC 9112 section 3.2: exactly one valid Host, which only HTTP/1.0 may leave out.
fn check_host(headers: &HeaderMap, version: Version) -> Result<(), Refusal> {
    let mut lines = headers.get_all(header::HOST).into_iter();
    match (lines.next(), lines.next()) {
        (Some(_), Some(_)) => Err(bad_request("The request has more than one Host header.")),
        (Some(host), None) if is_authority(host.as_bytes()) => Ok(()),
        (Some(_), None) => Err(bad_request("The Host header is not a host with an optional port.")),
        (None, _) if version == Version::HTTP_10 => Ok(()),
        (None, _) => Err(bad_request("The request has no Host header.")),
    }
}

/// `host [":" port]`. It is narrower than RFC 3986, which allows commas, quotes and the like in a name. No reachable
/// host has such a name, and two Hosts that a proxy joined to a list look like one.
fn is_authority(authority: &[u8]) -> bool {
    let Ok(authority) = str::from_utf8(authority) else {
        return false;
    };
    let (host_is_valid, rest) = match authority.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((host, rest))) => (host.parse::<Ipv6Addr>().is_ok(), rest),
        Some(None) => return false,
        None => {
            let (host, rest) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            (
                !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)),
                rest,
            )
        }
    };
    let port_is_valid = match rest.strip_prefix(':') {
        Some(port) => port.is_empty() || port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok(),
        None => rest.is_empty(),
    };
    host_is_valid && port_is_valid
}

/// The request target (RFC 9112 section 3.2) in origin form, or `*`. The authority of an absolute form replaces Host.
/// Encoded unreserved characters of the path are decoded, so that code that compares paths sees one spelling. Then the
/// path as it was sent is returned too, because signatures of requests cover it.
fn target(target: Bytes, method: &Method, headers: &mut HeaderMap) -> Result<(Uri, Option<AsSent>), Refusal> {
    let path = match &target[..] {
        [b'/', ..] => target,
        b"*" if method == Method::OPTIONS => target,
        _ => {
            let (authority, path) = split_absolute(&target)
                .ok_or_else(|| bad_request("The request target is neither a path nor an http or https URL."))?;
            let authority = HeaderValue::from_maybe_shared(authority)
                .map_err(|_| bad_request("The request target's authority is not a host with an optional port."))?;
            headers.try_insert(header::HOST, authority).map_err(|_| too_large())?;
            path
        }
    };
    // The `http` crate counts in 16 bits; a head limit above 64 KiB must not turn a long target into a wrong one.
    if path.len() >= usize::from(u16::MAX) {
        return Err(Refusal::new(
            StatusCode::URI_TOO_LONG,
            "The request target is too long.",
        ));
    }
    let wrong = |_| bad_request("The request target holds bytes that must not be in one.");
    let sent = PathAndQuery::from_maybe_shared(path).map_err(wrong)?;
    let Some(path) = percent::unreserved(sent.path()) else {
        return Ok((Uri::from(sent), None));
    };
    let as_sent = AsSent(sent.path().to_owned());
    let decoded = match sent.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let decoded = PathAndQuery::from_maybe_shared(Bytes::from(decoded)).map_err(wrong)?;
    Ok((Uri::from(decoded), Some(as_sent)))
}

/// Authority and path with query of `http://authority/path?query`; the path is never empty.
fn split_absolute(target: &Bytes) -> Option<(Bytes, Bytes)> {
    let colon = target.iter().position(|&byte| byte == b':')?;
    let (scheme, rest) = (target.slice(..colon), target.slice(colon..));
    // Some WebSocket libraries send their own URL through a proxy.
    let known = [&b"http"[..], b"https", b"ws", b"wss"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known));
    if !known || !rest.starts_with(b"://") {
        return None;
    }
    let rest = rest.slice(3..);
    let end = rest.iter().position(|byte| b"/?".contains(byte)).unwrap_or(rest.len());
    let (authority, path) = (rest.slice(..end), rest.slice(end..));
    if !is_authority(&authority) {
        return None;
    }
    Some(match path.first() {
        Some(b'/') => (authority, path),
        Some(_) => (authority, Bytes::from([b"/", &path[..]].concat())),
        None => (authority, Bytes::from_static(b"/")),
    })
}

/// How long the body is (RFC 9112 section 6.3). A request that another reader could measure differently is refused.
fn framing(headers: &HeaderMap, version: Version, limits: &HttpLimits) -> Result<Framing, Refusal> {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        if version == Version::HTTP_10 {
            return Err(bad_request("HTTP/1.0 has no Transfer-Encoding."));
        }
        if headers.contains_key(header::CONTENT_LENGTH) {
            return Err(bad_request(
                "The request has both Content-Length and Transfer-Encoding.",
            ));
        }
        let mut codings = members(headers, &header::TRANSFER_ENCODING);
        return match (codings.next(), codings.next()) {
            (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked(Chunked::new())),
            _ => Err(Refusal::new(
                StatusCode::NOT_IMPLEMENTED,
                "The only Transfer-Encoding known here is chunked.",
            )),
        };
    }
    let mut length: Option<&[u8]> = None;
    // Not `members`: an empty member is a wrong number here.
    let lines = headers.get_all(header::CONTENT_LENGTH).into_iter();
    for text in lines
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
    {
        if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
            return Err(bad_request("The Content-Length is not a number."));
        }
        if length.is_some_and(|other| other != text) {
            return Err(bad_request("The request has two different Content-Lengths."));
        }
        length = Some(text);
    }
    // Digits that do not fit are a number still, and one above every limit.
    let length = length.map_or(0, |text| {
        str::from_utf8(text)
            .ok()
            .and_then(|t| t.parse().ok())
            .unwrap_or(usize::MAX)
    });
    if length > limits.body {
        return Err(LARGE_BODY.into());
    }
    Ok(Framing::Length(length))
}

/// Whether the client waits for `100 Continue`; any other expectation is refused (RFC 9110 section 10.1.1).
fn expects_continue(headers: &HeaderMap) -> Result<bool, Refusal> {
    let mut waits = false;
    for expectation in members(headers, &header::EXPECT) {
        if !expectation.eq_ignore_ascii_case(b"100-continue") {
            return Err(Refusal::new(
                StatusCode::EXPECTATION_FAILED,
                "The only expectation known here is 100-continue.",
            ));
        }
        waits = true;
    }
    Ok(waits)
}

/// RFC 9112 section 9.3: an HTTP/1.1 connection stays open unless a side says `close`. An HTTP/1.0 connection is closed
/// unless the client says `keep-alive`.
fn keeps_alive(headers: &HeaderMap, version: Version) -> bool {
    let has = |token| has_token(headers, &header::CONNECTION, token);
    !has("close") && (version == Version::HTTP_11 || has("keep-alive"))
}
