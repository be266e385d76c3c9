//! What has to be known of the site before anything is proposed: its folder and address, its configuration.php and who
//! may read that, and the user that PHP runs as.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jsocketd::config::{Config, Origin, Sources};
use jsocketd::joomla::configuration::{self, Constants, LONGEST_FILE};
use jsocketd::joomla::site;

use super::accounts::{Access, Accounts, User};

/// The path of the socket below `$cookie_path`.
const SOCKET: &str = "/ws";

/// A Joomla site on this machine.
#[derive(Clone, Debug)]
pub struct Site {
    /// Its folder, without symbolic links.
    pub folder: PathBuf,
    /// The folder as text, as it stands in the configuration.
    pub root: String,
    /// Its configuration.php, without symbolic links.
    pub file: PathBuf,
    /// `$live_site`
    pub address: Option<Origin>,
    /// The path of the socket: `/ws`, below `$cookie_path` if there is one.
    pub socket: String,
}

impl Site {
    /// Reads the site in a folder. `configuration` is our own file, if there is one: its values override the site's.
    ///
    /// # Errors
    /// There is no site, or a value that the server needs cannot be read; sentences.
    pub fn read(folder: &Path, configuration: Option<&Path>) -> Result<Self, String> {
        let real = folder
            .canonicalize()
            .map_err(|why| format!("the folder {}: {why}", folder.display()))?;
        let root = real
            .to_str()
            .ok_or("the name of the site's folder is not UTF-8")?
            .to_owned();
        let config = Self::configuration(configuration, &real)?;
        let read = site::read(&config, &mut |_, _| Ok(Vec::new())).map_err(|why| why.to_string())?;
        let file = read.file.as_deref().and_then(|file| file.canonicalize().ok());
        let file = file.ok_or_else(|| format!("the configuration.php of {root} cannot be found"))?;
        Ok(Self {
            socket: cookie_path(&file)? + SOCKET,
            address: read
                .site
                .live_site
                .as_deref()
                .and_then(|address| Origin::of_address(address).ok()),
            folder: real,
            root,
            file,
        })
    }

    fn configuration(file: Option<&Path>, root: &Path) -> Result<Config, String> {
        let sources = Sources {
            config: file.map(Path::to_owned),
            listen: Vec::new(),
            joomla: Some(root.to_owned()),
            environment: Vec::new(),
            default_file: PathBuf::new(),
        };
        Ok(sources.load().map_err(|why| why.to_string())?.config)
    }

    /// The file's permission bits and owner, as `ls` shows them.
    pub fn describe_file(&self, accounts: &Accounts) -> String {
        self.file.metadata().map_or_else(
            |why| why.to_string(),
            |found| {
                let (user, group) = (accounts.user_name(found.uid()), accounts.group_name(found.gid()));
                format!(
                    "{} (mode {:04o}, {user}:{group})",
                    self.file.display(),
                    found.mode() & 0o7777
                )
            },
        )
    }

    /// What the user needs to read configuration.php.
    ///
    /// # Errors
    /// It cannot be looked at; a sentence.
    pub fn access(&self, user: &User) -> Result<Access, String> {
        user.access(&self.file)
            .map_err(|why| format!("{}: {why}", self.file.display()))
    }

    /// The user that PHP runs as, and how that is known.
    pub fn php_user(&self, accounts: &Accounts) -> String {
        let owner = self
            .file
            .metadata()
            .map(|found| accounts.user_name(found.uid()))
            .unwrap_or_default();
        let pools = pools();
        let pool = pools.iter().find(|pool| pool.user == owner).or_else(|| pools.first());
        if let Some(Pool { user, group, file }) = pool {
            return format!("{user}:{group} (PHP-FPM, {})", file.display());
        }
        let envvars = fs::read_to_string("/etc/apache2/envvars").unwrap_or_default();
        match (
            variable(&envvars, "APACHE_RUN_USER"),
            variable(&envvars, "APACHE_RUN_GROUP"),
        ) {
            (Some(user), Some(group)) => format!("{user}:{group} (Apache, /etc/apache2/envvars)"),
            _ => format!("{owner}, as the owner of configuration.php has it; neither PHP-FPM nor Apache says so"),
        }
    }
}

