//! The file of a trace. Each recording makes a new one. The lines of a tick are in the file when the tick is over, so a
//! crash or `kill -9` leaves a trace that can be read. The file never grows beyond its limit.
//!
//! A failure here ends the recording, with one line in the log. The server goes on.

use std::ffi::OsString;
use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{End, Line};

/// Bytes that are kept for the last line: `{"end":"limit"}`.
const LAST_LINE: u64 = 16;

/// A trace that is being written.
#[derive(Debug)]
pub struct TraceFile {
    path: PathBuf,
    file: BufWriter<File>,
    /// Reused for each line, so that its length is known before it is written.
    line: Vec<u8>,
    written: u64,
    /// The most bytes.
    limit: u64,
    is_closed: bool,
    /// Whether there are lines that `flush` has not written yet.
    has_unwritten: bool,
}

impl TraceFile {
    /// A new file, readable by its owner only: at `path`, or if that exists at `path.1`, `path.2` and so on.
    ///
    /// # Errors
    /// When the file cannot be made, or when something exists at `path` that is not a file.
    pub fn create(path: &Path, limit: u64) -> io::Result<Self> {
        let (path, file) = create(path)?;
        Ok(Self {
            path,
            file: BufWriter::new(file),
            line: Vec::new(),
            written: 0,
            limit,
            is_closed: false,
            has_unwritten: false,
        })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the recording is over: nothing is written any more.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Whether lines were appended since the last `flush`.
    pub fn has_unwritten(&self) -> bool {
        self.has_unwritten
    }

    /// Appends a line. A line that would exceed the limit ends the recording instead.
    pub fn append(&mut self, line: &Line) {
        if self.is_closed {
            return;
        }
        self.line.clear();
        let serialized = serde_json::to_writer(&mut self.line, line).map_err(io::Error::from);
        self.line.push(b'\n');
        if serialized.is_ok() && self.written + self.line.len() as u64 + LAST_LINE > self.limit {
            return self.end(End::Limit);
        }
        if let Err(error) = serialized.and_then(|()| self.file.write_all(&self.line)) {
            return self.fail(error);
        }
        self.written += self.line.len() as u64;
        self.has_unwritten = true;
    }

    /// Passes the lines so far to the operating system.
    pub fn flush(&mut self) {
        self.has_unwritten = false;
        if !self.is_closed
            && let Err(error) = self.file.flush()
        {
            self.fail(error);
        }
    }

    /// Writes the last line and closes the file.
    pub fn end(&mut self, end: End) {
        if self.is_closed {
            return;
        }
        if end == End::Limit {
            log::warn!(
                "{}: the recording stops: --record-limit ({} bytes) is reached",
                self.path.display(),
                self.limit
            );
        }
        self.is_closed = true;
        let written = serde_json::to_writer(&mut self.file, &Line::End(end)).map_err(io::Error::from);
        if let Err(error) = written.and_then(|()| self.file.write_all(b"\n").and_then(|()| self.file.flush())) {
            self.fail(error);
        }
    }

    /// Closes the file before its end, for this reason.
    pub fn fail(&mut self, why: impl Display) {
        self.is_closed = true;
        log::error!(
            "{}: the recording stops, the server goes on: {why}",
            self.path.display()
        );
    }
}

/// Creates the first of `path`, `path.1`, `path.2` … that does not exist. Two servers never get the same file, because
/// the kernel checks and creates in one step.
fn create(path: &Path) -> io::Result<(PathBuf, File)> {
    if path.metadata().is_ok_and(|there| !there.is_file()) {
        return Err(io::Error::other("it exists and is not a file"));
    }
    let mut candidate = path.to_owned();
    for n in 1_u32.. {
        // The parts that are not masked still show the times and addresses of visitors.
        match OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&candidate)
        {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => candidate = numbered(path, n),
            opened => return Ok((candidate, opened?)),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn numbered(path: &Path, n: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{n}"));
    name.into()
}
