//! The header line `Date` of all answers (RFC 9110 section 6.6.1): one text a second, which all answers of that
//! second share.

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

/// The line `Date: …` with its end. Empty: the clock shows no date that can be written, as that of a server without a
/// clock.
#[derive(Debug, Default)]
pub struct DateLine {
    /// The second since 1970 that the text shows.
    second: Option<u64>,
    text: String,
}

impl DateLine {
    /// Sets the time: milliseconds since 1970 by the wall clock, which may jump.
    pub fn set(&mut self, unix_ms: u64) {
        let second = unix_ms / 1000;
        if self.second != Some(second) {
            self.second = Some(second);
            self.write(second);
        }
    }

    /// The bytes to append to the head of an answer.
    pub fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    fn write(&mut self, second: u64) {
        self.text.clear();
        let time = i64::try_from(second)
            .ok()
            .and_then(|unix| Timestamp::from_second(unix).ok());
        let Some(time) = time else { return };
        self.text.push_str("Date: ");
        match DateTimePrinter::new().print_timestamp_rfc9110(&time, &mut self.text) {
            Ok(()) => self.text.push_str("\r\n"),
            Err(_) => self.text.clear(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(date: &mut DateLine, unix_ms: u64) -> String {
        date.set(unix_ms);
        String::from_utf8(date.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn the_line_shows_the_wall_clock_also_when_it_jumps() {
        let mut date = DateLine::default();
        assert_eq!(date.as_bytes(), b"");
        // The example of RFC 9110 section 5.6.7.
        let example = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        for (unix_ms, expected) in [
            (784_111_777_000, example),
            (784_111_777_999, example),
            (784_111_778_000, "Date: Sun, 06 Nov 1994 08:49:38 GMT\r\n"),
            (784_111_777_500, example),
            (0, "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"),
            (951_782_400_000, "Date: Tue, 29 Feb 2000 00:00:00 GMT\r\n"),
            (253_402_207_200_000, "Date: Thu, 30 Dec 9999 22:00:00 GMT\r\n"),
            (u64::MAX, ""),
            (784_111_777_000, example),
        ] {
            assert_eq!(line(&mut date, unix_ms), expected, "{unix_ms}");
        }
    }

    #[test]
    fn a_text_is_made_once_a_second() {
        let mut date = DateLine::default();
        date.set(1_000);
        date.text.push_str("kept");
        date.set(1_999);
        assert!(date.text.ends_with("kept"));
        date.set(2_000);
        assert_eq!(date.as_bytes(), b"Date: Thu, 01 Jan 1970 00:00:02 GMT\r\n");
    }
}
