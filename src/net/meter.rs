//! The meter reads frame headers (RFC 6455 section 5.2) before tungstenite gets the frames. tungstenite unmasks, checks
//! UTF-8, joins fragments and closes. The meter exists because a peer must be judged by the header alone, before the
//! body comes. From the header tungstenite compares `max_frame_size` only. It waits for the whole body of a frame that
//! is already wrong, and counts neither the sum of fragments nor their number. Setting `max_frame_size` before each
//! read to the rest of the message would fix only one of these four.

use super::close::CloseReason;

/// How large a message may be.
#[derive(Clone, Copy, Debug)]
pub struct MessageLimits {
    /// Bytes, the sum of the fragments.
    pub size: usize,
    /// Frames of one message.
    pub fragments: u32,
}

/// Where in the stream of frames a connection is.
#[derive(Debug, Default)]
pub struct Meter {
    /// The header that is being read: the bytes that came so far.
    header: [u8; 10],
    have: u8,
    /// Bytes of the current frame that are still to come: the mask and the payload.
    remaining: u64,
    /// Bytes of the current message so far, and its frames; 0 frames: no message is open.
    message: usize,
    fragments: u32,
    /// Whether the current frame ends its message.
    last: bool,
    /// The mask and the first two bytes of the payload of a close frame: the bytes that came so far.
    close: Option<([u8; 6], usize)>,
    /// The largest frame since the start, in bytes. The decoder's buffer may have grown to it.
    pub largest: u32,
}

impl Meter {
    /// How many bytes at the front of `input` belong to the current frame.
    ///
    /// # Errors
    /// The close reason when the header breaks a rule or a limit. The stream is of no use after that.
    pub fn measure(&mut self, input: &[u8], limits: MessageLimits) -> Result<usize, CloseReason> {
        let mut taken = 0;
        while self.remaining == 0 {
            let Some(&byte) = input.get(taken) else {
                return Ok(taken);
            };
            self.header[usize::from(self.have)] = byte;
            self.have += 1;
            taken += 1;
            self.judge(limits)?;
        }
        let pass = self.remaining.min((input.len() - taken) as u64);
        self.remaining -= pass;
        if let Some((bytes, have)) = &mut self.close {
            for byte in input[taken..].iter().take((bytes.len() - *have).min(pass as usize)) {
                bytes[*have] = *byte;
                *have += 1;
            }
        }
        if self.remaining == 0 && self.last {
            self.message = 0;
            self.fragments = 0;
        }
        Ok(taken + pass as usize)
    }

    /// The code of the last close frame, as the peer wrote it. tungstenite reports 1002 in place of codes that it
    /// rejects, but 1014 is valid.
    pub fn close_code(&self) -> Option<u16> {
        let ([a, b, _, _, x, y], 6) = self.close? else {
            return None;
        };
        Some(u16::from_be_bytes([a ^ x, b ^ y]))
    }

    /// Whether the stream is between two frames.
    pub fn at_frame_end(&self) -> bool {
        self.remaining == 0 && self.have == 0
    }

    /// Whether a message has begun and not ended.
    pub fn in_message(&self) -> bool {
        self.fragments > 0 || !self.at_frame_end()
    }

    /// Judges the bytes of the header so far. When it is whole, sets how many bytes of the frame are still to come.
    fn judge(&mut self, limits: MessageLimits) -> Result<(), CloseReason> {
        let [first, second, ..] = self.header;
        let (opcode, fin) = (first & 0x0f, first & 0x80 != 0);
        let control = opcode & 0x08 != 0;
        if self.have == 1 {
            return self.judge_first(first, opcode, fin, control);
        }
        let short = second & 0x7f;
        if self.have == 2 {
            if second & 0x80 == 0 {
                return Err(CloseReason::protocol("frame is not masked"));
            }
            if control && short > 125 {
                return Err(CloseReason::protocol("control frame is longer than 125 bytes"));
            }
        }
        let length = match (short, self.have) {
            (0..=125, 2) => u64::from(short),
            (126, 4) => u64::from(u16::from_be_bytes([self.header[2], self.header[3]])),
            (127, 10) => {
                let [.., a, b, c, d, e, f, g, h] = self.header;
                u64::from_be_bytes([a, b, c, d, e, f, g, h])
            }
            _ => return Ok(()),
        };
        if !control {
            self.count(length, fin, limits)?;
        }
        self.have = 0;
        self.remaining = 4 + length;
        self.close = (opcode == 8).then_some(([0; 6], 0));
        Ok(())
    }

    fn judge_first(&self, first: u8, opcode: u8, fin: bool, control: bool) -> Result<(), CloseReason> {
        let open = self.fragments > 0;
        Err(CloseReason::protocol(match opcode {
            _ if first & 0x70 != 0 => "reserved bits are set",
            3..=7 | 11..=15 => "reserved opcode",
            _ if control && !fin => "control frame is fragmented",
            0 if !open => "continuation without a message",
            1 | 2 if open => "new message inside a message",
            _ => return Ok(()),
        }))
    }

    fn count(&mut self, length: u64, fin: bool, limits: MessageLimits) -> Result<(), CloseReason> {
        if length > (limits.size - self.message.min(limits.size)) as u64 {
            return Err(CloseReason::TOO_BIG);
        }
        if self.fragments >= limits.fragments {
            return Err(CloseReason::TOO_MANY_FRAGMENTS);
        }
        self.message += length as usize;
        self.fragments += 1;
        self.last = fin;
        self.largest = self
            .largest
            .max(length.min(u64::from(u32::MAX)) as u32)
            .max(self.message as u32);
        Ok(())
    }
}