/// `$cookie_path` without a slash at its end; empty if the cookie goes everywhere.
fn cookie_path(file: &Path) -> Result<String, String> {
    let say = |why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
    let text = fs::read(file).map_err(|why| say(&why))?;
    debug_assert!(text.len() <= LONGEST_FILE, "the site was read from it");
    let parsed = configuration::parse(&text, file, &mut Constants::default()).map_err(|why| say(&why))?;
    let path = parsed
        .text("cookie_path")
        .ok()
        .flatten()
        .map(|found| found.value)
        .unwrap_or_default();
    let path = path.trim().trim_end_matches('/');
    Ok(if path.starts_with('/') {
        path.to_owned()
    } else {
        String::new()
    })
}

/// A pool of PHP-FPM.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pool {
    user: String,
    group: String,
    file: PathBuf,
}

/// The pools of Debian's folders, in the order of their names.
fn pools() -> Vec<Pool> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()));
        let mut entries: Vec<PathBuf> = entries.collect();
        entries.sort();
        entries
    };
    let files = entries(Path::new("/etc/php"))
        .into_iter()
        .flat_map(|version| entries(&version.join("fpm/pool.d")));
    let files = files.filter(|file| file.extension().is_some_and(|end| end == "conf"));
    files
        .filter_map(|file| pool(&fs::read_to_string(&file).ok()?, &file))
        .collect()
}

fn pool(text: &str, file: &Path) -> Option<Pool> {
    let value = |name: &str| {
        let lines = text.lines().filter_map(|line| line.split_once('='));
        let mut values = lines
            .filter(|(key, _)| key.trim() == name)
            .map(|(_, value)| value.trim().to_owned());
        values.next_back()
    };
    let user = value("user")?;
    Some(Pool {
        group: value("group").unwrap_or_else(|| user.clone()),
        user,
        file: file.to_owned(),
    })
}

/// The value of a shell's variable that is exported without quotes, as Debian's file has it.
fn variable(text: &str, name: &str) -> Option<String> {
    let mut lines = text.lines().filter_map(|line| line.trim().strip_prefix("export "));
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_has_a_user_and_a_group() {
        let file = Path::new("www.conf");
        let read = |text: &str| pool(text, file).map(|pool| (pool.user, pool.group));
        let both = |user: &str, group: &str| Some((user.to_owned(), group.to_owned()));
        assert_eq!(
            read("[www]\n;user = x\nuser = site\ngroup=www-data\nlisten.group = y\n"),
            both("site", "www-data")
        );
        assert_eq!(read("user=site\n"), both("site", "site"));
        assert_eq!(read("[www]\n"), None);
    }

    #[test]
    fn a_variable_of_apache_is_read() {
        let text = "# export APACHE_RUN_USER=no\nunset HOME\nexport APACHE_RUN_USER=www-data\n";
        assert_eq!(variable(text, "APACHE_RUN_USER").as_deref(), Some("www-data"));
        assert_eq!(variable(text, "APACHE_RUN_GROUP"), None);
    }

    #[test]
    fn the_socket_is_below_the_path_of_the_cookie() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("configuration.php");
        for (value, path) in [
            ("''", ""),
            ("'/'", ""),
            ("'/shop/'", "/shop"),
            ("'shop'", ""),
            ("f()", ""),
        ] {
            fs::write(
                &file,
                format!("<?php\nclass JConfig {{\n\tpublic $cookie_path = {value};\n}}\n"),
            )
            .unwrap();
            assert_eq!(cookie_path(&file).as_deref(), Ok(path), "{value}");
        }
    }
}
