//! Builds frames as a client sends them (RFC 6455 section 5.2), right ones and wrong ones: every field can be set to
//! what it must not be.

/// A continuation.
pub const CONTINUATION: u8 = 0;
/// A text.
pub const TEXT: u8 = 1;
/// Any bytes.
pub const BINARY: u8 = 2;
/// The close frame.
pub const CLOSE: u8 = 8;
/// A ping.
pub const PING: u8 = 9;
/// A pong.
pub const PONG: u8 = 10;

/// One frame. By default it is final, masked, without reserved bits, and its length is true.
#[derive(Clone, Debug)]
pub struct Frame {
    first: u8,
    mask: Option<[u8; 4]>,
    payload: Vec<u8>,
    announced: Option<u64>,
    width: Option<Width>,
}

/// How the length is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// In the second byte: up to 125.
    Seven,
    /// In two more bytes.
    Sixteen,
    /// In eight more bytes.
    SixtyFour,
}

impl Frame {
    /// A frame with this opcode, known or not.
    pub fn new(opcode: u8, payload: impl AsRef<[u8]>) -> Self {
        let payload = payload.as_ref().to_vec();
        Self {
            first: 0x80 | opcode,
            mask: Some([0x37, 0xfa, 0x21, 0x3d]),
            payload,
            announced: None,
            width: None,
        }
    }

    /// A text frame; the payload may be no text at all.
    pub fn text(payload: impl AsRef<[u8]>) -> Self {
        Self::new(TEXT, payload)
    }

    /// A binary frame.
    pub fn binary(payload: impl AsRef<[u8]>) -> Self {
        Self::new(BINARY, payload)
    }

    /// A continuation.
    pub fn continuation(payload: impl AsRef<[u8]>) -> Self {
        Self::new(CONTINUATION, payload)
    }

    /// A ping.
    pub fn ping(payload: impl AsRef<[u8]>) -> Self {
        Self::new(PING, payload)
    }

    /// A pong.
    pub fn pong(payload: impl AsRef<[u8]>) -> Self {
        Self::new(PONG, payload)
    }

    /// A close frame with a code and a reason, which may be no text at all.
    pub fn close(code: u16, reason: impl AsRef<[u8]>) -> Self {
        Self::new(CLOSE, [&code.to_be_bytes()[..], reason.as_ref()].concat())
    }

    /// More fragments follow: FIN is not set.
    pub fn unfinished(mut self) -> Self {
        self.first &= 0x7f;
        self
    }

    /// Sets the reserved bits: 4 is RSV1, 2 is RSV2, 1 is RSV3.
    pub fn reserved(mut self, bits: u8) -> Self {
        self.first |= bits << 4;
        self
    }

    /// Leaves the mask out.
    pub fn unmasked(mut self) -> Self {
        self.mask = None;
        self
    }

    /// Says another length than the payload's, the most significant bit included.
    pub fn announcing(mut self, len: u64) -> Self {
        self.announced = Some(len);
        self
    }

    /// Writes the length in another width than the shortest.
    pub fn width(mut self, width: Width) -> Self {
        self.width = Some(width);
        self
    }

    /// The frame as it goes over the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.payload.len() + 14);
        let masked = if self.mask.is_some() { 0x80 } else { 0 };
        let len = self.announced.unwrap_or(self.payload.len() as u64);
        out.push(self.first);
        match self.width.unwrap_or_else(|| shortest(len)) {
            Width::Seven => out.push(masked | len as u8),
            Width::Sixteen => {
                out.push(masked | 126);
                out.extend_from_slice(&(len as u16).to_be_bytes());
            }
            Width::SixtyFour => {
                out.push(masked | 127);
                out.extend_from_slice(&len.to_be_bytes());
            }
        }
        let Some(mask) = self.mask else {
            out.extend_from_slice(&self.payload);
            return out;
        };
        out.extend_from_slice(&mask);
        let start = out.len();
        out.extend_from_slice(&self.payload);
        for (byte, key) in out[start..].iter_mut().zip(mask.iter().cycle()) {
            *byte ^= key;
        }
        out
    }
}

fn shortest(len: u64) -> Width {
    match len {
        0..=125 => Width::Seven,
        126..=0xffff => Width::Sixteen,
        _ => Width::SixtyFour,
    }
}

/// One message as fragments of `size` bytes; at least one fragment.
pub fn fragments(opcode: u8, payload: &[u8], size: usize) -> Vec<u8> {
    let pieces: Vec<&[u8]> = if payload.is_empty() {
        vec![payload]
    } else {
        payload.chunks(size).collect()
    };
    let last = pieces.len() - 1;
    let mut out = Vec::with_capacity(payload.len() + pieces.len() * 14);
    for (at, piece) in pieces.into_iter().enumerate() {
        let frame = Frame::new(if at == 0 { opcode } else { CONTINUATION }, piece);
        out.extend(if at == last {
            frame.bytes()
        } else {
            frame.unfinished().bytes()
        });
    }
    out
}
