//! Bytes as a WebSocket client sees them (RFC 6455): the handshake request, the server's reply to it, masked frames out
//! and unmasked frames in. Own code, and small, because it must neither share a bug with the server nor cost more than
//! it.

use tungstenite::handshake::derive_accept_key;

/// The largest payload that is understood; a server that announces more is broken.
pub const MAX_PAYLOAD: usize = 16 << 20;
/// The largest head of a reply.
const MAX_HEAD: usize = 16 << 10;

pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xA;

/// The handshake request of a client; `headers` are whole lines.
pub fn request(host: &str, path: &str, key: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
    )
}

/// The state of the upgrade after the bytes that the server sent so far.
#[derive(Debug, PartialEq)]
pub enum Reply {
    /// The head is not complete yet.
    Incomplete,
    /// 101 with the right accept key; the head took so many bytes, frames follow.
    Upgraded(usize),
    /// Anything else, as a sentence.
    Refused(String),
}

/// Reads the server's reply to a request that carried `key`.
pub fn read_reply(bytes: &[u8], key: &str) -> Reply {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let used = match head.parse(bytes) {
        Ok(httparse::Status::Complete(used)) => used,
        Ok(httparse::Status::Partial) if bytes.len() <= MAX_HEAD => return Reply::Incomplete,
        Ok(httparse::Status::Partial) => return Reply::Refused("the reply's head never ends".into()),
        Err(error) => return Reply::Refused(format!("the reply is not HTTP: {error}")),
    };
    if head.code != Some(101) {
        let (code, reason) = (head.code.unwrap_or(0), head.reason.unwrap_or_default());
        return Reply::Refused(format!("HTTP {code} {reason}"));
    }
    let accept = head
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("sec-websocket-accept"));
    if accept.is_none_or(|header| header.value != derive_accept_key(key.as_bytes()).as_bytes()) {
        return Reply::Refused("101 with a wrong Sec-WebSocket-Accept".into());
    }
    Reply::Upgraded(used)
}

/// An answer to a plain HTTP request.
#[derive(Debug, PartialEq)]
pub struct Answer<'a> {
    pub status: u16,
    pub body: &'a [u8],
    /// Head and body: where the next answer starts.
    pub length: usize,
}

/// Reads the first answer in some bytes; `None`: it is not complete. Only answers that say how long they are (or have
/// no body) are understood.
pub fn read_answer(bytes: &[u8]) -> Result<Option<Answer<'_>>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let used = match head.parse(bytes) {
        Ok(httparse::Status::Complete(used)) => used,
        Ok(httparse::Status::Partial) if bytes.len() <= MAX_HEAD => return Ok(None),
        Ok(httparse::Status::Partial) => return Err("the answer's head never ends".into()),
        Err(error) => return Err(format!("the answer is not HTTP: {error}")),
    };
    let status = head.code.unwrap_or(0);
    let find = |name: &str| {
        head.headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name))
    };
    let length = match find("content-length") {
        Some(header) => std::str::from_utf8(header.value)
            .ok()
            .and_then(|text| text.trim().parse::<usize>().ok())
            .filter(|length| *length <= MAX_PAYLOAD)
            .ok_or("the answer has a bad Content-Length")?,
        None if status == 204 => 0,
        None => return Err("the answer does not say how long it is".into()),
    };
    let body = bytes.get(used..used + length);
    Ok(body.map(|body| Answer {
        status,
        body,
        length: used + length,
    }))
}

/// A frame in the buffer that it came in.
#[derive(Debug, PartialEq)]
pub struct Frame<'a> {
    pub finished: bool,
    pub opcode: u8,
    pub payload: &'a [u8],
    /// Header and payload: where the next frame starts.
    pub length: usize,
}

/// The first frame in some bytes.
#[derive(Debug, PartialEq)]
pub enum Decoded<'a> {
    Incomplete,
    Frame(Frame<'a>),
    /// A frame that a server may not send; the reason.
    Broken(&'static str),
}

/// Decodes the first frame; a frame that is not complete is found out in constant time.
pub fn decode(bytes: &[u8]) -> Decoded<'_> {
    let [first, second, rest @ ..] = bytes else {
        return Decoded::Incomplete;
    };
    if first & 0x70 != 0 {
        return Decoded::Broken("reserved bits are set in a frame");
    }
    if second & 0x80 != 0 {
        return Decoded::Broken("a frame of the server is masked");
    }
    let (header, length) = match second & 0x7f {
        126 => match rest.first_chunk::<2>() {
            Some(bytes) => (4, usize::from(u16::from_be_bytes(*bytes))),
            None => return Decoded::Incomplete,
        },
        127 => match rest.first_chunk::<8>() {
            Some(bytes) => (10, usize::try_from(u64::from_be_bytes(*bytes)).unwrap_or(usize::MAX)),
            None => return Decoded::Incomplete,
        },
        short => (2, usize::from(short)),
    };
    if length > MAX_PAYLOAD {
        return Decoded::Broken("a frame announces more than 16 MiB");
    }
    match bytes.get(header..header + length) {
        Some(payload) => Decoded::Frame(Frame {
            finished: first & 0x80 != 0,
            opcode: first & 0x0f,
            payload,
            length: header + length,
        }),
        None => Decoded::Incomplete,
    }
}

