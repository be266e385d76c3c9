//! The file of the access log. Lines are collected while a tick runs, and its end writes them with one call. The file
//! is a regular one: a pipe or a terminal could stop the loop. Lines that cannot be written, as on a full disk, are
//! lost and counted; the server goes on.

use std::fs::File;
use std::io::{self, Write};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, open};
use serde::Serialize;

use crate::logging::RareLine;
use crate::protocol::room::give_back;
use crate::time::Time;

/// The least between two warnings that lines are lost.
const LOSS_PAUSE: Duration = Duration::from_secs(60);

/// An open file, and the lines of this tick.
#[derive(Debug)]
pub(super) struct LogFile<F = File> {
    path: String,
    file: F,
    buffer: Vec<u8>,
    /// How many lines that are.
    lines: u32,
    /// The last write ended in the middle of a line.
    is_torn: bool,
    /// Lines that were lost since the last line in the log that says how many.
    lost: usize,
    rare: RareLine,
    /// The last line in the log about this file is a warning.
    has_warned: bool,
}

impl LogFile {
    /// Opens or makes the file, to append to it.
    ///
    /// # Errors
    /// Those of open(2), or the file is no regular one.
    pub(super) fn open(path: &str) -> io::Result<Self> {
        // A pipe without a reader would block the call.
        let how =
            OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = File::from(open(path, how, Mode::from_raw_mode(0o640))?);
        match file.metadata()?.is_file() {
            true => Ok(Self::over(path, file)),
            false => Err(io::Error::other("it is not a regular file")),
        }
    }
}

impl<F: Write> LogFile<F> {
    fn over(path: &str, file: F) -> Self {
        Self {
            path: path.to_owned(),
            file,
            buffer: Vec::new(),
            lines: 0,
            is_torn: false,
            lost: 0,
            rare: RareLine::default(),
            has_warned: false,
        }
    }

    /// Adds a line.
    pub(super) fn append(&mut self, line: &impl Serialize) {
        if std::mem::take(&mut self.is_torn) {
            self.buffer.push(b'\n');
        }
        serde_json::to_writer(&mut self.buffer, line).expect("a Vec takes all, and the lines have no maps");
        self.buffer.push(b'\n');
        self.lines += 1;
    }

    /// Writes the lines of this tick. Returns how many there were.
    pub(super) fn flush(&mut self, now: Time) -> u32 {
        if self.buffer.is_empty() {
            return 0;
        }
        let lines = std::mem::take(&mut self.lines);
        let (written, failure) = write(&mut self.file, &self.buffer);
        let (done, rest) = self.buffer.split_at(written);
        let lost = rest.iter().filter(|byte| **byte == b'\n').count();
        // The empty line that ends a torn one is none of ours.
        let lost = lost - usize::from(rest.first() == Some(&b'\n') && done.is_empty());
        self.is_torn = match done.last() {
            Some(last) => *last != b'\n',
            None => self.buffer.first() == Some(&b'\n'),
        };
        match failure {
            Some(error) => {
                self.lost += lost;
                if self.rare.allow(LOSS_PAUSE, now).is_some() {
                    self.has_warned = true;
                    let (path, lost) = (&self.path, self.lost);
                    log::warn!("[server] access_log: {path} cannot be written: {error}; {lost} lines are lost so far");
                }
            }
            // A disk that is full again and again has two lines in each pause.
            None if std::mem::take(&mut self.has_warned) => {
                let (path, lost) = (&self.path, std::mem::take(&mut self.lost));
                log::info!("[server] access_log: {path} is written again; {lost} lines were lost");
            }
            None => {}
        }
        give_back(&mut self.buffer);
        self.buffer.clear();
        lines
    }
}

