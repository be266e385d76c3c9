//! A mistake in the sources of the configuration, with its place.

use std::fmt;
use std::path::PathBuf;

/// The sections that describe the site and its database.
pub(super) const SITE: [&str; 2] = ["joomla", "database"];

/// All mistakes of the sources, one a line; at least one.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))]
pub struct LoadError(pub Vec<Problem>);

/// One mistake.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {what}")]
pub struct Problem {
    /// The place of the mistake.
    pub place: Place,
    /// The mistake, as a sentence that names the key.
    pub what: String,
    /// Whether it leaves unknown which site is meant, or how its database is reached.
    pub hides_site: bool,
}

/// The place of a value in its source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A file as a whole.
    File(PathBuf),
    /// A place in a file: line and column count from 1, columns in characters.
    Text {
        /// The file.
        file: PathBuf,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// An environment variable.
    Variable(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl Problem {
    pub(super) fn new(place: Place, what: impl Into<String>) -> Self {
        Self {
            place,
            what: what.into(),
            hides_site: false,
        }
    }

    /// The same mistake; it hides the site if `section` is one of those that describe the site.
    pub(super) fn within(mut self, section: &str) -> Self {
        self.hides_site = SITE.contains(&section);
        self
    }

    /// The same mistake; it hides the site.
    pub(super) fn hiding_site(mut self) -> Self {
        self.hides_site = true;
        self
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Text { file, line, column } => write!(f, "{}:{line}:{column}", file.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}
