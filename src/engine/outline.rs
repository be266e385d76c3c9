//! Where the first frame of the received bytes ends. Frames are bounded here, before they are complete: a length that
//! is too high is refused when its header comes, and nesting before anything recurses into it. The codec of the library
//! has no such bounds, and begins anew with each piece that arrives. So it gets complete frames only.

use super::broken::Nonsense;

/// Entries in one answer: the `COUNT` of a read.
pub(super) const RECORDS: usize = 32;

/// Bytes of one string. No entry that a jsocketd writes is longer.
pub(super) const STRING: usize = 256 * 1024;

/// Bytes of one answer: as many entries as are asked for, the longest that there are, and what stands around them. An
/// unfinished answer has no more bytes than this and one read of a socket, in a buffer that doubles as it grows.
pub(super) const FRAME: usize = RECORDS * (STRING + 1024);

/// Bytes of a line: of a number, of an error, or of a short text.
const LINE: usize = 1024;

/// Arrays within arrays: streams, a stream, its entries, an entry, its fields.
const DEPTH: usize = 5;

/// Parts of all arrays of one answer. Our entries have 5, so this leaves room to name those of somebody else.
const PARTS: usize = RECORDS * 64;

/// The first frame, as far as it was seen.
#[derive(Debug, Default)]
pub(super) struct Outline {
    /// The bytes that were seen: they end between two parts.
    at: usize,
    /// How many parts are still to come, of each array that is open.
    open: Vec<usize>,
    /// The parts so far.
    parts: usize,
}

impl Outline {
    /// Goes on with the bytes, which begin with the first frame. Returns the frame's length if it is complete; then the
    /// next call is about the next frame.
    ///
    /// # Errors
    /// The bytes are no frame that may come.
    pub(super) fn end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Nonsense> {
        loop {
            let rest = bytes.get(self.at..).unwrap_or_default();
            let Some(part) = part(rest)? else {
                return Ok(None);
            };
            let complete = match part {
                Part::Leaf(length) => (rest.len() >= length).then_some(length),
                Part::Array(length, _) => Some(length),
            };
            let next = match part {
                Part::Leaf(length) | Part::Array(length, _) => self.at + length,
            };
            if next > FRAME {
                return Err(Nonsense::Long);
            }
            let Some(length) = complete else {
                return Ok(None);
            };
            if let Part::Leaf(_) = part
                && rest.get(length - 2..length) != Some(b"\r\n")
            {
                return Err(Nonsense::Unended);
            }
            self.at = next;
            match part {
                Part::Array(_, count) if count > 0 => {
                    self.parts += count;
                    if self.parts > PARTS {
                        return Err(Nonsense::Many);
                    }
                    if self.open.len() == DEPTH {
                        return Err(Nonsense::Deep);
                    }
                    self.open.push(count);
                }
                Part::Leaf(_) | Part::Array(..) => {
                    if self.close() {
                        return Ok(Some(std::mem::take(self).at));
                    }
                }
            }
        }
    }

    /// A part is complete. Returns whether the frame is.
    fn close(&mut self) -> bool {
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                return false;
            }
            self.open.pop();
        }
        true
    }
}

/// A part of a frame: its bytes, of an array those of its header, and the number of its parts.
#[derive(Clone, Copy)]
enum Part {
    Leaf(usize),
    Array(usize, usize),
}

/// The part at the start of the bytes; `None`: its header is not complete.
fn part(bytes: &[u8]) -> Result<Option<Part>, Nonsense> {
    let Some(kind) = bytes.first() else { return Ok(None) };
    if !b"+-:$*".contains(kind) {
        return Err(Nonsense::Kind);
    }
    let line = &bytes[..bytes.len().min(LINE)];
    let Some(end) = line.windows(2).position(|two| two == b"\r\n") else {
        return match bytes.len() >= LINE {
            true => Err(Nonsense::Line),
            false => Ok(None),
        };
    };
    let header = end + 2;
    Ok(Some(match kind {
        b'$' => match length(&line[1..end])? {
            None => Part::Leaf(header),
            Some(length) if length > STRING => return Err(Nonsense::Long),
            Some(length) => Part::Leaf(header + length + 2),
        },
        b'*' => Part::Array(header, length(&line[1..end])?.unwrap_or(0)),
        _ => Part::Leaf(header),
    }))
}

/// The number of a header; `None`: -1, which stands for nothing at all.
fn length(digits: &[u8]) -> Result<Option<usize>, Nonsense> {
    if digits == b"-1" {
        return Ok(None);
    }
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Nonsense::Length);
    }
    // Nine digits are more than any bound here.
    if digits.len() > 9 {
        return Err(Nonsense::Long);
    }
    let number = digits.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
    Ok(Some(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(bytes: &[u8]) -> Result<Option<usize>, Nonsense> {
        Outline::default().end(bytes)
    }

    #[test]
    fn the_first_frame_ends_where_it_ends() {
        for (frame, rest) in [
            ("+OK\r\n", ""),
            (":7\r\n", ":8\r\n"),
            ("$-1\r\n", "x"),
            ("*-1\r\n", "x"),
            ("*0\r\n", "x"),
            ("$0\r\n\r\n", "+"),
            ("$4\r\n\r\n\r\n\r\n", "+"),
            ("*2\r\n*1\r\n$1\r\na\r\n*0\r\n", "*"),
            ("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", ""),
        ] {
            let all = format!("{frame}{rest}");
            assert_eq!(end(all.as_bytes()), Ok(Some(frame.len())), "{all:?}");
            // It may come byte by byte.
            let mut outline = Outline::default();
            for n in 0..frame.len() {
                assert_eq!(outline.end(&all.as_bytes()[..n]), Ok(None), "{n} of {all:?}");
            }
            assert_eq!(outline.end(frame.as_bytes()), Ok(Some(frame.len())));
            assert_eq!(outline.end(frame.as_bytes()), Ok(Some(frame.len())), "the next one");
        }
    }

    #[test]
    fn what_is_too_much_is_refused_at_its_header() {
        let long = format!("+{}", "x".repeat(LINE));
        let arrays = "*1\r\n".repeat(DEPTH + 1);
        let strings = format!("${STRING}\r\n{}\r\n", "x".repeat(STRING));
        let frame = format!("*40\r\n{}", strings.repeat(33));
        for (bytes, why) in [
            (">2\r\n", Nonsense::Kind),
            ("%1\r\n", Nonsense::Kind),
            ("HTTP/1.1 400", Nonsense::Kind),
            ("\0", Nonsense::Kind),
            ("$262145\r\n", Nonsense::Long),
            ("$99999999999999999999\r\n", Nonsense::Long),
            ("$-2\r\n", Nonsense::Length),
            ("$+1\r\n", Nonsense::Length),
            ("$\r\n", Nonsense::Length),
            ("*1x\r\n", Nonsense::Length),
            ("*2049\r\n", Nonsense::Many),
            ("*2\r\n*2047\r\n", Nonsense::Many),
            ("$1\r\nabc", Nonsense::Unended),
            (&*long, Nonsense::Line),
            (&*arrays, Nonsense::Deep),
            (&*frame, Nonsense::Long),
        ] {
            assert_eq!(end(bytes.as_bytes()), Err(why), "{}", &bytes[..bytes.len().min(60)]);
        }
    }
}
