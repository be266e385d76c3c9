//! Finds what was typed (file, environment, command line), merges it in order of precedence, and says everything that is
//! wrong at once, each mistake with its place. How a file is read is in `file`, what a value may be in `value`.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::keys::{self, KEYS, Key};
use super::value::Typed;
use super::{Config, ListenAddr, file};

/// Where the configuration is looked for when nobody names a file.
const DEFAULT_FILE: &str = "/etc/jsocketd/jsocketd.toml";

/// The variable that names the file.
const FILE_VARIABLE: &str = "JSOCKETD_CONFIG";

/// What an outbox must hold besides the largest message: its frame's header, pongs and the close frame.
const OUTBOX_ROOM: usize = 1024;

/// A token that is shorter than this can be guessed by trying.
const SHORT_TOKEN: usize = 16;

/// Everything that is asked for the configuration. Kept by the server, which loads it again on SIGHUP.
#[derive(Clone, Debug, PartialEq)]
pub struct Sources {
    /// `--config`; it beats `JSOCKETD_CONFIG`.
    pub config: Option<PathBuf>,
    /// `--listen`, which may be repeated; empty: not given.
    pub listen: Vec<ListenAddr>,
    /// The environment; names that do not start with `JSOCKETD_` are ignored.
    pub environment: Vec<(OsString, OsString)>,
    /// Read if it exists and no file is named.
    pub default_file: PathBuf,
}

/// A configuration without mistakes.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it means.
    pub config: Config,
    /// The file that was read; `None`: there is none.
    pub file: Option<PathBuf>,
    /// What is allowed but probably not meant, one sentence each.
    pub warnings: Vec<String>,
}

/// All mistakes of the sources, one a line; at least one.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))]
pub struct LoadError(pub Vec<Problem>);

/// One mistake.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {what}")]
pub struct Problem {
    /// Where it is.
    pub place: Place,
    /// What it is, as a sentence that names the key.
    pub what: String,
}

/// Where something was typed.
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

/// A key and what was typed for it.
pub(super) struct Setting {
    pub(super) key: &'static Key,
    pub(super) typed: Typed,
    pub(super) place: Place,
    /// The place of each item of a list; empty where they have none of their own.
    pub(super) items: Vec<Place>,
}

impl Sources {
    /// The command line's share, with this process's environment and the usual file.
    pub fn of_process(config: Option<PathBuf>, listen: Vec<ListenAddr>) -> Self {
        Self {
            config,
            listen,
            environment: std::env::vars_os().collect(),
            default_file: DEFAULT_FILE.into(),
        }
    }

    /// Reads and merges everything: a flag beats a variable beats the file beats the default.
    ///
    /// # Errors
    /// All mistakes at once, except that the keys of a file that cannot be read or is no TOML are unknown.
    pub fn load(&self) -> Result<Loaded, LoadError> {
        let mut problems = Vec::new();
        let mut settings = Vec::new();
        let mut open_to_all = false;
        let file = self.file().unwrap_or_else(|problem| {
            problems.push(problem);
            None
        });
        if let Some(path) = &file {
            match file::read(path) {
                Ok((text, mode)) => {
                    open_to_all = mode & 0o004 != 0;
                    file::settings(path, &text, &mut settings, &mut problems);
                }
                Err(problem) => problems.push(problem),
            }
        }
        self.settings_of_environment(&mut settings, &mut problems);
        let token_in_file = settings
            .iter()
            .find(|s| s.key.name == "admin_token" && matches!(s.place, Place::Text { .. }))
            .is_some_and(|s| !matches!(&s.typed, Typed::Text(text) if text.is_empty()));

        let mut merged = Merged::default();
        for setting in settings {
            merged.put(setting, &mut problems);
        }
        if !self.listen.is_empty() {
            merged.config.server.listen.clone_from(&self.listen);
            merged.places.push(("listen", Place::Flag("--listen")));
        }
        if problems.is_empty() {
            merged.check(&mut problems);
        }
        if !problems.is_empty() {
            problems.sort_by(|one, other| one.place.cmp(&other.place));
            return Err(LoadError(problems));
        }

        let mut config = merged.config;
        config.embedded_defaults = file.is_none()
            && config.server.admin_token.is_empty()
            && config.server.admin_listen.is_none()
            && config.server.listen.iter().all(ListenAddr::is_loopback);
        let mut warnings = warnings(&config);
        if let (Some(path), true) = (&file, open_to_all && token_in_file) {
            warnings.push(format!(
                "{} holds admin_token and can be read by every user of this machine; chmod o-r mends it",
                path.display()
            ));
        }
        Ok(Loaded { config, file, warnings })
    }

