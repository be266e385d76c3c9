//! Finds what was typed (file, environment, command line) and puts it in order of precedence. How a file is read is in
//! `file`, what a value may be in `value`, what it all comes to in `merge`.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::keys::{self, At, KEYS, Key};
use super::merge::{self, Merged, ROOT};
use super::value::{Field, Typed};
use super::{App, Config, ListenAddr, file};

/// Where the configuration is looked for when nobody names a file.
const DEFAULT_FILE: &str = "/etc/jsocketd/jsocketd.toml";

/// The variable that names the file.
const FILE_VARIABLE: &str = "JSOCKETD_CONFIG";

/// Everything that is asked for the configuration. Kept by the server, which loads it again on SIGHUP.
#[derive(Clone, Debug, PartialEq)]
pub struct Sources {
    /// `--config`; it beats `JSOCKETD_CONFIG`.
    pub config: Option<PathBuf>,
    /// `--listen`, which may be repeated; empty: not given.
    pub listen: Vec<ListenAddr>,
    /// `--joomla`, the site's folder.
    pub joomla: Option<PathBuf>,
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
    /// Whether that file has no key and no table, as one that was cut off at its start.
    pub file_is_empty: bool,
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

/// Everything that was typed, in the order in which it counts: the last word on a key is in force.
#[derive(Default)]
pub(super) struct Found {
    pub(super) tables: Vec<Table>,
    pub(super) settings: Vec<Setting>,
}

/// One of the tables that may stand several times, even if it is empty.
pub(super) struct Table {
    pub(super) section: &'static str,
    pub(super) at: At,
    pub(super) place: Place,
}

/// A key and what was typed for it.
pub(super) struct Setting {
    pub(super) key: &'static Key,
    /// In which table.
    pub(super) at: At,
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
            joomla: None,
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
        let mut found = Found::default();
        let mut open_to_all = false;
        let file = self.file().unwrap_or_else(|problem| {
            problems.push(problem);
            None
        });
        if let Some(path) = &file {
            match file::read(path) {
                Ok((text, mode)) => {
                    open_to_all = mode & 0o004 != 0;
                    file::settings(path, &text, &mut found, &mut problems);
                }
                Err(problem) => problems.push(problem),
            }
        }
        let file_is_empty = file.is_some() && found.tables.is_empty() && found.settings.is_empty();
        self.settings_of_environment(&mut found, &mut problems);
        let secrets = found.secrets_in_file();

        let mut merged = Merged::of(found, &mut problems);
        merged.refuse_the_built_in_secret(&mut problems);
        if !self.listen.is_empty() {
            merged.config.server.listen.clone_from(&self.listen);
            merged.note(("server", "listen"), Place::Flag("--listen"));
        }
        if let Some(root) = &self.joomla {
            match root.to_str() {
                Some(root) => merged.config.joomla.root = root.to_owned(),
                None => problems.push(Problem {
                    place: Place::Flag("--joomla"),
                    what: "the name of the folder is not UTF-8".into(),
                }),
            }
            merged.note(ROOT, Place::Flag("--joomla"));
        }
        merged.refuse_missing_folder(&mut problems);
        let config = &mut merged.config;
        config.embedded_defaults = file.is_none()
            && config.apps.is_empty()
            && !config.has_site()
            && config.server.admin_token.is_empty()
            && config.server.admin_listen.is_none()
            && config.server.listen.iter().all(ListenAddr::is_loopback);
        if config.embedded_defaults {
            config.apps.push(App::built_in());
        }
        merged.add_site_app(&mut problems);
        let config = merged.checked(problems)?;

        let mut warnings = merge::warnings(&config);
        if let (Some(path), true, false) = (&file, open_to_all, secrets.is_empty()) {
            warnings.push(format!(
                "{} holds {} and can be read by every user of this machine; chmod o-r mends it",
                path.display(),
                secrets.join(" and ")
            ));
        }
        Ok(Loaded {
            config,
            file,
            file_is_empty,
            warnings,
        })
    }

