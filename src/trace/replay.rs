//! Runs a trace through the service and compares the actions. A trace of a server that crashed may end anywhere; it is
//! replayed up to there.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use super::shape::shapes;
use super::story::Story;
use super::{End, FORMAT, Line, Stage};

/// The most bytes of the first line. A file that is no trace may have no lines at all.
const FIRST_LINE: u64 = 65_536;

/// The outcome of a replay.
#[derive(Debug, PartialEq)]
pub enum Replayed {
    /// Every input led to the recorded actions.
    Same {
        /// The number of inputs.
        inputs: usize,
        /// How often masking had made the shadow act differently from the server.
        diverged: usize,
        /// How the trace ends.
        ending: Ending,
    },
    /// An input led to other actions than this line of the file says.
    Different {
        /// From 1.
        line: usize,
        /// The actions in the file.
        recorded: Vec<String>,
        /// The actions of the replay.
        now: Vec<String>,
    },
}

/// How a trace ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With the end of the server. A trace of version 1 does not say more than that its last line is whole.
    Whole,
    /// Where the file reached its limit.
    Limit,
    /// In the middle of this line, from 1. It was not replayed.
    Cut(usize),
    /// Without an end: the server still records, or it was killed.
    Open,
}

/// Runs a trace through the service and compares the actions.
///
/// # Errors
/// When the file cannot be read, is empty, or is no trace. The message names the file and the line.
pub fn replay(path: &Path) -> io::Result<Replayed> {
    tell(path, &mut io::sink())
}

/// Does the same and writes in words what happens in the trace.
///
/// # Errors
/// The same, and when `out` cannot be written.
pub fn tell(path: &Path, out: &mut dyn Write) -> io::Result<Replayed> {
    let mut story = Story::new(out);
    let mut lines = Lines::open(path)?;
    let mut stage = Stage::default();
    let (mut inputs, mut diverged) = (0, 0);
    let mut end = None;
    while let Some(line) = lines.next()? {
        match line {
            Line::Out(recorded) => {
                let now = shapes(&stage.actions);
                story.actions(&stage.actions)?;
                if now != recorded {
                    story.end()?;
                    let line = lines.number;
                    return Ok(Replayed::Different { line, recorded, now });
                }
                continue;
            }
            Line::Diverged(_) => diverged += 1,
            Line::In(..) | Line::Posted(..) | Line::Answered(..) => inputs += 1,
            Line::End(why) => end = Some(why),
            Line::Trace(_) | Line::Site(..) | Line::Config(..) | Line::Keys(_) => {}
            Line::Drain | Line::Due(_) | Line::Tick(..) => {}
        }
        story.line(&line)?;
        stage.play(line).map_err(|why| lines.bad(why))?;
    }
    story.end()?;
    let ending = match end {
        Some(End::Server) => Ending::Whole,
        Some(End::Limit) => Ending::Limit,
        None if lines.is_cut => Ending::Cut(lines.number),
        None if lines.format == 1 => Ending::Whole,
        None => Ending::Open,
    };
    Ok(Replayed::Same {
        inputs,
        diverged,
        ending,
    })
}

/// The lines of a trace.
struct Lines<'a> {
    path: &'a Path,
    file: BufReader<File>,
    /// The number of the latest line, from 1.
    number: usize,
    /// The version of the format.
    format: u32,
    /// The latest line is the last one, and its end is missing.
    is_cut: bool,
}

impl<'a> Lines<'a> {
    fn open(path: &'a Path) -> io::Result<Self> {
        let file = File::open(path).map_err(|error| named(path, error))?;
        Ok(Self {
            path,
            file: BufReader::new(file),
            number: 0,
            format: 1,
            is_cut: false,
        })
    }

    /// The next line; `None` behind the last whole line.
    fn next(&mut self) -> io::Result<Option<Line>> {
        let mut text = Vec::new();
        let most = if self.number == 0 { FIRST_LINE } else { u64::MAX };
        let read = (&mut self.file).take(most).read_until(b'\n', &mut text);
        if read.map_err(|error| named(self.path, error))? == 0 {
            return match self.number {
                0 => Err(named(self.path, "the file is empty; `serve --record` writes a trace")),
                _ => Ok(None),
            };
        }
        self.number += 1;
        let line = serde_json::from_slice(&text);
        if self.number == 1 {
            match line {
                Ok(Line::Keys(_)) => {}
                Ok(Line::Trace(format @ ..=FORMAT)) => self.format = format,
                Ok(Line::Trace(format)) => {
                    let why = format!("the trace has format {format}, and this version reads up to {FORMAT}");
                    return Err(self.bad(format!("{why}: replay it with the version that recorded it")));
                }
                _ => return Err(self.bad("this is not the beginning of a trace; `serve --record` writes one")),
            }
        }
        match line {
            Err(error) if error.is_eof() && text.last() != Some(&b'\n') => {
                self.is_cut = true;
                Ok(None)
            }
            line => line.map(Some).map_err(|error| self.bad(error)),
        }
    }

    /// An error in the latest line.
    fn bad(&self, why: impl ToString) -> io::Error {
        let why = format!("{}:{}: {}", self.path.display(), self.number, why.to_string());
        io::Error::new(io::ErrorKind::InvalidData, why)
    }
}

fn named(path: &Path, why: impl ToString) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{}: {}", path.display(), why.to_string()),
    )
}
