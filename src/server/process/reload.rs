//! Reload (SIGHUP): the configuration is read again, and taken over if it is valid and closes nobody's connections.

use super::Premises;
use crate::config::{Config, Loaded, Reload, Sources};
use crate::logging;
use crate::net::poll::MioIo;
use crate::server::Server;

/// Takes the configuration over as the worker with this number, or alone, or says in the log why it stays as it was.
pub(super) fn reload(
    config: &mut Config,
    sources: &Sources,
    server: &mut Server<MioIo>,
    descriptors: u64,
    premises: &mut Premises,
    number: Option<u32>,
) {
    let (loaded, reload) = match weigh(config, sources, server) {
        Ok(found) => found,
        Err(why) => return log::error!("the configuration stays as it was: {why}"),
    };
    // Those of several workers are the same.
    for warning in loaded
        .warnings
        .iter()
        .filter(|_| number.is_none_or(|number| number == 1))
    {
        log::warn!("{warning}");
    }
    let Reload {
        config: new,
        changed,
        restart,
    } = reload;
    match changed.as_slice() {
        [] => log::info!("the configuration was read again: nothing changed"),
        keys => log::info!("the configuration was read again: {} changed", keys.join(", ")),
    }
    if !restart.is_empty() {
        log::warn!("a restart is needed for {}", restart.join(", "));
    }
    logging::set_level(new.server.log_level);
    let database = new.database != config.database || new.items != config.items;
    server.reconfigure(new.clone(), new.connections_for(descriptors));
    if new.has_site()
        && let Err(error) = premises.enter(&new, database, server)
    {
        log::error!("the site stays as it was: {error}");
    }
    premises.keep_names(server);
    *config = new;
}

/// The configuration that a reload would take over now.
///
/// # Errors
/// A sentence: why it would not.
pub(super) fn weigh(config: &Config, sources: &Sources, server: &Server<MioIo>) -> Result<(Loaded, Reload), String> {
    let loaded = sources.load().map_err(|error| error.to_string().replace('\n', "; "))?;
    let reload = config.reloaded(&loaded.config);
    let is_empty = loaded.file_is_empty && !reload.changed.is_empty();
    let closed = server.service().apps().closed_by(&reload.config.apps);
    match refusal(&closed, is_empty, server.connections()) {
        Some(why) => Err(format!("{why}; stop the server if that is meant")),
        None => Ok((loaded, reload)),
    }
}

/// Why a valid configuration is refused: a file that was emptied, or an app that was deleted, would close many
/// connections at once. `closed`: the apps that are missing in it, with their connections.
fn refusal(closed: &[(&str, usize)], file_is_empty: bool, connections: usize) -> Option<String> {
    let counted = |count: usize| match count {
        1 => "1 connection".to_owned(),
        many => format!("{many} connections"),
    };
    let all: usize = closed.iter().map(|(_, count)| count).sum();
    let ids: Vec<&str> = closed.iter().map(|(id, _)| *id).collect();
    match ids.as_slice() {
        [] if file_is_empty && connections > 0 => {
            let verb = if connections == 1 { "is" } else { "are" };
            Some(format!("the file is empty while {} {verb} open", counted(connections)))
        }
        [] => None,
        [id] => Some(format!("this would close {} of the app {id}", counted(all))),
        ids => Some(format!(
            "this would close {} of the apps {}",
            counted(all),
            ids.join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_reload_counts_the_connections_that_it_would_close() {
        for (closed, file_is_empty, connections, why) in [
            (&[][..], false, 7, None),
            (&[], true, 0, None),
            (&[], true, 1, Some("the file is empty while 1 connection is open")),
            (&[], true, 7, Some("the file is empty while 7 connections are open")),
            (
                &[("a", 312)],
                true,
                400,
                Some("this would close 312 connections of the app a"),
            ),
            (
                &[("a", 1)],
                false,
                1,
                Some("this would close 1 connection of the app a"),
            ),
            (
                &[("a", 1), ("b", 2)],
                false,
                3,
                Some("this would close 3 connections of the apps a, b"),
            ),
        ] {
            assert_eq!(refusal(closed, file_is_empty, connections).as_deref(), why);
        }
    }
}
