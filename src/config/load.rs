//! Finds the sources (file, environment, command line) and reads them in the order of precedence into one
//! configuration.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::address::{AdminListen, ListenAddr};
use super::draft::Draft;
use super::environment::{self, FILE_VARIABLE};
use super::listen::ListenEntry;
use super::problem::{LoadError, Place, Problem};
use super::rules::{self, ROOT};
use super::{App, Config, file, keys, service_links, tls};

/// The file that is read when none is named.
const DEFAULT_FILE: &str = "/etc/jsocketd/jsocketd.toml";

/// The folder of the administrators' socket when systemd names none.
const SOCKETS: &str = "/run/jsocketd";

/// The variable with which systemd names the folders of `RuntimeDirectory`, separated by colons.
const SOCKETS_VARIABLE: &str = "RUNTIME_DIRECTORY";

/// All sources of the configuration. The server keeps them and loads them again on SIGHUP.
#[derive(Clone, Debug, PartialEq)]
pub struct Sources {
    /// `--config`; it overrides `JSOCKETD_CONFIG`.
    pub config: Option<PathBuf>,
    /// `--listen`, which may be repeated; empty: not given.
    pub listen: Vec<ListenEntry>,
    /// `--joomla`, the site's folder.
    pub joomla: Option<PathBuf>,
    /// The environment. Names that do not start with `JSOCKETD_` are ignored.
    pub environment: Vec<(OsString, OsString)>,
    /// The file that is read if it exists and none is named.
    pub default_file: PathBuf,
}

/// What the sources say, right or wrong.
#[derive(Debug)]
pub struct Inspected {
    /// The merged values. A value that was refused has its default.
    pub loaded: Loaded,
    /// The mistakes, in the order of their places. While there are any, `loaded` has no warnings.
    pub problems: Vec<Problem>,
}

/// A configuration without mistakes.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The merged values.
    pub config: Config,
    /// The file that was read, if there is one.
    pub file: Option<PathBuf>,
    /// Whether that file has no key and no table. Such a file may have lost its contents.
    pub file_is_empty: bool,
    /// The administrators' socket, if `admin_listen` is `auto` and a file was read. It is an offer: the server goes on
    /// without it where it cannot have it.
    pub admin_socket: Option<ListenAddr>,
    /// One sentence about variables that are ignored, if there are some.
    pub note: Option<String>,
    /// Settings that are allowed but probably not meant, one sentence each.
    pub warnings: Vec<String>,
}

impl Loaded {
    /// Where administrators need no token: the address that `admin_listen` names, or the offered socket.
    pub fn admin_address(&self) -> Option<&ListenAddr> {
        self.config.server.admin_listen.named().or(self.admin_socket.as_ref())
    }
}

impl Sources {
    /// Combines these flags of the command line with this process's environment and the usual file.
    pub fn of_process(config: Option<PathBuf>, listen: Vec<ListenEntry>, joomla: Option<PathBuf>) -> Self {
        Self {
            config,
            listen,
            joomla,
            environment: std::env::vars_os().collect(),
            default_file: DEFAULT_FILE.into(),
        }
    }

    /// Reads and merges all sources. A flag overrides a variable, which overrides the file, which overrides the
    /// default.
    ///
    /// # Errors
    /// All mistakes at once. If the file cannot be read or is no TOML, this is the only mistake from the file.
    pub fn load(&self) -> Result<Loaded, LoadError> {
        let Inspected { loaded, problems } = self.inspect();
        match problems.is_empty() {
            true => Ok(loaded),
            false => Err(LoadError(problems)),
        }
    }

