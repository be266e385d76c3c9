//! The answer to a post. Only its status matters, and of a redirect the URL that it names. The body is read to find its
//! end, so that the connection can be used again, and is thrown away.

use crate::net::http::HttpLimits;
use crate::net::http::chunked::Chunked;

/// Bytes of a head. The cookies of a CMS are its longest part.
const HEAD: usize = 16 * 1024;

/// Lines of a head.
const HEADERS: usize = 100;

/// Bytes of a body that are read to save a new connection. Reading a longer body would cost more than a new connection.
const BODY: usize = 64 * 1024;

const LIMITS: HttpLimits = HttpLimits {
    head: HEAD,
    headers: HEADERS,
    body: BODY,
};

/// An answer that is being read.
#[derive(Debug)]
pub(super) struct Answer {
    begun: bool,
    head: Vec<u8>,
    /// The status, and how the body ends.
    known: Option<(u16, Body)>,
    keep_alive: bool,
    /// Where a redirect leads to.
    location: Option<String>,
}

/// How the end of the body is found (RFC 9112 section 6.3).
#[derive(Debug)]
enum Body {
    /// So many bytes are still to come.
    Length(u64),
    Chunked(Chunked, Vec<u8>),
    /// Until the connection ends.
    Close,
}

impl Answer {
    pub(super) fn new() -> Self {
        Self {
            begun: false,
            head: Vec::new(),
            known: None,
            keep_alive: false,
            location: None,
        }
    }

    /// Whether any byte has come.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// The status, once the head is complete.
    pub(super) fn status(&self) -> Option<u16> {
        self.known.as_ref().map(|(status, _)| *status)
    }

    /// Where a redirect leads to, as the answer has it.
    pub(super) fn location(&self) -> Option<&str> {
        self.location.as_deref()
    }

    /// Whether the connection can be used again, once the answer is complete.
    pub(super) fn keeps_alive(&self) -> bool {
        self.keep_alive
    }

    /// The connection has ended.
    pub(super) fn end(&mut self) {
        self.keep_alive = false;
    }

    /// Reads the next bytes; true: the answer is complete, or too long to be read to its end.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Result<bool, String> {
        self.begun |= !bytes.is_empty();
        while self.known.is_none() {
            // The end is looked for in the new bytes only, and the three before them that may belong to it.
            let from = self.head.len().saturating_sub(3);
            self.head.extend_from_slice(bytes);
            let Some(end) = self.head[from..].windows(4).position(|four| four == b"\r\n\r\n") else {
                return match self.head.len() > HEAD {
                    true => Err("the head of its answer is too long".to_owned()),
                    false => Ok(false),
                };
            };
            let behind = self.head.len() - (from + end + 4);
            bytes = &bytes[bytes.len() - behind..];
            let mut head = std::mem::take(&mut self.head);
            head.truncate(head.len() - behind);
            self.understand(&head)?;
        }
        self.body(bytes)
    }

    /// Reads a complete head. The head of an interim answer (100, 103) changes nothing.
    fn understand(&mut self, head: &[u8]) -> Result<(), String> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let no_http = |why: httparse::Error| format!("its answer is no HTTP: {why}");
        response.parse(head).map_err(no_http)?;
        let (Some(status), Some(version)) = (response.code, response.version) else {
            return Err("its answer is no HTTP".to_owned());
        };
        match status {
            // The post did not ask for another protocol.
            101 => return Err("it answered 101".to_owned()),
            100..200 => return Ok(()),
            _ => {}
        }
        let values = |name: &'static str| {
            let named = response
                .headers
                .iter()
                .filter(move |header| header.name.eq_ignore_ascii_case(name));
            named
                .flat_map(|header| header.value.split(|byte| *byte == b','))
                .map(<[u8]>::trim_ascii)
        };
        let closes = values("connection").any(|value| value.eq_ignore_ascii_case(b"close"));
        let coding = values("transfer-encoding").next_back();
        let lengths: Vec<Option<u64>> = values("content-length").map(number).collect();
        let (body, framed) = match (status, coding, lengths.as_slice()) {
            (204 | 304, ..) => (Body::Length(0), true),
            (_, Some(coding), lengths) if coding.eq_ignore_ascii_case(b"chunked") => {
                (Body::Chunked(Chunked::new(), Vec::new()), lengths.is_empty())
            }
            (_, None, [Some(length), others @ ..]) if others.iter().all(|other| *other == Some(*length)) => {
                (Body::Length(*length), true)
            }
            _ => (Body::Close, false),
        };
        // HTTP/1.0 can be asked to keep a connection; it is not worth it.
        self.keep_alive = framed && !closes && version == 1;
        if (300..400).contains(&status) {
            let mut lines = response.headers.iter();
            let line = lines.find(|header| header.name.eq_ignore_ascii_case("location"));
            self.location = line.and_then(|line| String::from_utf8(line.value.to_vec()).ok());
        }
        self.known = Some((status, body));
        Ok(())
    }

    fn body(&mut self, mut bytes: &[u8]) -> Result<bool, String> {
        let Some((_, body)) = &mut self.known else {
            return Ok(false);
        };
        let complete = match body {
            Body::Length(remaining) if *remaining > BODY as u64 => {
                self.keep_alive = false;
                true
            }
            Body::Length(remaining) => {
                let taken = bytes.len().min(usize::try_from(*remaining).unwrap_or(usize::MAX));
                *remaining -= taken as u64;
                bytes = &bytes[taken..];
                *remaining == 0
            }
            Body::Chunked(chunked, received) => match chunked.take(&mut bytes, received, &LIMITS) {
                Ok(complete) => complete,
                Err(flaw) => return Err(format!("the body of its answer cannot be read: {flaw:?}")),
            },
            // The status is known and the connection is of no more use: its end need not be awaited.
            Body::Close => true,
        };
        if complete && !bytes.is_empty() {
            // Bytes that were not asked for do not answer the next post.
            self.keep_alive = false;
        }
        Ok(complete)
    }
}