    /// What a text alone means, without any other source; `name` is for its mistakes. The built-in secret is allowed: a
    /// trace of a server under the embedded defaults has it.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn parse(name: &Path, text: &str) -> Result<Config, LoadError> {
        let (mut found, mut problems) = (Found::default(), Vec::new());
        file::settings(name, text, &mut found, &mut problems);
        Merged::of(found, &mut problems).checked(problems)
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

    fn settings_of_environment(&self, found: &mut Found, problems: &mut Vec<Problem>) {
        let mut variables: Vec<_> = self.environment.iter().collect();
        variables.sort();
        let mut credentials = Vec::new();
        for (name, value) in variables {
            let name = name.to_string_lossy();
            if !name.starts_with("JSOCKETD_") || name == FILE_VARIABLE {
                continue;
            }
            let place = Place::Variable(name.to_string());
            let Some(key) = KEYS
                .iter()
                .find(|key| key.variable().is_some_and(|known| known == name))
            else {
                let mut known: Vec<_> = KEYS.iter().filter_map(Key::variable).collect();
                known.push(FILE_VARIABLE.into());
                let hint =
                    keys::nearest(&name, known).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                let what = format!("unknown variable{hint}");
                problems.push(Problem { place, what });
                continue;
            };
            let Some(text) = value.to_str() else {
                let what = "the value is not UTF-8".into();
                problems.push(Problem { place, what });
                continue;
            };
            let mut any = Config::default();
            keys::make_room(&mut any, key.section, At::FIRST);
            let setting = Setting {
                key,
                at: At::FIRST,
                typed: key.field(&mut any, At::FIRST).typed(text),
                place,
                items: Vec::new(),
            };
            match key.is_credential() {
                true => credentials.push(setting),
                false => found.settings.push(setting),
            }
        }
        found.add_credentials(credentials, problems);
    }
}

impl Found {
    /// The credentials that the environment gives to the first app, or to the only one when the file has none. They come
    /// together or not at all: half of them with another half from the file would be nobody's.
    fn add_credentials(&mut self, credentials: Vec<Setting>, problems: &mut Vec<Problem>) {
        let Some(first) = credentials.first() else {
            return;
        };
        let given = |key: &Key| credentials.iter().any(|setting| setting.key.name == key.name);
        let all: Vec<_> = KEYS.iter().filter(|key| key.is_credential()).collect();
        let names = |keys: &mut dyn Iterator<Item = &&Key>| {
            keys.filter_map(|key| key.variable()).collect::<Vec<_>>().join(" and ")
        };
        let missing = names(&mut all.iter().filter(|key| !given(key)));
        if !missing.is_empty() {
            return problems.push(Problem {
                place: first.place.clone(),
                what: format!("{} belong together; unset: {missing}", names(&mut all.iter())),
            });
        }
        let section = first.key.section;
        if !self.tables.iter().any(|table| table.section == section) {
            let place = first.place.clone();
            self.tables.push(Table {
                section,
                at: At::FIRST,
                place,
            });
        }
        self.settings.extend(credentials);
    }

    /// The keys of the file that hold a secret, each once.
    fn secrets_in_file(&self) -> Vec<&'static str> {
        let in_file = self
            .settings
            .iter()
            .filter(|setting| matches!(setting.place, Place::Text { .. }));
        let full = in_file.filter(|setting| !setting.typed.is_empty());
        let mut config = Config::default();
        let mut names: Vec<_> = full
            .filter(|setting| {
                keys::make_room(&mut config, setting.key.section, setting.at);
                matches!(
                    setting.key.field(&mut config, setting.at),
                    Field::Secret(..) | Field::Headers(_)
                )
            })
            .map(|setting| setting.key.name)
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The keys that a table must have and has not.
    pub(super) fn missing(&self, table: &Table) -> Option<Problem> {
        let has = |key: &Key| {
            let mut settings = self.settings.iter();
            settings.any(|s| s.at == table.at && s.key.section == key.section && s.key.name == key.name)
        };
        let lacks = keys::in_section(table.section).filter(|key| key.needed && !has(key));
        let names: Vec<_> = lacks.map(|key| format!("`{}`", key.name)).collect();
        (!names.is_empty()).then(|| Problem {
            place: table.place.clone(),
            what: format!("{} lacks {}", keys::title(table.section), names.join(" and ")),
        })
    }
}
