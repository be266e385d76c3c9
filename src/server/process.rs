//! The life of the process around the loop: descriptors, listeners, the lines at the start, systemd, reload, the names
//! of hosts, the end.

mod certificates;
pub mod listeners;
pub mod lookup;
pub mod names;
pub mod owner;
mod reload;
pub mod resources;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::RngExt;

use self::certificates::Certificates;
use self::listeners::Urls;
use self::names::Names;
use self::owner::Owner;
use self::reload::{reload, weigh};
use self::resources::raise_descriptors;
use super::access_log::BadAccessLog;
use super::{Flow, Recording, Server, Wish};
use crate::certificates::BadCertificate;
use crate::child::OURSELVES;
use crate::config::{Config, HostName, ListenAddr, Loaded, Sources, openness};
use crate::flight::Kind;
use crate::joomla::site::{self, SiteError, SiteRead, Stamp, Watch};
use crate::net::poll::MioIo;
use crate::net::supervised::Word;
use crate::service::Process;
use crate::store::Store;
use crate::store::mysql::MySql;
use crate::store::slow::{Artificial, Slowed};
use crate::time::Time;

/// How often configuration.php is checked for changes.
const SITE_CHECK: Duration = Duration::from_secs(2);

/// The errors that keep the server from starting or stop it.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address cannot be listened to.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: ListenAddr,
        /// Why.
        source: io::Error,
    },
    /// The file of `--record` cannot be made.
    #[error("cannot record to {}: {source}", path.display())]
    Record {
        /// The path of the file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The access log cannot be opened.
    #[error("{0}")]
    AccessLog(#[from] BadAccessLog),
    /// A certificate cannot be used.
    #[error("{0}")]
    Certificate(#[from] BadCertificate),
    /// The site is not as it must be.
    #[error("{0}")]
    Site(#[from] SiteError),
    /// The poller failed, or standard output.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It was started as a worker, without a supervisor.
    #[error("--worker is for the supervisor of several workers alone, and standard input is no line to one: {0}")]
    NoSupervisor(io::Error),
    /// A second signal came while draining.
    #[error("stopped at once by a second signal; connections were cut")]
    Abandoned,
}

/// How the server was started.
#[derive(Debug, Default)]
pub struct Launch {
    /// The trace of `--record`.
    pub record: Option<Recording>,
    /// The delay of `--slow-sql`.
    pub slow_sql: Option<Duration>,
    /// The number of this worker, from 1 on; `None`: it is alone.
    pub worker: Option<u32>,
}

/// Runs the server until a signal or its supervisor ends it. `sources` is read again on SIGHUP.
///
/// # Errors
/// When it cannot start, when the poller fails, or when a second signal cut the drain short.
pub fn serve(loaded: Loaded, sources: &Sources, launch: Launch) -> Result<(), ServeError> {
    let descriptors = raise_descriptors();
    let room = loaded.config.connections_for(descriptors);
    log::info!("the descriptor limit is {descriptors}: at most {room} connections");

    let (mut owner, io, urls) = match launch.worker {
        Some(_) => {
            let (owner, io) = Owner::supervisor().map_err(ServeError::NoSupervisor)?;
            (owner, io, None)
        }
        None => {
            let bound = listeners::bind(&loaded, 1)?;
            let urls = bound.urls();
            let (owner, io) = Owner::system(bound)?;
            (owner, io, Some(urls))
        }
    };
    let (mut config, config_file) = (loaded.config, loaded.file);
    let https = io.https_port();
    let mut server = Server::new(io, config.clone(), room, rand::rng().random());
    server.set_process(Process {
        pid: std::process::id(),
        config_file: config_file.clone(),
        ..Process::default()
    });
    if let Some(recording) = launch.record {
        let path = recording.path.clone();
        let made = server.record(&recording);
        let made = made.map_err(|source| ServeError::Record { path, source })?;
        log::info!("the trace is written to {}", made.display());
    }
    server.open_access_log(&config.server.access_log)?;
    let mut certificates = Certificates::begin(&config.tls, &mut server)?;
    server.redirect_to(https.unwrap_or_default());
    let mut premises = Premises::find(&config, launch.slow_sql, &mut server)?;
    if let Some(urls) = &urls {
        announce(&config, config_file.as_deref(), urls)?;
    }
    let mut is_ready = false;
    loop {
        if !is_ready && server.is_ready() {
            is_ready = true;
            owner.ready();
        }
        let wakes = [
            owner.wake(),
            premises.wake(server.ended),
            certificates.wake(server.ended),
        ];
        server.wake_within(wakes.into_iter().flatten().min());
        let flow = server.tick()?;
        for wish in server.wishes() {
            let is_refresh = matches!(wish, Wish::Reload | Wish::Refresh);
            match wish {
                Wish::Draining => owner.draining(),
                Wish::Weigh => owner.answer(match weigh(&config, sources, &server) {
                    Ok(_) => Word::Fit,
                    Err(why) => Word::Unfit(why),
                }),
                Wish::Reload => reload(
                    &mut config,
                    sources,
                    &mut server,
                    descriptors,
                    &mut premises,
                    launch.worker,
                ),
                Wish::Refresh => {}
                Wish::Report => {
                    for line in server.report().text().lines() {
                        log::info!("{line}");
                    }
                    server.did(Kind::Report, "");
                }
            }
            if is_refresh {
                // Also if the configuration was refused: the files may have changed.
                certificates.try_again(&config.tls, &mut server);
                // Also if the configuration was refused: the file may have been renamed.
                if let Err(error) = server.open_access_log(&config.server.access_log) {
                    log::error!("{error}; the file that was open before stays in use");
                }
                server.did(Kind::Reload, "");
                owner.answer(Word::Reloaded);
            }
        }
        premises.reread_site(&config, &mut server);
        certificates.reread(&config.tls, &mut server);
        premises.look_names_up(&mut server);
        if owner.alive(server.ended) {
            server.did(Kind::Report, "systemd");
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

/// Writes to the log who may see the page, and then to standard output where the server listens, one URL a line. A
/// program that starts the server can wait for it.
///
/// # Errors
/// When standard output cannot be written.
pub fn announce(config: &Config, file: Option<&Path>, urls: &Urls) -> io::Result<()> {
    let admins = (!urls.admins.is_empty()).then(|| urls.admins.join(", "));
    let openness = openness(config, file, &urls.all, admins.as_deref());
    log::info!("page and state: {openness}");
    if config.embedded_defaults {
        let app = config.apps.first().map_or("no app".to_owned(), |app| {
            format!("app {} with key {}", app.id, app.key)
        });
        log::info!("no configuration file: loopback only, {app}; console and /echo are open to this machine");
    }
    let mut out = io::stdout().lock();
    for url in urls.all.iter().chain(&urls.admins) {
        writeln!(out, "listening on {url}")?;
    }
    for url in &urls.redirects {
        writeln!(out, "redirecting from {url}")?;
    }
    out.flush()
}

/// The environment of the process, which may change: the site's folder as it was read last, and the addresses of hosts.
struct Premises {
    read: Option<SiteRead>,
    watch: Watch,
    checked: Option<Time>,
    names: Names,
    /// A name got other addresses: the server tries them at once.
    moved: bool,
    /// The delay of `--slow-sql`.
    slow_sql: Option<Duration>,
}

impl Premises {
    /// Reads the site, if there is one, and passes it to the server.
    fn find(config: &Config, slow_sql: Option<Duration>, server: &mut Server<MioIo>) -> Result<Self, SiteError> {
        let mut premises = Self {
            read: None,
            watch: Watch::new(None),
            checked: None,
            names: Names::default(),
            moved: false,
            slow_sql,
        };
        let is_site = config.has_site();
        if let Some(ms) = slow_sql.map(|delay| delay.as_millis()) {
            match is_site {
                true => log::warn!("--slow-sql: on purpose, every statement of the database takes {ms} ms longer"),
                false => {
                    log::warn!("--slow-sql: there is no database; a statement named slow takes {ms} ms every second")
                }
            }
        }
        match slow_sql {
            _ if is_site => premises.enter(config, true, server)?,
            Some(delay) => server.set_store(Box::new(Artificial::new(delay))),
            None => {}
        }
        premises.keep_names(server);
        Ok(premises)
    }

    /// The time until there is work here.
    fn wake(&self, now: Time) -> Option<Duration> {
        if self.moved {
            return Some(Duration::ZERO);
        }
        let is_watched = self.read.as_ref().is_some_and(|read| read.file.is_some());
        let due = self.names.due().map(|due| due.since(now));
        due.into_iter().chain(is_watched.then_some(SITE_CHECK)).min()
    }

    /// Looks up all names that the server needs now. An administrator may have changed their addresses.
    fn keep_names(&mut self, server: &mut Server<MioIo>) {
        let mut names = server.posts.outgoing.host_names();
        names.extend(server.engine.as_ref().and_then(|engine| engine.host_name().cloned()));
        names.extend(self.database_name().filter(|name| !names.contains(name)));
        self.names.keep(&names, server.ended);
    }

    fn database_name(&self) -> Option<HostName> {
        self.read.as_ref().and_then(|read| read.database.host_name.clone())
    }

    /// Looks up the names of hosts that cannot be reached, and passes the addresses on that were found.
    fn look_names_up(&mut self, server: &mut Server<MioIo>) {
        let now = server.ended;
        let database = self.database_name();
        if let Some(name) = database.as_ref().filter(|_| server.database.is_away()) {
            self.names.ask(name, now);
        }
        for name in server.posts.outgoing.lost_hosts() {
            self.names.ask(&name, now);
        }
        if let Some(name) = server.engine.as_mut().and_then(|engine| engine.lost_host()) {
            self.names.ask(&name, now);
        }
        self.moved = false;
        while let Some((name, addresses)) = self.names.turn(now) {
            self.moved = true;
            server.did(Kind::Names, &name.host);
            server.posts.outgoing.set_addresses(&name, &addresses);
            let engine = server.engine.iter_mut();
            engine.for_each(|engine| engine.set_addresses(&name, &addresses));
            if let Some(read) = self.read.as_mut().filter(|_| database.as_ref() == Some(&name)) {
                let endpoints: Vec<ListenAddr> = addresses.into_iter().map(ListenAddr::Tcp).collect();
                read.database.endpoints.clone_from(&endpoints);
                server.database.move_to(endpoints);
            }
        }
        if let Some(name) = self.names.running() {
            server.did(Kind::Names, &name.host);
        }
    }

    /// Reads the site again. `anew`: the keys for the database in our own configuration may have changed.
    fn enter(&mut self, config: &Config, anew: bool, server: &mut Server<MioIo>) -> Result<(), SiteError> {
        let read = site::read(config, &mut |host, port| {
            let name = HostName {
                host: host.to_owned(),
                port,
            };
            Ok(self.names.addresses(&name).to_vec())
        })?;
        for warning in &read.warnings {
            log::warn!("{warning}");
        }
        let other = self.read.as_ref().is_none_or(|old| old.database != read.database);
        let store = (anew || other).then(|| {
            let most = config.apps.iter().map(|app| app.max_event_size).max().unwrap_or(0);
            let store = MySql::new(
                read.database.clone(),
                config.database.clone(),
                config.item_types(),
                most,
            )
            .watched_by(OURSELVES.into());
            let store: Box<dyn Store> = Box::new(store);
            match self.slow_sql {
                Some(delay) => Box::new(Slowed { store, delay }),
                None => store,
            }
        });
        server.set_site(read.site.clone(), store);
        self.watch = Watch::new(read.stamp);
        self.read = Some(read);
        Ok(())
    }

    /// Reads configuration.php again when it has changed. If it is not valid, everything stays as it was.
    fn reread_site(&mut self, config: &Config, server: &mut Server<MioIo>) {
        let Some(file) = self.read.as_ref().and_then(|read| read.file.clone()) else {
            return;
        };
        let now = server.ended;
        if self.checked.is_some_and(|checked| now.since(checked) < SITE_CHECK) {
            return;
        }
        self.checked = Some(now);
        if self.watch.changed(file.metadata().ok().as_ref().map(Stamp::of)) {
            match self.enter(config, false, server) {
                Ok(()) => {
                    log::info!("{} changed and was read again", file.display());
                    self.keep_names(server);
                }
                Err(error) => log::error!(
                    "{} changed; what it said before stays in force: {error}",
                    file.display()
                ),
            }
        }
        server.did(Kind::Site, "");
    }
}