/// A `Content-Length`: digits only.
fn number(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Status and whether the connection is kept, once complete; the same in whatever pieces it comes.
    fn answer(text: &str) -> Option<Result<(u16, bool), String>> {
        let mut all = Vec::new();
        for piece in [1, 2, 3, 7, text.len().max(1)] {
            let mut answer = Answer::new();
            let mut result = None;
            for bytes in text.as_bytes().chunks(piece) {
                match answer.take(bytes) {
                    Ok(false) => continue,
                    Ok(true) => result = Some(Ok((answer.status().unwrap(), answer.keeps_alive()))),
                    Err(why) => result = Some(Err(why)),
                }
                break;
            }
            all.push(result);
        }
        assert!(all.iter().all(|one| *one == all[0]), "{text:?}: {all:?}");
        all.swap_remove(0)
    }

    #[test]
    fn a_framed_body_keeps_the_connection() {
        for (text, status) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200),
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 200),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", 200),
            ("HTTP/1.1 204 No Content\r\n\r\n", 204),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", 304),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
                201,
            ),
            (
                "HTTP/1.1 500 Oops\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: x\r\n\r\n",
                500,
            ),
        ] {
            assert_eq!(answer(text), Some(Ok((status, true))), "{text:?}");
        }
    }

    #[test]
    fn a_doubtful_answer_does_not_keep_the_connection() {
        for (text, status) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Keep-Alive, Close\r\n\r\n",
                200,
            ),
            ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", 200),
            ("HTTP/1.1 200 OK\r\n\r\n", 200),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok", 200),
            ("HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", 200),
            ("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n", 200),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", 200),
            (
                "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 65537\r\n\r\n",
                302,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
                200,
            ),
        ] {
            assert_eq!(answer(text), Some(Ok((status, false))), "{text:?}");
        }
        let mut two = Answer::new();
        let both = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n";
        assert_eq!(two.take(both), Ok(true));
        assert!(!two.keeps_alive(), "the second answer belongs to no request");
    }

    #[test]
    fn bytes_that_are_no_answer_are_refused() {
        for text in [
            "SSH-2.0-x\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\n x: y\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        ] {
            assert!(matches!(answer(text), Some(Err(_))), "{text:?}");
        }
        assert!(matches!(
            answer(&format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(HEAD))),
            Some(Err(_))
        ));
        let many = "x: y\r\n".repeat(HEADERS + 1);
        assert!(matches!(
            answer(&format!("HTTP/1.1 200 OK\r\n{many}\r\n")),
            Some(Err(_))
        ));
        for text in [
            "",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
        ] {
            assert_eq!(answer(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_long_chunked_body_is_not_read_to_its_end() {
        let mut answer = Answer::new();
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(answer.take(head), Ok(false));
        let chunk = format!("1000\r\n{}\r\n", "x".repeat(4096));
        let failed = (0..20).position(|_| answer.take(chunk.as_bytes()).is_err());
        assert_eq!(failed, Some(BODY / 4096));
        assert_eq!(answer.status(), Some(200));
    }
}