/// Writes as much as the file takes. Returns how many bytes it took, and why it did not take all.
fn write(file: &mut impl Write, mut bytes: &[u8]) -> (usize, Option<io::Error>) {
    let all = bytes.len();
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return (all - bytes.len(), Some(io::ErrorKind::WriteZero.into())),
            Ok(n) => bytes = &bytes[n..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (all - bytes.len(), Some(error)),
        }
    }
    (all, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with room for so many bytes.
    struct Disk {
        bytes: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.room - self.bytes.len());
            self.bytes.extend(&bytes[..n]);
            match n {
                0 => Err(io::ErrorKind::StorageFull.into()),
                n => Ok(n),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log(room: usize) -> LogFile<Disk> {
        LogFile::over(
            "log",
            Disk {
                bytes: Vec::new(),
                room,
            },
        )
    }

    /// Writes a tick's lines; returns all that the disk has.
    fn tick(log: &mut LogFile<Disk>, lines: &[u32]) -> String {
        lines.iter().for_each(|line| log.append(line));
        log.flush(Time(0));
        String::from_utf8(log.file.bytes.clone()).expect("JSON")
    }

    #[test]
    fn a_full_disk_loses_whole_lines_and_counts_them() {
        let mut log = log(7);
        assert_eq!(tick(&mut log, &[11, 22]), "11\n22\n");
        assert_eq!(tick(&mut log, &[]), "11\n22\n");
        assert_eq!((tick(&mut log, &[33, 44]).as_str(), log.lost), ("11\n22\n3", 2));
        assert_eq!((tick(&mut log, &[55]).as_str(), log.lost), ("11\n22\n3", 3));
        log.file.room = 9;
        // The torn line is ended first.
        assert_eq!((tick(&mut log, &[66]).as_str(), log.lost), ("11\n22\n3\n6", 4));
        log.file.room = 100;
        assert_eq!(
            (tick(&mut log, &[77, 88]).as_str(), log.lost),
            ("11\n22\n3\n6\n77\n88\n", 0)
        );
    }

    #[test]
    fn a_disk_that_was_full_before_the_first_line_gets_no_empty_one() {
        let mut log = log(0);
        assert_eq!((tick(&mut log, &[11]).as_str(), log.lost), ("", 1));
        log.file.room = 100;
        assert_eq!(tick(&mut log, &[22]), "22\n");
    }

    #[test]
    fn the_device_that_is_always_full_is_survived() {
        let full = File::options().write(true).open("/dev/full").expect("Linux has it");
        let mut log = LogFile::over("/dev/full", full);
        for n in 1..=3 {
            log.append(&n);
            log.flush(Time(0));
            assert_eq!(log.lost, n);
        }
    }

    #[test]
    fn a_disk_that_is_full_again_soon_has_no_further_lines_in_the_log() {
        let mut log = log(0);
        let mut spoken = 0;
        for _ in 0..10 {
            let before = log.has_warned;
            tick(&mut log, &[11]);
            spoken += usize::from(log.has_warned != before);
            log.file.room += 100;
            tick(&mut log, &[11]);
            spoken += usize::from(log.has_warned);
            log.file.room = log.file.bytes.len();
        }
        assert_eq!((spoken, log.lost), (1, 9));
    }

    #[test]
    fn a_crowd_s_buffer_is_given_back() {
        let mut log = log(usize::MAX);
        tick(&mut log, &[1; 100_000]);
        tick(&mut log, &[2]);
        assert!(log.buffer.capacity() < 1000, "{}", log.buffer.capacity());
    }

    #[test]
    fn only_a_regular_file_is_opened() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
        rustix::fs::mkfifoat(rustix::fs::CWD, path("pipe"), Mode::from_raw_mode(0o600)).expect("a pipe");
        for bad in [&path("pipe"), &path("missing/log"), &path(""), "/dev/null", "/dev/full"] {
            assert!(LogFile::open(bad).is_err(), "{bad}");
        }
        let mut log = LogFile::open(&path("log")).expect("a new file");
        log.append(&1);
        log.flush(Time(0));
        let mut log = LogFile::open(&path("log")).expect("the same file");
        log.append(&2);
        log.flush(Time(0));
        assert_eq!(std::fs::read_to_string(path("log")).expect("it is there"), "1\n2\n");
    }
}
