//! The listeners at the start: those that the configuration names, and the administrators' socket, which nobody has to
//! ask for.

use std::io;

use super::ServeError;
use crate::config::{ListenAddr, Loaded};
use crate::net::listener::{Listener, Speaks};

/// The permission bits of the administrators' socket: only the server's own user, and root, see its state.
const ADMIN_MODE: u32 = 0o600;

/// The listeners of a server of one process, or of several.
#[derive(Debug)]
pub struct Bound {
    /// Those for everybody, in order.
    open: Vec<Listener>,
    /// Those where administrators need no token: one for each process, if there are any.
    admins: Vec<Option<Listener>>,
    /// Those that redirect to https.
    redirects: Vec<Listener>,
}

impl Bound {
    /// The URLs of all of them, for people and programs that start the server.
    pub fn urls(&self) -> Urls {
        let of = |listeners: &[Listener]| listeners.iter().map(Listener::url).collect();
        Urls {
            all: of(&self.open),
            admins: self.admins.iter().flatten().map(Listener::url).collect(),
            redirects: of(&self.redirects),
        }
    }

    /// The listeners of the worker with this number, from 1 on; each with whether it is the one for administrators.
    pub fn of_worker(&self, number: u32) -> Vec<(&Listener, bool)> {
        let admin = self.admins.get(number as usize - 1).and_then(Option::as_ref);
        let all = self.open.iter().map(|listener| (listener, false));
        let redirects = self.redirects.iter().map(|listener| (listener, false));
        all.chain(admin.map(|listener| (listener, true)))
            .chain(redirects)
            .collect()
    }

    /// All listeners of a server of one process, and the index of the one for administrators.
    pub(super) fn of_one(mut self) -> (Vec<Listener>, Option<usize>) {
        let admin = self.admins.drain(..).flatten().next();
        let number = admin.is_some().then_some(self.open.len());
        self.open.extend(admin);
        self.open.extend(self.redirects);
        (self.open, number)
    }
}

/// The URLs of the listeners.
#[derive(Clone, Debug)]
pub struct Urls {
    /// Those for everybody, in order.
    pub all: Vec<String>,
    /// Those where administrators need no token.
    pub admins: Vec<String>,
    /// Those that redirect to https.
    pub redirects: Vec<String>,
}

/// Listens at all addresses. With several `workers` each gets an address for administrators of its own.
///
/// # Errors
/// When an address cannot be listened to.
pub fn bind(loaded: &Loaded, workers: u32) -> Result<Bound, ServeError> {
    let server = &loaded.config.server;
    let tls = &loaded.config.tls;
    let admins = |address: &ListenAddr| -> Vec<ListenAddr> {
        match workers {
            1 => vec![address.clone()],
            many => (1..=many).map(|number| address.of_worker(number)).collect(),
        }
    };
    let named_admins = server.admin_listen.named().map(admins);
    let named = server
        .listen
        .iter()
        .chain(&tls.redirect_from)
        .map(|entry| &entry.address);
    let all: Vec<_> = named.chain(named_admins.iter().flatten()).collect();
    let bind = |address: &ListenAddr, mode| {
        Listener::bind_beside(address, &all, mode).map_err(|source| ServeError::Listen {
            address: address.clone(),
            source,
        })
    };
    let bound = server.listen.iter().map(|entry| {
        let speaks = if tls.covers(entry) { Speaks::Https } else { Speaks::Http };
        let mut listener = bind(&entry.address, server.unix_mode)?.speaking(speaks);
        if entry.proxy_protocol {
            listener.expect_header();
        }
        Ok(listener)
    });
    let open = bound.collect::<Result<Vec<_>, ServeError>>()?;
    let redirects = tls.redirect_from.iter().map(|entry| {
        let bound = bind(&entry.address, server.unix_mode)?;
        Ok(bound.speaking(Speaks::Redirect))
    });
    let redirects = redirects.collect::<Result<Vec<_>, ServeError>>()?;
    let admins = match (&named_admins, &loaded.admin_socket) {
        (Some(addresses), _) => {
            let bound = addresses.iter().map(|address| bind(address, ADMIN_MODE).map(Some));
            bound.collect::<Result<Vec<_>, ServeError>>()?
        }
        (None, Some(offered)) => admins(offered).iter().map(admin_by_default).collect(),
        (None, None) => Vec::new(),
    };
    Ok(Bound {
        open,
        admins,
        redirects,
    })
}

/// The administrators' listener that nobody asked for. The server starts without it where it cannot have it.
fn admin_by_default(address: &ListenAddr) -> Option<Listener> {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem};
    let failed = match Listener::bind(address, ADMIN_MODE) {
        Ok(listener) => return Some(listener),
        Err(error) => error,
    };
    match failed.kind() {
        // Nobody made the folder, as without systemd.
        NotFound | NotADirectory => log::debug!("no socket for administrators at {address}: there is no such folder"),
        PermissionDenied | ReadOnlyFilesystem => log::info!("no socket for administrators at {address}: {failed}"),
        _ => log::warn!(
            "no socket for administrators at {address}: {failed}; give this server another address with [server] \
             admin_listen, or switch it off with \"\""
        ),
    }
    None
}
