//! The listeners at the start: those that the configuration names, and the administrators' socket, which nobody has to
//! ask for.

use std::io;

use super::ServeError;
use crate::config::{ListenAddr, Loaded};
use crate::net::listener::{Listener, Speaks};
use crate::net::poll::MioIo;

/// The permission bits of the administrators' socket: only the server's own user, and root, see its state.
const ADMIN_MODE: u32 = 0o600;

/// The URLs of the listeners.
pub(super) struct Urls {
    /// Those for everybody, in order.
    pub(super) all: Vec<String>,
    /// The one where administrators need no token.
    pub(super) admin: Option<String>,
    /// Those that redirect to https.
    pub(super) redirects: Vec<String>,
    /// The port of the first one that speaks TLS.
    pub(super) https: Option<u16>,
}

/// Listens at all addresses.
pub(super) fn listen(loaded: &Loaded) -> Result<(MioIo, Urls), ServeError> {
    let server = &loaded.config.server;
    let tls = &loaded.config.tls;
    let named = server
        .listen
        .iter()
        .chain(&tls.redirect_from)
        .map(|entry| &entry.address);
    let all: Vec<_> = named.chain(server.admin_listen.named()).collect();
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
    let mut listeners = bound.collect::<Result<Vec<_>, ServeError>>()?;
    let target = listeners.iter().find(|listener| listener.speaks() == Speaks::Https);
    let https = target.and_then(Listener::port);
    let redirects = tls.redirect_from.iter().map(|entry| {
        let bound = bind(&entry.address, server.unix_mode)?;
        Ok(bound.speaking(Speaks::Redirect))
    });
    let redirects = redirects.collect::<Result<Vec<_>, ServeError>>()?;
    let admin = match (server.admin_listen.named(), &loaded.admin_socket) {
        (Some(address), _) => Some(bind(address, ADMIN_MODE)?),
        (None, Some(offered)) => admin_by_default(offered),
        (None, None) => None,
    };
    let urls = Urls {
        all: listeners.iter().map(Listener::url).collect(),
        admin: admin.as_ref().map(Listener::url),
        redirects: redirects.iter().map(Listener::url).collect(),
        https,
    };
    let number = admin.is_some().then_some(listeners.len());
    listeners.extend(admin);
    listeners.extend(redirects);
    Ok((MioIo::new(listeners, number)?, urls))
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