/// Appends one whole masked frame to `out`.
pub fn encode(opcode: u8, payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    match payload.len() {
        length @ 0..126 => out.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nConnection: Upgrade\r\n\
                            SEC-WEBSOCKET-ACCEPT: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

    fn unmasked(payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0x81];
        match payload.len() {
            length @ 0..126 => frame.push(length as u8),
            length @ 126..=0xffff => {
                frame.push(126);
                frame.extend((length as u16).to_be_bytes());
            }
            length => {
                frame.push(127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(payload);
        frame
    }

    #[test]
    fn the_masked_hello_of_the_rfc() {
        let mut frame = Vec::new();
        encode(TEXT, b"Hello", [0x37, 0xfa, 0x21, 0x3d], &mut frame); // RFC 6455, 5.7
        assert_eq!(
            frame,
            [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]
        );
    }

    #[test]
    fn lengths_take_the_shortest_form() {
        for (length, header) in [(0, 6), (125, 6), (126, 8), (65_535, 8), (65_536, 14)] {
            let mut frame = Vec::new();
            encode(BINARY, &vec![b'x'; length], [1, 2, 3, 4], &mut frame);
            assert_eq!(frame.len(), header + length);
        }
    }

    #[test]
    fn a_frame_is_decoded_only_when_its_last_byte_is_there() {
        for length in [0, 1, 125, 126, 300, 65_535, 65_536] {
            let payload = vec![b'x'; length];
            let bytes = unmasked(&payload);
            for cut in (0..bytes.len().min(20)).chain([bytes.len() - 1]) {
                assert_eq!(decode(&bytes[..cut]), Decoded::Incomplete, "{length} cut at {cut}");
            }
            let mut followed = bytes.clone();
            followed.extend(unmasked(b"next"));
            let frame = Frame {
                finished: true,
                opcode: TEXT,
                payload: &payload,
                length: bytes.len(),
            };
            assert_eq!(decode(&followed), Decoded::Frame(frame));
        }
    }

    #[test]
    fn a_frame_that_a_server_may_not_send_is_broken() {
        assert!(
            matches!(decode(&[0x81, 0x80, 0, 0, 0, 0]), Decoded::Broken(_)),
            "masked"
        );
        assert!(matches!(decode(&[0xc1, 0]), Decoded::Broken(_)), "reserved bit");
        let endless = [0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert!(matches!(decode(&endless), Decoded::Broken(_)), "length");
    }

    #[test]
    fn a_reply_in_any_number_of_pieces() {
        for cut in 0..SWITCHED.len() {
            assert_eq!(
                read_reply(&SWITCHED.as_bytes()[..cut], KEY),
                Reply::Incomplete,
                "cut at {cut}"
            );
        }
        let followed = format!("{SWITCHED}\u{1}\u{1}x");
        assert_eq!(read_reply(followed.as_bytes(), KEY), Reply::Upgraded(SWITCHED.len()));
    }

    #[test]
    fn a_refusal_says_why() {
        assert_eq!(
            read_reply(b"HTTP/1.1 429 Too Many Requests\r\n\r\n", KEY),
            Reply::Refused("HTTP 429 Too Many Requests".into())
        );
        assert!(matches!(read_reply(SWITCHED.as_bytes(), "b3RoZXI="), Reply::Refused(_)));
        assert!(matches!(read_reply(b"\x15\x03\x01\x00\x02", KEY), Reply::Refused(_)));
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(MAX_HEAD));
        assert!(matches!(read_reply(endless.as_bytes(), KEY), Reply::Refused(_)));
    }

    #[test]
    fn the_request_is_one_that_a_server_understands() {
        let request = request("127.0.0.1:8080", "/echo", KEY, "Cookie: a=b\r\n");
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut head = httparse::Request::new(&mut headers);
        let used = head.parse(request.as_bytes()).unwrap();
        assert_eq!(used, httparse::Status::Complete(request.len()));
        assert_eq!((head.method, head.path), (Some("GET"), Some("/echo")));
    }
}
