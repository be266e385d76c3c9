//! Plans the changes that take away what `setup` has made.

use std::error::Error;

use super::change::Entry;
use super::manifest::Records;
use super::names::Names;
use super::{Steps, say, unit, webserver};
use crate::commands::snippets::Proxy;

/// Plans the removal of this instance.
///
/// # Errors
/// The record cannot be read, or the unit is still enabled; a sentence says what to do.
pub fn plan(names: &Names, records: &Records) -> Result<Steps, Box<dyn Error>> {
    let mut steps = Steps {
        nothing: "There is nothing to remove: `jsocketd setup` has no record here.",
        ..Steps::default()
    };
    if !records.exists() {
        steps.changes = records.plan_cleaning()?;
        return Ok(steps);
    }
    let (changes, left) = records.plan_removal()?;
    let is_unit = |path: &std::path::Path| path.starts_with("/etc/systemd");
    let loses_unit = changes.iter().any(|change| {
        change
            .path
            .file_name()
            .is_some_and(|name| name == names.unit_file().as_str())
            && matches!(change.before, Some(Entry::File { .. }))
            && is_unit(&change.path)
    });
    if loses_unit && unit::is_enabled(names) {
        let unit = names.unit();
        return Err(format!("{unit} is still enabled. Run `systemctl disable --now {unit}`, and this again").into());
    }
    for line in left {
        say(&line);
    }
    // A web server that is no longer installed tests nothing.
    let proxy = Proxy::named(&records.own.web_server).filter(|proxy| webserver::is_installed(*proxy));
    if changes.iter().any(|change| is_unit(&change.path)) {
        steps.next.push("systemctl daemon-reload".to_owned());
    }
    let has_systemd = unit::Systemd::find() != unit::Systemd::Missing;
    steps
        .next
        .extend(proxy.map(|proxy| webserver::reload(proxy, has_systemd).to_owned()));
    steps
        .next
        .push("in Joomla, Components, Websockets, Options: empty \"Address for Browsers\"".to_owned());
    steps.tester = proxy;
    steps.changes = changes;
    Ok(steps)
}
