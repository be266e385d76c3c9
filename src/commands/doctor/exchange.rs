//! One HTTP/1.1 exchange on a connection of its own, with bounds for all that a peer may send. Rejected: the client of
//! `commands::http`, which speaks HTTP/1.0, since proxies treat that differently.

use std::io::{Read, Write};

use super::address::Address;
use super::wire::{Net, Trouble, Wire};

/// The most bytes of the head of an answer, and of its body. The rest of a longer page is not read.
const LONGEST_HEAD: usize = 64 << 10;
const LONGEST_BODY: usize = 1 << 20;

/// The most header lines.
const MOST_LINES: usize = 128;

/// An answer.
#[derive(Debug, Default)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers, names in lower case.
    headers: Vec<(String, String)>,
    /// The body as far as it was read, or what came behind the head of a handshake.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first value of a header; its name is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All values of a header.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = move |pair: &&(String, String)| pair.0 == name;
        self.headers.iter().filter(named).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether it is an HTML page.
    pub fn is_page(&self) -> bool {
        let kind = self.header("content-type").unwrap_or_default();
        kind.to_ascii_lowercase().contains("html") || self.body.trim_ascii_start().starts_with(b"<")
    }
}

/// Asks for the address and reads the answer whole, up to a limit. `lines`: further header lines, each with its end.
///
/// # Errors
/// See [`Trouble`].
pub fn ask(net: &mut Net, method: &str, to: &Address, lines: &str) -> Result<(Answer, Wire), Trouble> {
    let mut wire = net.connect(to)?;
    let length = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
    let lines = format!("{lines}{length}Accept: */*\r\nConnection: close\r\n");
    let mut answer = begin(&mut wire, method, to, &lines)?;
    read_body(&mut wire, &mut answer)?;
    Ok((answer, wire))
}

/// Sends a request and reads the head of the answer. Its body is what came behind the head.
///
/// # Errors
/// See [`Trouble`].
pub fn begin(wire: &mut Wire, method: &str, to: &Address, lines: &str) -> Result<Answer, Trouble> {
    let request = format!(
        "{method} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: jsocketd-doctor/{}\r\n{lines}\r\n",
        to.path,
        to.authority(),
        env!("CARGO_PKG_VERSION"),
    );
    // A server may answer early and close: its answer counts.
    let sent = wire.write_all(request.as_bytes()).and_then(|()| wire.flush());
    let mut bytes = Vec::new();
    loop {
        let read = read_more(wire, &mut bytes)?;
        if let Some((answer, end)) = parse(&bytes)? {
            // 100 to 199 but 101 are followed by the answer.
            if answer.status >= 200 || answer.status == 101 {
                return Ok(answer);
            }
            bytes.drain(..end);
            continue;
        }
        if !read {
            return Err(match (sent, bytes.is_empty()) {
                (Err(error), true) => error.into(),
                (_, true) => Trouble::Ended("nothing was sent".into()),
                (_, false) => Trouble::Ended("in the middle of the head".into()),
            });
        }
        if bytes.len() > LONGEST_HEAD {
            return Err(Trouble::Endless("a head of 64 KiB"));
        }
    }
}

fn read_more(wire: &mut Wire, bytes: &mut Vec<u8>) -> Result<bool, Trouble> {
    let mut buffer = [0; 8192];
    let read = wire.read(&mut buffer)?;
    bytes.extend_from_slice(&buffer[..read]);
    Ok(read > 0)
}

/// Reads a head if it is there whole; also returns where it ends.
///
/// # Errors
/// It is no head of HTTP, or has too many lines.
pub fn parse(bytes: &[u8]) -> Result<Option<(Answer, usize)>, Trouble> {
    let mut lines = [httparse::EMPTY_HEADER; MOST_LINES];
    let mut response = httparse::Response::new(&mut lines);
    match response.parse(bytes) {
        Ok(httparse::Status::Partial) => Ok(None),
        Ok(httparse::Status::Complete(end)) => {
            let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
            let lines = response.headers.iter();
            let headers = lines.map(|line| (line.name.to_ascii_lowercase(), text(line.value)));
            let answer = Answer {
                status: response.code.unwrap_or_default(),
                headers: headers.collect(),
                body: bytes[end..].to_vec(),
            };
            Ok(Some((answer, end)))
        }
        Err(httparse::Error::TooManyHeaders) => Err(Trouble::Endless("128 header lines")),
        Err(error) => Err(Trouble::Garbage(error.to_string())),
    }
}

/// Reads the body as far as the limit; a body that ends early is used as it is.
fn read_body(wire: &mut Wire, answer: &mut Answer) -> Result<(), Trouble> {
    if matches!(answer.status, 101 | 204 | 304) {
        return Ok(());
    }
    let is_chunked = answer
        .all("transfer-encoding")
        .any(|value| value.to_ascii_lowercase().contains("chunked"));
    let length = answer.header("content-length").and_then(|value| value.parse().ok());
    let length: usize = if is_chunked {
        usize::MAX
    } else {
        length.unwrap_or(usize::MAX)
    };
    let mut raw = std::mem::take(&mut answer.body);
    loop {
        let whole = match is_chunked {
            true => chunks(&raw),
            false => (raw.len() >= length).then(|| raw[..length].to_vec()),
        };
        if let Some(body) = whole {
            answer.body = body;
            return Ok(());
        }
        if raw.len() >= LONGEST_BODY || !read_more(wire, &mut raw)? {
            answer.body = match is_chunked {
                true => so_far(&raw).0,
                false => raw,
            };
            return Ok(());
        }
    }
}

/// The body in chunks, if it is there to its end.
fn chunks(raw: &[u8]) -> Option<Vec<u8>> {
    let (body, ended) = so_far(raw);
    ended.then_some(body)
}

/// The body in chunks as far as it is there, and whether it has ended. What is no chunk ends it.
fn so_far(mut raw: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        match httparse::parse_chunk_size(raw) {
            Ok(httparse::Status::Complete((_, 0))) | Err(_) => return (body, true),
            Ok(httparse::Status::Partial) => return (body, false),
            Ok(httparse::Status::Complete((start, size))) => {
                let size = usize::try_from(size).unwrap_or(usize::MAX);
                let rest = &raw[start..];
                body.extend_from_slice(&rest[..size.min(rest.len())]);
                let Some(next) = size.checked_add(2).and_then(|next| rest.get(next..)) else {
                    return (body, false);
                };
                raw = next;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_in_chunks_is_joined_as_far_as_it_is_there() {
        assert_eq!(chunks(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"), Some(b"abcde".to_vec()));
        for part in [&b"3\r\nabc\r\n2\r\nd"[..], b"3", b""] {
            assert_eq!(chunks(part), None);
        }
        assert_eq!(so_far(b"3\r\nabc\r\n2\r\nd").0, b"abcd");
        assert_eq!(so_far(b"ffffffffffffffff\r\nab").0, b"ab");
        assert!(so_far(b"no chunk\r\n").1);
    }

    #[test]
    fn garbage_and_endless_heads_are_named() {
        assert!(matches!(parse(b"SSH-2.0-x\r\n\r\n"), Err(Trouble::Garbage(_))));
        assert!(matches!(parse(b"HTTP/1.1 200"), Ok(None)));
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(MOST_LINES + 1));
        assert!(matches!(parse(many.as_bytes()), Err(Trouble::Endless(_))));
    }
}
