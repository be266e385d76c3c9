//! The reason why a run failed, and its exit code. A mistake of the server during a run is a figure of the report, not
//! a failure, as long as the run itself can go on.

use std::fmt;

/// The sentence to print, and the cause of the failure: the command line or the run.
#[derive(Debug)]
pub enum Failure {
    /// The run could not be made as it was asked for: exit code 2.
    Usage(String),
    /// The server is dead or stalled, or an expectation is not met: exit code 1.
    Run(String),
}

impl Failure {
    /// The process's exit code.
    pub fn code(&self) -> u8 {
        match self {
            Failure::Usage(_) => 2,
            Failure::Run(_) => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Failure::Usage(sentence) | Failure::Run(sentence)) = self;
        f.write_str(sentence)
    }
}

/// A failed system call of our own (poll, register): the run cannot be trusted any more.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::Usage(format!("a system call of the load generator failed: {error}"))
    }
}
