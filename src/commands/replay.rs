//! `jsocketd replay`: runs a recorded trace through the same service and reports whether the actions are the same.

use std::error::Error;
use std::path::Path;

use jsocketd::trace::{self, Replayed};

/// Replays the trace and prints the result.
///
/// # Errors
/// When the file cannot be read or is no trace, or when the service acts differently now. Then the error shows
/// both actions.
pub fn replay(file: &Path) -> Result<(), Box<dyn Error>> {
    match trace::replay(file)? {
        Replayed::Same { inputs, diverged: 0 } => println!("{inputs} inputs, the same actions"),
        Replayed::Same { inputs, diverged } => println!(
            "{inputs} inputs, the same actions; diverged lines, where masking had changed the story: {diverged}"
        ),
        Replayed::Different { line, recorded, now } => {
            return Err(format!("line {line}: other actions\nrecorded: {recorded:?}\nnow:      {now:?}").into());
        }
    }
    Ok(())
}
