//! The life of the process around the loop: descriptors, listeners, the words at the start, systemd, reload, the end.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use rand::RngExt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;

use crate::config::{Config, ListenAddr, Loaded, Reload, Sources};
use crate::logging;
use crate::net::listener::Listener;
use crate::net::poll::MioIo;
use crate::server::{Flow, Server, Wish};

/// Why the server could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address cannot be listened to.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: ListenAddr,
        /// Why.
        source: io::Error,
    },
    /// The file of `--record` cannot be made.
    #[error("cannot record to {}: {source}", path.display())]
    Record {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The poller failed, or standard output.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A second signal came while draining.
    #[error("stopped at once by a second signal; connections were cut")]
    Abandoned,
}

/// Runs the server until a signal ends it. `sources` is read again on SIGHUP.
///
/// # Errors
/// When it cannot start, when the poller fails, or when a second signal cut the drain short.
pub fn serve(loaded: Loaded, sources: &Sources, record: Option<PathBuf>) -> Result<(), ServeError> {
    let mut config = loaded.config;
    let descriptors = raise_descriptors();
    let room = config.connections_for(descriptors);
    log::info!("the descriptor limit is {descriptors}: at most {room} connections");

    let io = listen(&config)?;
    let urls = io.urls();
    let mut server = Server::new(io, config.clone(), room, rand::rng().random());
    if let Some(path) = record {
        server
            .record(&path)
            .map_err(|source| ServeError::Record { path, source })?;
    }
    let watchdog = sd_notify::watchdog_enabled();
    if let Some(interval) = watchdog {
        server.wake_every(interval / 2);
    }
    let mut told = Instant::now();
    announce(&config, &urls)?;
    tell_systemd(&[NotifyState::Ready]);
    loop {
        let flow = server.tick()?;
        for wish in server.wishes() {
            match wish {
                Wish::Draining => tell_systemd(&[NotifyState::Stopping]),
                Wish::Reload => reload(&mut config, sources, &mut server, descriptors),
            }
        }
        if watchdog.is_some_and(|interval| told.elapsed() > interval / 4) {
            told = Instant::now();
            tell_systemd(&[NotifyState::Watchdog]);
        }
        match flow {
            Flow::Continue => {}
            Flow::Drained => {
                match server.connections() {
                    0 => log::info!("drained; bye"),
                    cut => log::warn!("the time to drain is over: {cut} connections are cut"),
                }
                return Ok(());
            }
            Flow::Abandon => return Err(ServeError::Abandoned),
        }
    }
}

/// Raises the soft limit of descriptors to the hard one and returns it. Where that is refused, what there is must do.
fn raise_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            log::warn!("the descriptor limit cannot be raised: {error}");
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

fn listen(config: &Config) -> Result<MioIo, ServeError> {
    let server = &config.server;
    let mut listeners = Vec::new();
    for address in server.listen.iter().chain(&server.admin_listen) {
        let bound = Listener::bind(address, server.unix_mode);
        listeners.push(bound.map_err(|source| ServeError::Listen {
            address: address.clone(),
            source,
        })?);
    }
    let admin = server.admin_listen.as_ref().map(|_| listeners.len() - 1);
    Ok(MioIo::new(listeners, admin)?)
}

/// Says on standard output where the server listens, a line each: what starts it can wait for that.
fn announce(config: &Config, urls: &[String]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for url in urls {
        writeln!(out, "listening on {url}")?;
    }
    out.flush()?;
    if config.embedded_defaults {
        let app = config.apps.first().map_or("no app".to_owned(), |app| {
            format!("app {} with key {}", app.id, app.key)
        });
        log::info!("no configuration file: loopback only, {app}; console, /echo and page are open to this machine");
    }
    Ok(())
}

fn reload(config: &mut Config, sources: &Sources, server: &mut Server<MioIo>, descriptors: u64) {
    let loaded = match sources.load() {
        Ok(loaded) => loaded,
        Err(error) => {
            return log::error!(
                "the configuration stays as it was: {}",
                error.to_string().replace('\n', "; ")
            );
        }
    };
    for warning in &loaded.warnings {
        log::warn!("{warning}");
    }
    let Reload {
        config: new,
        changed,
        restart,
    } = config.reloaded(&loaded.config);
    match changed.as_slice() {
        [] => log::info!("the configuration was read again: nothing changed"),
        keys => log::info!("the configuration was read again: {} changed", keys.join(", ")),
    }
    if !restart.is_empty() {
        log::warn!("a restart is needed for {}", restart.join(", "));
    }
    logging::set_level(new.server.log_level);
    server.reconfigure(new.clone(), new.connections_for(descriptors));
    *config = new;
}

/// Does nothing where systemd did not start the process.
fn tell_systemd(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::debug!("systemd was not told: {error}");
    }
}