    /// Does the same, and returns what is known also when there are mistakes.
    pub fn inspect(&self) -> Inspected {
        let (mut draft, mut problems) = (Draft::default(), Vec::new());
        let mut is_open_to_all = false;
        let file = self.file().unwrap_or_else(|problem| {
            problems.push(problem);
            None
        });
        if let Some(path) = &file {
            match file::read(path) {
                Ok((text, mode)) => {
                    is_open_to_all = file::is_open_to_all(path, mode);
                    file::parse(path, &text, &mut draft, &mut problems);
                }
                Err(problem) => problems.push(problem),
            }
        }
        let file_is_empty = file.is_some() && draft.is_empty();
        let secrets = keys::secrets(&draft.config);
        let ignored = environment::read(&self.environment, &mut draft, &mut problems);
        rules::check_tables(&draft, &mut problems);
        rules::refuse_the_built_in_secret(&draft, &mut problems);
        self.read_flags(&mut draft, &mut problems);
        rules::refuse_missing_folder(&draft, &mut problems);
        tls::refuse_bad_authorities(&draft, &mut problems);

        let config = &mut draft.config;
        config.embedded_defaults = file.is_none()
            && config.apps.is_empty()
            && !config.has_site()
            && config.server.admin_token.is_empty()
            && config.server.admin_listen.named().is_none()
            && config.server.listen.iter().all(ListenEntry::is_loopback);
        if config.embedded_defaults {
            config.apps.push(App::built_in());
        }
        rules::add_site_app(&mut draft, &mut problems);
        rules::finish(&draft, &mut problems);

        let mut warnings = Vec::new();
        if problems.is_empty() {
            warnings = rules::warnings(&draft.config);
            if let (Some(path), true, false) = (&file, is_open_to_all, secrets.is_empty()) {
                warnings.push(format!(
                    "{} holds {} and can be read by every user of this machine; chmod o-r fixes it",
                    path.display(),
                    secrets.join(" and ")
                ));
            }
        }
        let config = draft.config;
        let is_auto = config.server.admin_listen == AdminListen::Auto;
        let loaded = Loaded {
            admin_socket: file.as_ref().filter(|_| is_auto).and_then(|_| self.admin_socket()),
            config,
            file,
            file_is_empty,
            note: service_links::note(&ignored),
            warnings,
        };
        Inspected { loaded, problems }
    }

    /// The socket `admin.sock` in the folder for sockets; `None`: its path is no good one.
    fn admin_socket(&self) -> Option<ListenAddr> {
        let named = self.environment.iter().find(|(name, _)| name == SOCKETS_VARIABLE);
        let folders = named.map_or(Some(SOCKETS), |(_, folders)| folders.to_str())?;
        let first = folders.split(':').next().filter(|first| !first.is_empty());
        format!("unix:{}/admin.sock", first.unwrap_or(SOCKETS)).parse().ok()
    }

    /// Reads a text alone, without any other source; its mistakes are shown with `name`. The built-in secret is
    /// allowed, since the trace of a server under the embedded defaults has it.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn parse(name: &Path, text: &str) -> Result<Config, LoadError> {
        let (mut draft, mut problems) = (Draft::default(), Vec::new());
        file::parse(name, text, &mut draft, &mut problems);
        rules::check_tables(&draft, &mut problems);
        rules::finish(&draft, &mut problems);
        match problems.is_empty() {
            true => Ok(draft.config),
            false => Err(LoadError(problems)),
        }
    }

    /// The same sources for loading again, with the file of `loaded` named: when that file has vanished since, it is a
    /// mistake and not a silent return to the defaults.
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
                let what = "the name of the configuration file is empty; unset the variable or name a file";
                return Err(Problem::new(Place::Variable(FILE_VARIABLE.into()), what).hiding_site());
            }
            return Ok(Some(path.into()));
        }
        match self.default_file.symlink_metadata() {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            // Reading it reports any other error: a file that exists but cannot be read must not be passed over.
            _ => Ok(Some(self.default_file.clone())),
        }
    }

    fn read_flags(&self, draft: &mut Draft, problems: &mut Vec<Problem>) {
        if !self.listen.is_empty() {
            draft.config.server.listen.clone_from(&self.listen);
            draft.note_flag(("server", "listen"), "--listen");
        }
        if let Some(root) = &self.joomla {
            match root.to_str() {
                Some(root) => draft.config.joomla.root = root.to_owned(),
                None => {
                    let what = "the name of the folder is not UTF-8";
                    problems.push(Problem::new(Place::Flag("--joomla"), what).hiding_site());
                }
            }
            draft.note_flag(ROOT, "--joomla");
        }
    }
}
