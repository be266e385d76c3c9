//! `jsocketd replay`: runs a recorded trace through the same service and reports whether the actions are the same.

use std::error::Error;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use jsocketd::trace::{self, Ending, Replayed};

/// Replays the trace and prints the result, and before it what happens in the trace, if `with_story` is set. A trace
/// whose rest is missing is a success if its beginning is.
///
/// # Errors
/// When the file cannot be read or is no trace, or when the service acts differently now. Then the error shows
/// both actions.
pub fn replay(file: &Path, with_story: bool) -> Result<(), Box<dyn Error>> {
    let path = file.display();
    let replayed = match with_story {
        true => tell(file),
        false => trace::replay(file),
    };
    if replayed
        .as_ref()
        .is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    {
        // The reader of standard output has seen enough.
        return Ok(());
    }
    match replayed? {
        Replayed::Same {
            inputs,
            diverged,
            ending,
        } => {
            let note = match diverged {
                0 => String::new(),
                many => format!("; diverged lines, where masking had changed the story: {many}"),
            };
            println!("{path}: {inputs} inputs, the same actions{note}");
            if let Some(why) = missing(ending) {
                println!("{path}: the rest is missing: {why}");
            }
            Ok(())
        }
        Replayed::Different { line, recorded, now } => {
            Err(format!("{path}:{line}: other actions\nrecorded: {recorded:?}\nnow:      {now:?}").into())
        }
    }
}

/// Replays the trace and prints what happens in it.
fn tell(file: &Path) -> io::Result<Replayed> {
    let mut out = BufWriter::new(io::stdout().lock());
    let replayed = trace::tell(file, &mut out);
    out.flush()?;
    replayed
}

/// Why the rest of a trace is missing.
fn missing(ending: Ending) -> Option<String> {
    match ending {
        Ending::Whole => None,
        Ending::Limit => Some("the file reached --record-limit".to_owned()),
        Ending::Cut(line) => Some(format!("line {line} is cut")),
        Ending::Open => Some("the server was killed, or it still records".to_owned()),
    }
}
