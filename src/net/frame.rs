//! Encoding of server frames (RFC 6455 section 5.2). They carry no mask, so one encoding serves every recipient.

use bytes::Bytes;

/// The opcodes that a server sends by itself. tungstenite writes pongs and almost all close frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// A whole text message.
    Text = 1,
    /// A whole binary message.
    Binary = 2,
    /// A close frame, of a connection whose decoder cannot write it any more.
    Close = 8,
    /// A ping.
    Ping = 9,
}

/// Appends a whole, final, unmasked frame to `out`.
pub fn append(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    out.reserve(payload.len() + 10);
    out.push(0x80 | opcode as u8);
    match payload.len() {
        n @ 0..=125 => out.push(n as u8),
        n @ 126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            out.push(127);
            out.extend_from_slice(&(n as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

/// A frame to be shared by many send queues.
pub fn encode(opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut out = Vec::new();
    append(&mut out, opcode, payload);
    Bytes::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_takes_its_shortest_form_at_every_edge() {
        for (len, header) in [
            (0usize, vec![0x81, 0]),
            (125, vec![0x81, 125]),
            (126, vec![0x81, 126, 0, 126]),
            (65535, vec![0x81, 126, 0xff, 0xff]),
            (65536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let frame = encode(Opcode::Text, &vec![b'x'; len]);
            assert_eq!(&frame[..header.len()], &header[..], "length {len}");
            assert_eq!(frame.len(), header.len() + len);
        }
    }
}
