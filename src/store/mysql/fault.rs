//! The ways in which a statement or a connection fails.

use std::fmt;
use std::io;

/// Why a statement has no answer.
#[derive(Debug)]
pub(super) enum Fault {
    /// The server answered with this error number and text; the connection itself is in order.
    Server(u16, String),
    /// The connection must not be used again. `late`: an answer did not come in time.
    Lost { late: bool, why: String },
    /// The server answers, but we cannot use it.
    Unfit(String),
}

impl Fault {
    pub(super) fn lost(why: &str) -> Self {
        Fault::Lost {
            late: false,
            why: why.to_owned(),
        }
    }

    pub(super) fn late() -> Self {
        Fault::Lost {
            late: true,
            why: "it did not answer in time".to_owned(),
        }
    }

    pub(super) fn io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::late(),
            _ => Self::lost(&error.to_string()),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Server(_, why) | Fault::Lost { why, .. } | Fault::Unfit(why) => f.write_str(why),
        }
    }
}
