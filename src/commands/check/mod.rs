//! `jsocketd check`: says whether the server can do its work. It names every fault, with the line that fixes it, in the
//! configuration, the site and the database, and ends with a summary. The command changes nothing.
//!
//! Faults and warnings go to standard error, the summary to standard output. With `--json` everything is one object on
//! standard output.

mod outbox;
mod report;
mod site;

use std::io::Write;
use std::process::ExitCode;

use jsocketd::certificates::Maker;
use jsocketd::config::{self, Config, Inspected, Loaded, Problem, Tls, openness};
use jsocketd::site::parameters::Parameters;
use rustix::process::{Resource, getrlimit};

use self::report::Report;
use super::{complain, engine};
use crate::cli::Check;

/// Prints the findings. The exit code says whether there was a fault.
pub fn check(flags: Check) -> ExitCode {
    let Check {
        sources,
        all,
        json,
        strict,
    } = flags;
    let Inspected { loaded, problems } = config::Sources::from(sources).inspect();
    let mut report = Report::default();
    let config = problems.is_empty().then_some(&loaded.config);
    match config {
        Some(_) => settings(&loaded, &mut report),
        None => mistakes(&loaded, &problems, &mut report),
    }
    let mut parameters = None;
    if loaded.config.has_site() && !problems.iter().any(|problem| problem.hides_site) {
        parameters = site::inspect(&loaded.config, &mut report);
    } else if config.is_some() {
        report.note("site", "none");
    }
    if let Some(config) = config {
        report.note("apps", apps(config, parameters.as_ref()));
    }
    if !json {
        report.errors().for_each(complain);
    }
    let text = match (json, all) {
        (true, _) => format!("{:#}\n", report.json(config, strict)),
        (false, true) => report.everything(config, strict),
        (false, false) => report.text(strict),
    };
    // A reader that has closed the pipe (`| head`) has read enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    match report.is_good(strict) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// The faults of the site and its database, for `doctor`.
pub fn faults_of_site(config: &Config) -> Vec<String> {
    let mut report = Report::default();
    site::inspect(config, &mut report);
    report.into_faults()
}

/// Notes the mistakes in the configuration. The values that are in force are not known then.
fn mistakes(loaded: &Loaded, problems: &[Problem], report: &mut Report) {
    for problem in problems {
        report.mistake(problem.to_string());
    }
    let file = loaded
        .file
        .as_ref()
        .map_or_else(String::new, |path| format!("{}: ", path.display()));
    report.note("configuration", format!("{file}not valid"));
    if problems.iter().any(|problem| problem.hides_site) {
        report.note("site", "not checked, as the configuration does not say which it is");
    }
}

/// Notes what the configuration says, and how many connections there may be.
fn settings(loaded: &Loaded, report: &mut Report) {
    let config = &loaded.config;
    let limit = getrlimit(Resource::Nofile);
    let room = config.connections_for(limit.maximum.unwrap_or(u64::MAX));
    let shown = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), |number| number.to_string());
    report.note(
        "configuration",
        match &loaded.file {
            Some(path) => path.display().to_string(),
            None if config.embedded_defaults => "no file: embedded defaults".to_owned(),
            None => "no file".to_owned(),
        },
    );
    let listeners: Vec<String> = config.server.listen.iter().map(ToString::to_string).collect();
    report.note(
        "listeners",
        format!("{}; at most {room} connections", listeners.join(", ")),
    );
    let admin = loaded
        .admin_address()
        .map(|address| match config.server.admin_listen.named() {
            Some(_) => address.to_string(),
            None => format!("{address} (if its folder is there)"),
        });
    report.note(
        "page and state",
        openness(config, loaded.file.as_deref(), &listeners, admin.as_deref()),
    );
    report.say(format!(
        "descriptors: soft limit {}, hard limit {}; the server raises the soft one, so max_connections comes to {room}",
        shown(limit.current),
        shown(limit.maximum),
    ));
    if let Some(note) = &loaded.note {
        report.say(note.clone());
    }
    for warning in &loaded.warnings {
        report.warn(warning.clone());
    }
    certificates(&config.tls, report);
    match engine::ask(config) {
        Some(Ok(found)) => report.note("engine", found.to_string()),
        Some(Err(why)) => {
            report.note("engine", "cannot be used");
            report.fault(why);
        }
        None => {}
    }
    let wanted = config.server.max_connections;
    if wanted > room {
        report.warn(format!(
            "max_connections is {wanted}, but the descriptor limit allows only {room}"
        ));
    }
}

/// Reads the certificates, as the server does at its start.
fn certificates(tls: &Tls, report: &mut Report) {
    if !tls.is_on() {
        return;
    }
    match Maker::new().and_then(|maker| maker.load(tls)) {
        Ok(loaded) => {
            report.note("certificates", loaded.found.lines.join("; "));
            for warning in loaded.found.warnings {
                report.warn(warning);
            }
        }
        Err(error) => report.fault(error.to_string()),
    }
}

/// The apps, and where the secret of the site's app comes from. `parameters`: the component's, if they could be read.
fn apps(config: &Config, parameters: Option<&Parameters>) -> String {
    let shown = config.apps.iter().map(|app| {
        let is_from_site = app.secret.is_empty() && config.has_site() && app.id == config.joomla.app;
        match parameters.map(|parameters| parameters.credentials.as_ref()) {
            _ if config.embedded_defaults => format!("{}, whose secret everybody knows", app.id),
            _ if !is_from_site => app.id.clone(),
            Some(Some(theirs)) => format!("{} (from com_websockets)", theirs.id),
            Some(None) => format!("{} (without a secret)", app.id),
            None => format!("{} (its secret, if any, is in com_websockets)", app.id),
        }
    });
    let shown: Vec<String> = shown.collect();
    match shown.is_empty() {
        true => "none".to_owned(),
        false => shown.join(", "),
    }
}
