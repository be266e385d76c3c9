//! The header with which a load balancer begins a connection to say which client it forwards: version 1 and 2 of
//! HAProxy's PROXY protocol. This module collects the bytes and knows where the header ends; the crate `proxy-header`
//! decodes it. It reads no socket and no clock, and does not judge who may send a header. Rejected: the crate `ppp`,
//! which brings a second copy of `thiserror`.
//!
//! No byte behind the header is taken: the next layer, TLS or HTTP, begins exactly there. So nothing has to be handed
//! back, and an edge-triggered poller still reports what waits in the socket.

use std::net::IpAddr;

use proxy_header::{ParseConfig, Protocol, ProxyHeader, Tlv};

/// How version 1 begins. It is a line of text.
const TEXT: &[u8] = b"PROXY ";

/// How version 2 begins. Four bytes follow it: version, family, and the length of the rest.
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The length of the least header of version 2, which has no addresses.
const BINARY_LEAST: usize = 16;

/// The lengths of the least headers of version 1, by how they begin. Bytes up to there can be read at once.
const TEXT_LEAST: [(&[u8], usize); 2] = [
    (b"PROXY TCP4 ", b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n".len()),
    (b"PROXY TCP6 ", b"PROXY TCP6 :: :: 0 0\r\n".len()),
];

/// The length of the least header of all: `PROXY UNKNOWN` and the end of the line.
const LEAST: usize = 15;

/// The longest header of version 1, by the protocol.
const TEXT_MOST: usize = 107;

/// The longest header of version 2 that is taken. The protocol's own advice is 536 bytes; a load balancer that adds the
/// client's certificate name, an id of the connection and its network's number stays far below this.
const BINARY_MOST: usize = 2048;

/// A header as far as it has come.
#[derive(Debug, Default)]
pub struct HeaderReader {
    bytes: Vec<u8>,
}

/// What a complete header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// The connection is a client's.
    Client {
        /// Its address.
        address: IpAddr,
        /// Whether it came to the load balancer by TLS. Only the extension `PP2_TYPE_SSL` of version 2 says so.
        secure: bool,
    },
    /// The connection is the load balancer's own, such as a health check, or it does not know the client's address.
    Itself,
}

/// Why there is no good header, as a clause about the peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    /// The connection begins with something else.
    #[error("sent no header of the PROXY protocol")]
    Missing,
    /// It is longer than any good one.
    #[error("sent a header of the PROXY protocol of more than {0} bytes")]
    TooLong(usize),
    /// It breaks the protocol, or is about something else than a TCP connection.
    #[error("sent a bad header of the PROXY protocol")]
    Broken,
    /// It names an address that no client has.
    #[error("sent a header of the PROXY protocol with {0}, which is no client's address")]
    NoClient(IpAddr),
}

impl HeaderReader {
    /// The most bytes that are ever missing.
    pub const MOST: usize = BINARY_MOST;

    /// The least number of bytes that are still missing. More must not be read at once.
    pub fn missing(&self) -> usize {
        let have = self.bytes.as_slice();
        let least = match have.starts_with(BINARY) {
            true => BINARY_LEAST + announced(have).unwrap_or_default(),
            false => {
                let known = TEXT_LEAST.iter().find(|(start, _)| have.starts_with(start));
                known.map_or(LEAST, |(_, least)| *least)
            }
        };
        least.saturating_sub(have.len()).max(1)
    }