    /// What a text alone means, without any other source; `name` is for its mistakes.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn parse(name: &Path, text: &str) -> Result<Config, LoadError> {
        let (mut settings, mut problems, mut merged) = (Vec::new(), Vec::new(), Merged::default());
        file::settings(name, text, &mut settings, &mut problems);
        for setting in settings {
            merged.put(setting, &mut problems);
        }
        if problems.is_empty() {
            merged.check(&mut problems);
        }
        if problems.is_empty() {
            Ok(merged.config)
        } else {
            Err(LoadError(problems))
        }
    }

    /// The same sources with the file named that `loaded` came from, for loading again: a file that has vanished since
    /// is then a mistake, and not a silent return to the defaults.
    pub fn pinned(mut self, loaded: &Loaded) -> Self {
        self.config = loaded.file.clone().or(self.config);
        self
    }

    /// The file to read.
    fn file(&self) -> Result<Option<PathBuf>, Problem> {
        if let Some(path) = &self.config {
            return Ok(Some(path.clone()));
        }
        if let Some((_, path)) = self.environment.iter().find(|(name, _)| name == FILE_VARIABLE) {
            if path.is_empty() {
                return Err(Problem {
                    place: Place::Variable(FILE_VARIABLE.into()),
                    what: "the name of the configuration file is empty; unset the variable or name a file".into(),
                });
            }
            return Ok(Some(path.into()));
        }
        match self.default_file.symlink_metadata() {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            // Any other error is told by reading it: a file that exists but may not be read must not be passed over.
            _ => Ok(Some(self.default_file.clone())),
        }
    }

    fn settings_of_environment(&self, settings: &mut Vec<Setting>, problems: &mut Vec<Problem>) {
        let mut variables: Vec<_> = self.environment.iter().collect();
        variables.sort();
        for (name, value) in variables {
            let name = name.to_string_lossy();
            if !name.starts_with("JSOCKETD_") || name == FILE_VARIABLE {
                continue;
            }
            let place = Place::Variable(name.to_string());
            let Some(key) = KEYS.iter().find(|key| key.variable() == name) else {
                let mut known: Vec<_> = KEYS.iter().map(Key::variable).collect();
                known.push(FILE_VARIABLE.into());
                let hint =
                    keys::nearest(&name, known).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                let what = format!("unknown variable{hint}");
                problems.push(Problem { place, what });
                continue;
            };
            match value.to_str() {
                Some(text) => settings.push(Setting {
                    key,
                    typed: (key.field)(&mut Config::default()).typed(text),
                    place,
                    items: Vec::new(),
                }),
                None => problems.push(Problem {
                    place,
                    what: "the value is not UTF-8".into(),
                }),
            }
        }
    }
}

/// What was put together so far, and where the last word on each key was said.
#[derive(Default)]
struct Merged {
    config: Config,
    places: Vec<(&'static str, Place)>,
}

impl Merged {
    fn put(&mut self, setting: Setting, problems: &mut Vec<Problem>) {
        let Setting {
            key,
            typed,
            place,
            items,
        } = setting;
        match (key.field)(&mut self.config).set(&typed) {
            Ok(()) => self.places.push((key.name, place)),
            Err(refusal) => {
                let item = refusal.item.and_then(|index| items.get(index).cloned());
                problems.push(Problem {
                    place: item.unwrap_or(place),
                    what: format!("`{}` in [{}] {}", key.name, key.section, refusal.why),
                });
            }
        }
    }

    /// The place of the first of these keys that somebody set; at least one was, or the defaults contradict each other.
    fn place(&self, names: &[&str]) -> Place {
        let last = |name: &&str| self.places.iter().rev().find(|(key, _)| key == name);
        let found = names.iter().find_map(last).map(|(_, place)| place.clone());
        debug_assert!(found.is_some(), "the defaults of {names:?} contradict each other");
        found.unwrap_or_else(|| Place::File("the defaults".into()))
    }

    /// What no single key can get wrong.
    fn check(&self, problems: &mut Vec<Problem>) {
        let limits = &self.config.limits;
        let least = limits.max_message_size + OUTBOX_ROOM;
        if limits.outbox_bytes < least {
            problems.push(Problem {
                place: self.place(&["outbox_bytes", "max_message_size"]),
                what: format!(
                    "`outbox_bytes` in [limits] must be at least `max_message_size` and {OUTBOX_ROOM} more, so {least}, not {}",
                    limits.outbox_bytes
                ),
            });
        }
        let server = &self.config.server;
        let all: Vec<_> = server.listen.iter().chain(&server.admin_listen).collect();
        for (index, address) in all.iter().enumerate() {
            let any_port = matches!(address, ListenAddr::Tcp(address) if address.port() == 0);
            if !any_port && all[..index].contains(address) {
                let (name, names) = match index == server.listen.len() {
                    true => ("admin_listen", ["admin_listen", "listen"]),
                    false => ("listen", ["listen", "listen"]),
                };
                problems.push(Problem {
                    place: self.place(&names),
                    what: format!("`{name}` in [server] names {address} a second time"),
                });
            }
        }
    }
}

fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(address @ ListenAddr::Tcp(_)) = &config.server.admin_listen
        && !address.is_loopback()
    {
        warnings.push(format!(
            "admin_listen {address} answers without a token to everybody who can reach it"
        ));
    }
    let token = &config.server.admin_token;
    if !token.is_empty() && token.len() < SHORT_TOKEN {
        warnings.push(format!(
            "admin_token has fewer than {SHORT_TOKEN} characters and could be guessed"
        ));
    }
    warnings
}
