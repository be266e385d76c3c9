//! Reads the environment: variables become values of their keys. `value` says how a text stands for a value.

use std::ffi::OsString;

use super::draft::Draft;
use super::key::{At, Key};
use super::problem::{Place, Problem, SITE};
use super::sections::KEYS;
use super::{keys, service_links, text};

/// The variable that names the file.
pub(super) const FILE_VARIABLE: &str = "JSOCKETD_CONFIG";

/// A variable that stands for a key.
type Setting<'a> = (&'static Key, String, &'a str);

/// Puts every variable into `draft`. Names that do not start with `JSOCKETD_` are ignored. So are those that Kubernetes
/// made; their names are returned.
pub(super) fn read(
    environment: &[(OsString, OsString)],
    draft: &mut Draft,
    problems: &mut Vec<Problem>,
) -> Vec<String> {
    let mut variables: Vec<_> = environment.iter().collect();
    variables.sort();
    let (mut settings, mut ignored) = (Vec::new(), Vec::new());
    for (name, value) in variables {
        let name = name.to_string_lossy();
        if name.starts_with("JSOCKETD_") && name != FILE_VARIABLE {
            if value.to_str().is_some_and(|value| service_links::is_link(&name, value)) {
                ignored.push(name.into_owned());
                continue;
            }
            match setting(&name, value.to_str()) {
                Ok(setting) => settings.push(setting),
                Err(what) => {
                    let section = SITE.into_iter().find(|section| names(&name, section));
                    let problem = Problem::new(Place::Variable(name.into()), what);
                    problems.push(problem.within(section.unwrap_or_default()));
                }
            }
        }
    }
    let (credentials, others): (Vec<_>, Vec<_>) = settings.into_iter().partition(|(key, ..)| key.is_credential());
    for setting in others {
        put(setting, draft, problems);
    }
    match missing_credentials(&credentials) {
        Some(problem) => problems.push(problem),
        None => credentials
            .into_iter()
            .for_each(|setting| put(setting, draft, problems)),
    }
    ignored
}

/// Whether a variable is about this section, by its name.
fn names(variable: &str, section: &str) -> bool {
    let rest = variable.strip_prefix("JSOCKETD_").unwrap_or_default();
    rest.to_ascii_lowercase().starts_with(section)
}

fn setting<'a>(name: &str, value: Option<&'a str>) -> Result<Setting<'a>, String> {
    let is_this = |key: &&Key| key.variable().is_some_and(|known| known == name);
    let Some(key) = KEYS.iter().find(is_this) else {
        let known = KEYS.iter().filter_map(Key::variable).chain([FILE_VARIABLE.into()]);
        let hint = text::nearest(name, known).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        return Err(format!("unknown variable{hint}"));
    };
    match value {
        Some(value) => Ok((key, name.to_owned(), value)),
        None => Err("the value is not UTF-8".into()),
    }
}

fn put((key, name, value): Setting<'_>, draft: &mut Draft, problems: &mut Vec<Problem>) {
    // The first app may have no table in the file.
    keys::make_room(&mut draft.config, key.section, At::FIRST);
    let typed = (key.field)(&mut draft.config, At::FIRST).typed(value);
    let put = draft.put((key, At::FIRST), &typed, |_| Place::Variable(name.clone()));
    problems.extend(put.err());
}

/// The credentials of the first app come together or not at all: a key from here and a secret from the file would
/// belong to no app.
fn missing_credentials(given: &[Setting<'_>]) -> Option<Problem> {
    let (_, first, _) = given.first()?;
    let (mut all, mut missing) = (Vec::new(), Vec::new());
    for key in KEYS.iter().filter(|key| key.is_credential()) {
        all.extend(key.variable());
        if !given.iter().any(|(known, ..)| known.name == key.name) {
            missing.extend(key.variable());
        }
    }
    let (all, names) = (all.join(" and "), missing.join(" and "));
    let what = format!("{all} belong together; unset: {names}");
    (!missing.is_empty()).then(|| Problem::new(Place::Variable(first.clone()), what))
}