    /// Adds bytes, at most as many as are missing. `None`: more must come.
    ///
    /// # Errors
    /// Why the header is none, or a bad one. It is noticed with the first wrong byte of its beginning, and else when
    /// the header is complete.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<Announced>, BadHeader> {
        debug_assert!(
            bytes.len() <= self.missing(),
            "bytes behind the header belong to the next layer"
        );
        self.bytes.extend_from_slice(bytes);
        let have = self.bytes.as_slice();
        if begins(have, BINARY) {
            let length = announced(have).map(|rest| BINARY_LEAST + rest);
            return match length {
                Some(length) if length > BINARY_MOST => Err(BadHeader::TooLong(BINARY_MOST)),
                Some(length) if length <= have.len() => decode(have).map(Some),
                _ => Ok(None),
            };
        }
        if !begins(have, TEXT) {
            return Err(BadHeader::Missing);
        }
        match have.iter().position(|byte| *byte == b'\n') {
            Some(end) if end + 1 == have.len() => decode(have).map(Some),
            Some(_) => Err(BadHeader::Broken),
            None if have.len() >= TEXT_MOST => Err(BadHeader::TooLong(TEXT_MOST)),
            None => Ok(None),
        }
    }
}

/// Whether these bytes are a beginning of `prefix`, or `prefix` a beginning of them.
fn begins(bytes: &[u8], prefix: &[u8]) -> bool {
    let common = bytes.len().min(prefix.len());
    bytes[..common] == prefix[..common]
}

/// The length of what follows the first 16 bytes of version 2, once these have come.
fn announced(header: &[u8]) -> Option<usize> {
    let length = header.get(BINARY_LEAST - 2..BINARY_LEAST)?;
    Some(usize::from(u16::from_be_bytes([length[0], length[1]])))
}

/// What a complete header says.
fn decode(bytes: &[u8]) -> Result<Announced, BadHeader> {
    let (header, length) = ProxyHeader::parse(bytes, ParseConfig::default()).map_err(|_| BadHeader::Broken)?;
    debug_assert!(
        length == bytes.len(),
        "the crate sees the end of the header where it was seen here"
    );
    // Extensions that cannot be read are skipped like those that are not known.
    let is_tls = |extension| matches!(extension, Ok(Tlv::Ssl(tls)) if tls.client_ssl());
    match header.proxied_address() {
        Some(addresses) if addresses.protocol == Protocol::Stream => {
            client(addresses.source.ip(), header.tlvs().any(is_tls))
        }
        Some(_) => Err(BadHeader::Broken),
        // The client of a Unix socket has no address.
        None => Ok(Announced::Itself),
    }
}

fn client(address: IpAddr, secure: bool) -> Result<Announced, BadHeader> {
    let address = address.to_canonical();
    let is_everybody = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    match address.is_unspecified() || address.is_multicast() || is_everybody {
        true => Err(BadHeader::NoClient(address)),
        false => Ok(Announced::Client { address, secure }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a header as a socket would hand it out, in pieces of at most `piece` bytes. Returns also how many bytes
    /// were taken.
    fn read(mut input: &[u8], piece: usize) -> (Result<Option<Announced>, BadHeader>, usize) {
        let (mut reader, length) = (HeaderReader::default(), input.len());
        loop {
            let n = reader.missing().min(piece).min(input.len());
            if n == 0 {
                return (Ok(None), length - input.len());
            }
            let (front, rest) = input.split_at(n);
            input = rest;
            match reader.push(front) {
                Ok(None) => {}
                other => return (other, length - input.len()),
            }
        }
    }

    fn client(address: &str, secure: bool) -> Announced {
        let address = address.parse().expect(address);
        Announced::Client { address, secure }
    }

    /// A header of version 2.
    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = BINARY.to_vec();
        header.extend([0x20 | command, family]);
        header.extend((rest.len() as u16).to_be_bytes());
        header.extend(rest);
        header
    }

    const V4: [u8; 12] = [203, 0, 113, 9, 10, 0, 0, 5, 0xd4, 0x31, 1, 0xbb];

    fn v6(source: &str) -> Vec<u8> {
        let source: std::net::Ipv6Addr = source.parse().expect(source);
        [&source.octets()[..], &[0; 16], &[1, 2, 1, 0xbb]].concat()
    }

    fn with(extensions: &[(u8, &[u8])]) -> Vec<u8> {
        let mut rest = V4.to_vec();
        for (kind, value) in extensions {
            rest.push(*kind);
            rest.extend((value.len() as u16).to_be_bytes());
            rest.extend(*value);
        }
        binary(1, 0x11, &rest)
    }

    #[test]
    fn good_headers_are_read_in_pieces_of_any_size_and_nothing_behind_them() {
        let longest =
            b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 \
            65535\r\n";
        assert_eq!(longest.len(), TEXT_MOST);
        for (header, says) in [
            (
                b"PROXY TCP4 203.0.113.9 10.0.0.5 54321 443\r\n".to_vec(),
                client("203.0.113.9", false),
            ),
            (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n".to_vec(), client("1.1.1.1", false)),
            (
                b"PROXY TCP6 2001:db8::9 ::1 1 2\r\n".to_vec(),
                client("2001:db8::9", false),
            ),
            (
                b"PROXY TCP6 ::ffff:203.0.113.9 ::1 1 2\r\n".to_vec(),
                client("203.0.113.9", false),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), Announced::Itself),
            (b"PROXY UNKNOWN what ever\r\n".to_vec(), Announced::Itself),
            (longest.to_vec(), Announced::Itself),
            (binary(1, 0x11, &V4), client("203.0.113.9", false)),
            (binary(1, 0x21, &v6("2001:db8::9")), client("2001:db8::9", false)),
            (binary(1, 0x21, &v6("::ffff:203.0.113.9")), client("203.0.113.9", false)),
            (binary(0, 0x00, &[]), Announced::Itself),
            (binary(0, 0x11, &V4), Announced::Itself),
            (binary(1, 0x00, &[7; 30]), Announced::Itself),
            (binary(1, 0x31, &[b'/'; 216]), Announced::Itself),
            // AUTHORITY and UNIQUE_ID, and what nobody has defined.
            (
                with(&[(2, b"example.org"), (5, b"x"), (0xee, &[0; 900])]),
                client("203.0.113.9", false),
            ),
            (with(&[(0x20, &[1, 0, 0, 0, 0])]), client("203.0.113.9", true)),
            (
                with(&[(2, b"x"), (0x20, &[7, 0, 0, 0, 0, 0x21, 0, 1, b'3'])]),
                client("203.0.113.9", true),
            ),
            (with(&[(0x20, &[0, 0, 0, 0, 0])]), client("203.0.113.9", false)),
            (with(&[(0x20, &[])]), client("203.0.113.9", false)),
        ] {
            let behind = [&header[..], b"GET / HTTP/1.1\r\n\r\n\0PROXY"].concat();
            for piece in [1, 2, 7, 4096] {
                let shown = String::from_utf8_lossy(&header);
                assert_eq!(
                    read(&behind, piece),
                    (Ok(Some(says)), header.len()),
                    "{piece}: {shown:?}"
                );
            }
            for end in 0..header.len() {
                assert_eq!(read(&header[..end], 4096).0, Ok(None), "cut at {end}");
            }
        }
    }

    #[test]
    fn bad_headers_have_their_sentence() {
        let endless = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
        let huge = [BINARY, &[0x21, 0x11, 0x08, 0x00]].concat();
        for (bytes, sentence) in [
            (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "no header"),
            (b"PROXX".to_vec(), "no header"),
            (b"\x16\x03\x01\x02\x00\x01".to_vec(), "no header"),
            (b"\r\n\r\nGET".to_vec(), "no header"),
            (b"PRI * HTTP/2.0\r\n\r\n".to_vec(), "no header"),
            (b"PROXYTCP4 1.1.1.1 1.1.1.1 1 1\r\n".to_vec(), "no header"),
            (
                b"PROXY TCP4 2001:db8::9 ::1 1 2\r\nGET / HTTP/1.1".to_vec(),
                "bad header",
            ),
            (b"PROXY TCP6 203.0.113.9 10.0.0.5 1 2\r\n".to_vec(), "bad header"),
            (b"PROXY UDP4 203.0.113.9 10.0.0.5 1 2\r\n".to_vec(), "bad header"),
            (b"PROXY TCP4 203.0.113.9 10.0.0.5 1 65536\r\n".to_vec(), "bad header"),
            (b"PROXY TCP4 203.0.113.9 10.0.0.5 1\r\nxxxxxxxxx".to_vec(), "bad header"),
            (b"PROXY TCP4 203.0.113.9 10.0.0.5 1 2\nxxxxxxxxx".to_vec(), "bad header"),
            (b"PROXY UNKNOWN\nPROXY UNKNOWN\r\n".to_vec(), "bad header"),
            (b"PROXY \r\nPROXY UNKNOWN\r\n".to_vec(), "bad header"),
            (
                b"PROXY TCP4 0.0.0.0 10.0.0.5 1 2\r\n".to_vec(),
                "0.0.0.0, which is no client's",
            ),
            (
                b"PROXY TCP4 255.255.255.255 10.0.0.5 1 2\r\n".to_vec(),
                "which is no client's",
            ),
            (b"PROXY TCP6 :: ::1 1 2\r\n".to_vec(), "::, which is no client's"),
            (
                b"PROXY TCP6 ff02::1 ::1 1 2\r\n".to_vec(),
                "ff02::1, which is no client's",
            ),
            (endless, "more than 107 bytes"),
            (huge, "more than 2048 bytes"),
            (binary(1, 0x11, &V4[..11]), "bad header"),
            (binary(1, 0x21, &V4), "bad header"),
            (binary(1, 0x41, &V4), "bad header"),
            (binary(2, 0x11, &V4), "bad header"),
            (binary(1, 0x12, &V4), "bad header"),
            (binary(1, 0x21, &v6("::")), "which is no client's"),
        ] {
            for piece in [1, 4096] {
                let shown = String::from_utf8_lossy(&bytes);
                let why = read(&bytes, piece).0.expect_err(&shown).to_string();
                assert!(why.contains(sentence), "{shown:?}: {why}");
            }
        }
        let version_1 = [BINARY, &[0x11, 0x11, 0, 12], &V4].concat();
        assert!(
            read(&version_1, 4096).0.is_err(),
            "a version 1 in the form of version 2"
        );
    }

    /// Whatever comes is read without a panic, and without holding more than the longest header.
    #[test]
    fn changed_and_random_headers_are_read_or_refused() {
        use rand::rngs::StdRng;
        use rand::{RngExt, SeedableRng};

        let seeds = [
            b"PROXY TCP4 203.0.113.9 10.0.0.5 54321 443\r\n".to_vec(),
            b"PROXY TCP6 2001:db8::9 ::1 1 2\r\n".to_vec(),
            b"PROXY UNKNOWN a b c\r\n".to_vec(),
            binary(1, 0x11, &V4),
            binary(1, 0x21, &v6("2001:db8::9")),
            binary(1, 0x31, &[b'/'; 216]),
            with(&[
                (2, b"x"),
                (0x20, &[7, 0, 0, 0, 0, 0x21, 0, 1, b'3']),
                (3, &[1, 2, 3, 4]),
            ]),
        ];
        let mut random = StdRng::seed_from_u64(15);
        let (mut good, mut bad) = (0, 0);
        for round in 0..60_000 {
            let mut bytes = seeds[round % seeds.len()].clone();
            for _ in 0..random.random_range(0..4) {
                let at = random.random_range(0..bytes.len());
                match random.random_range(0..4) {
                    0 => bytes[at] = random.random(),
                    1 => bytes[at] ^= 1 << random.random_range(0..8),
                    2 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, *b"\r\n \0:.9".get(random.random_range(0..7)).expect("in range")),
                }
            }
            bytes.extend(std::iter::repeat_n(b'x', 3000));
            let (said, taken) = read(&bytes, 1 + round % 64);
            assert!(taken <= BINARY_MOST, "{taken} bytes are held");
            match said {
                Ok(Some(_)) => good += 1,
                Ok(None) => panic!("it waits for more than the longest header: {bytes:?}"),
                Err(_) => bad += 1,
            }
        }
        assert!(good > 10_000 && bad > 10_000, "{good} good, {bad} bad");
    }
}
